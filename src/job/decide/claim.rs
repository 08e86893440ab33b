//! Giving a waiting job to a worker, or finding that it is too late for it.

use crate::clock::Timestamp;
use crate::job::decide::Refused;
use crate::job::event::Event;
use crate::job::state::Job;
use crate::job::state::Stage;
use crate::job::state::State;
use std::sync::Arc;

/// Decides what claiming the job for `worker` leads to: an attempt, or its expiry if that has passed.
///
/// The sequence of the `started` update becomes the lease token. [LEASE-1] Whether the job is due and its queue not
/// paused is for the caller, who picks the job.
///
/// # Errors
/// [`Refused::Ended`] or [`Refused::NotLive`] if the job does not wait.
pub fn claim(state: &State, job: &Job, worker: &Arc<str>, now: Timestamp) -> Result<Event, Refused> {
    match job.stage() {
        Stage::Waiting { .. } if is_late(state, job, now) => {
            Ok(Event::Expired { id: job.id, queue: job.queue })
        }
        Stage::Waiting { .. } => Ok(Event::Started {
            id: job.id,
            queue: job.queue,
            attempt: job.attempt.saturating_add(1),
            worker: worker.clone(),
        }),
        Stage::Running { .. } => Err(Refused::NotLive(job.id)),
        Stage::Dead { .. } => Err(Refused::Ended(job.id)),
    }
}

/// Decides whether the waiting job has expired by `now`.
///
/// Only the first start counts: a job that was started in time may be retried after its expiry.
#[must_use]
pub fn expire(state: &State, job: &Job, now: Timestamp) -> Option<Event> {
    match job.stage() {
        Stage::Waiting { .. } if is_late(state, job, now) => {
            Some(Event::Expired { id: job.id, queue: job.queue })
        }
        Stage::Waiting { .. } | Stage::Running { .. } | Stage::Dead { .. } => None,
    }
}

fn is_late(state: &State, job: &Job, now: Timestamp) -> bool {
    let expires = state.rare(job).expires;
    expires != Timestamp(0) && expires <= now && job.attempt == 0
}
