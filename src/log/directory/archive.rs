//! The shared side of the directory: durable frames by position and sequence, events by pointer.

use crate::clock::Timestamp;
use crate::codec;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Floor;
use crate::log::ReadCheckpoint;
use crate::log::WriteCheckpoint;
use crate::log::directory::cache::Frames;
use crate::log::directory::cache::Readers;
use crate::log::directory::carry::Carry;
use crate::log::directory::checkpoint;
use crate::log::directory::layout::Layout;
use crate::log::directory::lock::Lock;
use crate::log::directory::pins::Pins;
use crate::log::directory::prepare::Space;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::Reader;
use crate::log::directory::reader::Wanted;
use crate::log::directory::trim;
use crate::log::frame::Frame;
use crate::log::frame::Indexed;
use std::io::ErrorKind;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::RwLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Durable frames, payloads and checkpoints of a data directory.
#[derive(Clone, Debug)]
pub struct DirectoryArchive {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) layout: Layout,
    pub(crate) store: StoreId,
    pub(crate) space: Arc<Space>,
    pub(crate) retained: RwLock<Retained>,
    /// Held by the one trim that runs.
    pub(crate) trimming: Mutex<()>,
    /// Segments that backups still read.
    pub(crate) pins: Arc<Pins>,
    durable: AtomicU64,
    readers: Readers,
    frames: Frames,
    /// The archive writes too, so the directory stays locked until its last handle is gone. [DIR-1]
    _lock: Lock,
}

/// What can still be read.
#[derive(Debug)]
pub(crate) struct Retained {
    /// Segments that hold frames, oldest first.
    pub(crate) segments: Vec<Retention>,
    /// The segment that is written now.
    pub(crate) current: Arc<Reader>,
    /// What was carried out of segments that are gone.
    pub(crate) carry: Option<Arc<Carry>>,
}

/// One retained segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Retention {
    pub(crate) number: u64,
    /// Its first frame and that frame's first sequence.
    pub(crate) first: Floor,
}

impl Retained {
    pub(crate) fn floor(&self) -> Floor {
        let empty = Floor { position: Position(1), sequence: Sequence(1) };
        self.segments.first().map_or(empty, |segment| segment.first)
    }
}

impl DirectoryArchive {
    pub(crate) fn new(
        layout: Layout,
        store: StoreId,
        space: Arc<Space>,
        retained: Retained,
        durable: Position,
        lock: Lock,
    ) -> DirectoryArchive {
        let shared = Shared {
            layout,
            store,
            space,
            retained: RwLock::new(retained),
            trimming: Mutex::new(()),
            pins: Arc::default(),
            durable: AtomicU64::new(durable.0),
            readers: Readers::default(),
            frames: Frames::default(),
            _lock: lock,
        };
        DirectoryArchive { shared: Arc::new(shared) }
    }

    /// Shows readers everything up to `position`, which a sync has covered. [ACK-1]
    pub(crate) fn publish(&self, position: Position) {
        self.shared.durable.store(position.0, Ordering::Release);
    }

    /// Adds a segment whose first frame has been written.
    pub(crate) fn begin_segment(&self, current: Arc<Reader>, place: Place) {
        let mut retained = self.shared.retained.write().expect(NO_PANIC);
        let first = Floor { position: place.position, sequence: place.sequence };
        retained.segments.push(Retention { number: current.header.number, first });
        retained.current = current;
    }

    /// The reader of the last segment for which `precedes` holds, or `None` if that is below the floor.
    fn segment(&self, precedes: impl Fn(Floor) -> bool) -> Result<Option<Arc<Reader>>, Error> {
        let number = {
            let retained = self.shared.retained.read().expect(NO_PANIC);
            let after = retained.segments.partition_point(|segment| precedes(segment.first));
            let Some(at) = after.checked_sub(1) else { return Ok(None) };
            let number = retained.segments[at].number;
            if retained.current.header.number == number {
                return Ok(Some(Arc::clone(&retained.current)));
            }
            number
        };
        match self.shared.readers.get(&self.shared.layout, number, self.shared.store) {
            Ok(reader) => Ok(Some(reader)),
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::NotFound && !self.retains(number) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// The segment that is written now.
    #[cfg(test)]
    pub(crate) fn current(&self) -> Arc<Reader> {
        Arc::clone(&self.shared.retained.read().expect(NO_PANIC).current)
    }

    fn retains(&self, number: u64) -> bool {
        let retained = self.shared.retained.read().expect(NO_PANIC);
        retained.segments.first().is_some_and(|segment| segment.number <= number)
    }

    /// An event of a durable frame; `None` if the frame has not so many.
    pub(crate) fn event_of(&self, at: Pointer) -> Result<Option<Event>, Error> {
        let frame = self.indexed(at.position)?;
        frame.get(at.index).map_err(|error| self.unreadable(at.position, Sequence(0), &error))
    }

    fn indexed(&self, position: Position) -> Result<Arc<Indexed>, Error> {
        if let Some(frame) = self.shared.frames.get(position) {
            return Ok(frame);
        }
        let frames = self.read(position, 0)?;
        let frame = frames.first().ok_or(Error::Forgotten { at: Pointer { position, index: 0 } })?;
        let unreadable = |error| self.unreadable(position, frame.first_sequence, &error);
        let indexed = Arc::new(frame.indexed().map_err(unreadable)?);
        self.shared.frames.put(position, Arc::clone(&indexed));
        Ok(indexed)
    }

    fn unreadable(&self, position: Position, sequence: Sequence, error: &codec::Error) -> Error {
        Error::Damaged {
            file: self.shared.layout.log().display().to_string(),
            offset: 0,
            position,
            sequence,
            what: error.to_string(),
        }
    }

    /// The stored bytes of an event below the floor.
    pub(crate) fn carried(&self, at: Pointer) -> Result<Option<Vec<u8>>, Error> {
        let carry = self.shared.retained.read().expect(NO_PANIC).carry.clone();
        carry.map_or(Ok(None), |carry| carry.get(at))
    }

    /// Closes the readers of segments below `number`; those in use stay open until they are done.
    pub(crate) fn forget_below(&self, number: u64) {
        self.shared.readers.forget_below(number);
    }

    fn below_floor(&self, wanted: Position) -> Error {
        Error::BelowFloor { wanted, floor: self.floor().position }
    }
}

impl Archive for DirectoryArchive {
    fn store_id(&self) -> StoreId {
        self.shared.store
    }

    fn durable(&self) -> Position {
        Position(self.shared.durable.load(Ordering::Acquire))
    }

    fn floor(&self) -> Floor {
        self.shared.retained.read().expect(NO_PANIC).floor()
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error> {
        let durable = self.durable();
        if from < self.floor().position {
            return Err(self.below_floor(from));
        }
        let mut frames: Vec<Frame> = Vec::new();
        let mut bytes_left = bytes_max;
        let mut wanted = from;
        while wanted <= durable && (frames.is_empty() || bytes_left > 0) {
            let reader = self.segment(|first| first.position <= wanted)?;
            let reader = reader.ok_or_else(|| self.below_floor(wanted))?;
            let Some(place) = reader.find(Wanted::Position(wanted), durable)? else { break };
            reader.read(place, durable, &mut bytes_left, &mut frames)?;
            wanted = frames.last().map_or(wanted, |last| last.position.next());
        }
        Ok(frames)
    }

    fn position_of(&self, sequence: Sequence) -> Result<Position, Error> {
        let durable = self.durable();
        let floor = self.floor();
        // The frame that held a trimmed update is not known any more; it was at most the one before the floor.
        let below = || self.below_floor(Position(self.floor().position.0.saturating_sub(1)));
        if sequence < floor.sequence {
            return Err(below());
        }
        if durable < floor.position {
            return Ok(durable.next());
        }
        let precedes = |first: Floor| first.sequence <= sequence && first.position <= durable;
        let reader = self.segment(precedes)?.ok_or_else(below)?;
        let place = reader.find(Wanted::Sequence(sequence), durable)?;
        Ok(place.map_or(durable.next(), |place| place.position))
    }

    fn event(&self, at: Pointer) -> Result<Event, Error> {
        let forgotten = Error::Forgotten { at };
        if at.position > self.durable() {
            return Err(forgotten);
        }
        while at.position >= self.floor().position {
            match self.event_of(at) {
                // Trimmed meanwhile: then it is in the carry file, which is in place before the floor moves.
                Err(Error::BelowFloor { .. }) => {}
                Err(error) => return Err(error),
                Ok(event) => return event.ok_or(forgotten),
            }
        }
        let bytes = self.carried(at)?.ok_or(forgotten)?;
        codec::decode(&bytes).map_err(|error| Error::Damaged {
            file: self.shared.layout.log().display().to_string(),
            offset: 0,
            position: at.position,
            sequence: Sequence(0),
            what: error.to_string(),
        })
    }

    fn keeping(&self, bytes: u64) -> Position {
        let retained = self.shared.retained.read().expect(NO_PANIC);
        let whole = bytes.div_ceil(self.shared.space.segment_bytes());
        let stay = usize::try_from(whole).unwrap_or(usize::MAX).saturating_add(1);
        let first_kept = retained.segments.len().saturating_sub(stay);
        retained.segments.get(first_kept).map_or(retained.floor().position, |segment| segment.first.position)
    }

    fn older(&self, time: Timestamp) -> Result<Position, Error> {
        let segments = self.shared.retained.read().expect(NO_PANIC).segments.clone();
        let mut before = self.floor().position;
        for next in segments.iter().skip(1) {
            // Log time never goes back, so the last frame of a segment is its youngest.
            let last = Position(next.first.position.0 - 1);
            match self.read(last, 0)?.first() {
                Some(frame) if frame.time < time => before = next.first.position,
                Some(_) | None => break,
            }
        }
        Ok(before)
    }

    fn trim(&self, before: Position, live: &mut dyn Iterator<Item = Pointer>) -> Result<Floor, Error> {
        trim::trim(self, before, live)
    }

    fn put_checkpoint(&self, at: Position, write: WriteCheckpoint<'_>) -> Result<(), Error> {
        let Shared { layout, store, space, .. } = &*self.shared;
        space.with_reserve(|| checkpoint::put(layout, *store, at, write))
    }

    fn checkpoints(&self) -> Result<Vec<Position>, Error> {
        checkpoint::list(&self.shared.layout)
    }

    fn checkpoint(&self, at: Position) -> Result<ReadCheckpoint, Error> {
        checkpoint::open(&self.shared.layout, self.shared.store, at)
    }
}

pub(crate) const NO_PANIC: &str = "no holder of this lock panics";
