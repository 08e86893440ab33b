//! Where each file of a data directory is, and how a file becomes durable there: temporary name, fsync, rename,
//! fsync of the directory. Not what is in the files.

use crate::job::id::Position;
use crate::log::Error;
use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::path::PathBuf;

/// How the name of a file that is still being written ends. Such files are removed at the next opening.
const UNFINISHED: &str = "new";

/// The paths of one data directory.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    root: PathBuf,
}

impl Layout {
    pub(crate) fn new(root: &Path) -> Layout {
        Layout { root: root.to_owned() }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    pub(crate) fn format(&self) -> PathBuf {
        self.root.join("format")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join("lock")
    }

    pub(crate) fn reserve(&self) -> PathBuf {
        self.root.join("reserve")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.root.join("log")
    }

    pub(crate) fn segment(&self, number: u64) -> PathBuf {
        self.log().join(format!("{number:010}.seg"))
    }

    pub(crate) fn carry(&self, floor: Position) -> PathBuf {
        self.log().join(format!("{:020}.carry", floor.0))
    }

    pub(crate) fn checkpoints(&self) -> PathBuf {
        self.root.join("checkpoints")
    }

    pub(crate) fn checkpoint(&self, at: Position) -> PathBuf {
        self.checkpoints().join(format!("{:020}.ckpt", at.0))
    }

    pub(crate) fn work(&self) -> PathBuf {
        self.root.join("work")
    }

    /// Where a migration writes its new files.
    pub(crate) fn migrating(&self) -> PathBuf {
        self.root.join("migrating")
    }

    /// Says of a backup what it holds. No data directory of a server has it.
    pub(crate) fn manifest(&self) -> PathBuf {
        self.root.join("backup")
    }

    /// What a backup that is being made has received so far.
    pub(crate) fn incoming(&self) -> PathBuf {
        self.root.join("incoming")
    }
}

/// The numbers of the files `NUMBER.extension` in `directory`, ascending.
pub(crate) fn numbers(directory: &Path, extension: &str) -> Result<Vec<u64>, Error> {
    let mut numbers = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io("listing", directory))? {
        let path = PathBuf::from(entry.map_err(io("listing", directory))?.file_name());
        if path.extension().is_some_and(|found| found == extension)
            && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse().ok())
        {
            numbers.push(number);
        }
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Removes what a killed process left half written in `directory`.
pub(crate) fn remove_unfinished(directory: &Path) -> Result<(), Error> {
    for entry in std::fs::read_dir(directory).map_err(io("listing", directory))? {
        let path = entry.map_err(io("listing", directory))?.path();
        if path.extension().is_some_and(|extension| extension == UNFINISHED) {
            remove(&path)?;
        }
    }
    Ok(())
}

/// Makes `path` and its missing parents, readable by the owner only, each entry durable.
pub(crate) fn make_directory(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        return Ok(());
    }
    let parent = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        Some(_) | None => Path::new("."),
    };
    make_directory(parent)?;
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => Err(io("making", path)(error)),
        Ok(()) | Err(_) => sync_directory(parent),
    }
}

/// A file that gets its real name only when its content is durable; dropped before, it is removed.
pub(crate) struct Unfinished {
    /// The open file, for reading and writing.
    pub(crate) file: File,
    unfinished: PathBuf,
    path: PathBuf,
    published: bool,
}

impl Unfinished {
    pub(crate) fn create(path: &Path) -> Result<Unfinished, Error> {
        let mut name = path.as_os_str().to_owned();
        name.push(".");
        name.push(UNFINISHED);
        let unfinished = PathBuf::from(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&unfinished)
            .map_err(io("creating", &unfinished))?;
        Ok(Unfinished { file, unfinished, path: path.to_owned(), published: false })
    }

    /// Syncs the content, gives the file its name and syncs the directory.
    pub(crate) fn publish(mut self) -> Result<File, Error> {
        let path = &self.path;
        self.file.sync_all().map_err(io("syncing", &self.unfinished))?;
        let file = self.file.try_clone().map_err(io("opening", path))?;
        std::fs::rename(&self.unfinished, path).map_err(io("naming", path))?;
        self.published = true;
        sync_directory(path.parent().expect("every file of the layout is in a directory"))?;
        Ok(file)
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = std::fs::remove_file(&self.unfinished)
        {
            tracing::warn!(file = %self.unfinished.display(), %error, "an unfinished file stays until the next start");
        }
    }
}

/// Makes the names in `path` durable.
pub(crate) fn sync_directory(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(io("syncing", path))
}

/// Removes a file; one that is not there is fine.
pub(crate) fn remove(path: &Path) -> Result<(), Error> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Removes a directory and everything in it; one that is not there is fine.
pub(crate) fn remove_directory(path: &Path) -> Result<(), Error> {
    match std::fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(io("removing", path)(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// How many bytes the file system of `path` has left for this user; `None` where it does not count them.
pub(crate) fn bytes_free(path: &Path) -> Result<Option<u64>, Error> {
    let found = rustix::fs::statvfs(path).map_err(|errno| io("measuring", path)(errno.into()))?;
    Ok((found.f_blocks > 0).then(|| found.f_bavail.saturating_mul(found.f_frsize)))
}

/// Says what was tried and on what, for `map_err`.
pub(crate) fn io(action: &'static str, place: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let place = place.display().to_string();
    move |source| Error::Io { action, place, source }
}

/// Whether an error only says that there is no space left.
pub(crate) fn is_full(error: &Error) -> bool {
    match error {
        Error::Io { source, .. } => {
            matches!(source.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
        }
        Error::Full { .. } => true,
        Error::Conflict { .. }
        | Error::TooLarge { .. }
        | Error::Poisoned
        | Error::BelowFloor { .. }
        | Error::Forgotten { .. }
        | Error::InUse { .. }
        | Error::NewerFormat { .. }
        | Error::OlderFormat { .. }
        | Error::Migrating { .. }
        | Error::Unusable { .. }
        | Error::NoBackup { .. }
        | Error::Damaged { .. } => false,
    }
}
