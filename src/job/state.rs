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
use crate::job::extra::Extra;
use crate::job::extra::Extras;
use crate::job::extra::Rare;
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
/// A million of them wait in memory, so it is 64 bytes, a line of the CPU's caches: stage and pointer are taken apart to
/// fill what alignment would leave empty, and what few jobs have is elsewhere. [MEM-1]
#[derive(Debug)]
pub struct Job {
    /// Its identity.
    pub id: JobId,
    /// The number that belongs to the stage: a due time, a token or a sequence.
    staged: u64,
    /// Sequence of its `submitted` update.
    pub submitted: Sequence,
    /// The position of its `submitted` event, its lowest bits first.
    submitted_position: [u16; 3],
    submitted_index: u32,
    worker: Option<Ref<Arc<str>>>,
    /// Where [`State::extra`] finds what few jobs have.
    extra: Option<Ref<Extra>>,
    /// Length of its payload.
    pub payload_bytes: u32,
    /// Its queue.
    pub queue: QueueNo,
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

impl Job {
    /// The newest frame that a job can have been submitted in: ten thousand frames a second reach it in 890 years.
    pub const POSITION_MAX: Position = Position((1 << 48) - 1);

    /// A job that waits, with the default policy and without a key. It was submitted up to [`Job::POSITION_MAX`].
    pub(in crate::job) fn waiting(
        id: JobId,
        due: Timestamp,
        (submitted, at): (Sequence, Pointer),
        queue: QueueNo,
        priority: i8,
        payload_bytes: u32,
    ) -> Job {
        debug_assert!(at.position <= Job::POSITION_MAX, "checked before");
        Job {
            id,
            staged: due.0,
            submitted,
            submitted_position: [0, 16, 32].map(|shift| (at.position.0 >> shift) as u16),
            submitted_index: at.index,
            worker: None,
            extra: None,
            payload_bytes,
            queue,
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
        let [low, middle, high] = self.submitted_position;
        let position = low as u64 | (middle as u64) << 16 | (high as u64) << 32;
        Pointer { position: Position(position), index: self.submitted_index }
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
    pub(in crate::job) extras: Extras,
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

    /// What few live jobs have.
    fn extra(&self, job: &Job) -> &Extra {
        self.extras.get(job.extra)
    }

    /// What a live job has if it expires, has failed, or was given a new life.
    #[must_use]
    pub fn rare(&self, job: &Job) -> &Rare {
        self.extra(job).rare()
    }

    /// The key a live job was submitted under, while it has not ended.
    #[must_use]
    pub fn key(&self, job: &Job) -> Option<KeySlot> {
        self.extra(job).key
    }

    /// The policy a live job was submitted with, without the expiry; `None` is the default.
    #[must_use]
    pub fn own_policy(&self, job: &Job) -> Option<&Policy> {
        self.extra(job).policy.map(|policy| self.policies.get(policy))
    }

    /// A live job's policy.
    #[must_use]
    pub fn policy(&self, job: &Job) -> Policy {
        let mut policy = self.own_policy(job).cloned().unwrap_or_default();
        let expires = self.rare(job).expires;
        policy.expires = (expires != Timestamp(0)).then_some(expires);
        policy
    }

    /// Pointers to the events that must be carried while the job lives: its submission and its failures, ascending.
    pub fn carried(&self, job: &Job) -> impl Iterator<Item = Pointer> {
        std::iter::once(job.submitted_at()).chain(self.rare(job).failures.iter().copied())
    }

    pub(in crate::job) fn change_extra(&mut self, slot: Slot, change: impl FnOnce(&mut Extra)) {
        let job = self.jobs.at_mut(slot);
        job.extra = self.extras.change(job.extra, change);
    }

    /// Takes a job out of the live jobs, with what few have.
    pub(in crate::job) fn remove(&mut self, slot: Slot) -> (Job, Extra) {
        let job = self.jobs.remove(slot);
        let extra = self.extras.take(job.extra);
        (job, extra)
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
    use crate::clock::Timestamp;
    use crate::job::id::JobId;
    use crate::job::id::Pointer;
    use crate::job::id::Position;
    use crate::job::id::QueueNo;
    use crate::job::id::Sequence;
    use crate::job::state::Job;

    #[test]
    fn a_live_job_takes_64_bytes_of_the_table() {
        assert_eq!(size_of::<Option<Job>>(), 64);
    }

    #[test]
    fn a_job_knows_where_it_was_submitted_however_long_the_log_is() {
        for position in [0, 1, u64::from(u32::MAX), 1 << 32, Job::POSITION_MAX.0] {
            let at = Pointer { position: Position(position), index: u32::MAX };
            let job = Job::waiting(JobId::MAX, Timestamp(0), (Sequence(1), at), QueueNo(0), 0, 0);
            assert_eq!(job.submitted_at(), at);
        }
    }
}
