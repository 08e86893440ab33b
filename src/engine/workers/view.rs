//! The workers as operators see them.

use crate::clock::Tick;
use crate::engine::workers::Liveness;
use crate::engine::workers::Worker;
use crate::engine::workers::Workers;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::table::Slot;
use std::sync::Arc;

/// A worker as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerView {
    /// Its name.
    pub name: Arc<str>,
    /// What it said about itself; may be empty.
    pub description: Arc<str>,
    /// How many jobs it works on at a time; 0: it does not say.
    pub slots: u32,
    /// What it takes jobs from.
    pub queues: Vec<QueueName>,
    /// How many more leases it takes.
    pub free: u32,
    /// The jobs it holds.
    pub jobs: Vec<JobId>,
    /// Milliseconds since its last sign of life.
    pub silent_ms: u64,
    /// Whether its link is open.
    pub connected: bool,
    /// Milliseconds since its link was opened, or since its first call.
    pub attached_ms: u64,
}

impl Workers {
    /// All workers by name.
    pub(in crate::engine) fn views(&self, now: Tick, id_of: impl Fn(Slot) -> JobId) -> Vec<WorkerView> {
        let view = |(_, worker): (u32, &Worker)| WorkerView {
            name: worker.name.clone(),
            description: Arc::clone(&worker.description),
            slots: worker.slots,
            queues: worker.turns.names().to_vec(),
            free: worker.free(),
            jobs: worker.held.iter().map(|slot| id_of(*slot)).collect(),
            silent_ms: match (worker.liveness, &worker.outlet) {
                // It lives as long as this process.
                (Liveness::Local, Some(_)) => 0,
                (Liveness::Local, None) | (Liveness::Signs, _) => {
                    u64::try_from(now.since(worker.heard).as_millis()).unwrap_or(u64::MAX)
                }
            },
            connected: worker.outlet.is_some(),
            attached_ms: u64::try_from(now.since(worker.attached).as_millis()).unwrap_or(u64::MAX),
        };
        let mut views: Vec<WorkerView> = self.numbered().map(view).collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        views
    }
}
