//! A data directory whose jobs were written frame by frame, and ways to harm a copy of it.

use crate::clock::Timestamp;
use crate::engine::checkpoint;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Submitted;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::spec::Payload;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::log::frame::Frame;
use crate::log::frame::body_of;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Tail;
use bytes::Bytes;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;
use tempfile::TempDir;

pub(crate) const SEGMENT_BYTES: u64 = 16 * 1024;
const FIRST_ID: u128 = 0x0198_a5c2_6f00_7000_8000_0000_0000_0001;

/// A directory, open for writing while `log` is there.
pub(crate) struct Rig {
    temporary: TempDir,
    pub(crate) log: Option<Directory>,
    /// Every frame that was written.
    pub(crate) frames: Vec<Frame>,
    submitted: u32,
}

impl Rig {
    pub(crate) fn new() -> Rig {
        let mut rig = Rig { temporary: TempDir::new().unwrap(), log: None, frames: Vec::new(), submitted: 0 };
        rig.open();
        rig.append(&[
            Event::Opened { epoch: Epoch(1), version: "test".into() },
            Event::QueueMade { queue: QueueNo(0), name: "q".parse().unwrap() },
        ]);
        rig
    }

    /// Goes on with a copy of a directory. Only what is appended from now on is known.
    pub(crate) fn at_copy_of(copy: &Copy) -> Rig {
        let mut rig =
            Rig { temporary: TempDir::new().unwrap(), log: None, frames: Vec::new(), submitted: 1_000 };
        copy_directory(&copy.root(), &rig.root());
        rig.open();
        rig
    }

    /// So many jobs, submitted in pairs, all but every fourth started, half of those succeeded; then the log is closed.
    pub(crate) fn with_jobs(pairs: u32) -> Rig {
        let mut rig = Rig::new();
        for _ in 0..pairs {
            let first = rig.submit(2, 300);
            rig.append(&[rig.started(first), rig.started(first + 1)]);
            rig.append(&[rig.succeeded(first)]);
        }
        rig.vouch();
        rig.log = None;
        rig
    }

    pub(crate) fn open(&mut self) {
        let options = DirectoryOptions { segment_bytes: SEGMENT_BYTES, reserve_bytes: 0, retry_ms: 10 };
        self.log = Some(Directory::open(&self.root(), options).unwrap().log);
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    pub(crate) fn id(number: u32) -> JobId {
        JobId::from_u128(FIRST_ID + u128::from(number))
    }

    /// Submits `jobs` jobs and says the number of the first.
    pub(crate) fn submit(&mut self, jobs: u32, payload_bytes: usize) -> u32 {
        let first = self.submitted;
        self.submitted += jobs;
        let event = |number: u32| {
            Event::Submitted(Submitted {
                id: Rig::id(number),
                queue: QueueNo(0),
                priority: 0,
                due: Timestamp(0),
                policy: None,
                extra: None,
                payload: Payload(Bytes::from(vec![number as u8 | 1; payload_bytes])),
            })
        };
        self.append(&(first..first + jobs).map(event).collect::<Vec<Event>>());
        first
    }

    pub(crate) fn started(&self, number: u32) -> Event {
        Event::Started { id: Rig::id(number), queue: QueueNo(0), attempt: 1, worker: "w".into() }
    }

    pub(crate) fn succeeded(&self, number: u32) -> Event {
        Event::Succeeded {
            id: Rig::id(number),
            queue: QueueNo(0),
            attempt: 1,
            result: Payload(Bytes::from_static(b"done")),
            content_type: "".into(),
            usage: None,
        }
    }

    pub(crate) fn dead(&self, number: u32) -> Event {
        let failure = Failure { kind: FailureKind::Failed, message: "no".into(), process: None };
        Event::Dead { id: Rig::id(number), queue: QueueNo(0), attempt: 1, failure }
    }

    /// Appends a frame and syncs it.
    pub(crate) fn append(&mut self, events: &[Event]) {
        self.append_unsynced(events);
        self.log.as_mut().unwrap().sync().unwrap();
    }

    pub(crate) fn append_unsynced(&mut self, events: &[Event]) {
        let log = self.log.as_mut().unwrap();
        let head = log.head();
        let frame = Frame {
            position: head.position.next(),
            epoch: Epoch(1),
            first_sequence: head.sequence.plus(1),
            updates: u32::try_from(events.iter().filter(|event| event.is_update()).count()).unwrap(),
            time: Timestamp(1_755_000_000_000 + head.position.0 * 10),
            previous: head.hash,
            body: body_of(events),
        };
        log.append(&frame).unwrap();
        self.frames.push(frame);
    }

    /// An empty frame, whose header says that all before it is synced.
    pub(crate) fn vouch(&mut self) {
        self.append(&[]);
    }

    /// Stores a checkpoint at the durable end, as the checkpointer would.
    pub(crate) fn checkpoint(&mut self) -> Position {
        let archive = self.log.as_ref().unwrap().archive();
        checkpoint::advance(&archive, Position(u64::MAX), u64::MAX).unwrap();
        self.frames.last().unwrap().position
    }

    /// Lets go of what the older of two checkpoints covers.
    pub(crate) fn trim(&mut self) {
        checkpoint::trim(&self.log.as_ref().unwrap().archive(), Position(u64::MAX)).unwrap();
    }

    /// A directory whose older log was trimmed, with dead and live jobs in the carry file, two checkpoints, and more log.
    pub(crate) fn trimmed() -> Rig {
        let mut rig = Rig::with_jobs(40);
        rig.open();
        rig.checkpoint();
        for _ in 0..30 {
            let first = rig.submit(2, 300);
            rig.append(&[rig.started(first), rig.started(first + 1)]);
            rig.append(&[rig.dead(first)]);
        }
        rig.checkpoint();
        rig.trim();
        for _ in 0..10 {
            let first = rig.submit(2, 300);
            rig.append(&[rig.started(first)]);
            rig.append(&[rig.succeeded(first)]);
        }
        // One of those that live since before the log began.
        rig.append(&[rig.succeeded(1)]);
        rig.vouch();
        rig.log = None;
        rig
    }

    /// The files somewhere else.
    pub(crate) fn copy(&self) -> Copy {
        let temporary = TempDir::new().unwrap();
        copy_directory(&self.root(), &temporary.path().join("data"));
        Copy { temporary }
    }
}

/// A copy of a directory's files, to be harmed.
pub(crate) struct Copy {
    temporary: TempDir,
}

/// What a walk gave.
#[derive(Debug)]
pub(crate) struct Walked {
    pub(crate) frames: Vec<Located>,
    pub(crate) faults: Vec<Fault>,
    pub(crate) tail: Tail,
}

impl Copy {
    pub(crate) fn root(&self) -> PathBuf {
        self.temporary.path().join("data")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.root().join(format!("log/{number:010}.seg"))
    }

    pub(crate) fn directory(&self) -> DataDirectory {
        DataDirectory::open(&self.root()).unwrap()
    }

    pub(crate) fn walked(&self) -> Walked {
        walked(&self.directory())
    }
}

pub(crate) fn walked(directory: &DataDirectory) -> Walked {
    let (mut frames, mut faults) = (Vec::new(), directory.faults().to_vec());
    let mut walk = directory.walk();
    for step in &mut walk {
        match step.unwrap() {
            Step::Frame(located) => frames.push(located),
            Step::Fault(fault) => faults.push(fault),
        }
    }
    Walked { frames, faults, tail: walk.tail().clone() }
}

pub(crate) fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

pub(crate) fn flip(path: &Path, offset: u64) {
    let mut byte = [0];
    std::fs::File::open(path).unwrap().read_exact_at(&mut byte, offset).unwrap();
    overwrite(path, offset, &[byte[0] ^ 0x10]);
}

pub(crate) fn block(path: &Path, number: u64) -> Vec<u8> {
    let mut bytes = vec![0; 4_096];
    std::fs::File::open(path).unwrap().read_exact_at(&mut bytes, number * 4_096).unwrap();
    bytes
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
