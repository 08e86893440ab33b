//! What a frame says of jobs, as far as it matters to the work tree: the one reading of events that the tree and a
//! trace share.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::QueueNo;
use crate::work::applier::AppliedFrame;
use crate::work::record::Change;
use crate::work::record::Mark;
use crate::work::record::Outcome;
use crate::work::record::Record;
use crate::work::record::State;

/// One thing that an event says.
pub(crate) enum Fact {
    /// There is a new job.
    Submitted(Record),
    /// Something became of a job.
    Changed(Change),
}

/// What the events of `frame` say, in order.
pub(crate) fn facts<'a>(frame: &AppliedFrame<'a>) -> impl Iterator<Item = Fact> + use<'a> {
    let AppliedFrame { position, time, first_sequence, events } = *frame;
    let mut sequence = first_sequence;
    (0..).zip(events).filter_map(move |(index, event)| {
        let mark = Mark { at: Pointer { position, index }, sequence };
        if event.is_update() {
            sequence = sequence.plus(1);
        }
        let submitted = submission(event, mark, time).map(Fact::Submitted);
        submitted.or_else(|| change(event, mark, time).map(Fact::Changed))
    })
}

/// The record of the job that `event` submits.
fn submission(event: &Event, mark: Mark, time: Timestamp) -> Option<Record> {
    let Event::Submitted(job) = event else { return None };
    Some(Record {
        id: job.id,
        queue: job.queue,
        state: State::Live,
        attempts: 0,
        generation: 0,
        payload_bytes: u32::try_from(job.payload.0.len()).unwrap_or(u32::MAX),
        submitted: Some(mark),
        last: mark,
        since: time,
    })
}

/// The change that `event` makes to a record. Steps within a job's life make none: whoever holds the live jobs
/// knows them, and they would double what waits in memory.
fn change(event: &Event, mark: Mark, time: Timestamp) -> Option<Change> {
    let became = |id: JobId, queue: QueueNo, state: State| {
        Some(Change::new(id, queue, mark, time, Outcome::Became(state)))
    };
    match *event {
        Event::Succeeded { id, queue, attempt, .. } => {
            became(id, queue, State::Succeeded).map(|change| change.at_attempt(attempt))
        }
        Event::Dead { id, queue, attempt, .. } => {
            became(id, queue, State::Dead).map(|change| change.at_attempt(attempt))
        }
        Event::Cancelled { id, queue, attempt, .. } => {
            became(id, queue, State::Cancelled).map(|change| change.at_attempt(attempt))
        }
        Event::Expired { id, queue } => became(id, queue, State::Expired),
        Event::Retried { id, queue, generation } => {
            became(id, queue, State::Live).map(|change| change.in_generation(generation))
        }
        Event::Deleted { id, queue } => Some(Change::new(id, queue, mark, time, Outcome::Deleted)),
        Event::Submitted(_)
        | Event::Started { .. }
        | Event::Progress { .. }
        | Event::Retrying { .. }
        | Event::Released { .. }
        | Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => None,
    }
}
