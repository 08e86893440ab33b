//! What must have happened to a job for its next readable update to fit: the attempts, failures and retries that are lost
//! are written again as far as later updates imply them, so that the new log is whole. Each says in its reason that it
//! was not read.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::state::Job;
use crate::job::state::JobState;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::log::Error;
use crate::offline::salvage::copy::Copy;
use crate::offline::salvage::copy::Written;
use std::sync::Arc;

/// What stands in place of words that are lost.
pub(in crate::offline) const LOST: &str = "lost; written by salvage";

/// More attempts than this are not written anew: no budgets allow as many, so what asks for them is not to be believed.
const ATTEMPTS_MAX: u32 = 1 << 18;

/// Where a job stands, as far as its next update needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Need {
    /// Waiting after so many attempts.
    Waiting(u32),
    /// In this attempt.
    Running(u32),
    /// Dead in this generation.
    Dead(u16),
    /// Not live.
    Gone,
    /// Anything.
    Nothing,
}

/// What a checkpoint says of a live job.
#[derive(Clone, Debug)]
pub(in crate::offline) struct Known {
    pub(in crate::offline) state: JobState,
    pub(in crate::offline) due: Timestamp,
    pub(in crate::offline) worker: Arc<str>,
    pub(in crate::offline) attempt: u32,
    pub(in crate::offline) generation: u16,
    /// Failed, crashed, timed out, lost.
    pub(in crate::offline) budgets: [u16; 4],
}

const KINDS: [FailureKind; 4] =
    [FailureKind::Failed, FailureKind::Crashed, FailureKind::TimedOut, FailureKind::Lost];

impl Known {
    /// What `state` says of `job`.
    pub(in crate::offline) fn of(state: &State, job: &Job) -> Known {
        let rare = state.rare(job);
        Known {
            state: job.state(),
            due: match job.stage() {
                Stage::Waiting { due } => due,
                Stage::Running { .. } | Stage::Dead { .. } => Timestamp(0),
            },
            worker: state.worker(job).cloned().unwrap_or_else(|| LOST.into()),
            attempt: job.attempt,
            generation: rare.generation,
            budgets: [rare.failed, rare.crashed, rare.timed_out, rare.lost],
        }
    }
}

/// One live job of the new log.
struct Bridge<'a> {
    copy: &'a mut Copy,
    id: JobId,
    queue: QueueNo,
}

/// Writes what must have happened to a live job before `event`. Says how many updates were written.
pub(in crate::offline) fn before(copy: &mut Copy, event: &Event) -> Result<u64, Error> {
    let Some((id, queue)) = event.job() else { return Ok(0) };
    let Some(job) = copy.state().find(id, None).map(|(_, job)| Known::of(copy.state(), job)) else {
        return Ok(0);
    };
    let need = match event {
        Event::Started { attempt, .. } => Need::Waiting(attempt.saturating_sub(1)),
        Event::Progress { .. } if job.state == JobState::Running => Need::Nothing,
        Event::Progress { .. } => Need::Running(job.attempt + 1),
        Event::Retrying { attempt, .. }
        | Event::Released { attempt, .. }
        | Event::Succeeded { attempt, .. }
        | Event::Dead { attempt, .. } => Need::Running(*attempt),
        Event::Cancelled { attempt, .. } if job.attempt == *attempt && job.state == JobState::Running => {
            Need::Nothing
        }
        Event::Cancelled { attempt, .. } => Need::Waiting(*attempt),
        Event::Expired { .. } => Need::Waiting(job.attempt),
        Event::Retried { generation, .. } => Need::Dead(generation.saturating_sub(1)),
        Event::Deleted { .. } if job.state == JobState::Dead => Need::Nothing,
        Event::Deleted { .. } => Need::Gone,
        Event::Submitted(_)
        | Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => Need::Nothing,
    };
    let from = copy.state().sequence().0;
    let mut bridge = Bridge { copy, id, queue };
    match need {
        Need::Waiting(attempt) => bridge.waiting(attempt)?,
        Need::Running(attempt) => bridge.running(attempt, LOST.into())?,
        Need::Dead(generation) => bridge.dead(generation)?,
        Need::Gone => bridge.gone()?,
        Need::Nothing => {}
    }
    Ok(copy.state().sequence().0 - from)
}

/// Brings a live job to what a checkpoint says of it.
pub(in crate::offline) fn settle(
    copy: &mut Copy,
    id: JobId,
    queue: QueueNo,
    to: &Known,
) -> Result<(), Error> {
    let mut bridge = Bridge { copy, id, queue };
    bridge.generation(to.generation)?;
    // The failures that are missing use up the attempts that are missing, so that no job gets more than its budgets.
    let reserved = u32::from(to.state != JobState::Waiting);
    while let Some(job) = bridge.job()
        && (job.attempt + reserved < to.attempt || job.state == JobState::Running && job.attempt < to.attempt)
    {
        let written = match job.state {
            JobState::Running => bridge.end_attempt(to, Timestamp(0))?,
            JobState::Waiting => bridge.start(job.attempt + 1, LOST.into())?,
            JobState::Dead | JobState::Succeeded | JobState::Cancelled | JobState::Expired => Written::No,
        };
        if written == Written::No {
            break;
        }
    }
    let Some(job) = bridge.job() else { return Ok(()) };
    match to.state {
        JobState::Running => bridge.running(to.attempt, to.worker.clone()),
        JobState::Dead if job.state != JobState::Dead => {
            bridge.running(to.attempt, LOST.into())?;
            bridge.die()
        }
        JobState::Waiting if job.state == JobState::Running => bridge.end_attempt(to, to.due).map(|_| ()),
        JobState::Waiting
        | JobState::Dead
        | JobState::Succeeded
        | JobState::Cancelled
        | JobState::Expired => Ok(()),
    }
}

/// Takes a live job out of the new log: how it ended is not known, or its payload is lost.
pub(in crate::offline) fn end(copy: &mut Copy, id: JobId, queue: QueueNo) -> Result<(), Error> {
    Bridge { copy, id, queue }.gone()
}

impl Bridge<'_> {
    fn job(&self) -> Option<Known> {
        let state = self.copy.state();
        state.find(self.id, None).map(|(_, job)| Known::of(state, job))
    }

    /// Gives the job new lives up to this generation.
    fn generation(&mut self, generation: u16) -> Result<(), Error> {
        while let Some(job) = self.job()
            && job.generation < generation
        {
            self.dead(job.generation)?;
            let next = job.generation + 1;
            let retried = Event::Retried { id: self.id, queue: self.queue, generation: next };
            if self.copy.add(&retried)? == Written::No {
                break;
            }
        }
        Ok(())
    }

    fn waiting(&mut self, attempt: u32) -> Result<(), Error> {
        self.alive()?;
        if self.job().is_some_and(|job| attempt.saturating_sub(job.attempt) > ATTEMPTS_MAX) {
            return Ok(());
        }
        while let Some(job) = self.job() {
            let written = match job.state {
                JobState::Running if job.attempt <= attempt => self.release(job.attempt, Timestamp(0))?,
                JobState::Waiting if job.attempt < attempt => self.start(job.attempt + 1, LOST.into())?,
                JobState::Waiting
                | JobState::Running
                | JobState::Dead
                | JobState::Succeeded
                | JobState::Cancelled
                | JobState::Expired => Written::No,
            };
            // What is told of the job does not fit it, as an event that names another queue: it is left as it is.
            if written == Written::No {
                break;
            }
        }
        Ok(())
    }

    fn running(&mut self, attempt: u32, worker: Arc<str>) -> Result<(), Error> {
        if self.job().is_some_and(|job| job.state == JobState::Running && job.attempt == attempt) {
            return Ok(());
        }
        self.waiting(attempt.saturating_sub(1))?;
        self.start(attempt, worker).map(|_| ())
    }

    fn dead(&mut self, generation: u16) -> Result<(), Error> {
        self.generation(generation)?;
        let Some(job) = self.job() else { return Ok(()) };
        match job.state {
            JobState::Dead => return Ok(()),
            JobState::Running => {}
            JobState::Waiting | JobState::Succeeded | JobState::Cancelled | JobState::Expired => {
                self.start(job.attempt + 1, LOST.into())?;
            }
        }
        self.die()
    }

    /// A dead job of which more is told must have been given a new life.
    fn alive(&mut self) -> Result<(), Error> {
        match self.job() {
            Some(job) if job.state == JobState::Dead => self.generation(job.generation + 1),
            _ => Ok(()),
        }
    }

    fn gone(&mut self) -> Result<(), Error> {
        let (id, queue) = (self.id, self.queue);
        let Some(job) = self.job() else { return Ok(()) };
        let event = match job.state {
            JobState::Dead => Event::Deleted { id, queue },
            JobState::Waiting
            | JobState::Running
            | JobState::Succeeded
            | JobState::Cancelled
            | JobState::Expired => Event::Cancelled { id, queue, attempt: job.attempt, reason: LOST.into() },
        };
        self.copy.add(&event).map(|_| ())
    }

    fn start(&mut self, attempt: u32, worker: Arc<str>) -> Result<Written, Error> {
        self.copy.add(&Event::Started { id: self.id, queue: self.queue, attempt, worker })
    }

    fn release(&mut self, attempt: u32, due: Timestamp) -> Result<Written, Error> {
        let reason = LOST.into();
        self.copy.add(&Event::Released { id: self.id, queue: self.queue, attempt, due, reason })
    }

    fn die(&mut self) -> Result<(), Error> {
        let Some(job) = self.job() else { return Ok(()) };
        let failure = lost(FailureKind::Lost);
        let event = Event::Dead { id: self.id, queue: self.queue, attempt: job.attempt, failure };
        self.copy.add(&event).map(|_| ())
    }

    /// Ends the attempt as the budgets of the checkpoint say: it failed, or was handed back.
    fn end_attempt(&mut self, to: &Known, due: Timestamp) -> Result<Written, Error> {
        let Some(job) = self.job() else { return Ok(Written::No) };
        let missing = (0..KINDS.len()).find(|kind| job.budgets[*kind] < to.budgets[*kind]);
        let Some(kind) = missing else { return self.release(job.attempt, due) };
        let (id, queue, attempt, failure) = (self.id, self.queue, job.attempt, lost(KINDS[kind]));
        self.copy.add(&Event::Retrying { id, queue, attempt, failure, due })
    }
}

fn lost(kind: FailureKind) -> Failure {
    Failure { kind, message: LOST.into(), process: None }
}
