//! Events as updates. Encoded once for all readers that want the same parts.

mod plain;

use crate::clock::Timestamp;
use crate::grpc::convert::failure;
use crate::grpc::convert::names;
use crate::grpc::convert::spec;
use crate::grpc::convert::time;
use crate::grpc::convert::update::plain::Head;
use crate::job::event::Event;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::proto::v1;
use bytes::Bytes;
use bytes::BytesMut;
use std::sync::Arc;

/// Field number of `UpdateBatch.updates`.
const UPDATES_TAG: u32 = 1;

/// Which large parts a reader asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Parts {
    /// Payloads in submitted updates.
    pub payload: bool,
    /// Results in succeeded updates.
    pub result: bool,
}

/// Appends the event to an encoded `UpdateBatch` as one more of its updates. False, and nothing is appended, for events
/// that are no updates.
pub fn encode_update(
    batch: &mut BytesMut,
    sequence: Sequence,
    time: Timestamp,
    queue: &QueueName,
    event: &Event,
    parts: Parts,
) -> bool {
    if plain::encode(batch, Head { sequence, time, queue }, event, parts) {
        return true;
    }
    let Some(update) = to_update(sequence, time, queue, event, parts) else { return false };
    prost::encoding::message::encode(UPDATES_TAG, &update, batch);
    true
}

/// The event as an update; `None` for events that are none.
#[must_use]
pub fn to_update(
    sequence: Sequence,
    time: Timestamp,
    queue: &QueueName,
    event: &Event,
    parts: Parts,
) -> Option<v1::Update> {
    let kind = names::kind_of(event)?;
    let (id, _) = event.job()?;
    let mut update = v1::Update {
        sequence: sequence.0,
        kind: kind.into(),
        job_id: id.to_string(),
        queue: queue.as_str().to_owned(),
        time: Some(time::to_timestamp(time)),
        ..v1::Update::default()
    };
    fill(&mut update, queue, event, parts);
    Some(update)
}

fn fill(update: &mut v1::Update, queue: &QueueName, event: &Event, parts: Parts) {
    match event {
        Event::Submitted(job) => {
            let payload = if parts.payload { job.payload.0.clone() } else { Bytes::new() };
            update.spec = Some(spec::to_spec(job, queue, payload));
        }
        Event::Started { attempt, worker, .. } => {
            update.attempt = *attempt;
            update.worker_id = text(worker);
        }
        Event::Progress { progress, .. } => update.progress = Some(failure::to_progress(progress)),
        Event::Retrying { attempt, failure, due, .. } => {
            update.attempt = *attempt;
            update.failure = Some(failure::to_failure(failure));
            update.due = Some(time::to_timestamp(*due));
        }
        Event::Released { attempt, due, reason, .. } => {
            update.attempt = *attempt;
            update.due = Some(time::to_timestamp(*due));
            update.reason = text(reason);
        }
        Event::Succeeded { attempt, result, content_type, usage, .. } => {
            update.attempt = *attempt;
            update.result = if parts.result { result.0.clone() } else { Bytes::new() };
            update.result_content_type = text(content_type);
            update.usage = usage.map(failure::to_usage);
        }
        Event::Dead { attempt, failure, .. } => {
            update.attempt = *attempt;
            update.failure = Some(failure::to_failure(failure));
        }
        Event::Cancelled { attempt, reason, .. } => {
            update.attempt = *attempt;
            update.reason = text(reason);
        }
        Event::Retried { generation, .. } => update.generation = (*generation).into(),
        Event::Expired { .. }
        | Event::Deleted { .. }
        | Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => {}
    }
}

fn text(text: &Arc<str>) -> String {
    text.as_ref().to_owned()
}
