//! The writer's side of the directory: one buffer and one write per frame, one fdatasync per sync. [ACK-1]

use crate::job::id::Position;
use crate::log::Error;
use crate::log::Head;
use crate::log::Limits;
use crate::log::Log;
use crate::log::Room;
use crate::log::directory::DirectoryOptions;
use crate::log::directory::archive::DirectoryArchive;
use crate::log::directory::layout::io;
use crate::log::directory::prepare::Preparer;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::Reader;
use crate::log::directory::reader::fits;
use crate::log::directory::recovery::after;
use crate::log::directory::recovery::continues;
use crate::log::directory::segment;
use crate::log::directory::segment::FRAME_HEADER_BYTES;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::frame::Frame;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// The largest body of a frame, where the segment has room for it.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// Frames that may be appended before a sync. Their bytes are bounded by the segment, which is synced before the next.
const WINDOW: usize = 1_024;

/// The embedded log.
#[derive(Debug)]
pub struct Directory {
    // Dropped first: the thread has ended before the directory is unlocked.
    _preparer: Preparer,
    archive: DirectoryArchive,
    options: DirectoryOptions,
    head: Head,
    /// A sync that covered this position has returned.
    synced: Position,
    current: Arc<Reader>,
    /// Where the next frame goes in the current segment.
    end: u64,
    poisoned: bool,
    buffer: Vec<u8>,
}

impl Directory {
    pub(crate) fn new(
        archive: DirectoryArchive,
        preparer: Preparer,
        options: DirectoryOptions,
        head: Head,
        current: Arc<Reader>,
        end: u64,
    ) -> Directory {
        let synced = head.position;
        let (buffer, poisoned) = (Vec::new(), false);
        Directory { _preparer: preparer, archive, options, head, synced, current, end, poisoned, buffer }
    }

    /// The data directory.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.archive.shared.layout.root()
    }

    /// Where the work tree may keep its files. It may not be there yet.
    #[must_use]
    pub fn work_dir(&self) -> PathBuf {
        self.archive.shared.layout.work()
    }

    /// Syncs the current segment. What could not be synced once is never tried again. [ACK-2]
    fn sync_current(&mut self) -> Result<(), Error> {
        if self.synced < self.head.position {
            #[cfg(any(test, feature = "seeded-bugs"))]
            if Bug::SkipSync.is_in() {
                self.synced = self.head.position;
                return Ok(());
            }
            let synced = self.current.file.sync_data().map_err(io("syncing", &self.current.path));
            self.poison(synced)?;
            self.synced = self.head.position;
        }
        Ok(())
    }

    fn poison<T>(&mut self, result: Result<T, Error>) -> Result<T, Error> {
        self.poisoned = self.poisoned || result.is_err();
        result
    }

    /// Goes on in the next segment, after everything in this one is durable: recovery rests on that.
    fn roll_over(&mut self, body_bytes: usize) -> Result<(), Error> {
        let spare = self.archive.shared.space.take().ok_or(Error::Full { bytes: body_bytes })?;
        self.sync_current()?;
        self.current = Arc::new(spare);
        self.end = HEADER_BYTES;
        Ok(())
    }
}

impl Log for Directory {
    type Archive = DirectoryArchive;

    fn head(&self) -> Head {
        self.head
    }

    fn append(&mut self, frame: &Frame) -> Result<(), Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        let (bytes, bytes_max) = (frame.body.len(), self.limits().frame_bytes_max);
        if bytes > bytes_max {
            return Err(Error::TooLarge { bytes, bytes_max });
        }
        if !continues(&self.head, frame) {
            return Err(Error::Conflict { position: frame.position, head: self.head.position });
        }
        if !fits(self.current.header.bytes, self.end, bytes) {
            self.roll_over(bytes)?;
        }
        segment::encode_frame(self.current.salt(), frame, self.synced, &mut self.buffer);
        let written = self.current.file.write_all_at(&self.buffer, self.end);
        let written = written.map_err(io("writing", &self.current.path));
        self.poison(written)?;
        let (position, sequence) = (frame.position, frame.first_sequence);
        let place = Place { position, sequence, offset: self.end };
        self.current.note(place);
        if self.end == HEADER_BYTES {
            self.archive.begin_segment(Arc::clone(&self.current), place);
        }
        self.end += self.buffer.len() as u64;
        self.head = after(frame);
        Ok(())
    }

    fn sync(&mut self) -> Result<Position, Error> {
        if self.poisoned {
            return Err(Error::Poisoned);
        }
        self.sync_current()?;
        self.archive.publish(self.synced);
        Ok(self.synced)
    }

    fn room(&self) -> Room {
        let (spares, disk_full) = self.archive.shared.space.ready();
        let segment_bytes = self.current.header.bytes;
        Room { current_bytes: segment_bytes - self.end, segment_bytes, spares, disk_full }
    }

    fn await_room(&self) -> Room {
        self.archive.shared.space.wait();
        self.room()
    }

    fn limits(&self) -> Limits {
        let room = self.options.segment_bytes - HEADER_BYTES - FRAME_HEADER_BYTES as u64;
        let room = usize::try_from(room).unwrap_or(usize::MAX);
        Limits { frame_bytes_max: room.min(FRAME_BYTES_MAX), window: WINDOW }
    }

    fn archive(&self) -> DirectoryArchive {
        self.archive.clone()
    }
}

#[cfg(test)]
mod tests {
    use crate::job::id::Position;
    use crate::log::Archive;
    use crate::log::Error;
    use crate::log::Log;
    use crate::log::directory::Directory;
    use crate::log::directory::reader::Reader;
    use crate::log::directory::tests::place::Files;
    use crate::log::suite;
    use crate::log::suite::append;
    use std::fs::OpenOptions;
    use std::path::Path;
    use std::sync::Arc;

    /// Lets the log write to a device instead of its segment.
    fn divert(log: &mut Directory, device: &str) -> Arc<Reader> {
        let file = OpenOptions::new().read(true).write(true).open(device).unwrap();
        let diverted = Reader::new(log.current.header, file, Path::new(device).to_owned());
        std::mem::replace(&mut log.current, Arc::new(diverted))
    }

    /// [ACK-2]: the sync of a character device fails, its writes do not.
    #[test]
    fn after_a_failed_sync_nothing_is_acknowledged_and_nothing_tried_again() {
        let files = Files::new();
        let mut log = files.opened().log;
        let first = append(&mut log, 1);
        log.sync().unwrap();
        let real = divert(&mut log, "/dev/null");
        append(&mut log, 1);
        let Err(Error::Io { action: "syncing", place, .. }) = log.sync() else { panic!() };
        assert_eq!(place, "/dev/null");
        log.current = real;
        let frame = suite::frame_after(log.head(), &[]);
        assert!(matches!(log.sync(), Err(Error::Poisoned)));
        assert!(matches!(log.append(&frame), Err(Error::Poisoned)));
        assert_eq!(log.archive().durable(), Position(1));
        drop(log);
        assert_eq!(suite::all(&files.opened().log.archive()), [first]);
    }

    /// [ACK-2]: no space where space was prepared is a failed write, not a full disk.
    #[test]
    fn after_a_failed_write_nothing_is_acknowledged_and_nothing_tried_again() {
        let files = Files::new();
        let mut log = files.opened().log;
        append(&mut log, 1);
        let real = divert(&mut log, "/dev/full");
        let frame = suite::frame_after(log.head(), &[]);
        let Err(Error::Io { action: "writing", .. }) = log.append(&frame) else { panic!() };
        log.current = real;
        assert!(matches!(log.append(&frame), Err(Error::Poisoned)));
        assert!(matches!(log.sync(), Err(Error::Poisoned)));
        assert_eq!(log.archive().durable(), Position(0));
    }

    /// A segment is synced before the next one takes a frame, and what that covered is still not shown too early.
    #[test]
    fn rolling_over_syncs_but_shows_nothing_before_the_callers_sync() {
        let files = Files::new();
        let mut log = files.opened().log;
        while log.current.header.number < 3 {
            append(&mut log, 40);
        }
        assert_eq!(log.archive().durable(), Position(0));
        let vouched = log.synced;
        assert!(vouched > Position(0) && vouched < log.head.position);
        assert_eq!(log.sync().unwrap(), log.head().position);
        assert_eq!(suite::all(&log.archive()).len() as u64, log.head().position.0);
    }
}
