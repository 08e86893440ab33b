//! The engine's state: everything `decide` reads, and a pure fold of the log. [LOG-3]
//!
//! ```text
//!   submit ──► waiting ──claim──► running ──complete──► succeeded
//!                │  ▲               │ │ └────cancel───► cancelled
//!                │  └─fail, release─┘ └─last failure──► dead ──retry (operator)──► waiting
//!                ├─────cancel──► cancelled                └──delete──► (forgotten)
//!                └─────expiry──► expired
//! ```
//!
//! Waiting, running and dead jobs are live: they are here. The others left with their terminal update, in one
//! step [JOB-2]; the log and the work tree know them. A waiting job is shown as scheduled or ready by the
//! reader's clock.

use crate::clock::Timestamp;
use crate::job::dedupe::KeySlot;
use crate::job::dedupe::Keys;
use crate::job::dedupe::Producers;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::intern::Interner;
use crate::job::intern::Ref;
use crate::job::queue::Queue;
use crate::job::queue::Queues;
use crate::job::spec::Policy;
use crate::job::table::Slot;
use crate::job::table::Table;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Where a job is in its life, as readers see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum JobState {
    /// It waits, ready or scheduled.
    Waiting,
    /// A worker holds its lease.
    Running,
    /// It completed.
    Succeeded,
    /// It failed for good and is kept.
    Dead,
    /// Someone cancelled it.
    Cancelled,
    /// It was not started in time.
    Expired,
}

impl JobState {
    /// Whether nothing but an operator's retry or delete can change it.
    #[must_use]
    pub const fn is_terminal(self) -> bool {
        match self {
            JobState::Waiting | JobState::Running => false,
            JobState::Succeeded | JobState::Dead | JobState::Cancelled | JobState::Expired => true,
        }
    }
}

/// Where a live job is in its life, with what belongs to that stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It may start at `due`.
    Waiting {
        /// Wall time; 0 is at once.
        due: Timestamp,
    },
    /// It is under a lease.
    Running {
        /// The lease. [LEASE-1]
        token: LeaseToken,
        /// Who holds it.
        worker: Ref<Arc<str>>,
    },
    /// It failed for good.
    Dead {
        /// Sequence of its `dead` update.
        sequence: Sequence,
    },
}

/// One live job: what decisions need. Everything else is in the log, at `submitted_at`.
///
/// A million of them wait in memory, so stage and pointer are taken apart to fill what alignment would leave empty, and
/// what few jobs have is elsewhere: see [`Rare`]. [MEM-1]
#[derive(Debug)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// The number that belongs to the stage: a due time, a token or a sequence.
    staged: u64,
    /// Sequence of its `submitted` update.
    pub submitted: Sequence,
    submitted_position: Position,
    rare: Option<Box<Rare>>,
    worker: Option<Ref<Arc<str>>>,
    submitted_index: u32,
    /// Length of its payload.
    pub payload_bytes: u32,
    /// Its queue.
    pub queue: QueueNo,
    /// Its policy, without the expiry; `None` is the default.
    pub policy: Option<Ref<Policy>>,
    /// The key it was submitted under, while it has not ended.
    pub key: Option<KeySlot>,
    /// Attempts started so far, over all generations.
    pub attempt: u32,
    kind: StageKind,
    /// Higher runs first.
    pub priority: i8,
}

#[derive(Clone, Copy, Debug)]
enum StageKind {
    Waiting,
    Running,
    Dead,
}

/// What a job has only if it expires, has failed, or was given a new life.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rare {
    /// It expires if it has not started by then; 0 is never.
    pub expires: Timestamp,
    /// Where the events of its failed attempts are.
    pub failures: Vec<Pointer>,
    /// Attempts of this generation that failed. [RETRY-1]
    pub failed: u16,
    /// Attempts of this generation that crashed. [RETRY-1]
    pub crashed: u16,
    /// Attempts of this generation that timed out, where time-outs have a budget of their own. [RETRY-1]
    pub timed_out: u16,
    /// Attempts of this generation that were lost. [RETRY-1]
    pub lost: u16,
    /// How often an operator gave it a new life.
    pub generation: u16,
}

/// What most jobs have of it.
static NOTHING_RARE: Rare = Rare {
    expires: Timestamp(0),
    failures: Vec::new(),
    failed: 0,
    crashed: 0,
    timed_out: 0,
    lost: 0,
    generation: 0,
};

impl Job {
    /// A job that waits, with the default policy and without a key.
    pub(in crate::job) fn waiting(
        id: JobId,
        due: Timestamp,
        (submitted, at): (Sequence, Pointer),
        queue: QueueNo,
        priority: i8,
        payload_bytes: u32,
    ) -> Job {
        Job {
            id,
            staged: due.0,
            submitted,
            submitted_position: at.position,
            rare: None,
            worker: None,
            submitted_index: at.index,
            payload_bytes,
            queue,
            policy: None,
            key: None,
            attempt: 0,
            kind: StageKind::Waiting,
            priority,
        }
    }

    /// Its stage.
    #[must_use]
    pub fn stage(&self) -> Stage {
        match (self.kind, self.worker) {
            (StageKind::Running, Some(worker)) => Stage::Running { token: LeaseToken(self.staged), worker },
            (StageKind::Dead, _) => Stage::Dead { sequence: Sequence(self.staged) },
            (StageKind::Waiting, _) => Stage::Waiting { due: Timestamp(self.staged) },
            (StageKind::Running, None) => unreachable!("a stage is set whole"),
        }
    }

    pub(in crate::job) fn set_stage(&mut self, stage: Stage) {
        (self.kind, self.staged, self.worker) = match stage {
            Stage::Waiting { due } => (StageKind::Waiting, due.0, None),
            Stage::Running { token, worker } => (StageKind::Running, token.0, Some(worker)),
            Stage::Dead { sequence } => (StageKind::Dead, sequence.0, None),
        };
    }

    /// Its state as readers see it.
    #[must_use]
    pub const fn state(&self) -> JobState {
        match self.kind {
            StageKind::Waiting => JobState::Waiting,
            StageKind::Running => JobState::Running,
            StageKind::Dead => JobState::Dead,
        }
    }

    /// Sequence of the newest of its updates that its stage tells of: a job that waits may have started and failed since.
    #[must_use]
    pub fn newest(&self) -> Sequence {
        match self.stage() {
            Stage::Waiting { .. } => self.submitted,
            Stage::Running { token, .. } => Sequence(token.0),
            Stage::Dead { sequence } => sequence,
        }
    }

    /// Where its `submitted` event, with the payload, is in the log.
    #[must_use]
    pub const fn submitted_at(&self) -> Pointer {
        Pointer { position: self.submitted_position, index: self.submitted_index }
    }

    /// What few jobs have.
    #[must_use]
    pub fn rare(&self) -> &Rare {
        self.rare.as_deref().unwrap_or(&NOTHING_RARE)
    }

    /// Changes what few jobs have. The job takes more memory only if it is one of them afterwards.
    pub(in crate::job) fn change_rare(&mut self, change: impl FnOnce(&mut Rare)) {
        let mut rare = self.rare.take().map_or_else(Rare::default, |rare| *rare);
        change(&mut rare);
        self.rare = (rare != NOTHING_RARE).then(|| Box::new(rare));
    }

    /// Pointers to the events that must be carried while the job lives: its submission and its failures, ascending.
    pub fn carried(&self) -> impl Iterator<Item = Pointer> {
        std::iter::once(self.submitted_at()).chain(self.rare().failures.iter().copied())
    }
}

/// A named cursor kept for a reader.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedCursor {
    /// Every update up to this one has been dealt with.
    pub sequence: Sequence,
    /// When it was committed, log time.
    pub committed: Timestamp,
}

/// The keyed batch whose `KeyTaken` was applied and whose `Submitted` events follow in the same frame.
#[derive(Clone, Copy, Debug)]
pub(in crate::job) struct OpenBatch {
    /// Its key.
    pub(in crate::job) key: KeySlot,
    /// The job that must be submitted next.
    pub(in crate::job) next: JobId,
    /// How many jobs are still to come, that one included.
    pub(in crate::job) left: u32,
}

/// The state as of one frame.
#[derive(Debug, Default)]
pub struct State {
    pub(in crate::job) jobs: Table,
    pub(in crate::job) queues: Queues,
    pub(in crate::job) policies: Interner<Policy>,
    pub(in crate::job) workers: Interner<Arc<str>>,
    pub(in crate::job) cursors: BTreeMap<Arc<str>, NamedCursor>,
    pub(in crate::job) keys: Keys,
    pub(in crate::job) producers: Producers,
    pub(in crate::job) sequence: Sequence,
    pub(in crate::job) position: Position,
    pub(in crate::job) time: Timestamp,
    pub(in crate::job) last_id: JobId,
    /// Not stored: batches end with their frame.
    pub(in crate::job) open_batch: Option<OpenBatch>,
}

impl State {
    /// The live jobs.
    #[must_use]
    pub fn jobs(&self) -> &Table {
        &self.jobs
    }

    /// The live job `id` and where it lies, looked for at `hint` first.
    #[must_use]
    pub fn find(&self, id: JobId, hint: Option<Slot>) -> Option<(Slot, &Job)> {
        let slot = self.jobs.find(id, hint)?;
        Some((slot, self.jobs.at(slot)))
    }

    /// The queues.
    #[must_use]
    pub fn queues(&self) -> &Queues {
        &self.queues
    }

    /// The queue of a live job.
    ///
    /// # Panics
    /// If the number is not one of this state's.
    #[must_use]
    pub fn queue(&self, queue: QueueNo) -> &Queue {
        self.queues.get(queue).expect("events and jobs name queues that were made before")
    }

    /// The name of a queue, for logs and answers.
    #[must_use]
    pub fn queue_name(&self, queue: QueueNo) -> QueueName {
        self.queue(queue).name.clone()
    }

    /// A live job's policy.
    #[must_use]
    pub fn policy(&self, job: &Job) -> Policy {
        let mut policy = job.policy.map(|policy| self.policies.get(policy).clone()).unwrap_or_default();
        let expires = job.rare().expires;
        policy.expires = (expires != Timestamp(0)).then_some(expires);
        policy
    }

    /// Who holds a running job; `None` if nobody does.
    #[must_use]
    pub fn worker(&self, job: &Job) -> Option<&Arc<str>> {
        match job.stage() {
            Stage::Running { worker, .. } => Some(self.workers.get(worker)),
            Stage::Waiting { .. } | Stage::Dead { .. } => None,
        }
    }

    /// The named cursors.
    #[must_use]
    pub fn cursors(&self) -> &BTreeMap<Arc<str>, NamedCursor> {
        &self.cursors
    }

    /// The remembered submit keys.
    #[must_use]
    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    /// The remembered producers.
    #[must_use]
    pub fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Sequence of the newest update.
    #[must_use]
    pub fn sequence(&self) -> Sequence {
        self.sequence
    }

    /// Position of the newest frame applied.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The newest job id ever given; later ones are above it, so that id order is log order.
    #[must_use]
    pub fn last_id(&self) -> JobId {
        self.last_id
    }

    /// Log time of the newest frame applied.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }
}

#[cfg(test)]
mod tests {
    use crate::job::state::Job;

    #[test]
    fn a_live_job_takes_at_most_80_bytes_of_slab() {
        let bytes = std::mem::size_of::<Option<Job>>();
        assert!(bytes <= 80, "{bytes} bytes");
    }
}
