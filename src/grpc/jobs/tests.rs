use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use crate::proto::v1;
use std::time::Duration;
use tonic::Status;

mod control;
mod list;
mod stream;
mod unary;

/// Everything here ends in a moment, or hangs.
const DEADLINE: Duration = Duration::from_secs(20);

async fn start() -> (tempfile::TempDir, Rig) {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(&dir.path().join("data"), Setup::default()).await;
    // Until the tree is open it cannot be said of any job that there is none.
    settle(&rig).await;
    (dir, rig)
}

fn spec(queue: &str) -> v1::JobSpec {
    v1::JobSpec { queue: queue.to_owned(), payload: "work".into(), ..v1::JobSpec::default() }
}

fn submit(jobs: Vec<v1::JobSpec>, key: &str) -> v1::SubmitJobsRequest {
    v1::SubmitJobsRequest { jobs, key: key.to_owned() }
}

fn whole(job_id: &str) -> v1::GetJobRequest {
    let job_id = job_id.to_owned();
    v1::GetJobRequest { job_id, include_payload: true, include_result: true, ..v1::GetJobRequest::default() }
}

fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

fn reason<T: std::fmt::Debug>(answer: Result<T, Status>) -> Reason {
    reason_of(&answer.unwrap_err()).expect("every refusal says its reason")
}

async fn get(rig: &Rig, id: &str) -> v1::Job {
    rig.jobs().get_job(whole(id)).await.unwrap().into_inner().job.unwrap()
}

async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, what).await.expect("it ends in time")
}

/// The work tree has everything, and the overlay has let go of what it may.
async fn settle(rig: &Rig) {
    let mut applied = rig.handle().view().follow_applied();
    soon(applied.wait_for(|applied| *applied >= rig.handle().view().seen().position)).await.unwrap();
}
