//! A data directory in a temporary place, and power cuts on a copy of its files.

use crate::job::id::Position;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::log::directory::Opened;
use crate::log::directory::reader::Reader;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::suite;
use std::path::Path;
use std::path::PathBuf;
use tempfile::TempDir;

/// Small segments, no reserve, fast retries.
pub(crate) fn options() -> DirectoryOptions {
    DirectoryOptions { segment_bytes: 32 * 1024, reserve_bytes: 0, retry_ms: 10 }
}

/// A data directory.
pub(crate) struct Files {
    pub(crate) temporary: TempDir,
}

impl Files {
    pub(crate) fn new() -> Files {
        Files { temporary: TempDir::new().unwrap() }
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.root().join("log").join(format!("{number:010}.seg"))
    }

    pub(crate) fn try_open(&self) -> Result<Opened, Error> {
        Directory::open(&self.root(), options())
    }

    pub(crate) fn opened(&self) -> Opened {
        self.try_open().unwrap()
    }

    /// The same files somewhere else.
    pub(crate) fn copy(&self) -> Files {
        let copy = Files::new();
        copy_directory(&self.root(), &copy.root());
        copy
    }
}

impl suite::Place for Files {
    type Log = Directory;

    fn open(&mut self) -> Directory {
        self.opened().log
    }

    fn crash(&mut self, log: Directory, choice: u64) {
        let archive = log.archive();
        let (durable, reader) = (archive.durable(), archive.current());
        drop((archive, log));
        let (synced_end, end) = ends(&reader, durable);
        // Of the bytes no sync covered, each 512-byte sector is either there or not.
        let mut bytes = std::fs::read(&reader.path).unwrap();
        let mut choice = choice | 1;
        let mut at = synced_end as usize;
        while at < end as usize {
            let sector_end = ((at / 512 + 1) * 512).min(end as usize);
            choice = choice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if choice >> 63 == 0 {
                bytes[at..sector_end].fill(0);
            }
            at = sector_end;
        }
        std::fs::write(&reader.path, bytes).unwrap();
    }
}

/// Where the durable frames of the segment end, and where all of them do.
pub(crate) fn ends(reader: &Reader, durable: Position) -> (u64, u64) {
    let (mut synced_end, mut end) = (HEADER_BYTES, HEADER_BYTES);
    let mut window = reader.window(4_096);
    while let Some(header) = reader.header_at(&mut window, end).unwrap() {
        end += header.span();
        if header.frame.position <= durable {
            synced_end = end;
        }
    }
    (synced_end, end)
}

pub(crate) fn copy_directory(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_directory(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Waits for something that a thread of the log does.
pub(crate) fn wait_until(done: impl Fn() -> bool) {
    let clock = crate::clock::Clock::system();
    let deadline = clock.now().tick.after(std::time::Duration::from_secs(10));
    while !done() {
        assert!(clock.now().tick < deadline, "not within 10 s");
        std::thread::yield_now();
    }
}
