//! What a submitter says about a job, and what an operator says about a queue. Parsed at the edge, trusted inside.

use crate::clock::Timestamp;
use crate::job::id::QueueName;
use bytes::Bytes;
use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use serde::de::Visitor;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a job or a result. Encoded as one run of bytes, not element by element.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Payload(pub Bytes);

impl Payload {
    /// A copy that keeps nothing else in memory: a payload may be a slice of all that it was submitted or stored with.
    #[must_use]
    pub fn apart(&self) -> Payload {
        Payload(Bytes::copy_from_slice(&self.0))
    }
}

impl fmt::Debug for Payload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Payload({} bytes)", self.0.len())
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Payload, D::Error> {
        struct Run;
        impl<'de> Visitor<'de> for Run {
            type Value = Payload;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a run of bytes")
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Payload, E> {
                Ok(Payload(Bytes::copy_from_slice(bytes)))
            }

            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Payload, E> {
                Ok(Payload(Bytes::from(bytes)))
            }
        }
        deserializer.deserialize_byte_buf(Run)
    }
}

/// When a job may run and how often: all that `decide` reads of a spec.
///
/// The default is part of the log's format: a job submitted without a policy has this one for ever.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Policy {
    /// How many attempts may fail, the last one included; at least 1. [RETRY-1]
    pub max_attempts: u16,
    /// How many attempts may crash. [RETRY-1]
    pub crashed_max: u16,
    /// How many attempts may time out; `None`: a time-out counts as failed. [RETRY-1]
    pub timed_out_max: Option<u16>,
    /// How many attempts may be lost with a server or a link. [RETRY-1]
    pub lost_max: u16,
    /// Waiting time before the second attempt.
    pub backoff: Backoff,
    /// How long one attempt may run, in milliseconds; `None`: as long as it likes.
    pub timeout_ms: Option<u64>,
    /// The job expires if it has not started by then; `None`: never.
    pub expires: Option<Timestamp>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            max_attempts: 5,
            crashed_max: 3,
            timed_out_max: None,
            lost_max: 20,
            backoff: Backoff::default(),
            timeout_ms: None,
            expires: None,
        }
    }
}

/// Exponential backoff: `initial · factor^(n−1)`, at most `max`, times a random share of the last `jitter` percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Backoff {
    /// Waiting time after the first failure, in milliseconds.
    pub initial_ms: u64,
    /// Growth per failure in hundredths: 200 doubles; at least 100.
    pub factor_percent: u16,
    /// The longest waiting time, in milliseconds.
    pub max_ms: u64,
    /// How much of the waiting time is random, 0 to 100.
    pub jitter_percent: u8,
}

impl Default for Backoff {
    fn default() -> Backoff {
        Backoff { initial_ms: 1_000, factor_percent: 200, max_ms: 300_000, jitter_percent: 20 }
    }
}

/// What only clients and workers read of a job.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extra {
    /// Media type of the payload; empty if the submitter named none.
    pub content_type: Arc<str>,
    /// Names and values to find the job by, in the order given.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// W3C `traceparent` of the submitter; may be empty.
    pub traceparent: Arc<str>,
    /// W3C `tracestate` of the submitter; may be empty.
    pub tracestate: Arc<str>,
}

/// What an operator says about a queue.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueueSettings {
    /// Whether claims get nothing from it.
    pub paused: bool,
    /// How many jobs may wait in it before submits are refused; `None`: the service's limit only.
    pub max_pending: Option<u64>,
    /// How many dead jobs are kept in it; the oldest goes when one more dies. [DEAD-1]
    pub dead_max: u32,
    /// How long finished jobs are kept, in milliseconds; `None`: as long as the log.
    pub retention_ms: Option<u64>,
}

impl Default for QueueSettings {
    fn default() -> QueueSettings {
        QueueSettings { paused: false, max_pending: None, dead_max: 10_000, retention_ms: None }
    }
}

impl QueueSettings {
    /// Until when a job that ended at `ended` is kept; `None`: as long as the log.
    #[must_use]
    pub fn keeps_until(&self, ended: Timestamp) -> Option<Timestamp> {
        self.retention_ms.map(|retention_ms| ended.after(Duration::from_millis(retention_ms)))
    }
}

/// A job as a client submits it: parsed and within limits, not yet decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewJob {
    /// Where it goes.
    pub queue: QueueName,
    /// Higher runs first; −100 to 100.
    pub priority: i8,
    /// When it may start; 0 is at once.
    pub run_at: Timestamp,
    /// `None` is [`Policy::default`].
    pub policy: Option<Box<Policy>>,
    /// `None` is empty.
    pub extra: Option<Box<Extra>>,
    /// What is to be worked on.
    pub payload: Payload,
}

/// A change of some settings of a queue; `None` leaves one as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueChange {
    /// Whether claims get nothing from it.
    pub paused: Option<bool>,
    /// How many jobs may wait in it; the inner `None` takes the limit away.
    pub max_pending: Option<Option<u64>>,
    /// How many dead jobs are kept in it.
    pub dead_max: Option<u32>,
    /// How long finished jobs are kept; the inner `None` is as long as the log.
    pub retention_ms: Option<Option<u64>>,
}

impl QueueChange {
    /// The settings after the change.
    #[must_use]
    pub fn of(self, before: &QueueSettings) -> QueueSettings {
        QueueSettings {
            paused: self.paused.unwrap_or(before.paused),
            max_pending: self.max_pending.unwrap_or(before.max_pending),
            dead_max: self.dead_max.unwrap_or(before.dead_max),
            retention_ms: self.retention_ms.unwrap_or(before.retention_ms),
        }
    }
}
