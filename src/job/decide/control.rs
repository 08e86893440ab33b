//! What people do to jobs, queues and cursors: cancel, retry, delete, set, commit.

use crate::clock::Timestamp;
use crate::job::decide::Limits;
use crate::job::decide::Refused;
use crate::job::dedupe::Range;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::QueueSettings;
use crate::job::state::Stage;
use crate::job::state::State;
use std::sync::Arc;

/// Decides what cancelling a waiting or running job leads to: its end, at once. The lease of a running one is void
/// with the same frame; its worker is told afterwards. [JOB-1]
///
/// # Errors
/// [`Refused::NotLive`] or, for a dead job, [`Refused::Ended`].
pub fn cancel(state: &State, id: JobId, reason: Arc<str>) -> Result<Event, Refused> {
    let (_, job) = state.find(id, None).ok_or(Refused::NotLive(id))?;
    match job.stage() {
        Stage::Waiting { .. } | Stage::Running { .. } => {
            Ok(Event::Cancelled { id, queue: job.queue, attempt: job.attempt, reason })
        }
        Stage::Dead { .. } => Err(Refused::Ended(id)),
    }
}

/// Decides what an operator's retry of a dead job leads to: a new generation with fresh budgets. [JOB-1]
///
/// # Errors
/// [`Refused::NotLive`] or [`Refused::NotDead`].
pub fn retry(state: &State, id: JobId) -> Result<Event, Refused> {
    let (_, job) = state.find(id, None).ok_or(Refused::NotLive(id))?;
    match job.stage() {
        Stage::Dead { .. } => Ok(Event::Retried {
            id,
            queue: job.queue,
            generation: state.rare(job).generation.saturating_add(1),
        }),
        Stage::Waiting { .. } | Stage::Running { .. } => Err(Refused::NotDead(id)),
    }
}

/// Decides what deleting an ended job leads to. A job that left the live jobs is named with its queue as `finished`,
/// which the caller looked up.
///
/// # Errors
/// [`Refused::NotEnded`] for a waiting or running job; [`Refused::NotLive`] if the job is unknown on both sides.
pub fn delete(state: &State, id: JobId, finished: Option<QueueNo>) -> Result<Event, Refused> {
    match (state.find(id, None), finished) {
        (Some((_, job)), _) => match job.stage() {
            Stage::Dead { .. } => Ok(Event::Deleted { id, queue: job.queue }),
            Stage::Waiting { .. } | Stage::Running { .. } => Err(Refused::NotEnded(id)),
        },
        (None, Some(queue)) => Ok(Event::Deleted { id, queue }),
        (None, None) => Err(Refused::NotLive(id)),
    }
}

/// Decides what new settings of a queue lead to; a queue that does not exist yet is made.
///
/// # Errors
/// [`Refused::QueuesFull`].
pub fn set_queue(
    state: &State,
    name: &QueueName,
    settings: QueueSettings,
    limits: &Limits,
    events: &mut Vec<Event>,
) -> Result<QueueNo, Refused> {
    let queue = match state.queues().find(name) {
        Some(queue) => queue,
        None => {
            let queue = state.queues().next_no();
            if queue.0 >= limits.queues_max {
                return Err(Refused::QueuesFull { queue: name.clone(), queues_max: limits.queues_max });
            }
            events.push(Event::QueueMade { queue, name: name.clone() });
            queue
        }
    };
    events.push(Event::QueueSet { queue, settings });
    Ok(queue)
}

/// Decides what committing a named cursor leads to. Going back is allowed: a reader may want to read again.
///
/// # Errors
/// [`Refused::CursorAhead`] or [`Refused::CursorsFull`].
pub fn commit_cursor(
    state: &State,
    name: &Arc<str>,
    sequence: Sequence,
    limits: &Limits,
) -> Result<Event, Refused> {
    if sequence > state.sequence() {
        return Err(Refused::CursorAhead { wanted: sequence, newest: state.sequence() });
    }
    if !state.cursors().contains_key(name) && state.cursors().len() >= limits.cursors_max {
        return Err(Refused::CursorsFull(limits.cursors_max));
    }
    Ok(Event::CursorSet { name: name.clone(), sequence })
}

/// Decides what deleting a named cursor leads to.
///
/// # Errors
/// [`Refused::NoCursor`].
pub fn drop_cursor(state: &State, name: &Arc<str>) -> Result<Event, Refused> {
    if state.cursors().contains_key(name) {
        Ok(Event::CursorDropped { name: name.clone() })
    } else {
        Err(Refused::NoCursor(name.to_string()))
    }
}

/// Decides which producers are forgotten: at most `limit` of those that have not advanced since `before` and none of whose
/// remembered jobs is live, so that repeating a job of theirs cannot double one that still runs. [ID-1]
#[must_use]
pub fn idle_producers(state: &State, before: Timestamp, limit: usize) -> Vec<Arc<str>> {
    let idle = state.producers().iter().filter(|(_, producer)| {
        let lives =
            |range: Range| (0..range.jobs).any(|step| state.find(range.first.plus(step), None).is_some());
        producer.advanced < before && !producer.since(0).any(lives)
    });
    idle.take(limit).map(|(name, _)| name.clone()).collect()
}
