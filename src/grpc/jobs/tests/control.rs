use crate::grpc::jobs::tests::get;
use crate::grpc::jobs::tests::reason;
use crate::grpc::jobs::tests::settle;
use crate::grpc::jobs::tests::soon;
use crate::grpc::jobs::tests::start;
use crate::grpc::jobs::tests::whole;
use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::proto::v1;
use crate::proto::v1::JobOutcome;
use crate::proto::v1::JobState;

const UNKNOWN: &str = "0198a5c2-6f00-7000-8000-000000000001";

fn told(results: &[v1::JobResult]) -> Vec<(JobOutcome, JobState)> {
    results.iter().map(|result| (result.outcome(), result.state())).collect()
}

async fn cancel(rig: &Rig, ids: &[String]) -> Vec<v1::JobResult> {
    let request = v1::CancelJobsRequest { job_ids: ids.to_vec(), reason: "not needed".into() };
    rig.jobs().cancel_jobs(request).await.unwrap().into_inner().results
}

async fn retry(rig: &Rig, ids: &[String]) -> Vec<v1::JobResult> {
    rig.jobs().retry_jobs(v1::RetryJobsRequest { job_ids: ids.to_vec() }).await.unwrap().into_inner().results
}

async fn delete(rig: &Rig, ids: &[String]) -> Vec<v1::JobResult> {
    rig.jobs()
        .delete_jobs(v1::DeleteJobsRequest { job_ids: ids.to_vec() })
        .await
        .unwrap()
        .into_inner()
        .results
}

#[tokio::test]
async fn each_job_of_a_call_has_its_own_outcome_wherever_it_is_known() {
    let (_dir, rig) = start().await;
    let done = rig.submit("done", 1, 5).await[0].to_string();
    rig.work("done", 1, 5).await;
    let waiting = rig.submit("idle", 1, 5).await[0].to_string();
    settle(&rig).await;
    let ids = [waiting.clone(), done.clone(), UNKNOWN.to_owned(), waiting.clone()];

    assert_eq!(
        told(&retry(&rig, &ids[..3]).await),
        [
            (JobOutcome::WrongState, JobState::Waiting),
            (JobOutcome::WrongState, JobState::Succeeded),
            (JobOutcome::NotFound, JobState::Unspecified),
        ]
    );
    assert_eq!(told(&delete(&rig, &ids[..1]).await), [(JobOutcome::WrongState, JobState::Waiting)]);
    let results = cancel(&rig, &ids).await;
    assert_eq!(
        told(&results),
        [
            (JobOutcome::Done, JobState::Cancelled),
            (JobOutcome::WrongState, JobState::Succeeded),
            (JobOutcome::NotFound, JobState::Unspecified),
            (JobOutcome::WrongState, JobState::Cancelled),
        ]
    );
    assert_eq!(results[0].sequence, rig.head());
    let job = get(&rig, &waiting).await;
    assert_eq!((job.state(), job.cancel_reason.as_str()), (JobState::Cancelled, "not needed"));

    let head = rig.head();
    let ids = [waiting.clone(), done.clone(), UNKNOWN.to_owned(), done.clone()];
    assert_eq!(
        told(&delete(&rig, &ids).await),
        [
            (JobOutcome::Done, JobState::Unspecified),
            (JobOutcome::Done, JobState::Unspecified),
            (JobOutcome::NotFound, JobState::Unspecified),
            (JobOutcome::NotFound, JobState::Unspecified),
        ]
    );
    for settled in [false, true] {
        if settled {
            settle(&rig).await;
        }
        assert_eq!(reason(rig.jobs().get_job(whole(&done)).await), Reason::JobNotFound);
        assert_eq!(delete(&rig, std::slice::from_ref(&done)).await[0].outcome(), JobOutcome::NotFound);
    }
    assert_eq!(rig.head(), head + 2, "two jobs were deleted, each once");
    rig.stop().await;
}

#[tokio::test]
async fn two_who_delete_the_same_jobs_at_once_delete_each_once() {
    let (_dir, rig) = start().await;
    let ids: Vec<String> = rig.submit("q", 600, 5).await.iter().map(ToString::to_string).collect();
    rig.work("q", 600, 5).await;
    settle(&rig).await;
    let head = rig.head();
    let calls = soon(async {
        tokio::join!(delete(&rig, &ids), delete(&rig, &ids), delete(&rig, &ids), delete(&rig, &ids))
    })
    .await;
    let done = |results: &[v1::JobResult]| {
        results.iter().filter(|result| result.outcome() == JobOutcome::Done).count()
    };
    let counts = [done(&calls.0), done(&calls.1), done(&calls.2), done(&calls.3)];
    assert_eq!(counts.iter().sum::<usize>(), 600, "{counts:?}");
    assert_eq!(rig.head(), head + 600, "one deleted update a job");
    rig.stop().await;
}

/// Ten thousand jobs with a long reason need more than one frame holds.
#[tokio::test]
async fn a_large_cancel_with_a_long_reason_is_carried_out_whole() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { segment_bytes: 16 << 20, ..Setup::default() };
    let rig = rig::start(&dir.path().join("data"), setup).await;
    let ids: Vec<String> = rig.submit("q", 10_000, 0).await.iter().map(ToString::to_string).collect();
    let request = v1::CancelJobsRequest { job_ids: ids, reason: "r".repeat(1_024) };
    let results = soon(rig.jobs().cancel_jobs(request)).await.unwrap().into_inner().results;
    assert!(results.iter().all(|result| result.outcome() == JobOutcome::Done));
    assert_eq!(rig.head(), 20_000);
    rig.stop().await;
}

#[tokio::test]
async fn a_dead_job_keeps_every_attempts_error_across_a_restart_until_it_is_deleted() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let rig = rig::start(&path, Setup::default()).await;
    let no_pause = v1::Backoff { initial: Some(prost_types::Duration::default()), ..v1::Backoff::default() };
    let policy =
        v1::RetryPolicy { max_attempts: Some(2), backoff: Some(no_pause), ..v1::RetryPolicy::default() };
    let spec = v1::JobSpec {
        queue: "q".into(),
        payload: "p".into(),
        retry_policy: Some(policy),
        ..v1::JobSpec::default()
    };
    let request = v1::SubmitJobsRequest { jobs: vec![spec.clone()], key: String::new() };
    let id = rig.jobs().submit_jobs(request).await.unwrap().into_inner().job_ids.remove(0);
    let failure = |text: &str| Failure { kind: FailureKind::Failed, message: text.into(), process: None };
    rig.fail("q", vec![failure("first"), failure("second")]).await;
    rig.stop().await;

    let rig = rig::start(&path, Setup::default()).await;
    let job = get(&rig, &id).await;
    let messages: Vec<_> =
        job.failures.iter().map(|f| f.failure.as_ref().unwrap().message.as_str()).collect();
    assert_eq!((job.state(), messages), (JobState::Dead, vec!["first", "second"]));
    assert_eq!(job.failures.iter().map(|failed| failed.attempt).collect::<Vec<_>>(), [1, 2]);
    assert!(job.failures.iter().all(|failed| failed.time.is_some()) && job.finished_at.is_some());
    assert_eq!(job.spec.unwrap().payload, spec.payload);

    assert_eq!(
        told(&cancel(&rig, std::slice::from_ref(&id)).await),
        [(JobOutcome::WrongState, JobState::Dead)]
    );
    assert_eq!(told(&retry(&rig, std::slice::from_ref(&id)).await), [(JobOutcome::Done, JobState::Waiting)]);
    assert_eq!(get(&rig, &id).await.generation, 1);
    rig.fail("q", vec![failure("third"), failure("fourth")]).await;
    assert_eq!(get(&rig, &id).await.failures.len(), 4);
    assert_eq!(
        told(&delete(&rig, std::slice::from_ref(&id)).await),
        [(JobOutcome::Done, JobState::Unspecified)]
    );
    assert_eq!(reason(rig.jobs().get_job(whole(&id)).await), Reason::JobNotFound);
    rig.stop().await;
}

/// What has left memory is told by the log alone: the update that ends the job says how often it had started.
#[tokio::test]
async fn a_job_cancelled_while_it_runs_keeps_its_attempts() {
    let (_dir, rig) = start().await;
    let (_welcome, mut hearing) = rig.worker("q").await;
    let id = rig.submit("q", 1, 5).await[0].to_string();
    let granted = soon(hearing.recv()).await.unwrap();
    assert_eq!(granted.grants.len(), 1);
    assert_eq!(
        told(&cancel(&rig, std::slice::from_ref(&id)).await),
        [(JobOutcome::Done, JobState::Cancelled)]
    );
    settle(&rig).await;
    let job = get(&rig, &id).await;
    assert_eq!((job.state(), job.attempts), (JobState::Cancelled, 1));
    let listed = rig.jobs().list_jobs(v1::ListJobsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.jobs[0].attempts, 1);
}
