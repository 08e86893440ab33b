//! Names, ids, states and kinds: the small words of requests and answers.

use crate::grpc::convert::Checks;
use crate::grpc::convert::Path;
use crate::grpc::status::Reason;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::StoreId;
use crate::job::state::JobState;
use crate::proto::v1;
use std::fmt;
use std::sync::Arc;

/// The queue of jobs that name none, and of workers that name none.
pub const DEFAULT_QUEUE: &str = "default";
/// The longest name of a worker, a producer or a cursor, in bytes.
pub const NAME_BYTES_MAX: usize = 128;
/// The longest submit key, in bytes.
pub const KEY_BYTES_MAX: usize = 256;
/// The longest reason in the caller's words, in bytes.
pub const REASON_BYTES_MAX: usize = 1_024;

/// A queue's name; empty is [`DEFAULT_QUEUE`].
pub fn queue_or_default(name: &str, path: Path, checks: &mut Checks) -> Option<QueueName> {
    queue(if name.is_empty() { DEFAULT_QUEUE } else { name }, path, checks)
}

/// A queue's name, which must be given.
pub fn queue(name: &str, path: Path, checks: &mut Checks) -> Option<QueueName> {
    name.parse().map_err(|error| checks.note(Reason::InvalidQueueName, path, error)).ok()
}

/// Names of queues in a filter or a worker's list.
pub fn queues(names: &[String], most: usize, field: &'static str, checks: &mut Checks) -> Vec<QueueName> {
    if names.len() > most {
        checks.field(field, format_args!("has {} entries, at most {most} are allowed", names.len()));
        return Vec::new();
    }
    let parse = |(index, name): (usize, &String)| match name.parse() {
        Ok(name) => Some(name),
        Err(error) => {
            checks.note(Reason::InvalidQueueName, Entry(field, index), error);
            None
        }
    };
    names.iter().enumerate().filter_map(parse).collect()
}

/// A job id, which must be given.
pub fn job_id(text: &str, path: impl fmt::Display, checks: &mut Checks) -> Option<JobId> {
    text.parse().map_err(|error| checks.note(Reason::InvalidJobId, path, error)).ok()
}

/// Job ids, from `least` to `most` of them.
pub fn job_ids(
    texts: &[String],
    allowed: std::ops::RangeInclusive<usize>,
    field: &'static str,
    checks: &mut Checks,
) -> Vec<JobId> {
    if !count(texts.len(), allowed, field, checks) {
        return Vec::new();
    }
    texts.iter().enumerate().filter_map(|(index, text)| job_id(text, Entry(field, index), checks)).collect()
}

/// Whether a list has as many entries as it may, and a violation if not.
pub fn count(
    found: usize,
    allowed: std::ops::RangeInclusive<usize>,
    field: impl fmt::Display,
    checks: &mut Checks,
) -> bool {
    let right = allowed.contains(&found);
    if !right {
        let (least, most) = allowed.into_inner();
        checks.field(field, format_args!("has {found} entries, {least} to {most} are allowed"));
    }
    right
}

/// The name of a worker, a producer or a cursor: 1 to [`NAME_BYTES_MAX`] bytes without control characters.
pub fn name(text: &str, path: Path, checks: &mut Checks) -> Option<Arc<str>> {
    if text.is_empty() {
        checks.field(path, "must be given");
        return None;
    }
    words(text, NAME_BYTES_MAX, path, checks)
}

/// Text of at most `most` bytes without control characters; may be empty.
pub fn words(text: &str, most: usize, path: Path, checks: &mut Checks) -> Option<Arc<str>> {
    if text.len() > most {
        checks.field(path, format_args!("has {} bytes, at most {most} are allowed", text.len()));
        return None;
    }
    if text.chars().any(char::is_control) {
        checks.field(path, "has a control character");
        return None;
    }
    Some(text.into())
}

/// A store id as responses have it; `None` and a violation if it is not one.
pub fn store_id(text: &str, path: Path, checks: &mut Checks) -> Option<StoreId> {
    let parsed = uuid::Uuid::try_parse(text).ok().map(|id| StoreId(id.into_bytes()));
    if parsed.is_none() {
        checks.field(path, "is not a store id: 32 hexadecimal digits");
    }
    parsed
}

/// A page's size: 100 if it is not given.
pub fn page_size(size: u32, checks: &mut Checks) -> usize {
    const DEFAULT: usize = 100;
    const MOST: u32 = 1_000;
    if size > MOST {
        checks.field("page_size", format_args!("is {size}, at most {MOST} is allowed"));
    }
    if size == 0 { DEFAULT } else { size as usize }
}

/// States in a filter.
pub fn states(states: &[i32], checks: &mut Checks) -> Vec<JobState> {
    let parse = |(index, &number): (usize, &i32)| {
        let state = v1::JobState::try_from(number).ok().and_then(from_state);
        if state.is_none() {
            checks.field(Entry("states", index), format_args!("{number} is not a state"));
        }
        state
    };
    states.iter().enumerate().filter_map(parse).collect()
}

/// Kinds of updates in a filter.
pub fn kinds(kinds: &[i32], checks: &mut Checks) -> Vec<v1::UpdateKind> {
    let parse = |(index, &number): (usize, &i32)| {
        let kind = v1::UpdateKind::try_from(number).ok().filter(|kind| *kind != v1::UpdateKind::Unspecified);
        if kind.is_none() {
            checks.field(Entry("kinds", index), format_args!("{number} is not a kind of update"));
        }
        kind
    };
    kinds.iter().enumerate().filter_map(parse).collect()
}

/// A state as the API sends it.
#[must_use]
pub fn to_state(state: JobState) -> v1::JobState {
    match state {
        JobState::Waiting => v1::JobState::Waiting,
        JobState::Running => v1::JobState::Running,
        JobState::Succeeded => v1::JobState::Succeeded,
        JobState::Dead => v1::JobState::Dead,
        JobState::Cancelled => v1::JobState::Cancelled,
        JobState::Expired => v1::JobState::Expired,
    }
}

/// A state that the API received; `None` for the unspecified one.
#[must_use]
pub fn from_state(state: v1::JobState) -> Option<JobState> {
    match state {
        v1::JobState::Unspecified => None,
        v1::JobState::Waiting => Some(JobState::Waiting),
        v1::JobState::Running => Some(JobState::Running),
        v1::JobState::Succeeded => Some(JobState::Succeeded),
        v1::JobState::Dead => Some(JobState::Dead),
        v1::JobState::Cancelled => Some(JobState::Cancelled),
        v1::JobState::Expired => Some(JobState::Expired),
    }
}

/// The kind of an update; `None` for events that are none.
#[must_use]
pub fn kind_of(event: &Event) -> Option<v1::UpdateKind> {
    Some(match event {
        Event::Submitted(_) => v1::UpdateKind::Submitted,
        Event::Started { .. } => v1::UpdateKind::Started,
        Event::Progress { .. } => v1::UpdateKind::Progress,
        Event::Retrying { .. } => v1::UpdateKind::Retrying,
        Event::Released { .. } => v1::UpdateKind::Released,
        Event::Succeeded { .. } => v1::UpdateKind::Succeeded,
        Event::Dead { .. } => v1::UpdateKind::Dead,
        Event::Cancelled { .. } => v1::UpdateKind::Cancelled,
        Event::Expired { .. } => v1::UpdateKind::Expired,
        Event::Retried { .. } => v1::UpdateKind::Retried,
        Event::Deleted { .. } => v1::UpdateKind::Deleted,
        Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => return None,
    })
}

/// The path of one entry of a repeated field of the request.
struct Entry(&'static str, usize);

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.0, self.1)
    }
}
