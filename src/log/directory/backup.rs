//! A backup: a directory with the layout of a data directory, that holds a prefix of its log and says which one.
//!
//! ```text
//! OUT/backup, format, log/, checkpoints/     the finished backup
//! OUT/incoming/log/, checkpoints/            what the next one has received so far, each file whole
//! OUT/incoming/backup                        all of it is there and was read back: only names are missing
//! ```
//!
//! What is finished stays as it is until everything new is on the disk. Then the manifest below `incoming` is written, and
//! from there on whoever opens the backup gives the files their names. It may be killed anywhere: before, a repeated
//! backup goes on with what has arrived; after, anybody finishes it.

mod check;
mod finish;
mod finished;
mod manifest;
mod receiving;

pub use crate::log::directory::backup::finished::End;
pub use crate::log::directory::backup::finished::Finished;
pub use crate::log::directory::backup::manifest::Manifest;
pub use crate::log::directory::backup::receiving::Receiving;

use crate::clock::Timestamp;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::capture;
use crate::log::directory::capture::Capture;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::log::directory::format;
use crate::log::directory::format::FORMAT;
use crate::log::directory::format::Files;
use crate::log::directory::format::Stored;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::lock::Lock;
use crate::log::directory::reader::Reader;
use crate::log::shell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::path::Path;
use std::path::PathBuf;

/// How the name of the last segment ends while it waits for the other files: it is as of one backup, and made anew by the
/// next.
const LIVE: &str = "live";
/// What may be in a directory before its first backup, or in any mount point.
const HARMLESS: [&str; 2] = ["lock", "lost+found"];

/// Refuses a directory that a server may not start on: its store id is that of the store that was backed up.
///
/// # Errors
/// [`Error::NoBackup`].
pub(crate) fn refuse_to_serve(layout: &Layout) -> Result<(), Error> {
    if !layout.manifest().exists() && !layout.incoming().exists() {
        return Ok(());
    }
    let root = layout.root().display();
    let reason = format!(
        "no server starts on a backup, whose store id belongs to the store that was backed up: `gangline restore {} DIR` makes a directory to serve",
        shell::word(&root.to_string())
    );
    Err(Error::Unusable { place: root.to_string(), reason })
}

/// Refuses to bring a backup to another format: its files are what its manifest says, and what the next backup goes on with.
///
/// # Errors
/// [`Error::Unusable`].
pub(crate) fn refuse_to_migrate(layout: &Layout) -> Result<(), Error> {
    if !layout.manifest().exists() && !layout.incoming().exists() {
        return Ok(());
    }
    let root = layout.root().display().to_string();
    let reason = format!(
        "it is a backup, and keeps the format that it was made in: `gangline restore {} DIR` with the release that made it, then \
         `gangline migrate DIR`",
        shell::word(&root)
    );
    Err(Error::Unusable { place: root, reason })
}

/// A backup that is being made, or taken further.
#[derive(Debug)]
pub struct Backup {
    layout: Layout,
    incoming: Layout,
    manifest: Option<Manifest>,
    _lock: Lock,
}

/// What the next backup will be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Announced {
    /// The format of its files.
    pub format: u32,
    /// Which history it is of.
    pub store: StoreId,
    /// Its last frame.
    pub head: Head,
    /// Log time of its last frame.
    pub time: Timestamp,
}

impl Announced {
    /// What `capture` is of.
    #[must_use]
    pub fn of(capture: &Capture) -> Announced {
        let (format, store) = (capture.format(), capture.store_id());
        Announced { format, store, head: capture.head(), time: capture.time() }
    }
}

impl Backup {
    /// Opens the backup at `out`, or makes an empty place for one there. An interrupted end of an earlier one is finished.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if something else is there, [`Error::NewerFormat`], [`Error::InUse`], or an input/output error.
    pub fn open(out: &Path) -> Result<Backup, Error> {
        let layout = Layout::new(out);
        check_place(&layout)?;
        layout::make_directory(out)?;
        let mut backup = Backup::locked(layout)?;
        for directory in backup.directories() {
            layout::make_directory(&directory)?;
            layout::remove_unfinished(&directory)?;
        }
        for path in files(&backup.incoming.log())? {
            if path.extension().is_some_and(|extension| extension == LIVE) {
                layout::remove(&path)?;
            }
        }
        backup.manifest = Manifest::read(&backup.layout)?;
        Ok(backup)
    }

    /// Takes the lock, and finishes what only lacks names.
    fn locked(layout: Layout) -> Result<Backup, Error> {
        let lock = Lock::take(&layout)?;
        let incoming = Layout::new(&layout.incoming());
        let mut backup = Backup { layout, incoming, manifest: None, _lock: lock };
        if let Some(manifest) = Manifest::read(&backup.incoming)? {
            backup.give_names(&manifest)?;
        }
        backup.manifest = Manifest::read(&backup.layout)?;
        Ok(backup)
    }

    /// What it holds, if it was ever finished.
    #[must_use]
    pub fn manifest(&self) -> Option<&Manifest> {
        self.manifest.as_ref()
    }

    /// Where it is.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The files that it has, or has received: no source has to send them again. The last segment of what is finished is
    /// there up to its end.
    ///
    /// # Errors
    /// An input/output error.
    pub fn held(&self) -> Result<Vec<Part>, Error> {
        let mut held = BTreeMap::new();
        let (format_store, manifest) = (self.store()?, self.manifest.as_ref());
        let Some(store) = format_store else { return Ok(Vec::new()) };
        for layout in [&self.layout, &self.incoming] {
            let finished = std::ptr::eq(layout, &self.layout);
            for part in parts_in(layout, store)? {
                let live = finished && manifest.is_some_and(|own| own.last_segment == part.number);
                let bytes = match (part.kind, manifest) {
                    (PartKind::Segment, Some(own)) if live => own.end,
                    _ => part.bytes,
                };
                held.insert((part.kind, part.number), Part { bytes, ..part });
            }
        }
        Ok(held.into_values().collect())
    }

    /// Checks that `announced` goes on with what is finished, and remembers of which store it is.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if it is of another store, or behind; [`Error::NewerFormat`]; an input/output error.
    pub fn begin(&self, announced: &Announced) -> Result<(), Error> {
        let Announced { format, store, head, .. } = announced;
        if *format > FORMAT {
            let place = "what is backed up".to_owned();
            return Err(Error::NewerFormat { place, found: *format, known: FORMAT });
        }
        if let Some(own) = self.store()?
            && own != *store
        {
            return Err(self.refuse(format!(
                "it holds the store {own}, and this is the store {store}: name another directory"
            )));
        }
        if let Some(own) = self.manifest.as_ref().map(|own| own.format)
            && own != *format
        {
            return Err(self.refuse(format!(
                "it has format {own}, and what is backed up has format {format}: name another directory"
            )));
        }
        if let Some(own) = self.manifest.as_ref().map(|own| own.head)
            && (own.position > head.position || own.position == head.position && own.hash != head.hash)
        {
            return Err(self.behind());
        }
        if !self.incoming.format().exists() {
            let (format, store, files) = (FORMAT, *store, Files::InPlace);
            format::write(&self.incoming, Stored { format, store, files })?;
        }
        Ok(())
    }

    /// Whether `part` has to be fetched, and from which byte on: `None` if it is there.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if the source has another file of this name where there can be only one.
    pub fn wants(&self, part: &Part, held: &[Part]) -> Result<Option<u64>, Error> {
        let known = held.iter().find(|own| own.kind == part.kind && own.number == part.number);
        let last = self.manifest.as_ref().map_or(0, |own| own.last_segment);
        match known {
            Some(own) if own.mark == part.mark && own.bytes == part.bytes => Ok(None),
            Some(own) if own.mark == part.mark && part.kind == PartKind::Segment => {
                if own.bytes > part.bytes { Err(self.behind()) } else { Ok(Some(own.bytes)) }
            }
            Some(_) if part.kind == PartKind::Segment && part.number <= last => Err(self.behind()),
            Some(_) | None => Ok(Some(0)),
        }
    }

    /// Receives `part` from byte `from` on: what is before it is taken from what is there.
    ///
    /// # Errors
    /// An input/output error.
    pub fn receive(&self, part: &Part, from: u64, last: Last) -> Result<Receiving, Error> {
        let path = self.incoming_path(part, last);
        let unfinished = Unfinished::create(&path)?;
        if from > 0 {
            let own = capture::path(&self.layout, part.kind, part.number);
            let file = File::open(&own).map_err(io("opening", &own))?;
            let copied = std::io::copy(&mut file.take(from), &mut &unfinished.file);
            if copied.map_err(io("writing", &path))? != from {
                return Err(self.refuse(format!("{} is shorter than it was written", own.display())));
            }
        }
        Ok(Receiving::new(unfinished, path, *part, from))
    }

    /// Takes `part` over as a second name of the file at `source`, if both are on one file system that has such names. The
    /// caller knows that the file is never written again.
    ///
    /// # Errors
    /// An input/output error, for one if `source` is gone.
    pub fn link(&self, part: &Part, source: &Path) -> Result<Linked, Error> {
        let path = self.incoming_path(part, Last::No);
        layout::remove(&path)?;
        match std::fs::hard_link(source, &path) {
            Ok(()) => Ok(Linked::Yes),
            Err(error) if error.kind() == ErrorKind::NotFound => Err(io("linking", source)(error)),
            // Another file system, one without links, or a file of somebody else's.
            Err(_) => Ok(Linked::No),
        }
    }

    /// Which store it is of, also before the first one is finished.
    fn store(&self) -> Result<Option<StoreId>, Error> {
        match &self.manifest {
            Some(manifest) => Ok(Some(manifest.store)),
            None => format::named(&self.incoming),
        }
    }

    fn directories(&self) -> [PathBuf; 3] {
        [self.incoming.root().to_owned(), self.incoming.log(), self.incoming.checkpoints()]
    }

    fn incoming_path(&self, part: &Part, last: Last) -> PathBuf {
        let path = capture::path(&self.incoming, part.kind, part.number);
        match last {
            Last::No => path,
            Last::Yes => {
                let mut name = path.into_os_string();
                name.push(".");
                name.push(LIVE);
                PathBuf::from(name)
            }
        }
    }

    fn refuse(&self, reason: String) -> Error {
        Error::NoBackup { place: self.layout.root().display().to_string(), reason }
    }

    fn behind(&self) -> Error {
        let head = self.manifest.as_ref().map_or(Position(0), |own| own.head.position);
        self.refuse(format!(
            "it holds frames up to {head}, and what is backed up now is not their continuation: it has lost its end, was set \
             back, or is damaged right behind them. Keep this backup, and name another directory"
        ))
    }
}

/// Whether a segment is the last one of its capture, which goes on later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Last {
    /// It is.
    Yes,
    /// It is not, or it is no segment: it never changes again.
    No,
}

/// Whether a file was taken over as a second name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Linked {
    /// It was.
    Yes,
    /// It has to be copied.
    No,
}

/// Refuses a place that holds other things.
fn check_place(layout: &Layout) -> Result<(), Error> {
    let root = layout.root();
    let refuse = |reason: String| Err(Error::NoBackup { place: root.display().to_string(), reason });
    if layout.manifest().exists() || layout.incoming().exists() {
        return Ok(());
    }
    if layout.format().exists() {
        return refuse("it is a data directory: name another one for the backup".to_owned());
    }
    let entries = match std::fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            return refuse("it is not a directory: name an empty or a new one".to_owned());
        }
        Err(error) => return Err(io("listing", root)(error)),
    };
    for entry in entries {
        let name = entry.map_err(io("listing", root))?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            let name = name.display().to_string();
            return refuse(format!("it is no backup and holds {name:?}: name an empty or a new directory"));
        }
    }
    Ok(())
}

/// The files of the log that are below `layout`.
fn parts_in(layout: &Layout, store: StoreId) -> Result<Vec<Part>, Error> {
    let mut parts = Vec::new();
    for (kind, directory, extension) in [
        (PartKind::Carry, layout.log(), "carry"),
        (PartKind::Checkpoint, layout.checkpoints(), "ckpt"),
        (PartKind::Segment, layout.log(), "seg"),
    ] {
        if !directory.exists() {
            continue;
        }
        for number in layout::numbers(&directory, extension)? {
            match kind {
                PartKind::Carry | PartKind::Checkpoint => parts.push(capture::held(layout, kind, number)?.0),
                // One that is not what was written is fetched again.
                PartKind::Segment => match Reader::open(layout, number, store) {
                    Ok(reader) => parts.push(capture::sealed_part(&reader)),
                    Err(Error::Damaged { .. }) => {}
                    Err(error) => return Err(error),
                },
            }
        }
    }
    Ok(parts)
}

/// The files in `directory`.
fn files(directory: &Path) -> Result<Vec<PathBuf>, Error> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io("listing", directory))? {
        let path = entry.map_err(io("listing", directory))?.path();
        if path.is_file() {
            found.push(path);
        }
    }
    Ok(found)
}
