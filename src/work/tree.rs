//! The only file that names sled: slices by key, and the two positions.
//!
//! sled panics on damaged files and its errors are for ever, so every call is fenced: an error or a panic becomes
//! [`Error::Broken`], and whoever holds the tree abandons it. A hang is seen from outside, by the pulse that every
//! call beats. Plain ordered inserts only: transactions and batches take a lock that blocks all readers, and a tree
//! that is idempotent by position needs no atomicity.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Error;
use crate::work::view::Pulse;
use std::fmt::Display;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;

const POSITIONS: &[u8] = b"applied, folded";

/// Up to where the tree holds the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Positions {
    /// Submits up to this frame are in slices.
    pub(crate) applied: Position,
    /// Changes up to this frame are in slices.
    pub(crate) folded: Position,
}

/// An open sled database. Clones are handles to the same one; it closes with the last.
#[derive(Clone, Debug)]
pub(crate) struct Tree {
    handles: Option<Handles>,
    pulse: Pulse,
}

#[derive(Clone, Debug)]
struct Handles {
    slices: sled::Tree,
    positions: sled::Tree,
}

impl Tree {
    /// Opens or creates the database in the directory `path`.
    pub(crate) fn open(path: &Path, cache_bytes: u64, pulse: &Pulse) -> Result<Tree, Error> {
        fenced("opening", pulse, || {
            // No flusher thread: the applier flushes. No compression: it costs the whole budget.
            let db =
                sled::Config::new().path(path).cache_capacity(cache_bytes).flush_every_ms(None).open()?;
            let slices = db.open_tree("slices")?;
            let handles = Some(Handles { slices, positions: db.open_tree("positions")? });
            Ok(Tree { handles, pulse: pulse.clone() })
        })
    }

    /// Reads the slice that a job would be in: the last one whose key is not above `id`.
    pub(crate) fn slice_of<R>(
        &self,
        id: JobId,
        read: impl FnOnce(JobId, &[u8]) -> R,
    ) -> Result<Option<R>, Error> {
        fenced("reading", &self.pulse, || {
            let found = self.slices().range(..=id.to_bytes()).next_back().transpose()?;
            Ok(found.map(|(key, value)| read(job_id(&key), &value)))
        })
    }

    /// The first key after `id`.
    pub(crate) fn key_after(&self, id: JobId) -> Result<Option<JobId>, Error> {
        fenced("reading", &self.pulse, || {
            let after = (Bound::Excluded(id.to_bytes()), Bound::Unbounded);
            Ok(self.slices().range::<[u8; 16], _>(after).next().transpose()?.map(|(key, _)| job_id(&key)))
        })
    }

    /// Shows slices in key order, from the first whose key is at or above `from`, until `visit` breaks off.
    pub(crate) fn scan(
        &self,
        from: JobId,
        mut visit: impl FnMut(JobId, &[u8]) -> ControlFlow<()>,
    ) -> Result<(), Error> {
        fenced("scanning", &self.pulse, || {
            for slice in self.slices().range(from.to_bytes()..) {
                let (key, value) = slice?;
                self.pulse.beat();
                if visit(job_id(&key), &value).is_break() {
                    break;
                }
            }
            Ok(())
        })
    }

    /// Writes a slice.
    pub(crate) fn put(&self, key: JobId, slice: &[u8]) -> Result<(), Error> {
        fenced("writing", &self.pulse, || self.slices().insert(key.to_bytes(), slice).map(drop))
    }

    /// Removes a slice.
    pub(crate) fn remove(&self, key: JobId) -> Result<(), Error> {
        fenced("removing", &self.pulse, || self.slices().remove(key.to_bytes()).map(drop))
    }

    /// The positions, if any were stored.
    pub(crate) fn positions(&self) -> Result<Option<Positions>, Error> {
        fenced("reading the positions", &self.pulse, || {
            let stored = self.handles().positions.get(POSITIONS)?;
            Ok(stored.and_then(|bytes| {
                let (applied, folded) = bytes.split_at_checked(8)?;
                let applied = Position(u64::from_le_bytes(applied.try_into().ok()?));
                Some(Positions { applied, folded: Position(u64::from_le_bytes(folded.try_into().ok()?)) })
            }))
        })
    }

    /// Stores the positions. Only after the data they speak of: sled recovers a prefix of what it was told.
    pub(crate) fn put_positions(&self, positions: Positions) -> Result<(), Error> {
        let mut value = [0; 16];
        value[..8].copy_from_slice(&positions.applied.0.to_le_bytes());
        value[8..].copy_from_slice(&positions.folded.0.to_le_bytes());
        fenced("writing the positions", &self.pulse, || {
            self.handles().positions.insert(POSITIONS, &value).map(drop)
        })
    }

    /// Hands everything to the operating system, where it survives this process. It is not an fsync.
    pub(crate) fn flush(&self) -> Result<(), Error> {
        fenced("flushing", &self.pulse, || self.slices().flush().map(drop))
    }

    /// Closes this handle. sled flushes once more when the last one goes, and may fail at that.
    pub(crate) fn close(mut self) -> Result<(), Error> {
        self.let_go()
    }

    fn let_go(&mut self) -> Result<(), Error> {
        let handles = self.handles.take();
        fenced("closing", &self.pulse, || {
            drop(handles);
            Ok(())
        })
    }

    fn slices(&self) -> &sled::Tree {
        &self.handles().slices
    }

    fn handles(&self) -> &Handles {
        self.handles.as_ref().expect("only closing takes the handles, and consumes the tree")
    }
}

impl Drop for Tree {
    fn drop(&mut self) {
        if self.handles.is_some()
            && let Err(error) = self.let_go()
        {
            tracing::warn!(%error, "a work tree did not close well");
        }
    }
}

fn fenced<R>(action: &str, pulse: &Pulse, call: impl FnOnce() -> sled::Result<R>) -> Result<R, Error> {
    pulse.beat();
    let fence = catch_unwind(AssertUnwindSafe(|| {
        #[cfg(test)]
        pulse.provoke(action)?;
        call().map_err(|error| broken(action, error))
    }));
    fence.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
        Err(broken(action, format_args!("it panicked: {}", text.unwrap_or("without a message"))))
    })
}

fn broken(action: &str, what: impl Display) -> Error {
    Error::Broken(format!("{action}: {what}"))
}

fn job_id(key: &[u8]) -> JobId {
    JobId::from_bytes(key.try_into().expect("every key of the slices is an id"))
}
