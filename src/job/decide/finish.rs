//! The end of an attempt: complete, fail, release, and telling progress. Only the lease that holds the job now may
//! do any of it. [LEASE-1]

use crate::clock::Timestamp;
use crate::job::decide::Refused;
use crate::job::decide::leased;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::Progress;
use crate::job::event::Usage;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueNo;
use crate::job::retry;
use crate::job::retry::Retryable;
use crate::job::retry::Verdict;
use crate::job::spec::Payload;
use crate::job::state::Job;
use crate::job::state::State;
use crate::job::table::Slot;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use std::sync::Arc;
use std::time::Duration;

/// Who finishes: a job, the lease presented for it, and where it was last seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The job.
    pub id: JobId,
    /// The lease.
    pub token: LeaseToken,
    /// Where the job lies, if the caller was told.
    pub hint: Option<Slot>,
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub enum Finish {
    /// It completed.
    Complete {
        /// Its result.
        result: Payload,
        /// Media type of the result; may be empty.
        content_type: Arc<str>,
        /// What it used, if measured.
        usage: Option<Usage>,
    },
    /// It failed.
    Fail {
        /// How.
        failure: Failure,
        /// Whether another attempt could help.
        retryable: Retryable,
    },
    /// The worker hands the job back; no budget is used.
    Release {
        /// How long it shall wait at least.
        delay: Duration,
        /// Why.
        reason: Arc<str>,
    },
}

/// Decides what the end of an attempt leads to, and adds its events. `chance` is a random number for the jitter.
///
/// # Errors
/// [`Refused`] as [`leased`] does: a worker whose lease lapsed loses to the one that holds it, whichever of them
/// answers first. [LEASE-1]
pub fn finish(
    state: &State,
    holder: Holder,
    finish: Finish,
    now: Timestamp,
    chance: u32,
    events: &mut Vec<Event>,
) -> Result<Slot, Refused> {
    let (slot, job) = leased(state, holder.id, holder.token, holder.hint)?;
    let (id, queue, attempt) = (job.id, job.queue, job.attempt);
    match finish {
        Finish::Complete { result, content_type, usage } => {
            events.push(Event::Succeeded { id, queue, attempt, result, content_type, usage });
            #[cfg(any(test, feature = "seeded-bugs"))]
            if Bug::TwoTerminals.is_in() {
                events.extend(events.last().cloned());
            }
        }
        Finish::Fail { failure, retryable } => fail(state, job, failure, retryable, now, chance, events),
        Finish::Release { delay, reason } => {
            let due = if delay.is_zero() { Timestamp(0) } else { now.after(delay) };
            events.push(Event::Released { id, queue, attempt, due, reason });
        }
    }
    Ok(slot)
}

/// How many dead jobs go at most when one more dies: more than come, so that a queue whose bound was lowered shrinks
/// to it, and few, so that no death makes a big frame.
const DEAD_GO_MAX: u64 = 2;

/// Adds what follows the failure of the running `job`'s attempt: a retry, or its death.
///
/// A queue keeps a bounded number of dead jobs: the oldest goes when one more comes. [DEAD-1]
pub fn fail(
    state: &State,
    job: &Job,
    failure: Failure,
    retryable: Retryable,
    now: Timestamp,
    chance: u32,
    events: &mut Vec<Event>,
) {
    let (id, queue, attempt) = (job.id, job.queue, job.attempt);
    match retry::after_failure(state.rare(job), &state.policy(job), failure.kind, retryable, chance) {
        Verdict::RetryAfter(wait) => {
            let due = if wait.is_zero() { Timestamp(0) } else { now.after(wait) };
            events.push(Event::Retrying { id, queue, attempt, failure, due });
        }
        Verdict::Dead => {
            events.push(Event::Dead { id, queue, attempt, failure });
            let oldest_first = state.queue(queue).dead.iter().map(|(_, slot)| state.jobs().at(*slot).id);
            let goes = |id| Event::Deleted { id, queue };
            events.extend(oldest_first.chain([id]).take(surplus_dead(state, queue)).map(goes));
        }
    }
}

fn surplus_dead(state: &State, queue: QueueNo) -> usize {
    let queue = state.queue(queue);
    let surplus = (queue.counts.dead + 1).saturating_sub(u64::from(queue.settings.dead_max));
    usize::try_from(surplus.min(DEAD_GO_MAX)).expect("bounded by a small number")
}

/// Decides what a progress report leads to.
///
/// # Errors
/// [`Refused`] as [`leased`] does. [LEASE-1]
pub fn progress(state: &State, holder: Holder, progress: Progress) -> Result<Event, Refused> {
    let (_, job) = leased(state, holder.id, holder.token, holder.hint)?;
    Ok(Event::Progress { id: job.id, queue: job.queue, progress })
}
