//! A live job as a state knows it, without the numbers that mean something only inside that state: two states can be
//! compared, and printed.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::spec::Policy;
use crate::job::state::Job;
use crate::job::state::JobState;
use crate::job::state::Stage;
use crate::job::state::State;
use std::sync::Arc;

/// A job that waits, runs, or is dead. Equal ones are the same to a server that goes on from here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LiveJob {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its state.
    pub state: JobState,
    /// When it may start, while it waits; 0 is at once.
    pub due: Option<Timestamp>,
    /// Who works on it.
    pub worker: Option<Arc<str>>,
    /// Attempts started so far, over all generations.
    pub attempts: u32,
    /// How often an operator gave it a new life.
    pub generation: u16,
    /// Higher runs first.
    pub priority: i8,
    /// Length of its payload.
    pub payload_bytes: u32,
    /// Sequence of its `submitted` update.
    pub submitted: Sequence,
    /// Where its submission, with the payload, is in the log.
    pub submitted_at: Pointer,
    /// Sequence of the newest update that its stage tells of.
    pub newest: Sequence,
    /// Where its failed attempts are in the log.
    pub failures: Vec<Pointer>,
    /// What it has used of its budgets in this generation: failed, crashed, timed out, lost.
    pub used: [u16; 4],
    /// When it may run and how often.
    pub policy: Policy,
}

impl LiveJob {
    /// The job as `state`, which holds it, knows it.
    #[must_use]
    pub fn of(state: &State, job: &Job) -> LiveJob {
        let rare = state.rare(job);
        LiveJob {
            id: job.id,
            queue: state.queue_name(job.queue),
            state: job.state(),
            due: if let Stage::Waiting { due } = job.stage() { Some(due) } else { None },
            worker: state.worker(job).cloned(),
            attempts: job.attempt,
            generation: rare.generation,
            priority: job.priority,
            payload_bytes: job.payload_bytes,
            submitted: job.submitted,
            submitted_at: job.submitted_at(),
            newest: job.newest(),
            failures: rare.failures.clone(),
            used: [rare.failed, rare.crashed, rare.timed_out, rare.lost],
            policy: state.policy(job),
        }
    }

    /// The live jobs of `state` in the order of their ids.
    pub fn all(state: &State) -> impl Iterator<Item = LiveJob> {
        state.jobs().in_id_order().map(|(_, job)| LiveJob::of(state, job))
    }
}
