//! What may happen to a job: pure functions from the state and a command to events or a refusal. Nothing here
//! changes state; `apply` does. Ids, times and chance are arguments.

pub mod claim;
pub mod control;
pub mod finish;
pub mod prune;
pub mod submit;

use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::state::Job;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::job::table::Slot;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;

/// How much may be kept live or remembered. [MEM-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Live jobs in all queues together: waiting, running and dead.
    pub live_max: u64,
    /// Queues ever made.
    pub queues_max: u32,
    /// Submit keys remembered. [ID-1]
    pub keys_max: usize,
    /// Producers remembered. [ID-1]
    pub producers_max: usize,
    /// Named cursors.
    pub cursors_max: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            live_max: 10_000_000,
            queues_max: 100_000,
            keys_max: 1_000_000,
            producers_max: 10_000,
            cursors_max: 10_000,
        }
    }
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// No live job has this id; it may have finished, or never existed.
    #[error("job {0} is not live")]
    NotLive(JobId),
    /// The job is not under a lease.
    #[error("job {0} is not running")]
    NotRunning(JobId),
    /// Another lease holds the job now. [LEASE-1]
    #[error("the lease {token} of job {id} is gone: another attempt holds the job")]
    StaleLease {
        /// The job.
        id: JobId,
        /// The lease that was presented.
        token: LeaseToken,
    },
    /// The job has failed for good and cannot be cancelled; it can be retried or deleted.
    #[error("job {0} has ended already")]
    Ended(JobId),
    /// The job is not dead, so there is nothing for an operator to retry.
    #[error("job {0} is not dead: only dead jobs can be retried")]
    NotDead(JobId),
    /// The job has not ended, so it cannot be deleted; cancel it first.
    #[error("job {0} has not ended: cancel it before deleting it")]
    NotEnded(JobId),
    /// The queue holds as many waiting jobs as it may.
    #[error("queue {queue} holds {waiting} waiting jobs, and its limit is {max_pending}")]
    QueueFull {
        /// The queue.
        queue: QueueName,
        /// Jobs that wait in it.
        waiting: u64,
        /// Its limit.
        max_pending: u64,
    },
    /// The service holds as many live jobs as it may.
    #[error("the service holds {live} live jobs, and its limit is {live_max}")]
    ServiceFull {
        /// Live jobs.
        live: u64,
        /// The limit.
        live_max: u64,
    },
    /// No further queue may be made.
    #[error("queue {queue} cannot be made: the service has its limit of {queues_max} queues")]
    QueuesFull {
        /// The queue that was named.
        queue: QueueName,
        /// The limit.
        queues_max: u32,
    },
    /// The table of submit keys is full; it never forgets early. [ID-1]
    #[error(
        "{keys} submit keys or producers are remembered, which is the limit: repeats could not be told apart"
    )]
    DedupeFull {
        /// The limit.
        keys: usize,
    },
    /// The key was used for something else. [ID-1]
    #[error("the submit key was used before, for different jobs (the first was {first})")]
    KeyReused {
        /// First job submitted under the key.
        first: JobId,
    },
    /// The producer left out an ordinal.
    #[error("the producer's next ordinal is {expected}, not {found}")]
    OrdinalGap {
        /// The ordinal that must come next.
        expected: u64,
        /// The one that came.
        found: u64,
    },
    /// The queue does not exist.
    #[error("there is no queue {0}")]
    NoQueue(QueueName),
    /// No further cursor may be kept.
    #[error("the service keeps its limit of {0} named cursors")]
    CursorsFull(usize),
    /// There is no such cursor.
    #[error("there is no named cursor {0}")]
    NoCursor(String),
    /// The cursor points past the newest update.
    #[error("a cursor at update {wanted} is ahead of the log, whose newest update is {newest}")]
    CursorAhead {
        /// What was to be committed.
        wanted: Sequence,
        /// The newest update.
        newest: Sequence,
    },
}

/// The running job that `token` leases. [LEASE-1]
///
/// # Errors
/// [`Refused::NotLive`], [`Refused::NotRunning`] or [`Refused::StaleLease`].
pub fn leased(
    state: &State,
    id: JobId,
    token: LeaseToken,
    hint: Option<Slot>,
) -> Result<(Slot, &Job), Refused> {
    let (slot, job) = state.find(id, hint).ok_or(Refused::NotLive(id))?;
    match job.stage() {
        Stage::Running { token: held, .. } if held == token => Ok((slot, job)),
        #[cfg(any(test, feature = "seeded-bugs"))]
        Stage::Running { .. } if Bug::AcceptStaleToken.is_in() => Ok((slot, job)),
        Stage::Running { .. } => Err(Refused::StaleLease { id, token }),
        Stage::Waiting { .. } | Stage::Dead { .. } => Err(Refused::NotRunning(id)),
    }
}

#[cfg(test)]
mod tests;
