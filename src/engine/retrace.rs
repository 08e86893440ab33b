//! Jobs that only the work tree knows, read from the log itself while the disk has no space for the tree. One caller at
//! a time reads the log from where the job was submitted to its end: slow, and in the memory of a few frames. [MEM-1]

use crate::engine::Handle;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::log;
use crate::work::AppliedFrame;
use crate::work::Filter;
use crate::work::Page;
use crate::work::Record;
use crate::work::Trace;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

/// How much log one read brings.
const READ_BYTES: usize = 1_024 * 1_024;
/// How many callers wait for their turn, the one that reads included; others are told to come again.
const CALLERS_MAX: usize = 16;

/// Why the log could not stand in for the tree.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Too many wait for their turn.
    #[error("{CALLERS_MAX} callers read the log already")]
    Busy,
    /// The log could not be read, or was trimmed meanwhile.
    #[error(transparent)]
    Log(#[from] log::Error),
}

/// Whose turn it is.
#[derive(Debug, Default)]
pub(in crate::engine) struct Turns {
    one: Mutex<()>,
    callers: AtomicUsize,
}

impl Handle {
    /// One job by the log; `None` if there is none, or none any more. It may take as long as reading the log does.
    ///
    /// # Errors
    /// [`Error`].
    pub fn retrace(&self, id: JobId) -> Result<Option<Record>, Error> {
        let mut trace = Trace::of(id);
        self.feed(id, &mut trace)?;
        Ok(trace.found(self.history.floor().position))
    }

    /// Up to `limit` jobs after `after` by the log, in order of id; as [`crate::work::Query::list`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn retrace_list(&self, after: JobId, filter: &Filter, limit: usize) -> Result<Page, Error> {
        let mut trace = Trace::after(after, filter);
        let as_of = self.feed(after, &mut trace)?;
        Ok(trace.page(limit, self.history.floor().position, as_of))
    }

    /// Feeds everything that is there from the submission of `first` on; says up to where.
    fn feed(&self, first: JobId, trace: &mut Trace) -> Result<Position, Error> {
        let _caller = Caller::new(&self.turns.callers)?;
        let _turn = self.turns.one.lock().unwrap_or_else(PoisonError::into_inner);
        let (floor, end) = (self.history.floor().position, self.view.seen().position);
        let mut next = self.submitted_from(first, floor, end)?;
        if next == floor {
            self.history.seeds(floor, &mut |job| trace.seed(job))?;
        }
        while next <= end {
            let frames = self.history.read(next, READ_BYTES)?;
            for frame in frames.iter().take_while(|frame| frame.position <= end) {
                let events = frame.events().map_err(|error| damaged(frame, &error))?;
                let (position, time, first_sequence) = (frame.position, frame.time, frame.first_sequence);
                trace.take(&AppliedFrame { position, time, first_sequence, events: &events });
                next = position.next();
            }
        }
        Ok(end)
    }

    /// The first frame that can tell of `id` or a later job: ids begin with the log time of the frame that submits
    /// them, and log time never goes back.
    fn submitted_from(&self, id: JobId, floor: Position, end: Position) -> Result<Position, Error> {
        let (mut low, mut high) = (floor.0, end.0.saturating_add(1).max(floor.0));
        while low < high {
            let middle = low + (high - low) / 2;
            let frames = self.history.read(Position(middle), 0)?;
            if frames.first().is_some_and(|frame| frame.time < id.time()) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(Position(low))
    }
}

fn damaged(frame: &log::frame::Frame, error: &crate::codec::Error) -> log::Error {
    log::Error::Damaged {
        file: "the log".to_owned(),
        offset: 0,
        position: frame.position,
        sequence: frame.first_sequence,
        what: error.to_string(),
    }
}

/// One of the callers that are let in.
struct Caller<'a>(&'a AtomicUsize);

impl Caller<'_> {
    fn new(callers: &AtomicUsize) -> Result<Caller<'_>, Error> {
        let caller = Caller(callers);
        if callers.fetch_add(1, Ordering::Relaxed) >= CALLERS_MAX { Err(Error::Busy) } else { Ok(caller) }
    }
}

impl Drop for Caller<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
