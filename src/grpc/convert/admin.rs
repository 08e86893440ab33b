//! The server and its workers, as operators see them.

use crate::clock::Timestamp;
use crate::engine::workers::WorkerView;
use crate::grpc::convert::Checks;
use crate::grpc::convert::names;
use crate::grpc::convert::time;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::proto::v1;
use crate::service::home::Durability;
use crate::service::info::ServerInfo;

/// A page of workers is to fit into one message.
const JOBS_SHOWN_MAX: usize = 50;

/// Which workers to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkersAfter {
    /// Those whose id comes after this one.
    pub id: String,
    /// At most so many.
    pub limit: usize,
}

/// Which page a `ListWorkers` call asks for. A page token is the last id of the page before.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_list_workers(request: &v1::ListWorkersRequest) -> Result<WorkersAfter, Refusal> {
    let mut checks = Checks::new();
    let limit = names::page_size(request.page_size, &mut checks);
    // The server's own workers have a longer name than clients may take, by one sign.
    if request.page_token.len() > names::NAME_BYTES_MAX + 1 {
        checks.note(Reason::InvalidPageToken, "page_token", "is not one that this call gave");
    }
    checks.pass(WorkersAfter { id: request.page_token.clone(), limit })
}

/// A page of `workers`, which come in the order of their ids.
#[must_use]
pub fn to_list_workers(
    workers: Vec<WorkerView>,
    after: &WorkersAfter,
    now: Timestamp,
) -> v1::ListWorkersResponse {
    let mut rest = workers.into_iter().skip_while(|worker| *worker.name <= *after.id);
    let workers: Vec<_> = rest.by_ref().take(after.limit).map(|worker| to_worker(&worker, now)).collect();
    let more = rest.next().is_some();
    let next_page_token = workers.last().filter(|_| more).map(|worker| worker.worker_id.clone());
    v1::ListWorkersResponse { workers, next_page_token: next_page_token.unwrap_or_default() }
}

fn to_worker(worker: &WorkerView, now: Timestamp) -> v1::Worker {
    let mut jobs = worker.jobs.clone();
    jobs.sort_unstable();
    let ago = |millis: u64| time::to_timestamp(Timestamp(now.0.saturating_sub(millis)));
    v1::Worker {
        worker_id: worker.name.as_ref().to_owned(),
        queues: worker.queues.iter().map(|queue| queue.as_str().to_owned()).collect(),
        leases: u32::try_from(worker.jobs.len()).unwrap_or(u32::MAX),
        free_slots: worker.free,
        description: worker.description.as_ref().to_owned(),
        connected_at: worker.connected.then(|| ago(worker.attached_ms)),
        last_heard_at: Some(ago(worker.silent_ms)),
        slots: worker.slots,
        job_ids: jobs.iter().take(JOBS_SHOWN_MAX).map(ToString::to_string).collect(),
    }
}

/// The server as the API tells of it.
#[must_use]
pub fn to_server_info(info: &ServerInfo) -> v1::GetServerInfoResponse {
    let durability = match info.home.durability {
        Durability::Synced => v1::Durability::Synced,
        Durability::Memory => v1::Durability::Memory,
    };
    v1::GetServerInfoResponse {
        version: info.version.to_owned(),
        store_id: info.store.to_string(),
        head_sequence: info.seen.sequence.0,
        floor_sequence: info.floor.0,
        epoch: info.seen.epoch.0,
        head_position: info.seen.position.0,
        applied_position: info.applied.0,
        durability: durability.into(),
        data_filesystem: info.home.filesystem.to_owned(),
        uptime: Some(time::to_duration(time::whole_millis(info.uptime))),
        time: Some(time::to_timestamp(info.time)),
        floor_time: info.floor_time.map(time::to_timestamp),
        read_only: info.read_only,
        damage: info.damage.clone().unwrap_or_default(),
    }
}
