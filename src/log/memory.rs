//! The simulated log: a disk in memory that loses what was not synced, fails when told to, and fills up.
//!
//! Deterministic: what a crash leaves is chosen by the seed. It stands in for the directory in simulations, and is held
//! to the same suite.

mod archive;
mod writer;

pub use crate::log::memory::archive::MemoryArchive;
pub use crate::log::memory::writer::Memory;

use crate::codec;
use crate::job::event::Event;
use crate::job::id::Epoch;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::Head;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

const FRAME_BYTES_MAX: usize = 8 << 20;

/// A simulated disk. It outlives the logs that are opened on it; clones are the same disk.
#[derive(Clone, Debug)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Debug)]
struct Platter {
    store: StoreId,
    /// State of the random numbers.
    random: u64,
    /// How many frames trimming removes together, as the directory removes segments.
    segment_frames: u64,
    /// Retained frames; the oldest is at position `first`.
    frames: Vec<Frame>,
    first: Floor,
    durable: Position,
    /// What a power cut cannot take: all that is durable, unless somebody has lied.
    safe: Position,
    /// A sync has failed. What it should have written can be read and counts as written, and is not: only writing it
    /// again helps.
    forsaken: bool,
    carried: BTreeMap<Pointer, Event>,
    checkpoints: BTreeMap<Position, Vec<u8>>,
    frame_bytes_max: usize,
    /// Bytes of prepared space that are left on a full disk; `None`: the disk is not full.
    left: Option<u64>,
    appends_until_failure: Option<u64>,
    syncs_until_failure: Option<u64>,
    /// Which opening of the disk is the current one: an earlier log is deposed.
    opening: u64,
}

impl Disk {
    /// An empty disk. What crashes leave depends on `seed` only.
    #[must_use]
    pub fn new(store: StoreId, seed: u64) -> Disk {
        Disk(Arc::new(Mutex::new(Platter {
            store,
            random: seed,
            segment_frames: 8,
            frames: Vec::new(),
            first: Floor { position: Position(1), sequence: Sequence(1) },
            durable: Position(0),
            safe: Position(0),
            forsaken: false,
            carried: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            frame_bytes_max: FRAME_BYTES_MAX,
            left: None,
            appends_until_failure: None,
            syncs_until_failure: None,
            opening: 0,
        })))
    }

    /// Opens the log on this disk: everything synced, and of the rest a random prefix. An earlier log on it is poisoned.
    #[must_use]
    pub fn open(&self) -> Memory {
        let mut platter = self.lock();
        platter.lose();
        platter.opening += 1;
        platter.recover();
        let (head, opening) = (platter.head(), platter.opening);
        drop(platter);
        Memory::new(self.clone(), head, opening)
    }

    /// Cuts the power: of the frames that no sync covered a random prefix is left, and the open log is poisoned.
    pub fn crash(&self) {
        let mut platter = self.lock();
        platter.lose();
        platter.opening += 1;
    }

    /// Makes the `nth` append from now fail, counted from 1.
    pub fn fail_append(&self, nth: u64) {
        self.lock().appends_until_failure = Some(nth);
    }

    /// Makes the `nth` sync from now that has something to do fail, counted from 1.
    pub fn fail_sync(&self, nth: u64) {
        self.lock().syncs_until_failure = Some(nth);
    }

    /// Sets how large the body of a frame may be.
    pub fn limit_frames(&self, bytes_max: usize) {
        self.lock().frame_bytes_max = bytes_max;
    }

    /// Takes back the faults that were ordered and have not come.
    pub fn forget_faults(&self) {
        let mut platter = self.lock();
        (platter.appends_until_failure, platter.syncs_until_failure) = (None, None);
    }

    /// Fills the disk: appends answer [`Error::Full`] and nothing can be checkpointed.
    pub fn fill(&self) {
        self.fill_but(0);
    }

    /// Fills the disk, with `bytes` of prepared space left for appends.
    pub fn fill_but(&self, bytes: u64) {
        self.lock().left = Some(bytes);
    }

    /// Gives the disk space again.
    pub fn empty(&self) {
        self.lock().left = None;
    }

    fn lock(&self) -> MutexGuard<'_, Platter> {
        self.0.lock().expect("no holder of a simulated disk panics")
    }
}

impl Platter {
    fn head(&self) -> Head {
        match self.frames.last() {
            Some(frame) => Head {
                position: frame.position,
                hash: frame.hash(),
                epoch: frame.epoch,
                sequence: Sequence(frame.next_sequence().0 - 1),
            },
            None => Head { position: Position(0), hash: Hash::ZERO, epoch: Epoch(0), sequence: Sequence(0) },
        }
    }

    /// Everything that is left is made durable.
    fn recover(&mut self) {
        #[cfg(any(test, feature = "seeded-bugs"))]
        if Bug::ReuseSequence.is_in() {
            self.frames.pop();
        }
        self.durable = self.head().position;
        #[cfg(any(test, feature = "seeded-bugs"))]
        if Bug::TrustPageCache.is_in() {
            return;
        }
        (self.safe, self.forsaken) = (self.durable, false);
    }

    fn sync(&mut self) {
        self.durable = self.head().position;
        #[cfg(any(test, feature = "seeded-bugs"))]
        if Bug::SkipSync.is_in() {
            return;
        }
        if !self.forsaken {
            self.safe = self.durable;
        }
    }

    fn lose(&mut self) {
        let durable = usize::try_from((self.safe.0 + 1).saturating_sub(self.first.position.0));
        let durable = durable.expect("frames are in memory");
        let unsynced = self.frames.len() - durable;
        let kept = usize::try_from(self.next_random() % (unsynced as u64 + 1)).expect("below a length");
        self.frames.truncate(durable + kept);
    }

    /// SplitMix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.random ^ (self.random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// The retained frame at `position`, durable or not.
    fn frame(&self, position: Position) -> Option<&Frame> {
        let index = position.0.checked_sub(self.first.position.0)?;
        self.frames.get(usize::try_from(index).ok()?)
    }

    fn event(&self, at: Pointer) -> Result<Event, Error> {
        if at.position < self.first.position {
            return self.carried.get(&at).cloned().ok_or(Error::Forgotten { at });
        }
        let frame = self.frame(at.position).filter(|_| at.position <= self.durable);
        let frame = frame.ok_or(Error::Forgotten { at })?;
        let events = frame.events().map_err(|error| damaged(frame.position, &error))?;
        events.into_iter().nth(at.index as usize).ok_or(Error::Forgotten { at })
    }
}

fn damaged(position: Position, error: &codec::Error) -> Error {
    let (file, what) = ("memory".to_owned(), error.to_string());
    Error::Damaged { file, offset: 0, position, sequence: Sequence(0), what }
}

fn broken(action: &'static str, kind: std::io::ErrorKind) -> Error {
    Error::Io { action, place: "memory".to_owned(), source: kind.into() }
}

#[cfg(test)]
mod tests {
    use crate::job::id::Position;
    use crate::job::id::StoreId;
    use crate::log::Archive;
    use crate::log::Error;
    use crate::log::Log;
    use crate::log::memory::Disk;
    use crate::log::memory::Memory;
    use crate::log::suite;
    use crate::log::suite::Place;

    struct Simulated(Disk);

    impl Place for Simulated {
        type Log = Memory;

        fn open(&mut self) -> Memory {
            self.0.open()
        }

        fn crash(&mut self, log: Memory, choice: u64) {
            drop(log);
            self.0.lock().random ^= choice;
            self.0.crash();
        }
    }

    fn disk() -> Disk {
        Disk::new(StoreId([7; 16]), 42)
    }

    suite::conforms!(Simulated(disk()));

    /// [ACK-2]
    #[test]
    fn after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_opened_again() {
        let disk = disk();
        let mut log = disk.open();
        suite::append(&mut log, 1);
        log.sync().unwrap();
        disk.fail_sync(2);
        suite::append(&mut log, 1);
        assert_eq!(log.sync().unwrap(), Position(2));
        let frame = suite::append(&mut log, 1);
        assert!(matches!(log.sync(), Err(Error::Io { .. })));
        assert!(matches!(log.sync(), Err(Error::Poisoned)));
        assert!(matches!(log.append(&frame), Err(Error::Poisoned)));
        assert_eq!(log.archive().durable(), Position(2));
        let reopened = disk.open();
        assert!(reopened.head().position >= Position(2));
        assert_eq!(reopened.archive().durable(), reopened.head().position);
    }

    #[test]
    fn a_failed_append_poisons_and_a_full_disk_does_not() {
        let disk = disk();
        let mut log = disk.open();
        let frame = suite::frame_after(log.head(), &[]);
        disk.fill();
        assert!(matches!(log.append(&frame), Err(Error::Full { .. })));
        assert!(log.room().disk_full);
        disk.empty();
        log.append(&frame).unwrap();
        disk.fail_append(1);
        let next = suite::frame_after(log.head(), &[]);
        assert!(matches!(log.append(&next), Err(Error::Io { .. })));
        assert!(matches!(log.append(&next), Err(Error::Poisoned)));
    }

    #[test]
    fn the_same_seed_loses_the_same_frames_and_some_seed_loses_some() {
        let left = |seed| {
            let disk = Disk::new(StoreId([7; 16]), seed);
            let mut log = disk.open();
            for _ in 0..10 {
                suite::append(&mut log, 1);
            }
            disk.crash();
            assert!(matches!(log.sync(), Err(Error::Poisoned)));
            disk.open().head().position
        };
        let outcomes: Vec<Position> = (0..20).map(left).collect();
        assert_eq!(outcomes, (0..20).map(left).collect::<Vec<Position>>());
        assert!(outcomes.iter().any(|left| *left < Position(10)));
        assert!(outcomes.iter().any(|left| *left > Position(0)));
    }
}
