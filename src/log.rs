//! The update log: the database of Gangline. Every other state is a fold of it. [LOG-3]
//!
//! A log is a chain of frames. [`Log`] is the writer's side, owned by one thread; [`Archive`] is the shared
//! side: what is durable, read by many. The embedded directory is one implementation ([`directory`]), the
//! simulated log another ([`memory`]), and [`suite`] is run for each. Nothing above this module knows of files.

pub mod causes;
pub mod directory;
pub mod frame;
pub mod memory;
pub mod shell;
#[cfg(test)]
pub(crate) mod suite;

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::Epoch;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use std::io::Read;
use std::io::Write;

/// The end of the log: what the next frame is chained on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// Position of the newest frame, 0 in an empty log.
    pub position: Position,
    /// Hash of the newest frame, [`Hash::ZERO`] in an empty log.
    pub hash: Hash,
    /// Epoch of the newest frame, 0 in an empty log.
    pub epoch: Epoch,
    /// Sequence of the newest update, 0 in an empty log.
    pub sequence: Sequence,
}

/// The first frame that can still be read, and its first sequence.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The oldest retained frame; one past the head when nothing is retained.
    pub position: Position,
    /// The oldest retained update.
    pub sequence: Sequence,
}

/// What one log accepts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest body of one frame, in bytes.
    pub frame_bytes_max: usize,
    /// How many frames may be appended before the first of them is durable.
    pub window: usize,
}

/// How much room there is to append without asking the file system for space. [ACK-2]
///
/// The engine decides what it still accepts from this before it decides anything, so that a full disk never
/// shows up as a failed write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    /// Bytes left in the segment that is written now.
    pub current_bytes: u64,
    /// Size of that segment.
    pub segment_bytes: u64,
    /// Prepared segments ready to take over.
    pub spares: usize,
    /// Whether the last try to prepare a segment failed for want of space.
    pub disk_full: bool,
}

/// The writer's side of a log: one owner, frames in order.
///
/// # Contract
/// - [`Log::append`] takes the frame at `head().position.next()`, chained on `head().hash`, with an epoch not below
///   `head().epoch` and `first_sequence == head().sequence + 1`; anything else is [`Error::Conflict`] and changes nothing.
/// - An appended frame is not durable and not readable before a later [`Log::sync`] returned a position at or above it.
/// - After a failed write or sync every later call of that log answers [`Error::Poisoned`]: the sync is never
///   retried, because the kernel forgets which pages failed. [ACK-2]
/// - Reopening a log finds every frame that a sync covered, and of the others a prefix, in order, or none.
pub trait Log: Send + 'static {
    /// The shared side of this log.
    type Archive: Archive;

    /// The end of the log, including frames that are not yet durable.
    fn head(&self) -> Head;

    /// Appends one frame. It is durable only after [`Log::sync`].
    ///
    /// # Errors
    /// [`Error::Conflict`], [`Error::TooLarge`], [`Error::Full`] (nothing was written, the log is still good), or an
    /// input/output error, which poisons the log.
    fn append(&mut self, frame: &Frame) -> Result<(), Error>;

    /// Makes every appended frame durable and says up to which position. An empty call costs nothing.
    ///
    /// # Errors
    /// An input/output error, which poisons the log.
    fn sync(&mut self) -> Result<Position, Error>;

    /// How much can be appended without asking the file system for space.
    fn room(&self) -> Room;

    /// The same, once it is settled: waits for a segment that is being prepared, but not for a disk that is full.
    fn await_room(&self) -> Room;

    /// What this log accepts.
    fn limits(&self) -> Limits;

    /// The shared side.
    fn archive(&self) -> Self::Archive;
}

/// The shared side of a log: durable frames, payloads, checkpoints. Cheap to clone, used from any thread.
///
/// Reads see frames only after the sync that made them durable. [ACK-1]
pub trait Archive: Clone + Send + Sync + 'static {
    /// Which history this is.
    fn store_id(&self) -> StoreId;

    /// The newest durable frame's position.
    fn durable(&self) -> Position;

    /// The oldest retained frame and update.
    fn floor(&self) -> Floor;

    /// Durable frames from `from` on, in order: at least one if `from` is durable, and no more once their bodies reach
    /// `bytes_max`. Empty if `from` is past the durable end.
    ///
    /// # Errors
    /// [`Error::BelowFloor`] if `from` was trimmed, [`Error::Damaged`] if a stored frame is not what was written.
    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error>;

    /// The frame that holds the update `sequence`; the position after the durable end if the update is not durable yet.
    ///
    /// # Errors
    /// [`Error::BelowFloor`] if it was trimmed.
    fn position_of(&self, sequence: Sequence) -> Result<Position, Error>;

    /// The event at `at`, from the retained log or from what trimming carried along.
    ///
    /// # Errors
    /// [`Error::Forgotten`] if the event was trimmed and not carried.
    fn event(&self, at: Pointer) -> Result<Event, Error>;

    /// The position below which the log may go so that about `bytes` of it stay, in the units the log stores it in: never
    /// less stays. The floor if all of it must stay.
    fn keeping(&self, bytes: u64) -> Position;

    /// The position below which the log may go so that every durable frame written at `time` or later stays, in the units
    /// the log stores it in. The floor if all of it must stay.
    ///
    /// # Errors
    /// As [`Archive::read`].
    fn older(&self, time: Timestamp) -> Result<Position, Error>;

    /// Lets go of frames below `before`, in the units the log stores them in (so possibly fewer, never more), after the
    /// events at `live` (ascending) are safe in a durable place where [`Archive::event`] finds them. `live` names every
    /// event below `before` that must stay; what earlier trims carried and `live` does not name is let go.
    ///
    /// # Errors
    /// An input/output error; then nothing was let go.
    fn trim(&self, before: Position, live: &mut dyn Iterator<Item = Pointer>) -> Result<Floor, Error>;

    /// Stores a checkpoint of the state as of frame `at`, durable when this returns; the newest two are kept.
    ///
    /// # Errors
    /// An input/output error; then the earlier checkpoints are untouched.
    fn put_checkpoint(&self, at: Position, write: WriteCheckpoint<'_>) -> Result<(), Error>;

    /// Positions of the stored checkpoints, newest first.
    ///
    /// # Errors
    /// An input/output error.
    fn checkpoints(&self) -> Result<Vec<Position>, Error>;

    /// A reader over the checkpoint at `at`, whose checksum has been verified.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the checkpoint is not what was written.
    fn checkpoint(&self, at: Position) -> Result<ReadCheckpoint, Error>;
}

/// Writes the content of a checkpoint into the given writer.
pub type WriteCheckpoint<'a> = &'a mut dyn FnMut(&mut dyn Write) -> std::io::Result<()>;

/// The content of a checkpoint that has been verified.
pub type ReadCheckpoint = Box<dyn Read + Send>;

/// Why a log refused or failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The frame does not continue the log.
    #[error("frame {position} does not continue the log, whose head is {head}")]
    Conflict {
        /// Position of the refused frame.
        position: Position,
        /// Position of the log's head.
        head: Position,
    },
    /// The frame's body is over [`Limits::frame_bytes_max`].
    #[error("a frame body of {bytes} bytes is over the limit of {bytes_max}")]
    TooLarge {
        /// Bytes of the body.
        bytes: usize,
        /// The limit.
        bytes_max: usize,
    },
    /// There is no prepared space for the frame; nothing was written.
    #[error("no space is prepared for another {bytes} bytes of log: the disk is full")]
    Full {
        /// Bytes that were to be written.
        bytes: usize,
    },
    /// An earlier write or sync failed; this log acknowledges nothing more. [ACK-2]
    #[error("the log is closed after a failed write or sync: restart to recover what is durable")]
    Poisoned,
    /// The position was trimmed.
    #[error("position {wanted} was trimmed; the log begins at {floor}")]
    BelowFloor {
        /// What was asked for.
        wanted: Position,
        /// The first retained position.
        floor: Position,
    },
    /// The event was trimmed and nothing carried it.
    #[error("the event at frame {} index {} is no longer kept", at.position, at.index)]
    Forgotten {
        /// What was asked for.
        at: Pointer,
    },
    /// Another process owns the log. [DIR-1]
    #[error("{place} is in use by {holder}")]
    InUse {
        /// The data directory.
        place: String,
        /// Who holds it: process id and since when, as far as known.
        holder: String,
    },
    /// The directory was written by a newer release. [FMT-1]
    #[error("{place} has format {found}; this release reads formats up to {known}: use a newer release")]
    NewerFormat {
        /// The data directory or file.
        place: String,
        /// Its format number.
        found: u32,
        /// The newest format this release knows.
        known: u32,
    },
    /// The directory was written by an older release, in a format that only a migration reads. [FMT-1]
    #[error(
        "{place} has format {found}; this release serves format {known}: `gangline migrate {}` brings it there",
        shell::word(place)
    )]
    OlderFormat {
        /// The data directory or file.
        place: String,
        /// Its format number.
        found: u32,
        /// The format this release writes.
        known: u32,
    },
    /// A migration of the directory was interrupted after it had switched to its new files.
    #[error("a migration of {place} was interrupted: `gangline migrate {}` finishes it", shell::word(place))]
    Migrating {
        /// The data directory.
        place: String,
    },
    /// The place cannot be used as a data directory.
    #[error("{place} cannot be used as a data directory: {reason}")]
    Unusable {
        /// The data directory.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// The place cannot be used as a backup, or not be backed up.
    #[error("{place} cannot be used for a backup: {reason}")]
    NoBackup {
        /// The backup or the data directory.
        place: String,
        /// What is wrong and what to do.
        reason: String,
    },
    /// Stored bytes are not what was written, and something later vouches that they were durable.
    #[error("{file} is damaged at byte {offset} (frame {position}, about update {sequence}): {what}")]
    Damaged {
        /// The file.
        file: String,
        /// Byte offset in the file.
        offset: u64,
        /// The frame that is damaged, as far as known.
        position: Position,
        /// The first update that is lost with it, as far as known.
        sequence: Sequence,
        /// What is wrong.
        what: String,
    },
    /// The operating system refused.
    #[error("{action} {place}")]
    Io {
        /// What was tried, as a verb: "writing", "syncing".
        action: &'static str,
        /// The file or directory.
        place: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}
