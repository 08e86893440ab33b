//! Unary calls for workers that cannot hold a stream. Each is a sign of life; leases last a lease period between them.

use crate::engine::command::Bye;
use crate::engine::command::FinishRequest;
use crate::engine::command::Grant;
use crate::engine::command::WorkerMessage;
use crate::engine::workers::Liveness;
use crate::engine::workers::Unnamed;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::finish::from_finish;
use crate::grpc::convert::finish::from_held_lease;
use crate::grpc::convert::finish::from_progress_report;
use crate::grpc::convert::finish::to_ack;
use crate::grpc::convert::finish::to_held_lease;
use crate::grpc::convert::lease::to_lease;
use crate::grpc::convert::lease::to_period;
use crate::grpc::convert::names;
use crate::grpc::convert::time;
use crate::grpc::status::Refusal;
use crate::grpc::workers::Workers;
use crate::grpc::workers::hello::worker_name;
use crate::grpc::workers::hello::worker_queues;
use crate::grpc::workers::portion::portion;
use crate::job::id::LeaseToken;
use crate::proto::v1;
use crate::service;
use crate::service::Service;
use crate::service::workers::Hearing;
use crate::service::workers::Hello;
use crate::service::workers::Lease;
use std::time::Duration;
use tonic::Status;

const JOBS_MAX: u32 = 1_000;
/// The longest time a claim waits for its first job.
const WAIT_MAX: Duration = Duration::from_secs(60);
const FINISHES_MAX: usize = 10_000;

/// Claims jobs, waiting for the first one as long as the caller likes.
pub(in crate::grpc::workers) async fn claim(
    workers: &Workers,
    request: v1::ClaimJobsRequest,
) -> Result<v1::ClaimJobsResponse, Status> {
    let service = &workers.service;
    let (hello, wait) = from_claim(&request)?;
    let name = hello.name.clone();
    let (teller, mut hearing, _) = service.attach_worker(hello).await.map_err(Refusal::from)?;
    let mut grants = first_grants(service, &mut hearing, wait).await;
    // What was given between the time-out and this answer is still the worker's.
    teller.stop_leases().await.map_err(Refusal::from)?;
    while let Ok(output) = hearing.try_recv() {
        grants.extend(output.grants);
    }
    teller.close(Bye::CallEnded).await;
    let leases = service.leases(grants).await.map_err(Refusal::from)?;
    let mut leases = leases.iter().map(from_lease).collect();
    let answered = portion(&mut leases, workers.leases_bytes_max);
    if !leases.is_empty() {
        let finishes = leases.iter().filter_map(|lease| hand_back(lease, &workers.sizes)).collect();
        let message = WorkerMessage { finishes, ..WorkerMessage::default() };
        service.finish_for(name, message).await.map_err(Refusal::from)?;
    }
    Ok(v1::ClaimJobsResponse {
        leases: answered,
        lease_period: Some(to_period(service.settings().lease_period)),
    })
}

/// Releases a lease whose payload has no room in the answer: the worker never hears of it.
fn hand_back(lease: &v1::Lease, sizes: &Sizes) -> Option<FinishRequest> {
    let reason = "it had no room in the answer to its claim".to_owned();
    let release = v1::Release { reason, ..v1::Release::default() };
    let finish = v1::Finish {
        job_id: lease.job_id.clone(),
        token: lease.token,
        handle: lease.handle,
        outcome: Some(v1::finish::Outcome::Release(release)),
    };
    from_finish(finish, sizes).ok().map(|(holder, finish)| FinishRequest { holder, finish })
}

async fn first_grants(service: &Service, hearing: &mut Hearing, wait: Duration) -> Vec<Grant> {
    let heard = async {
        loop {
            match hearing.recv().await {
                Some(output) if output.grants.is_empty() && !output.superseded => {}
                Some(output) => return output.grants,
                None => return Vec::new(),
            }
        }
    };
    tokio::select! {
        grants = heard => grants,
        () = tokio::time::sleep(wait) => Vec::new(),
        () = service.shutdown().token().cancelled() => Vec::new(),
    }
}

fn from_claim(request: &v1::ClaimJobsRequest) -> Result<(Hello, Duration), Refusal> {
    let mut checks = Checks::new();
    let name = worker_name(&request.worker_id, At::Request, &mut checks);
    let queues = worker_queues(&request.queues, &mut checks);
    if request.jobs_max > JOBS_MAX {
        checks.field("jobs_max", format_args!("is {}, at most {JOBS_MAX} are allowed", request.jobs_max));
    }
    let wait = time::wait(request.wait, WAIT_MAX, At::Request.dot("wait"), &mut checks);
    let (name, wait) = checks.pass(name.zip(wait))?.expect("without a violation there are values");
    let hello = Hello {
        name,
        description: "".into(),
        slots: 0,
        queues,
        free: request.jobs_max.max(1),
        held: Vec::new(),
        liveness: Liveness::Signs,
        unnamed: Unnamed::Kept,
    };
    Ok((hello, wait))
}

/// Finishes jobs; each finish has its own ack.
pub(in crate::grpc::workers) async fn finish(
    service: &Service,
    sizes: &Sizes,
    request: v1::FinishJobsRequest,
) -> Result<v1::FinishJobsResponse, Status> {
    let mut checks = Checks::new();
    let name = worker_name(&request.worker_id, At::Request, &mut checks);
    names::count(request.finishes.len(), 1..=FINISHES_MAX, At::Request.dot("finishes"), &mut checks);
    let name = checks.pass(name)?.expect("without a violation there is a name");
    let mut message = WorkerMessage::default();
    let mut acks: Vec<Option<v1::FinishAck>> = Vec::with_capacity(request.finishes.len());
    for finish in request.finishes {
        let token = LeaseToken(finish.token);
        match from_finish(finish, sizes) {
            Ok((holder, finish)) => {
                message.finishes.push(FinishRequest { holder, finish });
                acks.push(None);
            }
            Err(refusal) => acks.push(Some(to_ack(token, Some(&refusal)))),
        }
    }
    let decided = service.finish_for(name, message).await.map_err(Refusal::from)?;
    let mut decided = decided.into_iter().map(|ack| {
        let refused = ack.outcome.err().map(|error| Refusal::from(service::Error::from(error)));
        to_ack(ack.token, refused.as_ref())
    });
    let acks = acks.into_iter().map(|ack| ack.or_else(|| decided.next()).unwrap_or_default());
    Ok(v1::FinishJobsResponse { acks: acks.collect() })
}

/// Extends all leases of the worker and says which of those it names it still holds.
pub(in crate::grpc::workers) async fn extend(
    service: &Service,
    request: v1::ExtendLeasesRequest,
) -> Result<v1::ExtendLeasesResponse, Status> {
    let mut checks = Checks::new();
    let name = worker_name(&request.worker_id, At::Request, &mut checks);
    names::count(request.held.len(), 0..=FINISHES_MAX, At::Request.dot("held"), &mut checks);
    let claimed: Vec<_> = request.held.iter().filter_map(|held| from_held_lease(held, &mut checks)).collect();
    let name = checks.pass(name)?.expect("without a violation there is a name");
    let mut message = WorkerMessage::default();
    for report in request.progress {
        message.progress.push(from_progress_report(report)?);
    }
    let leases = claimed.iter().map(|holder| (holder.id, holder.token)).collect();
    let held = service.extend_for(name, leases, message).await.map_err(Refusal::from)?;
    let still = claimed.iter().filter(|holder| held.contains(&(holder.id, holder.token)));
    Ok(v1::ExtendLeasesResponse {
        held: still.map(to_held_lease).collect(),
        lease_period: Some(to_period(service.settings().lease_period)),
    })
}

/// A lease as the API sends it.
pub(in crate::grpc::workers) fn from_lease(lease: &Lease) -> v1::Lease {
    let Lease { grant, queue, job } = lease;
    to_lease(job, queue, grant.token, grant.slot, grant.attempt)
}
