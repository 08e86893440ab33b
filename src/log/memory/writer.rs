//! The writer's side of the simulated log: it appends and syncs, unless a fault is due.

use crate::job::id::Position;
use crate::log::Error;
use crate::log::Head;
use crate::log::Limits;
use crate::log::Log;
use crate::log::Room;
use crate::log::frame::Frame;
use crate::log::memory::Disk;
use crate::log::memory::MemoryArchive;
use crate::log::memory::broken;

const SEGMENT_BYTES: u64 = 64 << 20;

/// The simulated log.
#[derive(Debug)]
pub struct Memory {
    disk: Disk,
    head: Head,
    opening: u64,
    poisoned: bool,
}

impl Memory {
    pub(in crate::log::memory) fn new(disk: Disk, head: Head, opening: u64) -> Memory {
        Memory { disk, head, opening, poisoned: false }
    }
}

impl Log for Memory {
    type Archive = MemoryArchive;

    fn head(&self) -> Head {
        self.head
    }

    fn append(&mut self, frame: &Frame) -> Result<(), Error> {
        let mut platter = self.disk.lock();
        if self.poisoned || platter.opening != self.opening {
            return Err(Error::Poisoned);
        }
        let (bytes, bytes_max) = (frame.body.len(), platter.frame_bytes_max);
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        let head = platter.head();
        let continues = frame.position == head.position.next()
            && frame.previous == head.hash
            && frame.epoch >= head.epoch
            && frame.first_sequence == head.sequence.plus(1);
        if !continues {
            return Err(Error::Conflict { position: frame.position, head: head.position });
        }
        let whole = (bytes + Frame::HEADER_BYTES) as u64;
        if platter.left.is_some_and(|left| left < whole) {
            return Err(Error::Full { bytes });
        }
        if due(&mut platter.appends_until_failure) {
            self.poisoned = true;
            return Err(broken("writing", std::io::ErrorKind::Other));
        }
        platter.left = platter.left.map(|left| left - whole);
        platter.frames.push(frame.clone());
        self.head = platter.head();
        Ok(())
    }

    fn sync(&mut self) -> Result<Position, Error> {
        let mut platter = self.disk.lock();
        if self.poisoned || platter.opening != self.opening {
            return Err(Error::Poisoned);
        }
        if platter.durable < self.head.position {
            if due(&mut platter.syncs_until_failure) {
                self.poisoned = true;
                platter.forsaken = true;
                return Err(broken("syncing", std::io::ErrorKind::Other));
            }
            platter.sync();
        }
        Ok(platter.durable)
    }

    fn room(&self) -> Room {
        let left = self.disk.lock().left;
        let current_bytes = left.map_or(SEGMENT_BYTES, |left| left.min(SEGMENT_BYTES));
        let disk_full = left.is_some();
        Room { current_bytes, segment_bytes: SEGMENT_BYTES, spares: usize::from(!disk_full), disk_full }
    }

    fn await_room(&self) -> Room {
        self.room()
    }

    fn limits(&self) -> Limits {
        Limits { frame_bytes_max: self.disk.lock().frame_bytes_max, window: 1_024 }
    }

    fn archive(&self) -> MemoryArchive {
        MemoryArchive::new(self.disk.clone())
    }
}

/// Whether the fault that was ordered is due with this call.
fn due(countdown: &mut Option<u64>) -> bool {
    match countdown {
        None => false,
        Some(0 | 1) => {
            *countdown = None;
            true
        }
        Some(more) => {
            *more -= 1;
            false
        }
    }
}
