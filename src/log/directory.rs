//! The embedded log: a directory of segments that one process owns. [DIR-1]
//!
//! ```text
//! DATA/format                     format number and store id
//! DATA/lock                       held while the log is open
//! DATA/reserve                    space that is given up when the disk is full
//! DATA/log/0000000017.seg         frames; prepared ahead, never rewritten once sealed
//! DATA/log/00000000000000004711.carry   events of live jobs out of removed segments
//! DATA/checkpoints/<position>.ckpt
//! DATA/work/                      the work tree's; only a migration removes it
//! DATA/migrating/                 what a migration has written so far
//! ```

mod archive;
pub mod backup;
mod cache;
pub mod capture;
mod carry;
mod checkpoint;
mod format;
mod layout;
mod lock;
pub mod migrate;
mod pins;
mod prepare;
pub mod read_only;
mod reader;
mod recovery;
mod scan;
mod segment;
mod trim;
mod window;
mod writer;

#[cfg(test)]
mod tests;

pub use crate::log::directory::archive::DirectoryArchive;
pub use crate::log::directory::recovery::Cut;
pub use crate::log::directory::recovery::Recovered;
pub use crate::log::directory::writer::Directory;

use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::archive::Retained;
use crate::log::directory::carry::Carry;
use crate::log::directory::layout::Layout;
use crate::log::directory::lock::Lock;
use crate::log::directory::prepare::Preparer;
use crate::log::directory::prepare::Space;
use crate::log::directory::recovery::Found;
use crate::log::frame::Hash;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

/// How a data directory is kept. None of it is part of the format: it may differ from one opening to the next.
#[derive(Clone, Debug)]
pub struct DirectoryOptions {
    /// Size of new segments; a multiple of 4,096, at least [`DirectoryOptions::SEGMENT_BYTES_MIN`].
    pub segment_bytes: u64,
    /// Size of the reserve; 0: none.
    pub reserve_bytes: u64,
    /// How long to wait before space is asked for again after the disk was full.
    pub retry_ms: u64,
}

impl DirectoryOptions {
    /// The smallest segment.
    pub const SEGMENT_BYTES_MIN: u64 = 16 * 1024;
}

impl Default for DirectoryOptions {
    fn default() -> DirectoryOptions {
        DirectoryOptions { segment_bytes: 64 << 20, reserve_bytes: 8 << 20, retry_ms: 1_000 }
    }
}

/// A data directory that has just been opened.
#[derive(Debug)]
pub struct Opened {
    /// The log.
    pub log: Directory,
    /// What opening it found and did.
    pub recovered: Recovered,
}

impl Directory {
    /// Opens the data directory at `path`, or makes one there, and recovers its log.
    ///
    /// Everything the log then holds is on the disk. The caller appends the frame that begins its epoch.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], [`Error::OlderFormat`], [`Error::Unusable`] and [`Error::InUse`] before anything is touched; [`Error::Damaged`];
    /// [`Error::Full`] if there is no space for the first segment; input/output errors.
    pub fn open(path: &Path, options: DirectoryOptions) -> Result<Opened, Error> {
        let layout = Layout::new(path);
        if options.segment_bytes < DirectoryOptions::SEGMENT_BYTES_MIN
            || !options.segment_bytes.is_multiple_of(4_096)
        {
            let reason = format!(
                "a segment of {} bytes is not possible: give a multiple of 4096, at least {}",
                options.segment_bytes,
                DirectoryOptions::SEGMENT_BYTES_MIN
            );
            return Err(Error::Unusable { place: path.display().to_string(), reason });
        }
        backup::refuse_to_serve(&layout)?;
        format::check(&layout)?;
        layout::make_directory(path)?;
        let lock = Lock::take(&layout)?;
        // Another process may have made it in between.
        let store = match format::check(&layout)? {
            Some(stored) => migrate::settle(&layout, stored)?,
            None => format::create(&layout)?.store,
        };
        for directory in [layout.log(), layout.checkpoints()] {
            layout::make_directory(&directory)?;
            layout::remove_unfinished(&directory)?;
        }
        let carry = Carry::newest(&layout, store)?;
        let found = match recovery::recover(&layout, store, carry.as_ref(), options.segment_bytes)? {
            Some(found) => found,
            None => begin(&layout, store, &options)?,
        };
        assemble(layout, store, options, lock, carry, found)
    }
}

/// A log without a frame, in its first segment.
fn begin(layout: &Layout, store: StoreId, options: &DirectoryOptions) -> Result<Found, Error> {
    if let Some(at) = checkpoint::list(layout)?.first() {
        let reason = format!("it holds a checkpoint at {at} but no log: restore `log` from a backup");
        return Err(Error::Unusable { place: layout.root().display().to_string(), reason });
    }
    let current = prepare::create_segment(layout, 1, store, options.segment_bytes, &mut || true);
    let current = current.map_err(|error| match usize::try_from(options.segment_bytes) {
        Ok(bytes) if layout::is_full(&error) => Error::Full { bytes },
        Ok(_) | Err(_) => error,
    })?;
    Ok(Found {
        head: Head { position: Position(0), hash: Hash::ZERO, epoch: Epoch(0), sequence: Sequence(0) },
        current,
        end: segment::HEADER_BYTES,
        segments: Vec::new(),
        spares: VecDeque::new(),
        recovered: Recovered::default(),
    })
}

fn assemble(
    layout: Layout,
    store: StoreId,
    options: DirectoryOptions,
    lock: Lock,
    carry: Option<Carry>,
    found: Found,
) -> Result<Opened, Error> {
    let Found { head, current, end, segments, spares, recovered } = found;
    let last = spares.back().map_or(current.header.number, |spare| spare.header.number);
    let space = Space::new(layout.clone(), store, options.clone(), spares, last + 1);
    let space = Arc::new(space);
    let preparer = Preparer::start(Arc::clone(&space))?;
    let current = Arc::new(current);
    let retained = Retained { segments, current: Arc::clone(&current), carry: carry.map(Arc::new) };
    let archive = DirectoryArchive::new(layout, store, space, retained, head.position, lock);
    let log = Directory::new(archive, preparer, options, head, current, end);
    Ok(Opened { log, recovered })
}
