//! Every job that the log still tells of, with payload, result and failures: those that have ended in the order of their
//! end, then the live ones in the order of their submission.
//!
//! Memory is for live jobs and for recently read frames: a job's payload is read again when the job ends. So a job that
//! was deleted after its end is told of like any other.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::Submitted;
use crate::job::event::Usage;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Payload;
use crate::job::state::Job;
use crate::job::state::JobState;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::job::table::Slot;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::Faults;
use crate::offline::Fold;
use crate::offline::Names;
use crate::offline::Step;
use crate::offline::Tail;
use crate::offline::Until;
use crate::offline::events::Events;
use crate::offline::fold;
use crate::offline::fold::Told;
use std::sync::Arc;

/// A job as the log tells of it.
#[derive(Clone, Debug)]
pub struct Exported {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its state at the end of the log; for a job that was deleted, before that.
    pub state: JobState,
    /// What was submitted; `None` if the log no longer tells of it.
    pub spec: Option<Submitted>,
    /// Attempts started.
    pub attempts: u32,
    /// How often an operator gave it a new life.
    pub generation: u16,
    /// When it may start, while it waits; 0 is at once.
    pub due: Option<Timestamp>,
    /// When its newest attempt started, as far as the log tells.
    pub started: Option<Timestamp>,
    /// When it finished or died, as far as the log tells.
    pub finished: Option<Timestamp>,
    /// Sequence of its `submitted` update, as far as known.
    pub submitted: Option<Sequence>,
    /// Sequence of its newest update, as far as known.
    pub last: Sequence,
    /// Who works on it.
    pub worker: Option<Arc<str>>,
    /// Its failed attempts, oldest first: number, time as far as known, how.
    pub failures: Vec<(u32, Option<Timestamp>, Failure)>,
    /// Its result; empty unless it succeeded.
    pub result: Payload,
    /// Media type of its result; may be empty.
    pub result_content_type: Arc<str>,
    /// What the attempt that completed it used.
    pub usage: Option<Usage>,
    /// Why it was cancelled; may be empty.
    pub cancel_reason: Arc<str>,
}

/// Which jobs are wanted; empty lists want all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Of these queues.
    pub queues: Vec<QueueName>,
    /// In these states.
    pub states: Vec<JobState>,
}

/// Whether more jobs are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Go {
    /// They are.
    On,
    /// They are not.
    Stop,
}

/// What was wrong while jobs were read, and where the log ended.
#[derive(Debug)]
pub struct Ended {
    /// What was wrong, in the order of the log.
    pub faults: Faults,
    /// Where the log ended.
    pub tail: Tail,
}

/// Gives every wanted job of `directory` to `take`.
///
/// # Errors
/// An input/output error. Damage is in what is returned.
pub fn jobs(
    directory: &DataDirectory,
    filter: &Filter,
    take: &mut dyn FnMut(Exported) -> Go,
) -> Result<Ended, Error> {
    let mut faults = Faults::of(directory);
    let mut fold = Fold::oldest(directory)?;
    let mut exporting = Exporting {
        directory,
        filter,
        names: Names::of(directory)?,
        events: Events::default(),
        started: Vec::new(),
        last: Vec::new(),
        base: Position(0),
        stopped: Ok(Go::On),
        take,
    };
    let mut walk = directory.walk();
    for step in &mut walk {
        let located = match step? {
            Step::Frame(located) => located,
            Step::Fault(fault) => {
                faults.add(fault);
                continue;
            }
        };
        let events = match located.frame.events() {
            Ok(events) => Arc::new(events),
            Err(error) => {
                faults.add(fold::unreadable(directory, &located, &error.to_string()));
                continue;
            }
        };
        exporting.events.note(&located, &events);
        fold.watched(
            directory,
            &located,
            &events,
            Until::End,
            &mut |fault| faults.add(fault),
            &mut |told| {
                exporting.see(told);
            },
        )?;
        match exporting.stopped {
            Ok(Go::On) => {}
            Ok(Go::Stop) => return Ok(Ended { faults, tail: walk.tail().clone() }),
            Err(error) => return Err(error),
        }
    }
    exporting.live(fold.state())?;
    Ok(Ended { faults, tail: walk.tail().clone() })
}

struct Exporting<'a> {
    directory: &'a DataDirectory,
    filter: &'a Filter,
    names: Names,
    events: Events,
    /// By slot: when the newest attempt of a live job started; 0 is not known.
    started: Vec<Timestamp>,
    /// By slot: the newest update of a live job; one before its submission is of another job that was there.
    last: Vec<Sequence>,
    base: Position,
    stopped: Result<Go, Error>,
    take: &'a mut dyn FnMut(Exported) -> Go,
}

impl Exporting<'_> {
    /// Looks at an event before it is applied.
    fn see(&mut self, told: &Told<'_>) {
        self.names.see(told.event);
        if told.base != self.base {
            self.base = told.base;
            self.started.clear();
            self.last.clear();
        }
        if !matches!(self.stopped, Ok(Go::On)) {
            return;
        }
        let Some((id, queue)) = told.event.job() else { return };
        let found = told.state.find(id, None);
        if let Some((slot, _)) = found {
            set(&mut self.last, slot, told.sequence);
            if let Event::Started { .. } = told.event {
                set(&mut self.started, slot, told.time);
            }
        } else if !told.torn {
            // It cannot have ended twice: `verify` names it.
            return;
        }
        let Some(state) = end_of(told.event, found.is_some()) else { return };
        self.stopped = self.ended(told, id, queue, state, found);
    }

    fn ended(
        &mut self,
        told: &Told<'_>,
        id: JobId,
        queue: QueueNo,
        state: JobState,
        found: Option<(Slot, &Job)>,
    ) -> Result<Go, Error> {
        let Some(mut job) = self.begin(id, queue, state)? else { return Ok(Go::On) };
        if let Some((slot, live)) = found {
            self.fill(&mut job, told.state, slot, live)?;
        }
        // A deletion tells nothing of how the job ended: what it died of is known already.
        if !matches!(told.event, Event::Deleted { .. }) {
            (job.finished, job.last) = (Some(told.time), told.sequence);
        }
        if let Event::Succeeded { attempt, result, content_type, usage, .. } = told.event {
            job.attempts = *attempt;
            (job.result, job.result_content_type) = (result.clone(), content_type.clone());
            job.usage = *usage;
        } else if let Event::Cancelled { attempt, reason, .. } = told.event {
            (job.attempts, job.cancel_reason) = (*attempt, reason.clone());
        }
        (job.due, job.worker) = (None, None);
        Ok((self.take)(job))
    }

    /// The jobs that live at the end.
    fn live(&mut self, state: &State) -> Result<(), Error> {
        for (slot, live) in state.jobs().in_id_order() {
            let Some(mut job) = self.begin(live.id, live.queue, live.state())? else { continue };
            self.fill(&mut job, state, slot, live)?;
            job.worker = state.worker(live).cloned();
            if (self.take)(job) == Go::Stop {
                break;
            }
        }
        Ok(())
    }

    /// A job of which nothing else is known yet; `None` if it is not wanted.
    fn begin(&mut self, id: JobId, queue: QueueNo, state: JobState) -> Result<Option<Exported>, Error> {
        let Filter { queues, states } = self.filter;
        let queue = self.names.get(self.directory, queue)?;
        let wanted =
            (queues.is_empty() || queues.contains(&queue)) && (states.is_empty() || states.contains(&state));
        Ok(wanted.then(|| Exported {
            id,
            queue,
            state,
            spec: None,
            attempts: 0,
            generation: 0,
            due: None,
            started: None,
            finished: None,
            submitted: None,
            last: Sequence(0),
            worker: None,
            failures: Vec::new(),
            result: Payload::default(),
            result_content_type: "".into(),
            usage: None,
            cancel_reason: "".into(),
        }))
    }

    fn fill(&mut self, job: &mut Exported, state: &State, slot: Slot, live: &Job) -> Result<(), Error> {
        job.attempts = live.attempt;
        job.generation = state.rare(live).generation;
        job.submitted = Some(live.submitted);
        let started = self.started.get(slot.index()).copied().unwrap_or_default();
        job.started = (live.attempt > 0 && started != Timestamp(0)).then_some(started);
        let last = self.last.get(slot.index()).copied().unwrap_or_default();
        if let Stage::Waiting { due } = live.stage() {
            job.due = Some(due);
        }
        job.last = last.max(live.newest());
        if let Some((Event::Submitted(submitted), _)) =
            self.events.get(self.directory, live.submitted_at())?
        {
            job.spec = Some(submitted);
        }
        for at in state.carried(live).skip(1) {
            let Some((event, time)) = self.events.get(self.directory, at)? else { continue };
            if let Event::Dead { .. } = event {
                job.finished = time;
            }
            if let Event::Retrying { attempt, failure, .. } | Event::Dead { attempt, failure, .. } = event {
                job.failures.push((attempt, time, failure));
            }
        }
        if !matches!(live.stage(), Stage::Dead { .. }) {
            job.finished = None;
        }
        Ok(())
    }
}

fn set<T: Copy + Default>(values: &mut Vec<T>, slot: Slot, value: T) {
    if values.len() <= slot.index() {
        values.resize(slot.index() + 1, T::default());
    }
    values[slot.index()] = value;
}

/// The state in which a job leaves with this event; `None` if it stays, or left before.
fn end_of(event: &Event, is_live: bool) -> Option<JobState> {
    let buried = matches!(event, Event::Deleted { .. }) && is_live;
    event.finishes().or(buried.then_some(JobState::Dead))
}
