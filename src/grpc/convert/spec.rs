//! A job's spec: from a submitter, checked, and back to readers and workers.

use crate::clock::Timestamp;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Path;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::names;
use crate::grpc::convert::time;
use crate::grpc::status::Reason;
use crate::job::event::Submitted;
use crate::job::id::QueueName;
use crate::job::spec::Backoff;
use crate::job::spec::Extra;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::proto::v1;
use bytes::Bytes;
use bytes::BytesMut;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// The most labels of a job.
pub const LABELS_MAX: usize = 32;
/// The longest name of a label, in bytes.
pub const LABEL_NAME_BYTES_MAX: usize = 64;
/// The longest value of a label, in bytes.
pub const LABEL_VALUE_BYTES_MAX: usize = 256;
/// The longest media type, in bytes.
pub const CONTENT_TYPE_BYTES_MAX: usize = 128;
const TRACESTATE_BYTES_MAX: usize = 512;

/// Small payloads of one request lie together in pieces of so many bytes at most.
const PIECE_BYTES_MAX: usize = 16 * 1_024;

/// Turns the specs of one request into jobs. Jobs of one queue share its name.
#[derive(Debug)]
pub struct Specs<'a> {
    sizes: &'a Sizes,
    checks: &'a mut Checks,
    queue: Option<QueueName>,
    /// Where the next payload goes.
    piece: BytesMut,
    /// How many bytes of payload are still to come, as far as that was told.
    expected: usize,
}

impl Specs<'_> {
    /// A converter that notes violations in `checks`.
    pub fn new<'a>(sizes: &'a Sizes, checks: &'a mut Checks) -> Specs<'a> {
        Specs { sizes, checks, queue: None, piece: BytesMut::new(), expected: 0 }
    }

    /// The same, told that the payloads have so many bytes together.
    #[must_use]
    pub fn expecting(self, bytes: usize) -> Self {
        Specs { expected: bytes, ..self }
    }

    /// The job that `spec` describes; `None` and a violation if it is not allowed.
    pub fn job(&mut self, spec: v1::JobSpec, at: At) -> Option<NewJob> {
        // Each is looked at, whatever the others are, so that the sender sees all that is wrong.
        let queue = self.queue(&spec.queue, at.dot("queue"));
        let priority = self.priority(spec.priority, at.dot("priority"));
        let run_at = match spec.run_at {
            None => Some(Timestamp(0)),
            Some(run_at) => time::timestamp(run_at, at.dot("run_at"), self.checks),
        };
        let policy = self.policy(&spec, run_at, at);
        let payload = self.payload(&spec.payload, at.dot("payload"));
        let extra = self.extra(spec, at);
        Some(NewJob {
            queue: queue?,
            priority: priority?,
            run_at: run_at?,
            policy: policy?,
            extra: extra?,
            payload: payload?,
        })
    }

    fn queue(&mut self, name: &str, path: Path) -> Option<QueueName> {
        let wanted = if name.is_empty() { names::DEFAULT_QUEUE } else { name };
        if self.queue.as_ref().is_none_or(|last| last.as_str() != wanted) {
            self.queue = Some(names::queue(wanted, path, self.checks)?);
        }
        self.queue.clone()
    }

    fn priority(&mut self, priority: i32, path: Path) -> Option<i8> {
        let converted = i8::try_from(priority).ok().filter(|priority| (-100..=100).contains(priority));
        if converted.is_none() {
            self.checks.field(path, format_args!("is {priority}, -100 to 100 is allowed"));
        }
        converted
    }

    /// A copy, because a slice of the received message would keep all of it in memory while the job lives. [MEM-1]
    fn payload(&mut self, payload: &Bytes, path: Path) -> Option<Payload> {
        let most = self.sizes.payload_bytes_max;
        if payload.len() > most {
            let text = format_args!("has {} bytes, at most {most} are allowed", payload.len());
            self.checks.note(Reason::PayloadTooLarge, path, text);
            return None;
        }
        Some(self.copy(payload))
    }

    /// Small ones share an allocation, and go together: with the frame that the engine writes them to.
    fn copy(&mut self, payload: &Bytes) -> Payload {
        let bytes = payload.len();
        let expected = self.expected;
        self.expected = expected.saturating_sub(bytes);
        if bytes == 0 || bytes > PIECE_BYTES_MAX / 4 {
            return Payload(Bytes::copy_from_slice(payload));
        }
        if self.piece.capacity() < bytes {
            self.piece = BytesMut::with_capacity(expected.clamp(bytes, PIECE_BYTES_MAX));
        }
        self.piece.extend_from_slice(payload);
        Payload(self.piece.split().freeze())
    }

    /// The outer `None` is a violation, the inner one the default policy.
    fn policy(
        &mut self,
        spec: &v1::JobSpec,
        run_at: Option<Timestamp>,
        at: At,
    ) -> Option<Option<Box<Policy>>> {
        let mut policy = match &spec.retry_policy {
            None => Policy::default(),
            Some(retry) => self.retry_policy(retry, at.dot("retry_policy"))?,
        };
        if let Some(timeout) = spec.timeout {
            let least = Duration::from_millis(1);
            let timeout = time::duration(timeout, least, at.dot("timeout"), self.checks)?;
            policy.timeout_ms = Some(time::whole_millis(timeout));
        }
        if let Some(expires) = spec.expires_at {
            let expires = time::timestamp(expires, at.dot("expires_at"), self.checks)?;
            if expires == Timestamp(0) || expires <= run_at? {
                self.checks
                    .field(at.dot("expires_at"), "is not later than run_at: the job could never start");
                return None;
            }
            policy.expires = Some(expires);
        }
        Some((policy != Policy::default()).then(|| Box::new(policy)))
    }

    fn retry_policy(&mut self, retry: &v1::RetryPolicy, path: Path) -> Option<Policy> {
        let default = Policy::default();
        let mut budget = |name: &str, found: Option<u32>| match found {
            None => Some(None),
            Some(found) => match u16::try_from(found).ok().filter(|&found| found > 0) {
                Some(found) => Some(Some(found)),
                None => {
                    let text = format_args!("is {found}, 1 to 65535 is allowed");
                    self.checks.field(format_args!("{path}.{name}"), text);
                    None
                }
            },
        };
        let max_attempts = budget("max_attempts", retry.max_attempts);
        let crashed_max = budget("crashed_max", retry.crashed_max);
        let timed_out_max = budget("timed_out_max", retry.timed_out_max);
        let lost_max = budget("lost_max", retry.lost_max);
        let backoff = match &retry.backoff {
            None => Some(default.backoff),
            Some(backoff) => self.backoff(backoff, path),
        };
        Some(Policy {
            max_attempts: max_attempts?.unwrap_or(default.max_attempts),
            crashed_max: crashed_max?.unwrap_or(default.crashed_max),
            timed_out_max: timed_out_max?,
            lost_max: lost_max?.unwrap_or(default.lost_max),
            backoff: backoff?,
            ..default
        })
    }

    fn backoff(&mut self, backoff: &v1::Backoff, path: Path) -> Option<Backoff> {
        let default = Backoff::default();
        let mut millis = |found: Option<prost_types::Duration>, unset| match found {
            None => Some(unset),
            Some(found) => time::duration(found, Duration::ZERO, path, self.checks).map(time::whole_millis),
        };
        let initial_ms = millis(backoff.initial, default.initial_ms)?;
        let max_ms = millis(backoff.max, default.max_ms.max(initial_ms))?;
        let factor = backoff.factor_percent.unwrap_or(default.factor_percent.into());
        let jitter = backoff.jitter_percent.unwrap_or(default.jitter_percent.into());
        let factor_percent = u16::try_from(factor).ok().filter(|&factor| factor >= 100);
        let jitter_percent = u8::try_from(jitter).ok().filter(|&jitter| jitter <= 100);
        if factor_percent.is_none() {
            let text = format_args!("is {factor}, 100 to 65535 is allowed");
            self.checks.field(format_args!("{path}.backoff.factor_percent"), text);
        }
        if jitter_percent.is_none() {
            let text = format_args!("is {jitter}, 0 to 100 is allowed");
            self.checks.field(format_args!("{path}.backoff.jitter_percent"), text);
        }
        if max_ms < initial_ms {
            self.checks.field(format_args!("{path}.backoff.max"), "is shorter than initial");
            return None;
        }
        Some(Backoff { initial_ms, factor_percent: factor_percent?, max_ms, jitter_percent: jitter_percent? })
    }

    /// The outer `None` is a violation, the inner one an empty extra.
    fn extra(&mut self, spec: v1::JobSpec, at: At) -> Option<Option<Box<Extra>>> {
        let none = spec.labels.is_empty()
            && [&spec.content_type, &spec.traceparent, &spec.tracestate].iter().all(|text| text.is_empty());
        if none {
            return Some(None);
        }
        let labels = self.labels(spec.labels, at.dot("labels"));
        let content_type = content_type(&spec.content_type, at.dot("content_type"), self.checks);
        let trace = self.trace(&spec.traceparent, &spec.tracestate, at);
        let (traceparent, tracestate) = trace?;
        let extra = Extra { content_type: content_type?, labels: labels?, traceparent, tracestate };
        Some((extra != Extra::default()).then(|| Box::new(extra)))
    }

    fn labels(&mut self, labels: BTreeMap<String, String>, path: Path) -> Option<Vec<(Arc<str>, Arc<str>)>> {
        if !names::count(labels.len(), 0..=LABELS_MAX, path, self.checks) {
            return None;
        }
        let mut right = true;
        for (name, value) in &labels {
            if name.is_empty() || name.len() > LABEL_NAME_BYTES_MAX || name.chars().any(char::is_control) {
                let text = format_args!(
                    "has a name of {} bytes; 1 to {LABEL_NAME_BYTES_MAX} without control characters are allowed",
                    name.len()
                );
                self.checks.field(path, text);
                right = false;
            }
            right &= names::words(value, LABEL_VALUE_BYTES_MAX, path, self.checks).is_some();
        }
        right.then(|| labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    fn trace(&mut self, parent: &str, state: &str, at: At) -> Option<(Arc<str>, Arc<str>)> {
        if parent.is_empty() && !state.is_empty() {
            self.checks.field(at.dot("tracestate"), "needs a traceparent");
            return None;
        }
        if !parent.is_empty() && !is_traceparent(parent) {
            self.checks.field(
                at.dot("traceparent"),
                "is not a W3C traceparent such as 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            );
            return None;
        }
        let state = names::words(state, TRACESTATE_BYTES_MAX, at.dot("tracestate"), self.checks)?;
        Some((parent.into(), state))
    }
}

/// A media type; may be empty.
pub fn content_type(text: &str, path: Path, checks: &mut Checks) -> Option<Arc<str>> {
    names::words(text, CONTENT_TYPE_BYTES_MAX, path, checks)
}

/// W3C Trace Context, section 3.2.2: version, trace id, parent id and flags in lower-case hexadecimal, ids not zero.
fn is_traceparent(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let hex = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    let zero = |part: &str| part.bytes().all(|byte| byte == b'0');
    let &[version, trace, parent, flags] = parts.as_slice() else { return false };
    [version, trace, parent, flags].map(str::len) == [2, 32, 16, 2]
        && parts.iter().all(|part| hex(part))
        && version != "ff"
        && !zero(trace)
        && !zero(parent)
}

/// What was submitted, as the API sends it; `payload` is empty where the reader did not ask for it.
#[must_use]
pub fn to_spec(job: &Submitted, queue: &QueueName, payload: Bytes) -> v1::JobSpec {
    let policy = job.policy.as_deref();
    let extra = job.extra.as_deref();
    let text = |field: fn(&Extra) -> &Arc<str>| extra.map(|extra| field(extra).as_ref().to_owned());
    v1::JobSpec {
        queue: queue.as_str().to_owned(),
        payload,
        content_type: text(|extra| &extra.content_type).unwrap_or_default(),
        priority: job.priority.into(),
        run_at: (job.due != Timestamp(0)).then(|| time::to_timestamp(job.due)),
        retry_policy: policy.and_then(to_retry_policy),
        timeout: policy.and_then(|policy| policy.timeout_ms).map(time::to_duration),
        expires_at: policy.and_then(|policy| policy.expires).map(time::to_timestamp),
        labels: extra.map(to_labels).unwrap_or_default(),
        traceparent: text(|extra| &extra.traceparent).unwrap_or_default(),
        tracestate: text(|extra| &extra.tracestate).unwrap_or_default(),
    }
}

/// Labels as the API sends them.
#[must_use]
pub fn to_labels(extra: &Extra) -> BTreeMap<String, String> {
    extra.labels.iter().map(|(name, value)| (name.as_ref().to_owned(), value.as_ref().to_owned())).collect()
}

/// Budgets and backoff; `None` if all of them are the defaults.
fn to_retry_policy(policy: &Policy) -> Option<v1::RetryPolicy> {
    let only_retries = Policy { timeout_ms: None, expires: None, ..policy.clone() };
    (only_retries != Policy::default()).then(|| v1::RetryPolicy {
        max_attempts: Some(policy.max_attempts.into()),
        crashed_max: Some(policy.crashed_max.into()),
        timed_out_max: policy.timed_out_max.map(u32::from),
        lost_max: Some(policy.lost_max.into()),
        backoff: Some(v1::Backoff {
            initial: Some(time::to_duration(policy.backoff.initial_ms)),
            factor_percent: Some(policy.backoff.factor_percent.into()),
            max: Some(time::to_duration(policy.backoff.max_ms)),
            jitter_percent: Some(policy.backoff.jitter_percent.into()),
        }),
    })
}
