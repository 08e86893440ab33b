//! The newest state of one job, as readers get it while the work tree cannot answer for it: live jobs that have been
//! started at least once, and every job touched above the work tree's position.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::Job;
use crate::job::state::JobState;
use crate::job::state::Stage;
use crate::job::state::State;
use std::sync::Arc;

/// A job as readers see it.
#[derive(Clone, Debug)]
pub struct JobView {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueNo,
    /// Its state.
    pub state: JobState,
    /// When it may start, while it waits; 0 is at once.
    pub due: Timestamp,
    /// Attempts started so far.
    pub attempt: u32,
    /// How often an operator gave it a new life.
    pub generation: u16,
    /// Higher runs first.
    pub priority: i8,
    /// Whether it was deleted: readers do not see it any more.
    pub deleted: bool,
    /// Sequence of its `submitted` update.
    pub submitted: Sequence,
    /// Where its `submitted` event is.
    pub submitted_at: Pointer,
    /// Sequence of its newest update.
    pub last: Sequence,
    /// Where its newest event is; of a finished job, its terminal one.
    pub last_at: Pointer,
    /// Log time of its newest update; 0 if that was before this start of the service.
    pub changed: Timestamp,
    /// Log time of its newest attempt's start; 0 if there was none, or before this start of the service.
    pub started: Timestamp,
    /// Who works on it.
    pub worker: Option<Arc<str>>,
    /// What it told of its progress last, in the running attempt.
    pub progress: Option<Box<Progress>>,
    /// Where the events of its failed attempts are.
    pub failures: Option<Box<Vec<Pointer>>>,
}

impl JobView {
    /// The view of a live job right after its event at `at`.
    #[must_use]
    pub fn of(state: &State, job: &Job, last: Sequence, at: Pointer, time: Timestamp) -> JobView {
        let mut view = JobView {
            id: job.id,
            queue: job.queue,
            state: JobState::Waiting,
            due: Timestamp(0),
            attempt: 0,
            generation: 0,
            priority: job.priority,
            deleted: false,
            submitted: job.submitted,
            submitted_at: job.submitted_at(),
            last,
            last_at: at,
            changed: time,
            started: Timestamp(0),
            worker: None,
            progress: None,
            failures: None,
        };
        view.change(state, job, last, at, time);
        view
    }

    /// What a further event of the live job, at `at`, makes of its view. When its attempt started is for the caller.
    pub fn change(&mut self, state: &State, job: &Job, last: Sequence, at: Pointer, time: Timestamp) {
        let rare = state.rare(job);
        self.state = job.state();
        self.due = if let Stage::Waiting { due } = job.stage() { due } else { Timestamp(0) };
        (self.attempt, self.generation) = (job.attempt, rare.generation);
        (self.last, self.last_at, self.changed) = (last, at, time);
        self.worker = state.worker(job).cloned();
        self.progress = None;
        self.failures = (!rare.failures.is_empty()).then(|| Box::new(rare.failures.clone()));
    }

    /// The view of a live job after a restart: its newest event is the newest the state points to.
    #[must_use]
    pub fn restored(state: &State, job: &Job) -> JobView {
        let at = state.rare(job).failures.last().copied().unwrap_or(job.submitted_at());
        JobView::of(state, job, job.newest(), at, Timestamp(0))
    }

    /// The view of the job `id` if it lives or is dead, as far as `state` knows: without its progress.
    #[must_use]
    pub fn live(state: &State, id: JobId) -> Option<Box<JobView>> {
        state.find(id, None).map(|(_, job)| Box::new(JobView::restored(state, job)))
    }

    /// The view of a job that was finished long before it was deleted.
    #[must_use]
    pub fn tombstone(id: JobId, queue: QueueNo, last: Sequence, at: Pointer, time: Timestamp) -> JobView {
        JobView {
            id,
            queue,
            state: JobState::Cancelled,
            due: Timestamp(0),
            attempt: 0,
            generation: 0,
            priority: 0,
            deleted: true,
            submitted: last,
            submitted_at: at,
            last,
            last_at: at,
            changed: time,
            started: Timestamp(0),
            worker: None,
            progress: None,
            failures: None,
        }
    }

    /// Whether the overlay must answer for the live job even when the work tree knows of its submission.
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.state != JobState::Waiting || self.attempt > 0 || self.generation > 0
    }

    /// Whether a work tree that holds everything up to `applied` says the same about the job.
    #[must_use]
    pub fn is_in_work_tree(&self, applied: Position) -> bool {
        let told = self.last_at.position <= applied;
        let finished = self.deleted || (self.state.is_terminal() && self.state != JobState::Dead);
        told && (finished || !self.is_changed())
    }

    /// What the terminal event of a job that left the live jobs makes of its view.
    pub fn finish(&mut self, event: &Event, last: Sequence, at: Pointer, time: Timestamp) {
        match event.finishes() {
            Some(state) => self.state = state,
            None => {
                debug_assert!(matches!(event, Event::Deleted { .. }), "no other event takes a job out");
                self.deleted = true;
            }
        }
        (self.last, self.last_at, self.changed) = (last, at, time);
        self.worker = None;
        self.progress = None;
    }
}
