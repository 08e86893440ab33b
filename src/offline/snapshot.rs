//! A data directory as it was when it was looked at, for a server that only reads: its log up to the first damage, or to its
//! end, behind the face that the service reads logs through. Files that a live server lets go of stay readable, because
//! they are held open, as far as [`DataDirectory`] holds them.

use crate::clock::Clock;
use crate::engine::history::History;
use crate::engine::seeds;
use crate::engine::spectator::DamagedEnd;
use crate::engine::spectator::Scene;
use crate::engine::view::Seen;
use crate::job::event::Event;
use crate::job::id::Epoch;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::directory::read_only::Carried;
use crate::log::frame::Frame;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Until;
use crate::work;
use crate::work::Place;
use crate::work::WorkTree;
use std::path::Path;
use std::sync::Arc;

/// One place is remembered about every so many bytes of log.
const STRIDE_BYTES: u64 = 256 * 1024;

/// Why a directory cannot be shown.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Refused {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] Error),
    /// What a work tree, also one that is never opened, needs to know of the machine.
    #[error(transparent)]
    Boot(#[from] work::Error),
}

/// A frame that was passed, and where it is.
#[derive(Clone, Copy, Debug)]
struct Passed {
    position: Position,
    sequence: Sequence,
    segment: u64,
    offset: u64,
}

/// A log as of one moment.
#[derive(Debug)]
pub struct Snapshot {
    directory: DataDirectory,
    store: StoreId,
    floor: Floor,
    end: Position,
    /// Ascending.
    passed: Vec<Passed>,
}

impl Snapshot {
    /// What is in the directory at `path` now, up to the first damage. It reads the whole log once, and writes nothing.
    ///
    /// # Errors
    /// [`Refused`]: there is no data directory, it cannot be read, or nothing of it.
    pub fn scene(path: &Path, clock: Clock) -> Result<Scene, Refused> {
        let directory = DataDirectory::open(path)?;
        let Some(store) = directory.store_id() else {
            return Err(damaged(path, "every file that says which store it is, is damaged").into());
        };
        let Whole { passed, last, fault } = Whole::of(&directory)?;
        let end = last.as_ref().map_or(Position(0), |last| last.frame.position);
        let begins = Floor { position: Position(1), sequence: Sequence(1) };
        let first = passed.first().map(|first| Floor { position: first.position, sequence: first.sequence });
        let floor = directory.floor().or(first).unwrap_or(begins);
        let as_of = AsOf::of(&directory, Until::Position(end))?;
        let seen = Seen {
            position: end,
            sequence: as_of.state.sequence(),
            time: as_of.state.time(),
            epoch: last.map_or(Epoch(0), |last| last.frame.epoch),
        };
        let damaged = fault.map(|fault| ended(seen, &fault));
        let place = Place { dir: path.join("work"), store, boot: work::boot_id()? };
        Ok(Scene {
            history: Arc::new(Snapshot { directory, store, floor, end, passed }),
            state: as_of.state,
            seen,
            damaged,
            tree: WorkTree::new(place, work::Options::default()),
            clock,
        })
    }

    /// Frames from `from` on, until `take` has enough.
    fn each(&self, from: Position, take: &mut dyn FnMut(Frame) -> bool) -> Result<(), Error> {
        let after = self.passed.partition_point(|passed| passed.position <= from);
        let Some(near) = after.checked_sub(1).map(|before| self.passed[before]) else { return Ok(()) };
        let mut walk = self.directory.walk();
        walk.begin_at(near.segment, near.offset);
        for step in walk {
            let Step::Frame(located) = step? else { continue };
            if located.frame.position > self.end {
                break;
            }
            if located.frame.position >= from && !take(located.frame) {
                break;
            }
        }
        Ok(())
    }

    fn below_floor(&self, wanted: Position) -> Error {
        Error::BelowFloor { wanted, floor: self.floor.position }
    }
}

impl History for Snapshot {
    fn store_id(&self) -> StoreId {
        self.store
    }

    fn floor(&self) -> Floor {
        self.floor
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error> {
        if from < self.floor.position {
            return Err(self.below_floor(from));
        }
        let (mut frames, mut bytes) = (Vec::new(), 0);
        self.each(from, &mut |frame| {
            bytes += frame.body.len();
            frames.push(frame);
            bytes < bytes_max
        })?;
        Ok(frames)
    }

    fn position_of(&self, sequence: Sequence) -> Result<Position, Error> {
        if sequence < self.floor.sequence {
            return Err(self.below_floor(Position(self.floor.position.0.saturating_sub(1))));
        }
        let after = self.passed.partition_point(|passed| passed.sequence <= sequence);
        let from = after.checked_sub(1).map_or(self.floor.position, |before| self.passed[before].position);
        let mut found = self.end.next();
        self.each(from, &mut |frame| {
            let holds = frame.next_sequence() > sequence;
            if holds {
                found = frame.position;
            }
            !holds
        })?;
        Ok(found)
    }

    fn event(&self, at: Pointer) -> Result<Event, Error> {
        let forgotten = Error::Forgotten { at };
        if at.position > self.end {
            return Err(forgotten);
        }
        if at.position < self.floor.position {
            let carried = self.directory.carried().map_or(Ok(None), |carried: &Carried| carried.event(at))?;
            return carried.ok_or(forgotten);
        }
        let mut frame = None;
        self.each(at.position, &mut |found| {
            frame = Some(found);
            false
        })?;
        let Some(frame) = frame.filter(|frame| frame.position == at.position) else { return Err(forgotten) };
        let Ok(events) = frame.events() else { return Err(forgotten) };
        events.into_iter().nth(at.index as usize).ok_or(forgotten)
    }

    fn seeds(&self, from: Position, see: &mut dyn FnMut(work::Record)) -> Result<(), Error> {
        for at in self.directory.checkpoints()? {
            let Ok(mut input) = self.directory.checkpoint(at) else { continue };
            let mut records = Vec::new();
            if seeds::of_checkpoint(&mut input, from, &mut |record| records.push(record)).is_ok() {
                records.into_iter().for_each(see);
                return Ok(());
            }
        }
        Ok(())
    }
}

/// What is whole at the beginning of a log.
#[derive(Debug, Default)]
struct Whole {
    passed: Vec<Passed>,
    last: Option<Located>,
    /// What follows, if that is damage.
    fault: Option<Fault>,
}

impl Whole {
    /// Goes through the log up to the first damage.
    fn of(directory: &DataDirectory) -> Result<Whole, Error> {
        let mut whole = Whole::default();
        for step in directory.walk() {
            let located = match step? {
                Step::Frame(located) => located,
                Step::Fault(fault) => {
                    whole.fault = Some(fault);
                    break;
                }
            };
            let near = |before: &Passed| {
                before.segment == located.segment && located.offset < before.offset + STRIDE_BYTES
            };
            if !whole.passed.last().is_some_and(near) {
                whole.passed.push(Passed {
                    position: located.frame.position,
                    sequence: located.frame.first_sequence,
                    segment: located.segment,
                    offset: located.offset,
                });
            }
            whole.last = Some(located);
        }
        Ok(whole)
    }
}

/// Clients are told of it: it names files below the data directory, and not where that is.
fn ended(seen: Seen, fault: &Fault) -> DamagedEnd {
    DamagedEnd {
        position: seen.position.next(),
        sequence: seen.sequence.plus(1),
        what: format!(
            "{fault}; `gangline verify` on the server's machine shows everything that is lost, `gangline salvage` \
             copies what is behind it, too"
        ),
    }
}

fn damaged(path: &Path, what: &str) -> Error {
    Error::Damaged {
        file: path.display().to_string(),
        offset: 0,
        position: Position(0),
        sequence: Sequence(0),
        what: what.to_owned(),
    }
}
