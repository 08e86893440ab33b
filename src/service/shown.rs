//! A job as readers are shown it: its newest state, and what the log tells of its submission, failures and end.

use crate::clock::Timestamp;
use crate::engine::Handle;
use crate::engine::overlay::JobView;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::Progress;
use crate::job::event::Submitted;
use crate::job::event::Usage;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::spec::Payload;
use crate::job::state::JobState;
use crate::log;
use crate::service::Error;
use crate::service::lookup::Located;
use crate::work::Record;
use std::sync::Arc;

/// How many bytes of failures one job shows: the newest ones. A job may have failed 65,535 times. [MEM-1]
const FAILURE_BYTES_MAX: usize = 512 * 1_024;
/// What a failure weighs besides its texts.
const FAILURE_BYTES: usize = 64;

/// How much of a job is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service) enum Detail {
    /// Everything.
    Whole,
    /// No payload, no result, no failures.
    Listed,
}

/// A job as of some sequence.
#[derive(Clone, Debug)]
pub struct Shown {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its state.
    pub state: JobState,
    /// What was submitted; `None` if the log no longer tells of it.
    pub spec: Option<Submitted>,
    /// Length of its payload, also where that was left out.
    pub payload_bytes: u64,
    /// Attempts started so far.
    pub attempts: u32,
    /// How often an operator gave it a new life.
    pub generation: u16,
    /// When it may start, while it waits; 0 is at once.
    pub due: Option<Timestamp>,
    /// When its newest attempt started, as far as that is known.
    pub started: Option<Timestamp>,
    /// When it finished or died.
    pub finished: Option<Timestamp>,
    /// Sequence of its `submitted` update; `None` if the log no longer tells of it.
    pub submitted: Option<Sequence>,
    /// Sequence of its newest update.
    pub last: Sequence,
    /// Who works on it.
    pub worker: Option<Arc<str>>,
    /// What the running attempt told last.
    pub progress: Option<Box<Progress>>,
    /// Its failed attempts, oldest first.
    pub failures: Vec<Failed>,
    /// Its result; empty unless it succeeded.
    pub result: Payload,
    /// Length of its result, also where that was left out.
    pub result_bytes: u64,
    /// Media type of its result; may be empty.
    pub result_content_type: Arc<str>,
    /// What the attempt that completed it used.
    pub usage: Option<Usage>,
    /// Why it was cancelled, in the caller's words; may be empty.
    pub cancel_reason: Arc<str>,
}

/// A failed attempt.
#[derive(Clone, Debug)]
pub struct Failed {
    /// Which one, from 1.
    pub attempt: u32,
    /// When it ended; `None` where the log keeps only the event.
    pub time: Option<Timestamp>,
    /// How it failed.
    pub failure: Failure,
}

/// What is read of `located`; `None` if it was forgotten meanwhile. It reads the disk.
///
/// # Errors
/// [`Error::Log`].
pub(in crate::service) fn show(
    engine: &Handle,
    id: JobId,
    located: &Located,
    detail: Detail,
) -> Result<Option<Shown>, Error> {
    let reading = Reading { engine, detail };
    let state = located.state();
    let Some(queue) = engine.view().queue(located.queue()) else { return Ok(None) };
    let mut shown = Shown::new(id, queue.name, state);
    let (last_at, since) = match located {
        Located::Overlay(view) => reading.fill_of_view(&mut shown, view)?,
        Located::Tree(record) => reading.fill_of_record(&mut shown, record)?,
    };
    if let JobState::Succeeded | JobState::Cancelled | JobState::Expired = state {
        // It can be read as long as the log holds its terminal update, and not longer.
        let Some(end) = reading.event(last_at)? else { return Ok(None) };
        reading.end(&mut shown, end);
    }
    if state.is_terminal() {
        let known = (since != Timestamp(0)).then_some(since);
        shown.finished = known.map_or_else(|| reading.time_of(last_at.position), |known| Ok(Some(known)))?;
    }
    Ok(Some(shown))
}

impl Shown {
    fn new(id: JobId, queue: QueueName, state: JobState) -> Shown {
        Shown {
            id,
            queue,
            state,
            spec: None,
            payload_bytes: 0,
            attempts: 0,
            generation: 0,
            due: None,
            started: None,
            finished: None,
            submitted: None,
            last: Sequence(0),
            worker: None,
            progress: None,
            failures: Vec::new(),
            result: Payload::default(),
            result_bytes: 0,
            result_content_type: "".into(),
            usage: None,
            cancel_reason: "".into(),
        }
    }
}

struct Reading<'a> {
    engine: &'a Handle,
    detail: Detail,
}

impl Reading<'_> {
    /// Fills in what the overlay tells; gives where the newest event is and when it was.
    fn fill_of_view(&self, shown: &mut Shown, view: &JobView) -> Result<(Pointer, Timestamp), Error> {
        self.submission(shown, view.submitted_at)?;
        shown.attempts = view.attempt;
        shown.generation = view.generation;
        shown.due = (view.state == JobState::Waiting).then_some(view.due);
        shown.submitted = Some(view.submitted);
        shown.last = view.last;
        shown.worker.clone_from(&view.worker);
        shown.progress.clone_from(&view.progress);
        shown.started = (view.started != Timestamp(0)).then_some(view.started);
        if shown.started.is_none() && view.state == JobState::Running {
            // Restored after a restart: its newest update is its start.
            let position = self.engine.history().position_of(view.last);
            shown.started = match kept(position)? {
                Some(position) => self.time_of(position)?,
                None => None,
            };
        }
        if let (Detail::Whole, Some(failures)) = (self.detail, &view.failures) {
            shown.failures = self.failures(failures)?;
        }
        Ok((view.last_at, view.changed))
    }

    /// As [`Reading::fill_of_view`], of the work tree's record.
    fn fill_of_record(&self, shown: &mut Shown, record: &Record) -> Result<(Pointer, Timestamp), Error> {
        shown.payload_bytes = record.payload_bytes.into();
        if let Some(submitted) = record.submitted {
            self.submission(shown, submitted.at)?;
            shown.submitted = Some(submitted.sequence);
        }
        if shown.state == JobState::Waiting {
            shown.due = Some(shown.spec.as_ref().map_or(Timestamp(0), |spec| spec.due));
        }
        shown.attempts = record.attempts.into();
        shown.generation = record.generation;
        shown.last = record.last.sequence;
        Ok((record.last.at, record.since))
    }

    fn submission(&self, shown: &mut Shown, at: Pointer) -> Result<(), Error> {
        if let Some(Event::Submitted(mut submitted)) = self.event(at)? {
            shown.payload_bytes = submitted.payload.0.len() as u64;
            if self.detail == Detail::Listed {
                submitted.payload = Payload::default();
            } else {
                submitted.payload = submitted.payload.apart();
            }
            shown.spec = Some(submitted);
        }
        Ok(())
    }

    fn end(&self, shown: &mut Shown, end: Event) {
        if let Event::Succeeded { attempt, result, content_type, usage, .. } = end {
            shown.attempts = attempt;
            shown.result_bytes = result.0.len() as u64;
            shown.result_content_type = content_type;
            shown.usage = usage;
            if self.detail == Detail::Whole {
                shown.result = result;
            }
        } else if let Event::Cancelled { attempt, reason, .. } = end {
            shown.attempts = attempt;
            shown.cancel_reason = reason;
        }
    }

    /// The newest failures within the bound, oldest first. [DEAD-1]
    fn failures(&self, at: &[Pointer]) -> Result<Vec<Failed>, Error> {
        let mut failures = Vec::new();
        let mut bytes = 0;
        for pointer in at.iter().rev() {
            let Some(Event::Retrying { attempt, failure, .. } | Event::Dead { attempt, failure, .. }) =
                self.event(*pointer)?
            else {
                continue;
            };
            let stderr = failure.process.as_ref().map_or(0, |process| process.stderr.len());
            bytes += FAILURE_BYTES + failure.message.len() + stderr;
            if bytes > FAILURE_BYTES_MAX {
                break;
            }
            failures.push(Failed { attempt, time: self.time_of(pointer.position)?, failure });
        }
        failures.reverse();
        Ok(failures)
    }

    /// The event at `at`, from memory or from the log; `None` if it is no longer kept.
    fn event(&self, at: Pointer) -> Result<Option<Event>, Error> {
        match self.engine.view().frame_of(at) {
            Some(frame) => Ok(frame.events.get(at.index as usize).cloned()),
            None => kept(self.engine.history().event(at)),
        }
    }

    /// Log time of a frame; `None` if it is no longer kept.
    fn time_of(&self, position: Position) -> Result<Option<Timestamp>, Error> {
        match self.engine.view().frame_of(Pointer { position, index: 0 }) {
            Some(frame) => Ok(Some(frame.time)),
            None => {
                let frames = kept(self.engine.history().read(position, 0))?;
                Ok(frames.and_then(|frames| frames.first().map(|frame| frame.time)))
            }
        }
    }
}

/// What the log lets go of is not an error: the reader is shown what is left.
fn kept<T>(read: Result<T, log::Error>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(log::Error::BelowFloor { .. } | log::Error::Forgotten { .. }) => Ok(None),
        Err(error) => Err(Error::Log(error)),
    }
}
