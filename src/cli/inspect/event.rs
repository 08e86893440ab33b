//! An event of the log, as JSON and as a line for people: updates as `tail` prints them, with the frame's position, and
//! what a server keeps to itself.

use crate::cli::show::text;
use crate::cli::show::update;
use crate::cli::show::update::Show;
use crate::cli::show::update::UpdateJson;
use crate::clock::Timestamp;
use crate::grpc::convert::time::to_timestamp;
use crate::grpc::convert::update::Parts;
use crate::grpc::convert::update::to_update;
use crate::job::event::Event;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::proto::v1;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

/// An update with its place.
#[derive(Debug, Serialize)]
pub(crate) struct PlacedJson<'a> {
    position: u64,
    #[serde(flatten)]
    update: UpdateJson<'a>,
}

impl<'a> PlacedJson<'a> {
    /// The JSON of an update of the frame at `position`.
    pub(crate) fn of(position: Position, update: &'a v1::Update, parts: Parts) -> PlacedJson<'a> {
        let (payload, result) = (Show::from(parts.payload), Show::from(parts.result));
        PlacedJson { position: position.0, update: UpdateJson::of(update, payload, result) }
    }
}

/// The update that an event is.
pub(crate) fn update_of(
    sequence: Option<Sequence>,
    time: Option<Timestamp>,
    queue: &QueueName,
    event: &Event,
    parts: Parts,
) -> Option<v1::Update> {
    let (sequence, known) = (sequence.unwrap_or_default(), time.unwrap_or_default());
    let update = to_update(sequence, known, queue, event, parts)?;
    Some(v1::Update { time: time.map(to_timestamp), ..update })
}

/// An update on one line.
pub(crate) fn line(update: &v1::Update, parts: Parts) -> String {
    update::line(update, Show::from(parts.payload), Show::from(parts.result))
}

/// An event that is no update, as JSON.
pub(crate) fn other_json(
    position: Position,
    time: Timestamp,
    event: &Event,
    queue: Option<&QueueName>,
) -> Value {
    let mut object = json!({
        "position": position.0,
        "kind": typed_kind(event),
        "time": text::time(&to_timestamp(time)),
    });
    if let (Value::Object(fields), Value::Object(details)) = (&mut object, details(event, queue)) {
        fields.extend(details);
    }
    object
}

/// An event that is no update, on one line.
pub(crate) fn other_line(time: Timestamp, event: &Event, queue: Option<&QueueName>) -> String {
    let mut line = format!("{:>8}  {}  {}", "-", text::time(&to_timestamp(time)), typed_kind(event));
    if let Value::Object(details) = details(event, queue) {
        for (name, value) in details {
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), |value| text::preview(value.as_bytes(), 200));
            line.push_str(&format!("  {name} {shown}"));
        }
    }
    line
}

/// The kind of an event as it is typed: in one word.
pub(crate) fn typed_kind(event: &Event) -> String {
    event.kind_name().replace(' ', "-")
}

fn details(event: &Event, queue: Option<&QueueName>) -> Value {
    let name = queue.map(QueueName::as_str);
    match event {
        Event::QueueMade { queue, name } => json!({"queue": name.as_str(), "number": queue.0}),
        Event::QueueSet { settings, .. } => json!({
            "queue": name,
            "paused": settings.paused,
            "max_pending": settings.max_pending,
            "dead_max": settings.dead_max,
            "retention_ms": settings.retention_ms,
        }),
        Event::CursorSet { name, sequence } => json!({"cursor": name.as_ref(), "at": sequence.0}),
        Event::CursorDropped { name } => json!({"cursor": name.as_ref()}),
        Event::KeyTaken { key, first, jobs, .. } => {
            json!({"key": key.as_ref(), "first_job": first.to_string(), "jobs": jobs})
        }
        Event::KeysForgotten { ended_before } => {
            json!({"ended_before": text::time(&to_timestamp(*ended_before))})
        }
        Event::ProducerAdvanced { producer, ordinal, first, jobs } => json!({
            "producer": producer.as_ref(),
            "ordinal": ordinal,
            "first_job": first.to_string(),
            "jobs": jobs,
        }),
        Event::ProducersForgotten { producers } => {
            json!({"producers": producers.iter().map(AsRef::as_ref).collect::<Vec<&str>>()})
        }
        Event::Opened { epoch, version } => json!({"epoch": epoch.0, "version": version.as_ref()}),
        Event::Submitted(_)
        | Event::Started { .. }
        | Event::Progress { .. }
        | Event::Retrying { .. }
        | Event::Released { .. }
        | Event::Succeeded { .. }
        | Event::Dead { .. }
        | Event::Cancelled { .. }
        | Event::Expired { .. }
        | Event::Retried { .. }
        | Event::Deleted { .. } => Value::Null,
    }
}
