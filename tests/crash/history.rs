//! What the clients saw, and nothing else: the checker judges the service by it.

use crate::plan::Ending;
use gangline::clock::Clock;
use gangline::grpc::status::Reason;
use gangline::proto::v1;
use prost::Message;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

/// Everything the clients recorded.
#[derive(Clone, Debug, Default)]
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
    pub(crate) failures: Vec<(&'static str, Reason)>,
    /// How often the power began or finished to be cut; odd while it is.
    pub(crate) cuts: u64,
    /// When the newest acknowledgement of any kind arrived, in milliseconds since 1970.
    pub(crate) newest_ack_ms: u64,
}

/// A job whose submit was acknowledged.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
pub(crate) struct Resume {
    pub(crate) producer: String,
    pub(crate) acknowledged: u64,
    pub(crate) sent: u64,
    pub(crate) last_ordinal: u64,
}

/// A lease that a worker received.
#[derive(Clone, Debug)]
pub(crate) struct Leased {
    pub(crate) worker: String,
    pub(crate) job: String,
    pub(crate) token: u64,
    pub(crate) attempt: u32,
    pub(crate) payload: String,
}

/// A finish that a worker sent once.
#[derive(Clone, Debug)]
pub(crate) struct Finished {
    pub(crate) job: String,
    pub(crate) token: u64,
    pub(crate) ending: Ending,
    /// `None`: no answer came.
    pub(crate) answer: Option<v1::FinishOutcome>,
}

/// A cancel or retry that was acknowledged as done.
#[derive(Clone, Debug)]
pub(crate) struct Controlled {
    pub(crate) job: String,
    pub(crate) kind: v1::UpdateKind,
    pub(crate) sequence: u64,
}

/// What one reader saw, over all its reconnects.
#[derive(Clone, Debug, Default)]
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

impl History {
    /// Something was acknowledged now.
    pub(crate) fn note_ack(&mut self) {
        self.newest_ack_ms = Clock::system().now().wall.0;
    }
}

/// What arrived may not count: the caller treats its link as broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubtful;

/// How far the steady reader has seen the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sequence: u64,
    /// Jobs that have not ended.
    pub(crate) live: i64,
    /// Dead jobs that the operator is still to retry.
    pub(crate) to_mend: i64,
}

/// The history as the clients share it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    history: Arc<Mutex<History>>,
    tally: Arc<watch::Sender<Tally>>,
}

impl Recorder {
    pub(crate) fn new() -> Recorder {
        Recorder { history: Arc::default(), tally: Arc::new(watch::Sender::new(Tally::default())) }
    }

    /// Records what a client is about to do.
    pub(crate) fn intend<T>(&self, write: impl FnOnce(&mut History) -> T) -> T {
        write(&mut self.lock())
    }

    /// Records what a client received over a connection that it began at [`Recorder::cuts`], if it counts: what comes
    /// while the power is being cut, or over a connection from before, does not.
    pub(crate) fn receive<T>(&self, cuts: u64, write: impl FnOnce(&mut History) -> T) -> Result<T, Doubtful> {
        let mut history = self.lock();
        if history.cuts == cuts && cuts.is_multiple_of(2) { Ok(write(&mut history)) } else { Err(Doubtful) }
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.lock().cuts
    }

    /// The power begins to be cut, or is back.
    pub(crate) fn power_changes(&self) {
        self.lock().cuts += 1;
    }

    pub(crate) fn snapshot(&self) -> History {
        self.lock().clone()
    }

    pub(crate) fn look<T>(&self, read: impl FnOnce(&History) -> T) -> T {
        read(&self.lock())
    }

    pub(crate) fn tally(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Tally)) {
        self.tally.send_modify(change);
    }

    fn lock(&self) -> MutexGuard<'_, History> {
        self.history.lock().expect("no client panics while it records")
    }
}
