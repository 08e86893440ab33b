//! What is written to the log: what was decided, with every chosen value in it. Events are facts; `apply`
//! turns them into state, here and in every replay.
//!
//! An event that is an *update* takes a sequence and is seen by readers of the log; the others do not.
//! The order of the variants and fields is the format of the log: never reorder, only append, and raise
//! `codec::VERSION` when a stored structure changes. [FMT-1]

pub mod glimpse;
pub mod stored;

use crate::clock::Timestamp;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Extra;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::spec::QueueSettings;
use crate::job::state::JobState;
use serde::Deserialize;
use serde::Serialize;
use std::sync::Arc;

/// One fact of the log. Its time is the time of its frame.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Event {
    /// Update: a job was accepted.
    Submitted(Submitted),
    /// Update: an attempt was claimed; this update's sequence is the lease token. [LEASE-1]
    Started {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// Which execution this is, from 1, counted over all generations.
        attempt: u32,
        /// Who claimed it.
        worker: Arc<str>,
    },
    /// Update: a running job told how far it is.
    Progress {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// What it told.
        progress: Progress,
    },
    /// Update: an attempt failed and the job waits for the next one.
    Retrying {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// The attempt that failed.
        attempt: u32,
        /// How it failed.
        failure: Failure,
        /// When the next attempt may start, jitter included.
        due: Timestamp,
    },
    /// Update: a worker handed the job back without having failed; no budget is used.
    Released {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// The attempt that was handed back.
        attempt: u32,
        /// When the next attempt may start.
        due: Timestamp,
        /// Why it was handed back.
        reason: Arc<str>,
    },
    /// Update, terminal: an attempt completed.
    Succeeded {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// The attempt that completed it.
        attempt: u32,
        /// Its result.
        result: Payload,
        /// Media type of the result, empty if the worker named none.
        content_type: Arc<str>,
        /// What the attempt used, where it could be measured.
        usage: Option<Usage>,
    },
    /// Update, terminal: the last attempt that the budgets allow has failed; kept until deleted. [DEAD-1]
    Dead {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// The attempt that failed last.
        attempt: u32,
        /// How it failed.
        failure: Failure,
    },
    /// Update, terminal: someone cancelled the job, waiting or running.
    Cancelled {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// How many attempts had started; the last of them ran if the job was running.
        attempt: u32,
        /// Why, in the caller's words; may be empty.
        reason: Arc<str>,
    },
    /// Update, terminal: the job was not started before its expiry.
    Expired {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
    },
    /// Update: an operator gave a dead job a new generation with fresh budgets.
    Retried {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
        /// The generation that begins; submission began generation 0.
        generation: u16,
    },
    /// Update: a finished job was forgotten, by a call or by retention.
    Deleted {
        /// The job.
        id: JobId,
        /// Its queue.
        queue: QueueNo,
    },
    /// A queue was named for the first time and got its number.
    QueueMade {
        /// Its number.
        queue: QueueNo,
        /// Its name.
        name: QueueName,
    },
    /// A queue's settings were changed.
    QueueSet {
        /// The queue.
        queue: QueueNo,
        /// All its settings from now on.
        settings: QueueSettings,
    },
    /// A named cursor was committed.
    CursorSet {
        /// Its name.
        name: Arc<str>,
        /// Every update up to this one has been dealt with.
        sequence: Sequence,
    },
    /// A named cursor was deleted.
    CursorDropped {
        /// Its name.
        name: Arc<str>,
    },
    /// A submit key was used; it stands before the `Submitted` events of its batch. [ID-1]
    KeyTaken {
        /// The key.
        key: Arc<str>,
        /// Fingerprint of what was submitted under it.
        fingerprint: u64,
        /// First job of the batch; the others follow with consecutive ids.
        first: JobId,
        /// Number of jobs in the batch.
        jobs: u32,
    },
    /// Keys all of whose jobs ended before this time are forgotten.
    KeysForgotten {
        /// Log time.
        ended_before: Timestamp,
    },
    /// A producer's stream advanced; it stands before the `Submitted` events of its jobs. [ID-1]
    ProducerAdvanced {
        /// The producer's own name.
        producer: Arc<str>,
        /// Its ordinal of the first job.
        ordinal: u64,
        /// The first job; the others follow with consecutive ids and ordinals.
        first: JobId,
        /// Number of jobs.
        jobs: u32,
    },
    /// Producers that were idle for the window and have no job of their last ones live are forgotten. [ID-1]
    ProducersForgotten {
        /// Their names.
        producers: Vec<Arc<str>>,
    },
    /// A writer took over the log.
    Opened {
        /// Its epoch.
        epoch: Epoch,
        /// The release that wrote it.
        version: Arc<str>,
    },
}

/// A job as it was accepted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Submitted {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueNo,
    /// Higher runs first; −100 to 100, 0 by default.
    pub priority: i8,
    /// When it may start; 0 is at once.
    pub due: Timestamp,
    /// Budgets, backoff, time-out and expiry; `None` is [`Policy::default`].
    pub policy: Option<Box<Policy>>,
    /// What only clients and workers read; `None` is empty.
    pub extra: Option<Box<Extra>>,
    /// What is to be worked on.
    pub payload: Payload,
}

/// How far a running job is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// Parts of 10,000 done, if the worker can tell.
    pub done: Option<u16>,
    /// A few words for people, at most [`Progress::MESSAGE_BYTES_MAX`] bytes.
    pub message: Arc<str>,
}

impl Progress {
    /// The longest message that is kept; longer ones are cut.
    pub const MESSAGE_BYTES_MAX: usize = 1_024;
}

/// How an attempt failed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Failure {
    /// Which budget it uses. [RETRY-1]
    pub kind: FailureKind,
    /// What the worker or its supervisor said, at most [`Failure::MESSAGE_BYTES_MAX`] bytes.
    pub message: Arc<str>,
    /// What the supervisor saw of the process; `None` for workers it does not supervise.
    pub process: Option<Box<ProcessEnd>>,
}

impl Failure {
    /// The longest message that is kept; longer ones are cut.
    pub const MESSAGE_BYTES_MAX: usize = 4_096;
    /// The longest tail of stderr that is kept; of longer ones the end is kept.
    pub const STDERR_BYTES_MAX: usize = 4_096;
}

/// Which budget a failed attempt uses. [RETRY-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FailureKind {
    /// The worker said that it failed.
    Failed,
    /// The process died under the job.
    Crashed,
    /// The job ran longer than its time-out.
    TimedOut,
    /// The server or the link to the worker went away.
    Lost,
}

/// What the supervisor saw of the process that worked on a failed attempt. It has neither code nor signal if it goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProcessEnd {
    /// Exit code, if it exited.
    pub exit_code: Option<i32>,
    /// Signal number, if one killed it.
    pub signal: Option<i32>,
    /// The end of what it wrote to stderr under this attempt.
    pub stderr: Arc<str>,
    /// What it used.
    pub usage: Option<Usage>,
}

/// What an attempt used of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// CPU time, user and system, in milliseconds: of the process and of those of its children that it waited for.
    pub cpu_ms: u64,
    /// Peak resident memory of the process in KiB.
    pub rss_kib: u64,
}

impl Event {
    /// Whether the event takes a sequence and is seen by readers of the log.
    #[must_use]
    pub fn is_update(&self) -> bool {
        self.job().is_some()
    }

    /// The job and queue that the event is about, if it is an update.
    #[must_use]
    pub fn job(&self) -> Option<(JobId, QueueNo)> {
        match self {
            Event::Submitted(Submitted { id, queue, .. })
            | Event::Started { id, queue, .. }
            | Event::Progress { id, queue, .. }
            | Event::Retrying { id, queue, .. }
            | Event::Released { id, queue, .. }
            | Event::Succeeded { id, queue, .. }
            | Event::Dead { id, queue, .. }
            | Event::Cancelled { id, queue, .. }
            | Event::Expired { id, queue }
            | Event::Retried { id, queue, .. }
            | Event::Deleted { id, queue } => Some((*id, *queue)),
            Event::QueueMade { .. }
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

    /// The state in which a job finishes with this event; `None` if it goes on, is kept dead, or is forgotten.
    #[must_use]
    pub const fn finishes(&self) -> Option<JobState> {
        match self {
            Event::Succeeded { .. } => Some(JobState::Succeeded),
            Event::Cancelled { .. } => Some(JobState::Cancelled),
            Event::Expired { .. } => Some(JobState::Expired),
            Event::Submitted(_)
            | Event::Started { .. }
            | Event::Progress { .. }
            | Event::Retrying { .. }
            | Event::Released { .. }
            | Event::Dead { .. }
            | Event::Retried { .. }
            | Event::Deleted { .. }
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

    /// The event's kind in words, as logs and tools print it.
    #[must_use]
    pub const fn kind_name(&self) -> &'static str {
        match self {
            Event::Submitted(_) => "submitted",
            Event::Started { .. } => "started",
            Event::Progress { .. } => "progress",
            Event::Retrying { .. } => "retrying",
            Event::Released { .. } => "released",
            Event::Succeeded { .. } => "succeeded",
            Event::Dead { .. } => "dead",
            Event::Cancelled { .. } => "cancelled",
            Event::Expired { .. } => "expired",
            Event::Retried { .. } => "retried",
            Event::Deleted { .. } => "deleted",
            Event::QueueMade { .. } => "queue made",
            Event::QueueSet { .. } => "queue set",
            Event::CursorSet { .. } => "cursor set",
            Event::CursorDropped { .. } => "cursor dropped",
            Event::KeyTaken { .. } => "key taken",
            Event::KeysForgotten { .. } => "keys forgotten",
            Event::ProducerAdvanced { .. } => "producer advanced",
            Event::ProducersForgotten { .. } => "producers forgotten",
            Event::Opened { .. } => "opened",
        }
    }
}

#[cfg(test)]
pub(crate) mod specimens;
