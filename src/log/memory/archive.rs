//! The shared side of the simulated log: what is durable, read by many, trimmed, and its checkpoints.

use crate::clock::Timestamp;
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
use crate::log::frame::Frame;
use crate::log::memory::Disk;
use crate::log::memory::broken;
use std::collections::BTreeMap;
use std::io::Cursor;

/// The shared side of the simulated log.
#[derive(Clone, Debug)]
pub struct MemoryArchive {
    disk: Disk,
}

impl MemoryArchive {
    pub(in crate::log::memory) fn new(disk: Disk) -> MemoryArchive {
        MemoryArchive { disk }
    }
}

impl Archive for MemoryArchive {
    fn store_id(&self) -> StoreId {
        self.disk.lock().store
    }

    fn durable(&self) -> Position {
        self.disk.lock().durable
    }

    fn floor(&self) -> Floor {
        self.disk.lock().first
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error> {
        let platter = self.disk.lock();
        let floor = platter.first.position;
        if from < floor {
            return Err(Error::BelowFloor { wanted: from, floor });
        }
        let (mut frames, mut bytes, mut at) = (Vec::new(), 0, from);
        while at <= platter.durable
            && (frames.is_empty() || bytes < bytes_max)
            && let Some(frame) = platter.frame(at)
        {
            bytes += frame.body.len();
            frames.push(frame.clone());
            at = at.next();
        }
        Ok(frames)
    }

    fn position_of(&self, sequence: Sequence) -> Result<Position, Error> {
        let platter = self.disk.lock();
        let floor = platter.first;
        if sequence < floor.sequence {
            let wanted = Position(floor.position.0.saturating_sub(1));
            return Err(Error::BelowFloor { wanted, floor: floor.position });
        }
        let at = platter.frames.partition_point(|frame| frame.next_sequence() <= sequence);
        Ok(Position(floor.position.0 + at as u64).min(platter.durable.next()))
    }

    fn event(&self, at: Pointer) -> Result<Event, Error> {
        self.disk.lock().event(at)
    }

    fn keeping(&self, bytes: u64) -> Position {
        let platter = self.disk.lock();
        let mut kept = 0;
        let newest_first = platter.frames.iter().rev();
        let enough = newest_first.take_while(|frame| {
            let more = kept < bytes;
            kept += u64::from(frame.body_bytes());
            more
        });
        let stays = enough.count() as u64;
        Position(platter.first.position.0 + (platter.frames.len() as u64 - stays))
    }

    fn older(&self, time: Timestamp) -> Result<Position, Error> {
        let platter = self.disk.lock();
        let durable =
            platter.frames.iter().take_while(|frame| frame.position <= platter.durable && frame.time < time);
        Ok(Position(platter.first.position.0 + durable.count() as u64))
    }

    fn trim(&self, before: Position, live: &mut dyn Iterator<Item = Pointer>) -> Result<Floor, Error> {
        let mut platter = self.disk.lock();
        let limit = before.min(platter.durable).0.saturating_sub(1);
        let floor = Position(limit - limit % platter.segment_frames + 1);
        if floor <= platter.first.position {
            return Ok(platter.first);
        }
        let mut carried = BTreeMap::new();
        for at in live.filter(|at| at.position < floor) {
            carried.insert(at, platter.event(at)?);
        }
        let gone = usize::try_from(floor.0 - platter.first.position.0).expect("frames are in memory");
        let sequence = platter.frames[gone].first_sequence;
        platter.frames.drain(..gone);
        platter.carried = carried;
        platter.first = Floor { position: floor, sequence };
        Ok(platter.first)
    }

    fn put_checkpoint(&self, at: Position, write: WriteCheckpoint<'_>) -> Result<(), Error> {
        let mut content = Vec::new();
        write(&mut content).map_err(|source| Error::Io {
            action: "writing",
            place: "memory".to_owned(),
            source,
        })?;
        let mut platter = self.disk.lock();
        if platter.left.is_some() {
            return Err(broken("writing", std::io::ErrorKind::StorageFull));
        }
        platter.checkpoints.insert(at, content);
        while platter.checkpoints.len() > 2 {
            platter.checkpoints.pop_first();
        }
        Ok(())
    }

    fn checkpoints(&self) -> Result<Vec<Position>, Error> {
        Ok(self.disk.lock().checkpoints.keys().rev().copied().collect())
    }

    fn checkpoint(&self, at: Position) -> Result<ReadCheckpoint, Error> {
        let platter = self.disk.lock();
        let content = platter.checkpoints.get(&at).cloned();
        let content = content.ok_or(broken("opening", std::io::ErrorKind::NotFound))?;
        Ok(Box::new(Cursor::new(content)))
    }
}
