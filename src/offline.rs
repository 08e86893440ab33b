//! Reading a data directory, or a copy of it, without a server: nothing written, sled never opened, no lock needed. It works
//! while a server runs on the directory, on a full or read-only disk, and on a damaged directory, where it goes on after
//! the damage. [LOG-3]
//!
//! ```text
//! DataDirectory::open(path)          format, segments, floor; faults() of all that is not a frame
//!     .walk()                        an iterator of steps: each whole frame with its place, each fault with what is lost
//!     .walk_from(position|sequence)  the same, begun later
//!     .tail() of a walk              where it ended, and what lies there that nothing vouches for
//! Fold                               the state as of a sequence or a time: the newest checkpoint before it, then the log
//! salvage::salvage                   everything readable, as a new directory
//! snapshot::Snapshot                 the log as of now up to its first damage, for a server that only reads
//! slice::Slice                       some jobs as of a place, and their submissions in order
//! Names                              the names of queues by number
//! Diff                               what differs between two states, and where two histories fork
//! Life, Stats, Verified              one job's updates; what is in the directory, and how fast it came; whether all is well
//! ```
//!
//! Three things are told apart. A frame is *whole* if its checksums are right and it continues the one before. What is not
//! whole is *damage* if a later frame says that it had been synced, or if whole frames follow it that cannot be explained
//! otherwise: then the walk gives a [`Fault`] and goes on at the next whole frame. Anything else at the end of the log is
//! *in flight*: never acknowledged, cut by the next start, or about to be finished by a live server; it is in [`Tail`],
//! and a walk that has ended may be asked for more later.

pub mod backup;
pub mod diff;
pub mod events;
pub mod export;
pub mod fault;
pub mod fold;
mod fresh;
pub mod life;
pub mod live;
pub mod names;
pub mod rates;
pub mod restore;
pub mod salvage;
pub mod slice;
pub mod snapshot;
pub mod stats;
pub mod verify;
pub mod walk;
pub mod work_tree;

#[cfg(test)]
mod tests;

pub use crate::offline::diff::Diff;
pub use crate::offline::fault::Fault;
pub use crate::offline::fault::Faults;
pub use crate::offline::fault::Kind;
pub use crate::offline::fault::Lost;
pub use crate::offline::fold::AsOf;
pub use crate::offline::fold::Fold;
pub use crate::offline::fold::Until;
pub use crate::offline::life::Life;
pub use crate::offline::live::LiveJob;
pub use crate::offline::names::Names;
pub use crate::offline::slice::Slice;
pub use crate::offline::snapshot::Snapshot;
pub use crate::offline::stats::Stats;
pub use crate::offline::verify::Verified;
pub use crate::offline::walk::From;
pub use crate::offline::walk::Located;
pub use crate::offline::walk::Step;
pub use crate::offline::walk::Tail;
pub use crate::offline::walk::Walk;

use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::directory::read_only::Carried;
use crate::log::directory::read_only::Format;
use crate::log::directory::read_only::ReadOnly;
use crate::log::directory::read_only::Segment;
use crate::log::directory::read_only::Stopped;
use std::io::Read;
use std::path::Path;

/// A data directory that is only read.
#[derive(Debug)]
pub struct DataDirectory {
    files: ReadOnly,
    store: Option<StoreId>,
    segments: Vec<Entry>,
    floor: Option<Floor>,
    carried: Option<Carried>,
    faults: Vec<Fault>,
}

/// A segment of the log: its number in the log, and in its file's name. They differ only where files were mixed up.
#[derive(Clone, Debug)]
pub(in crate::offline) struct Entry {
    pub(in crate::offline) number: u64,
    pub(in crate::offline) file: u64,
    /// Kept open, so that it can be read to its end when a server lets go of it.
    held: Option<Segment>,
}

/// How many segments are kept open.
const HELD_MAX: usize = 256;

impl Entry {
    pub(in crate::offline) fn open(&self, files: &ReadOnly) -> Result<Segment, Error> {
        self.held.clone().map_or_else(|| files.segment(self.file), Ok)
    }
}

impl DataDirectory {
    /// Looks at the files below `path`: cheap, no frame is read.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there is no data directory, [`Error::NewerFormat`], or an input/output error. Damage is no
    /// error: see [`DataDirectory::faults`].
    pub fn open(path: &Path) -> Result<DataDirectory, Error> {
        let (files, format) = ReadOnly::open(path)?;
        let mut directory = DataDirectory {
            files,
            store: None,
            segments: Vec::new(),
            floor: Some(Floor { position: Position(1), sequence: Sequence(1) }),
            carried: None,
            faults: Vec::new(),
        };
        match format {
            Format::Store(store) => directory.store = Some(store),
            Format::Damaged(what) => {
                let what = format!("the format file is not what was written: {what}");
                directory.faults.push(directory.fault(Kind::Format, &directory.files.format_path(), what));
            }
        }
        directory.find_segments()?;
        directory.find_floor()?;
        directory.check_numbers();
        Ok(directory)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.files.root()
    }

    /// Makes sure that no server runs on it, nor starts while what is returned lives. Nothing is written for it; a copy may
    /// have no lock.
    ///
    /// # Errors
    /// [`Error::InUse`], or an input/output error.
    pub fn stopped(&self) -> Result<Stopped, Error> {
        self.files.stopped()
    }

    /// Which history it holds; `None` if every file that says so is damaged.
    #[must_use]
    pub fn store_id(&self) -> Option<StoreId> {
        self.store
    }

    /// Where the log begins; `None` if the carry file, which says it, is damaged.
    #[must_use]
    pub fn floor(&self) -> Option<Floor> {
        self.floor
    }

    /// What is wrong with files, apart from frames and from the contents of checkpoints.
    #[must_use]
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Numbers and sizes in bytes of the segment files that belong to the log, oldest first.
    ///
    /// # Errors
    /// An input/output error.
    pub fn segments(&self) -> Result<Vec<(u64, u64)>, Error> {
        let size = |entry: &Entry| Ok((entry.number, entry.open(&self.files)?.bytes()));
        self.segments.iter().map(size).collect()
    }

    /// The events of live jobs that were carried out of segments that are gone; `None` if nothing was trimmed so far.
    #[must_use]
    pub fn carried(&self) -> Option<&Carried> {
        self.carried.as_ref()
    }

    /// Positions of the checkpoints, newest first. They need not be good.
    ///
    /// # Errors
    /// An input/output error.
    pub fn checkpoints(&self) -> Result<Vec<Position>, Error> {
        self.files.checkpoints()
    }

    /// The content of the checkpoint at `at`, whose checksum has been verified.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an input/output error.
    pub fn checkpoint(&self, at: Position) -> Result<Box<dyn Read + Send>, Error> {
        self.files.checkpoint(at, self.store.unwrap_or(StoreId([0; 16])))
    }

    /// Every frame from the floor on.
    #[must_use]
    pub fn walk(&self) -> Walk {
        Walk::new(self.files.clone(), self.store, self.segments.clone(), self.floor)
    }

    /// Every frame from about `from` on: never later, and at most a segment earlier.
    ///
    /// # Errors
    /// An input/output error.
    pub fn walk_from(&self, from: From) -> Result<Walk, Error> {
        let mut walk = self.walk();
        walk.skip_to(from)?;
        Ok(walk)
    }

    /// A fault of the whole file at `path`.
    pub(in crate::offline) fn fault(&self, kind: Kind, path: &Path, what: String) -> Fault {
        Fault::new(kind, self.path(), path, 0, what)
    }

    /// The segment with this number of the log, also if a server has made it since.
    pub(in crate::offline) fn segment(&self, number: u64) -> Result<Segment, Error> {
        let known = self.segments.iter().find(|entry| entry.number == number);
        known.map_or_else(|| self.files.segment(number), |entry| entry.open(&self.files))
    }

    pub(in crate::offline) fn files(&self) -> &ReadOnly {
        &self.files
    }

    /// Takes every segment at its own word where that is good: files may have been renamed or mixed up.
    fn find_segments(&mut self) -> Result<(), Error> {
        for file in self.files.segments()? {
            let segment = match self.files.segment(file) {
                // A server has let go of it meanwhile.
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => continue,
                other => other?,
            };
            for what in segment.faults() {
                self.faults.push(self.fault(Kind::Segment, segment.path(), what.clone()));
            }
            let number = match segment.identity() {
                None => file,
                Some((number, store)) if *self.store.get_or_insert(store) == store => number,
                Some((_, store)) => {
                    let what = format!("this segment belongs to the store {store}");
                    self.faults.push(self.fault(Kind::Segment, segment.path(), what));
                    continue;
                }
            };
            if number != file {
                let what = format!("this is segment {number} under another name");
                self.faults.push(self.fault(Kind::Segment, segment.path(), what));
            }
            let held = (self.segments.len() < HELD_MAX).then_some(segment);
            self.segments.push(Entry { number, file, held });
        }
        // Of two that say the same number, the one that has the right name.
        self.segments.sort_by_key(|entry| (entry.number, entry.number != entry.file, entry.file));
        self.segments.dedup_by_key(|entry| entry.number);
        Ok(())
    }

    fn find_floor(&mut self) -> Result<(), Error> {
        let Some(newest) = self.files.carries()?.last().copied() else { return Ok(()) };
        match self.files.carry(newest, self.store.unwrap_or(StoreId([0; 16]))) {
            Ok(carried) => {
                let lowest = carried.segment();
                // What a killed trim left below is no longer part of the log.
                self.segments.retain(|entry| entry.number >= lowest);
                self.floor = Some(carried.floor());
                self.carried = Some(carried);
            }
            Err(Error::Damaged { what, .. }) => {
                self.faults.push(self.fault(Kind::Carry, &self.files.carry_path(newest), what));
                self.floor = None;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    fn check_numbers(&mut self) {
        let first = self.carried.as_ref().map_or(1, Carried::segment);
        let begins = self.floor.map_or(self.segments.first().map_or(first, |entry| entry.number), |_| first);
        let mut expected = begins;
        let mut missing = Vec::new();
        for entry in &self.segments {
            // A gap is named by its first segment: a wrong number in a header must not name a billion of them.
            if entry.number > expected {
                missing.push(expected);
            }
            expected = entry.number + 1;
        }
        if self.segments.is_empty() && self.carried.is_some() {
            missing.push(expected);
        }
        for number in missing {
            let path = self.files.segment_path(number);
            self.faults.push(self.fault(Kind::Segment, &path, "the segment is missing".to_owned()));
        }
    }
}
