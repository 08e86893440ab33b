//! Bringing a data directory from an older format to a newer one, a numbered step at a time. [FMT-1]
//!
//! ```text
//! format N                the old files, whole; `migrating/` may hold what a killed migration had written: it is removed
//!   write                 a step writes everything anew below `migrating/`, every file and directory synced
//!   switch                one rename: the format file says N + 1, and that the files are moving
//! format N + 1, moving    the new files, whole: each directory takes its place, the old one and the work tree go
//! format N + 1
//! ```
//!
//! So whenever it is killed the directory is the old one, which the old release opens, or the new one, which whoever opens
//! it for writing finishes; there is no third. Reading without the lock waits for that. The store, positions and sequences
//! stay, so every cursor stays good. What changes between two formats is a [`Step`]'s, in `migrations/`; not here.

mod step;

pub use crate::log::directory::migrate::step::New;
pub use crate::log::directory::migrate::step::Step;

use crate::job::id::StoreId;
use crate::log;
use crate::log::directory::backup;
use crate::log::directory::format;
use crate::log::directory::format::FORMAT;
use crate::log::directory::format::Files;
use crate::log::directory::format::Stored;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use crate::log::directory::lock::Lock;
use std::path::Path;
use std::path::PathBuf;

/// The steps of this release, each beginning where the one before it ends; the last one ends at the format it writes.
/// There is none, because format 1 is the first.
pub const STEPS: &[&dyn Step] = &[];

/// The directories that a step writes anew. The work tree is built again by the next start.
const PARTS: [&str; 2] = ["log", "checkpoints"];

/// Why a migration was refused or failed. The directory is what it was, or a later run finishes it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The directory cannot be used, or the operating system refused.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// No steps lead from the one format to the other.
    #[error(
        "{place} has format {found}, and no step of this release leads from there to format {to}; it knows formats up to {newest}"
    )]
    NoWay {
        /// The data directory.
        place: String,
        /// Its format.
        found: u32,
        /// The format that was asked for.
        to: u32,
        /// The newest format there is.
        newest: u32,
    },
    /// The new files might not find room beside the old ones.
    #[error(
        "migrating {place} needs up to {needed} bytes beside the files that are there, and {free} are free: nothing was changed"
    )]
    NoRoom {
        /// The data directory.
        place: String,
        /// Bytes that the new files take at most.
        needed: u64,
        /// Bytes that are free.
        free: u64,
    },
    /// An old file is not what its format says.
    #[error("{} is not what format {format} says: {what}; nothing was changed", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// The format.
        format: u32,
        /// What is wrong.
        what: String,
    },
}

/// What has just been done. A migration may be killed at each of these moments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// What an earlier, killed migration had written is gone.
    Cleared,
    /// A step begins to write.
    Began {
        /// The format it reads.
        from: u32,
        /// What changes.
        what: String,
    },
    /// A new file is open and empty.
    Opened(PathBuf),
    /// A new file is written and synced.
    Wrote(PathBuf),
    /// All new files are there, and so are their names. Nothing has changed yet.
    Complete,
    /// The directory has the new format.
    Switched,
    /// The old files of this directory are gone.
    Removed(PathBuf),
    /// A new directory is in its place.
    Moved(PathBuf),
    /// The step has ended.
    Finished(u32),
}

/// Hears of each [`Moment`].
pub type See<'a> = &'a mut dyn FnMut(&Moment);

/// What an earlier migration left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing.
    Nothing,
    /// Files that it had written before it was killed: they go.
    Begun,
    /// New files that are not in their places yet: the next opening finishes.
    Moving,
}

/// What a migration would do.
pub struct Plan<'a> {
    /// The data directory.
    pub place: PathBuf,
    /// Which history it holds.
    pub store: StoreId,
    /// The format it has.
    pub found: u32,
    /// The newest format there is.
    pub newest: u32,
    /// The steps that are to be taken, in order.
    pub steps: Vec<&'a dyn Step>,
    /// What an earlier migration left.
    pub left: Left,
    /// Bytes that the new files take at most, beside the old ones.
    pub bytes_needed: u64,
    /// Bytes that are free; `None` where the file system does not count them.
    pub bytes_free: Option<u64>,
}

impl Plan<'_> {
    /// Whether there is room for the new files.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes_free.is_none_or(|free| free >= self.bytes_needed)
    }
}

/// Looks what has to be done to bring the directory at `root` to format `to`, or to the newest one that `steps` lead to.
/// It takes no lock and touches nothing.
///
/// # Errors
/// [`log::Error::Unusable`] if it is not a data directory or a backup, [`log::Error::NewerFormat`], [`Error::NoWay`].
pub fn plan<'a>(root: &Path, steps: &[&'a dyn Step], to: Option<u32>) -> Result<Plan<'a>, Error> {
    let layout = Layout::new(root);
    backup::refuse_to_migrate(&layout)?;
    let newest = steps.last().map_or(FORMAT, |step| step.from() + 1);
    let Some(stored) = format::examine(&layout, newest)? else {
        let reason = "it holds nothing: name a directory that `gangline serve` has made".to_owned();
        return Err(log::Error::Unusable { place: root.display().to_string(), reason }.into());
    };
    let (found, to) = (stored.format, to.unwrap_or(newest));
    let chosen = steps.iter().copied().filter(|step| (found..to).contains(&step.from()));
    let chosen: Vec<&dyn Step> = chosen.collect();
    let leads = chosen.iter().zip(found..).all(|(step, from)| step.from() == from);
    if to < found || !leads || chosen.len() as u64 != u64::from(to - found) {
        return Err(Error::NoWay { place: root.display().to_string(), found, to, newest });
    }
    let left = match stored.files {
        Files::Moving => Left::Moving,
        Files::InPlace if layout.migrating().exists() => Left::Begun,
        Files::InPlace => Left::Nothing,
    };
    let leftover = if left == Left::Begun { bytes_below(&layout.migrating())? } else { 0 };
    let mut bytes = 0;
    for part in PARTS {
        let place = if left == Left::Moving { layout.migrating().join(part) } else { root.join(part) };
        bytes += bytes_below(if place.is_dir() { place } else { root.join(part) }.as_path())?;
    }
    let mut bytes_needed = 0;
    for step in &chosen {
        bytes = step.bytes_max(bytes);
        bytes_needed = bytes_needed.max(bytes);
    }
    let bytes_free = layout::bytes_free(root)?.map(|free| free.saturating_add(leftover));
    let (place, store) = (root.to_owned(), stored.store);
    Ok(Plan { place, store, found, newest, steps: chosen, left, bytes_needed, bytes_free })
}

/// Brings the directory at `root` to format `to`, or to the newest one that `steps` lead to, finishing or clearing away
/// what an earlier migration left. The format it then has.
///
/// # Errors
/// Those of [`plan`]; [`log::Error::InUse`]; [`Error::NoRoom`]; [`Error::Unreadable`]; input/output errors.
pub fn migrate(root: &Path, steps: &[&dyn Step], to: Option<u32>, see: See<'_>) -> Result<u32, Error> {
    plan(root, steps, to)?;
    let layout = Layout::new(root);
    let _lock = Lock::take(&layout)?;
    // Whoever held the lock may have changed it.
    let plan = plan(root, steps, to)?;
    match plan.left {
        Left::Nothing => {}
        Left::Begun => {
            layout::remove_directory(&layout.migrating())?;
            see(&Moment::Cleared);
        }
        Left::Moving => finish(&layout, plan.store, plan.found, see)?,
    }
    if let Some(free) = plan.bytes_free.filter(|_| !plan.has_room()) {
        return Err(Error::NoRoom { place: root.display().to_string(), needed: plan.bytes_needed, free });
    }
    let mut format = plan.found;
    for step in &plan.steps {
        if let Err(error) = write(&layout, *step, see) {
            // The space is wanted back now; if it cannot be given now, the next run does.
            layout::remove_directory(&layout.migrating()).ok();
            return Err(error);
        }
        format += 1;
        format::write(&layout, Stored { format, store: plan.store, files: Files::Moving })?;
        see(&Moment::Switched);
        finish(&layout, plan.store, format, see)?;
    }
    Ok(format)
}

/// Finishes, or clears away, what a migration left in a directory of this release's format. Its history.
pub(crate) fn settle(layout: &Layout, stored: Stored) -> Result<StoreId, log::Error> {
    match stored.files {
        Files::Moving => finish(layout, stored.store, stored.format, &mut |_| {})?,
        // A newer release wrote them and was stopped before it changed anything.
        Files::InPlace => layout::remove_directory(&layout.migrating())?,
    }
    Ok(stored.store)
}

/// Writes everything in the next format below `migrating`, durable in content and names.
fn write(layout: &Layout, step: &dyn Step, see: See<'_>) -> Result<(), Error> {
    see(&Moment::Began { from: step.from(), what: step.what().to_owned() });
    let migrating = layout.migrating();
    for part in PARTS {
        layout::make_directory(&migrating.join(part))?;
    }
    step.write(layout.root(), &mut New { root: &migrating, see: &mut *see })?;
    for part in PARTS {
        layout::sync_directory(&migrating.join(part))?;
    }
    layout::sync_directory(&migrating)?;
    layout::sync_directory(layout.root())?;
    see(&Moment::Complete);
    Ok(())
}

/// Gives the new files their places. The old ones are not needed any more; it may be killed anywhere and run again.
fn finish(layout: &Layout, store: StoreId, format: u32, see: See<'_>) -> Result<(), log::Error> {
    let (root, migrating) = (layout.root(), layout.migrating());
    for part in PARTS {
        let (new, place) = (migrating.join(part), root.join(part));
        if !new.is_dir() {
            continue;
        }
        layout::remove_directory(&place)?;
        see(&Moment::Removed(place.clone()));
        std::fs::rename(&new, &place).map_err(io("naming", &place))?;
        layout::sync_directory(root)?;
        layout::sync_directory(&migrating)?;
        see(&Moment::Moved(place));
    }
    for gone in [layout.work(), migrating] {
        layout::remove_directory(&gone)?;
        see(&Moment::Removed(gone));
    }
    format::write(layout, Stored { format, store, files: Files::InPlace })?;
    see(&Moment::Finished(format));
    Ok(())
}

/// What the files below `path` take.
fn bytes_below(path: &Path) -> Result<u64, log::Error> {
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(0),
        Err(error) => return Err(io("listing", path)(error)),
    };
    let mut bytes = 0;
    for entry in entries {
        let entry = entry.map_err(io("listing", path))?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => bytes_below(&entry.path())?,
            Ok(metadata) => metadata.len(),
            // A server that still runs has let go of it.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => 0,
            Err(error) => return Err(io("reading", &entry.path())(error)),
        };
    }
    Ok(bytes)
}
