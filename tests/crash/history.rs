//! What the clients saw, and nothing else: the checker judges the service by it. It is written to a file, a line at a
//! time, while it happens ([`recorder`]), and read back from there ([`file`]), so that it can be judged again later.

pub(crate) mod file;
pub(crate) mod line;
pub(crate) mod recorder;

pub(crate) use crate::history::line::Saw;

use crate::plan::Ending;
use gangline::proto::v1;
use prost::Message;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeSet;
use xxhash_rust::xxh3::xxh3_64;

/// Everything the clients recorded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct History {
    /// Payloads of every job that a client has tried to submit, before it was sent.
    pub(crate) asked: BTreeSet<String>,
    /// Acknowledged submits.
    pub(crate) acks: Vec<Ack>,
    /// What producers were told when they resumed.
    pub(crate) resumes: Vec<Resume>,
    /// Leases that workers received.
    pub(crate) leases: Vec<Leased>,
    /// Finishes that workers sent, with their answers.
    pub(crate) finishes: Vec<Finished>,
    /// Acknowledged cancels and retries of single jobs.
    pub(crate) controls: Vec<Controlled>,
    /// What each reader saw.
    pub(crate) readings: Vec<Reading>,
    /// Reasons of failed calls, by what was called.
    pub(crate) failures: Vec<(String, String)>,
    /// Why the jobs did not come to rest when the faults were over.
    pub(crate) unsettled: Vec<String>,
    /// What the server said when it did not start on its own data any more.
    pub(crate) refused: Vec<String>,
}

/// A job whose submit was acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ack {
    /// Who got it after everything that it got before; `None`: it was a repeat.
    pub(crate) ordered_by: Option<String>,
    pub(crate) payload: String,
    /// `None`: the producer only learned that it is stored.
    pub(crate) job: Option<String>,
    /// 0 if it was not told.
    pub(crate) first_sequence: u64,
}

/// A producer came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Resume {
    pub(crate) producer: String,
    pub(crate) acknowledged: u64,
    pub(crate) sent: u64,
    pub(crate) last_ordinal: u64,
}

/// A lease that a worker received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Leased {
    pub(crate) worker: String,
    pub(crate) job: String,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) payload: String,
}

/// A finish that a worker sent once.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Finished {
    pub(crate) job: String,
    pub(crate) token: u64,
    pub(crate) ending: Ending,
    /// `None`: no answer came. It stands on a line of its own.
    #[serde(skip)]
    pub(crate) answer: Option<v1::FinishOutcome>,
}

/// A cancel or retry that was acknowledged as done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Controlled {
    pub(crate) job: String,
    #[serde(with = "line::number")]
    pub(crate) kind: v1::UpdateKind,
    pub(crate) sequence: u64,
}

/// What one reader saw, over all its reconnects.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    pub(crate) reader: String,
    /// The only queue it asked for; `None`: all.
    pub(crate) queue: Option<String>,
    /// Sequence and digest of each update, in the order of arrival.
    pub(crate) seen: Vec<(u64, u64)>,
    pub(crate) reconnects: u64,
}

/// The digest of an update.
pub(crate) fn digest(update: &v1::Update) -> u64 {
    xxh3_64(&update.encode_to_vec())
}
