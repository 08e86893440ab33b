use crate::grpc::jobs::tests::get;
use crate::grpc::jobs::tests::reason;
use crate::grpc::jobs::tests::seconds;
use crate::grpc::jobs::tests::settle;
use crate::grpc::jobs::tests::soon;
use crate::grpc::jobs::tests::spec;
use crate::grpc::jobs::tests::start;
use crate::grpc::jobs::tests::submit;
use crate::grpc::jobs::tests::whole;
use crate::grpc::rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::proto::v1;
use crate::service;
use std::time::Duration;

#[tokio::test]
async fn a_job_is_read_back_whole_before_and_after_it_has_left_memory() {
    let (_dir, rig) = start().await;
    let submitted = v1::JobSpec {
        content_type: "text/plain".into(),
        priority: 7,
        labels: [("tenant".to_owned(), "a".to_owned())].into(),
        timeout: seconds(30),
        ..spec("mail")
    };
    let answer = rig.jobs().submit_jobs(submit(vec![submitted.clone()], "")).await.unwrap().into_inner();
    assert_eq!((answer.first_sequence, answer.repeat), (1, false));
    let id = &answer.job_ids[0];
    for settled in [false, true] {
        if settled {
            settle(&rig).await;
        }
        let job = get(&rig, id).await;
        assert_eq!(job.spec.as_ref(), Some(&submitted), "settled: {settled}");
        assert_eq!((job.state(), job.attempts, job.payload_bytes), (v1::JobState::Waiting, 0, 4));
        assert_eq!((job.submitted_sequence, job.last_sequence), (1, 1));
        assert!(job.due.is_some() && job.due == job.submitted_at && job.finished_at.is_none());
    }
    rig.work("mail", 1, 10).await;
    for settled in [false, true] {
        if settled {
            settle(&rig).await;
            assert!(rig.handle().view().job(id.parse().unwrap()).is_none(), "only the work tree knows it");
        }
        let job = get(&rig, id).await;
        assert_eq!(job.spec.as_ref(), Some(&submitted));
        assert_eq!((job.state(), job.attempts, job.result.len()), (v1::JobState::Succeeded, 1, 10));
        assert_eq!((job.last_sequence, job.result_bytes), (3, 10));
        assert!(job.finished_at.is_some() && job.due.is_none() && job.worker_id.is_empty());
    }
    let without = v1::GetJobRequest { job_id: id.clone(), ..v1::GetJobRequest::default() };
    let job = rig.jobs().get_job(without).await.unwrap().into_inner().job.unwrap();
    assert_eq!((job.payload_bytes, job.result_bytes), (4, 10));
    assert!(job.result.is_empty() && job.spec.unwrap().payload.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_key_is_remembered_across_a_restart_and_refuses_other_jobs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let jobs = vec![spec("q"), spec("r")];
    let rig = rig::start(&path, Setup::default()).await;
    let first = rig.jobs().submit_jobs(submit(jobs.clone(), "order 7")).await.unwrap().into_inner();
    rig.work("q", 1, 0).await;
    rig.stop().await;

    let rig = rig::start(&path, Setup::default()).await;
    let again = rig.jobs().submit_jobs(submit(jobs.clone(), "order 7")).await.unwrap().into_inner();
    assert_eq!((again.job_ids, again.repeat), (first.job_ids.clone(), true));
    assert_eq!(again.first_sequence, first.first_sequence);
    let other = rig.jobs().submit_jobs(submit(vec![spec("q")], "order 7")).await;
    assert_eq!(reason(other), Reason::KeyReused);
    let state = |job: v1::Job| job.state();
    settle(&rig).await;
    assert_eq!(state(get(&rig, &first.job_ids[0]).await), v1::JobState::Succeeded);
    assert_eq!(state(get(&rig, &first.job_ids[1]).await), v1::JobState::Waiting);
    rig.stop().await;
}

#[tokio::test]
async fn wrong_requests_are_refused_with_their_reason_and_change_nothing() {
    let (_dir, rig) = start().await;
    let year_9999 = prost_types::Timestamp { seconds: 253_370_764_800, nanos: 0 };
    let wrong = [
        (v1::JobSpec { queue: "no queue".into(), ..spec("") }, Reason::InvalidQueueName),
        (v1::JobSpec { payload: vec![0; (1 << 20) + 1].into(), ..spec("") }, Reason::PayloadTooLarge),
        (v1::JobSpec { run_at: Some(year_9999), ..spec("") }, Reason::InvalidField),
        (v1::JobSpec { timeout: seconds(-1), ..spec("") }, Reason::InvalidField),
        (v1::JobSpec { priority: 101, ..spec("") }, Reason::InvalidField),
    ];
    for (job, expected) in wrong {
        let answer = rig.jobs().submit_jobs(submit(vec![spec("q"), job.clone()], "")).await;
        assert_eq!(reason(answer), expected, "{job:?}");
    }
    for count in [0, 10_001] {
        let answer = rig.jobs().submit_jobs(submit(vec![spec("q"); count], "")).await;
        assert_eq!(reason(answer), Reason::InvalidField, "{count} jobs");
    }
    assert_eq!(reason(rig.jobs().get_job(whole("seven")).await), Reason::InvalidJobId);
    let unknown = "0198a5c2-6f00-7000-8000-000000000001";
    settle(&rig).await;
    assert_eq!(reason(rig.jobs().get_job(whole(unknown)).await), Reason::JobNotFound);
    let negative = v1::GetJobRequest { wait: seconds(-1), ..whole(unknown) };
    assert_eq!(reason(rig.jobs().get_job(negative).await), Reason::InvalidField);
    assert_eq!(rig.head(), 0, "nothing happened");
    rig.stop().await;
}

#[tokio::test]
async fn a_wait_ends_when_the_job_does_or_the_time_or_the_server() {
    let (_dir, rig) = start().await;
    let ids = rig.submit("q", 2, 10).await;
    let waiting = |id: &str, wait| v1::GetJobRequest { wait, ..whole(id) };
    let (mut jobs, first) = (rig.jobs(), ids[0].to_string());
    let (ended, ()) =
        soon(async { tokio::join!(jobs.get_job(waiting(&first, seconds(60))), rig.work("q", 2, 5)) }).await;
    assert_eq!(ended.unwrap().into_inner().job.unwrap().state(), v1::JobState::Succeeded);

    let id = rig.submit("idle", 1, 0).await[0].to_string();
    let briefly = Some(prost_types::Duration { seconds: 0, nanos: 20_000_000 });
    let job = soon(rig.jobs().get_job(waiting(&id, briefly))).await.unwrap().into_inner().job.unwrap();
    assert_eq!(job.state(), v1::JobState::Waiting);

    // Polled in order: the shutdown begins while the call waits.
    let get = rig.service().get(id.parse().unwrap(), Duration::from_secs(60));
    let (answer, ()) = soon(async { tokio::join!(get, async { rig.service().shutdown().begin() }) }).await;
    assert!(matches!(answer, Err(service::Error::ShuttingDown)), "{answer:?}");
    rig.stop().await;
}
