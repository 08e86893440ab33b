//! One job's whole life: every update about it that the log, or the carry file, still holds.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::log::Error;
use crate::log::frame::Frame;
use crate::offline::DataDirectory;
use crate::offline::Faults;
use crate::offline::Kind;
use crate::offline::Names;
use crate::offline::Step;
use crate::offline::Tail;
use crate::offline::fold;
use memchr::memmem::Finder;
use std::collections::VecDeque;

/// How many updates of kind `progress` are kept: the newest ones. Of all others there are as many as attempts.
const PROGRESS_MAX: usize = 1_000;

/// One update of a job.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Where it is, or was, in the log.
    pub at: Pointer,
    /// Its sequence; `None` if its frame was trimmed and only the event was carried along.
    pub sequence: Option<Sequence>,
    /// Log time of its frame; `None` as with the sequence.
    pub time: Option<Timestamp>,
    /// The update.
    pub event: Event,
}

/// What is known of a job.
#[derive(Debug)]
pub struct Life {
    /// The job.
    pub id: JobId,
    /// Its updates, oldest first.
    pub moments: Vec<Moment>,
    /// Updates of kind `progress` before those kept.
    pub progress_left_out: u64,
    /// Its queue; `None` if nothing is known of the job.
    pub queue: Option<QueueName>,
    /// What was wrong with the directory.
    pub faults: Faults,
    /// Where the log ended.
    pub tail: Tail,
}

impl Life {
    /// Reads the life of the job `id`.
    ///
    /// # Errors
    /// An input/output error. Damage is in `faults`.
    pub fn of(directory: &DataDirectory, id: JobId) -> Result<Life, Error> {
        let mut life = Life {
            id,
            moments: Vec::new(),
            progress_left_out: 0,
            queue: None,
            faults: Faults::of(directory),
            tail: Tail::default(),
        };
        life.read_carried(directory)?;
        // An id stands in the log as its bytes, so a frame without them is not decoded.
        let bytes = id.to_bytes();
        let finder = Finder::new(&bytes);
        let mut progress = VecDeque::new();
        let mut walk = directory.walk();
        for step in &mut walk {
            let located = match step? {
                Step::Frame(located) => located,
                Step::Fault(fault) => {
                    life.faults.add(fault);
                    continue;
                }
            };
            if finder.find(&located.frame.body).is_none() {
                continue;
            }
            match located.frame.events() {
                Ok(events) => life.take(&located.frame, events, &mut progress),
                Err(error) => life.faults.add(fold::unreadable(directory, &located, &error.to_string())),
            }
        }
        life.moments.extend(progress);
        life.moments.sort_by_key(|moment| moment.at);
        life.tail = walk.tail().clone();
        if let Some((_, queue)) = life.moments.first().and_then(|moment| moment.event.job()) {
            life.queue = Some(Names::of(directory)?.get(directory, queue)?);
        }
        Ok(life)
    }

    fn take(&mut self, frame: &Frame, events: Vec<Event>, progress: &mut VecDeque<Moment>) {
        let mut sequence = frame.first_sequence;
        for (event, index) in events.into_iter().zip(0..) {
            let own = sequence;
            sequence = own.plus(u64::from(event.is_update()));
            if event.job().is_none_or(|(id, _)| id != self.id) {
                continue;
            }
            let at = Pointer { position: frame.position, index };
            let moment = Moment { at, sequence: Some(own), time: Some(frame.time), event };
            if !matches!(moment.event, Event::Progress { .. }) {
                self.moments.push(moment);
                continue;
            }
            progress.push_back(moment);
            if progress.len() > PROGRESS_MAX {
                progress.pop_front();
                self.progress_left_out += 1;
            }
        }
    }

    fn read_carried(&mut self, directory: &DataDirectory) -> Result<(), Error> {
        let Some(carried) = directory.carried() else { return Ok(()) };
        for at in carried.pointers() {
            let at = at?;
            match carried.event(at) {
                Ok(Some(event)) if event.job().is_some_and(|(id, _)| id == self.id) => {
                    self.moments.push(Moment { at, sequence: None, time: None, event });
                }
                Ok(_) => {}
                Err(Error::Damaged { what, offset, .. }) => {
                    let path = directory.files().carry_path(carried.floor().position);
                    let mut fault = directory.fault(Kind::Carry, &path, what);
                    (fault.offset, fault.position) = (offset, Some(at.position));
                    self.faults.add(fault);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
