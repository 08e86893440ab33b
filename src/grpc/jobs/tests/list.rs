use crate::grpc::jobs::tests::reason;
use crate::grpc::jobs::tests::settle;
use crate::grpc::jobs::tests::soon;
use crate::grpc::jobs::tests::spec;
use crate::grpc::jobs::tests::start;
use crate::grpc::jobs::tests::submit;
use crate::grpc::rig::Rig;
use crate::grpc::status::Reason;
use crate::proto::v1;
use crate::proto::v1::JobState;
use crate::proto::v1::ListJobsRequest;

async fn page(rig: &Rig, request: &ListJobsRequest) -> v1::ListJobsResponse {
    rig.jobs().list_jobs(request.clone()).await.unwrap().into_inner()
}

/// All pages of a list.
async fn all(rig: &Rig, request: ListJobsRequest) -> Vec<v1::Job> {
    let (mut jobs, mut request) = (Vec::new(), request);
    loop {
        let page = page(rig, &request).await;
        jobs.extend(page.jobs);
        if page.next_page_token.is_empty() {
            return jobs;
        }
        request.page_token = page.next_page_token;
    }
}

fn ids(jobs: &[v1::Job]) -> Vec<String> {
    jobs.iter().map(|job| job.id.clone()).collect()
}

fn of_states(states: &[JobState]) -> ListJobsRequest {
    ListJobsRequest {
        states: states.iter().map(|state| (*state).into()).collect(),
        ..ListJobsRequest::default()
    }
}

#[tokio::test]
async fn a_list_shows_the_newest_states_however_far_the_tree_is() {
    let (_dir, rig) = start().await;
    let mut done = rig.submit("done", 70, 1).await;
    rig.work("done", 70, 1).await;
    let mut idle = Vec::new();
    // Each round is looked at at once, and the last one also when the tree has all of it.
    for round in 0..6 {
        if round < 5 {
            idle.extend(rig.submit("idle", 30, 1).await);
            done.extend(rig.submit("done", 10, 1).await);
            rig.work("done", 10, 1).await;
        } else {
            settle(&rig).await;
        }
        let of =
            |wanted: &[crate::job::id::JobId]| wanted.iter().map(ToString::to_string).collect::<Vec<_>>();
        let mut both = [done.clone(), idle.clone()].concat();
        both.sort_unstable();
        let small = ListJobsRequest { page_size: 17, ..ListJobsRequest::default() };
        assert_eq!(ids(&all(&rig, small.clone()).await), of(&both), "round {round}");
        let of_queue = ListJobsRequest { queue: "idle".into(), ..small };
        assert_eq!(ids(&all(&rig, of_queue).await), of(&idle), "round {round}");
        assert_eq!(ids(&all(&rig, of_states(&[JobState::Succeeded])).await), of(&done), "round {round}");
        assert_eq!(ids(&all(&rig, of_states(&[JobState::Waiting])).await), of(&idle), "round {round}");
        assert!(all(&rig, of_states(&[JobState::Running, JobState::Dead])).await.is_empty());
    }
    let none = ListJobsRequest { queue: "never-made".into(), ..ListJobsRequest::default() };
    assert!(all(&rig, none).await.is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn pages_read_while_jobs_are_submitted_miss_none_and_show_none_twice() {
    let (_dir, rig) = start().await;
    let mut submitted = rig.submit("q", 100, 1).await;
    let (listed, later) = soon(async {
        tokio::join!(
            async {
                let mut lists = Vec::new();
                for _ in 0..15 {
                    let request = ListJobsRequest { page_size: 90, ..ListJobsRequest::default() };
                    let first = page(&rig, &request).await;
                    let mut list = ids(&first.jobs);
                    let rest = ListJobsRequest { page_token: first.next_page_token.clone(), ..request };
                    if !first.next_page_token.is_empty() {
                        list.extend(ids(&all(&rig, rest).await));
                    }
                    lists.push((first.as_of_sequence, list));
                }
                lists
            },
            async {
                let mut later = Vec::new();
                for _ in 0..40 {
                    later.extend(rig.submit("q", 25, 1).await);
                }
                later
            }
        )
    })
    .await;
    submitted.extend(later);
    for (as_of, list) in listed {
        // Every update here is a submit, so the sequence says how many jobs must show.
        assert!(list.len() as u64 >= as_of, "{} of {as_of}", list.len());
        let expected: Vec<String> = submitted[..list.len()].iter().map(ToString::to_string).collect();
        assert_eq!(list, expected);
    }
    rig.stop().await;
}

#[tokio::test]
async fn deleted_jobs_and_other_labels_do_not_show() {
    let (_dir, rig) = start().await;
    let labelled = |tenant: &str| v1::JobSpec {
        labels: [("tenant".to_owned(), tenant.to_owned()), ("kind".to_owned(), "x".to_owned())].into(),
        ..spec("q")
    };
    let specs = vec![labelled("a"), labelled("b"), spec("q"), labelled("a")];
    let made = rig.jobs().submit_jobs(submit(specs, "")).await.unwrap().into_inner();
    let of_a = ListJobsRequest {
        labels: [("tenant".to_owned(), "a".to_owned())].into(),
        ..ListJobsRequest::default()
    };
    let at_least = ListJobsRequest { at_least_sequence: made.first_sequence + 3, ..of_a.clone() };
    let listed = page(&rig, &at_least).await;
    assert_eq!(ids(&listed.jobs), [made.job_ids[0].clone(), made.job_ids[3].clone()]);
    assert_eq!(listed.as_of_sequence, 4);
    assert!(listed.jobs[0].spec.as_ref().unwrap().payload.is_empty());
    assert_eq!(listed.jobs[0].payload_bytes, 4);

    let job_ids = vec![made.job_ids[0].clone()];
    let cancel = v1::CancelJobsRequest { job_ids: job_ids.clone(), reason: String::new() };
    rig.jobs().cancel_jobs(cancel).await.unwrap();
    rig.jobs().delete_jobs(v1::DeleteJobsRequest { job_ids }).await.unwrap();
    for settled in [false, true] {
        if settled {
            settle(&rig).await;
        }
        assert_eq!(ids(&all(&rig, of_a.clone()).await), [made.job_ids[3].clone()], "settled: {settled}");
        assert_eq!(all(&rig, ListJobsRequest::default()).await.len(), 3);
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_token_is_good_for_its_own_list_only() {
    let (_dir, rig) = start().await;
    rig.submit("q", 3, 1).await;
    let request = ListJobsRequest { queue: "q".into(), page_size: 1, ..ListJobsRequest::default() };
    let token = page(&rig, &request).await.next_page_token;
    assert_eq!(
        page(&rig, &ListJobsRequest { page_token: token.clone(), ..request.clone() }).await.jobs.len(),
        1
    );
    let (_other_dir, other) = start().await;
    other.submit("q", 3, 1).await;
    let changed = if token.starts_with('A') { "B" } else { "A" };
    let wrong = [
        ListJobsRequest { page_token: token.clone(), queue: String::new(), ..request.clone() },
        ListJobsRequest { page_token: token.clone(), ..of_states(&[JobState::Waiting]) },
        ListJobsRequest { page_token: format!("{changed}{}", &token[1..]), ..request.clone() },
        ListJobsRequest { page_token: "x".into(), ..request.clone() },
    ];
    for wrong in wrong {
        assert_eq!(reason(rig.jobs().list_jobs(wrong.clone()).await), Reason::InvalidPageToken, "{wrong:?}");
    }
    let elsewhere = ListJobsRequest { page_token: token, ..request.clone() };
    assert_eq!(reason(other.jobs().list_jobs(elsewhere).await), Reason::InvalidPageToken);
    let unspecified = ListJobsRequest { states: vec![0], page_size: 1_001, ..request };
    assert_eq!(reason(rig.jobs().list_jobs(unspecified).await), Reason::InvalidField);
    rig.stop().await;
    other.stop().await;
}
