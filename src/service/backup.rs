//! A backup as it leaves the server: the files that make a valid prefix of the log, piece by piece, without what the caller
//! has already. The writer has no part in it; trims wait until it has ended.

use crate::job::id::Sequence;
use crate::log;
use crate::log::directory::backup::Announced;
use crate::log::directory::capture::Capture;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::service::Error;
use crate::service::Service;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tokio::sync::OwnedSemaphorePermit;

/// How many backups may be taken at a time: each reads the disk, and keeps log.
pub const BACKUPS_MAX: usize = 2;
/// The most bytes of a file that are read and sent at once. [MEM-1]
pub const PIECE_BYTES: usize = 256 * 1_024;

/// What a caller of a backup is sent next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Piece {
    /// What the backup will be, and how many bytes of files will be sent.
    Begin(Announced, u64),
    /// A file; its bytes from this place on follow, unless there are none.
    File(Part, u64),
    /// The next bytes of that file.
    Bytes(Bytes),
    /// That was all.
    End,
}

/// A backup that is being sent.
#[derive(Debug)]
pub struct Backup {
    service: Service,
    held: Arc<Held>,
    announced: Announced,
    /// Each file, and from which byte on it is sent.
    plan: Vec<(Part, u64)>,
    step: Step,
    _permit: OwnedSemaphorePermit,
}

/// What the watch over a backup may let go of.
#[derive(Debug)]
struct Held {
    capture: Mutex<Option<Arc<Capture>>>,
    /// How many pieces were asked for.
    asked: AtomicU64,
}

#[derive(Debug)]
enum Step {
    Begin,
    /// The file with this number in the plan is announced.
    File(usize),
    /// Its bytes from this place on are sent.
    Bytes(usize, u64, Option<Arc<File>>),
    Ended,
}

impl Service {
    /// Begins a backup of everything that is durable now, for a caller that has the files `has` already. Log stays until it
    /// has ended, or the caller has taken nothing for [`Settings::backup_stall`](crate::service::Settings::backup_stall).
    ///
    /// # Errors
    /// [`Error::BackupsFull`], [`Error::ShuttingDown`], or [`Error::Log`] if the log cannot be read or is no directory.
    pub async fn backup(&self, has: Vec<Part>) -> Result<Backup, Error> {
        let permit = Arc::clone(&self.backups).try_acquire_owned();
        let permit = permit.map_err(|_| Error::BackupsFull { most: BACKUPS_MAX })?;
        let archive = self.settings().archive.clone().ok_or_else(|| {
            let reason = "its log is not in a directory".to_owned();
            Error::Log(log::Error::NoBackup { place: "this server".to_owned(), reason })
        })?;
        let capture = self.read(move || archive.capture().map_err(Error::Log)).await?;
        let has: BTreeMap<(PartKind, u64), Part> =
            has.into_iter().map(|part| ((part.kind, part.number), part)).collect();
        let from = |part: &Part| match has.get(&(part.kind, part.number)) {
            Some(own) if own.mark != part.mark => 0,
            Some(own) if part.kind == PartKind::Segment => own.bytes.min(part.bytes),
            Some(own) if own.bytes == part.bytes => part.bytes,
            Some(_) | None => 0,
        };
        let plan: Vec<(Part, u64)> = capture.parts().iter().map(|part| (*part, from(part))).collect();
        let announced = Announced::of(&capture);
        let held = Held { capture: Mutex::new(Some(Arc::new(capture))), asked: AtomicU64::new(0) };
        let held = Arc::new(held);
        self.watch(&held, announced.head.sequence);
        Ok(Backup { service: self.clone(), held, announced, plan, step: Step::Begin, _permit: permit })
    }

    /// Lets go of what a caller that takes nothing any more holds back: else it could fill the disk.
    fn watch(&self, held: &Arc<Held>, sequence: Sequence) {
        let (held, stall) = (Arc::downgrade(held), self.settings().backup_stall);
        let stopped = self.shutdown().token().clone();
        self.shutdown().spawn(async move {
            let mut seen = None;
            loop {
                tokio::select! {
                    () = stopped.cancelled() => return,
                    () = tokio::time::sleep(stall) => {}
                }
                let Some(held) = held.upgrade() else { return };
                let asked = held.asked.load(Ordering::Relaxed);
                if seen.replace(asked) == Some(asked) {
                    let capture = held.capture.lock().expect(NO_PANIC).take();
                    tracing::warn!(%sequence, ?stall, "a backup was given up: its caller has taken nothing for so long");
                    drop(capture);
                    return;
                }
            }
        });
    }
}

impl Backup {
    /// The next piece; `None` after the end.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`], [`Error::BackupStalled`], or [`Error::Log`] if a file cannot be read.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        if self.service.shutdown().token().is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        self.held.asked.fetch_add(1, Ordering::Relaxed);
        let capture = self.held.capture.lock().expect(NO_PANIC).clone();
        let capture = capture.ok_or(Error::BackupStalled)?;
        match std::mem::replace(&mut self.step, Step::Ended) {
            Step::Begin => {
                self.step = Step::File(0);
                let bytes = self.plan.iter().map(|(part, from)| part.bytes - from).sum();
                Ok(Some(Piece::Begin(self.announced.clone(), bytes)))
            }
            Step::File(at) => {
                let Some((part, from)) = self.plan.get(at).copied() else { return Ok(Some(Piece::End)) };
                let sent = from == part.bytes;
                self.step = if sent { Step::File(at + 1) } else { Step::Bytes(at, from, None) };
                Ok(Some(Piece::File(part, from)))
            }
            Step::Bytes(at, from, file) => {
                let (part, _) = self.plan[at];
                let read = self.service.read(move || read(&capture, part, from, file)).await?;
                let (bytes, file) = read;
                let end = from + bytes.len() as u64;
                let sent = end == part.bytes;
                self.step = if sent { Step::File(at + 1) } else { Step::Bytes(at, end, Some(file)) };
                Ok(Some(Piece::Bytes(bytes)))
            }
            Step::Ended => Ok(None),
        }
    }
}

/// The next bytes of a file, which is opened for its first ones.
fn read(
    capture: &Capture,
    part: Part,
    from: u64,
    file: Option<Arc<File>>,
) -> Result<(Bytes, Arc<File>), Error> {
    let file = match file {
        Some(file) => file,
        None => Arc::new(capture.open(&part).map_err(Error::Log)?),
    };
    let left = usize::try_from(part.bytes - from).unwrap_or(PIECE_BYTES);
    let mut bytes = vec![0; left.min(PIECE_BYTES)];
    file.read_exact_at(&mut bytes, from).map_err(|source| {
        let place = capture.path(&part).display().to_string();
        Error::Log(log::Error::Io { action: "reading", place, source })
    })?;
    Ok((Bytes::from(bytes), file))
}

const NO_PANIC: &str = "no holder of a capture panics";
