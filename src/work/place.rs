//! The directories of the work tree: `work/0001/`, `work/0002/` …, of which the newest counts.
//!
//! Each holds sled's files in `tree/`, a file `made-by` that says for which history and since which boot of the
//! machine they are good, and after a clean stop a file `clean`. sled never fsyncs, so after a power cut its files
//! may be anything; they are trusted only in the boot that wrote them, or if we fsynced them after closing sled.

use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::work::Error;
use crate::work::tree::Positions;
use std::fs;
use std::fs::File;
use std::io;
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

/// Number of the layout of slices and positions. A tree of another one is not converted but rebuilt.
const LAYOUT: u32 = 1;

const MADE_BY: &str = "made-by";
const CLEAN: &str = "clean";

/// Where the work tree lives, and whose it is.
#[derive(Clone, Debug)]
pub struct Place {
    /// The `work` directory; it is made if it does not exist.
    pub dir: PathBuf,
    /// The history that the tree indexes. A tree of another history is not kept.
    pub store: StoreId,
    /// The current boot of the machine: see [`boot_id`].
    pub boot: String,
}

/// The identity of the machine's current boot, new after each start of its kernel.
///
/// # Errors
/// [`Error::Io`] where the kernel does not tell.
pub fn boot_id() -> Result<String, Error> {
    let path = Path::new("/proc/sys/kernel/random/boot_id");
    fs::read_to_string(path).map(|id| id.trim().to_owned()).map_err(|source| failed("reading", path, source))
}

impl Place {
    /// The newest directory, if there is any.
    pub(crate) fn newest(&self) -> Result<Option<Home>, Error> {
        make_directory(&self.dir)?;
        let newest = numbers(&self.dir)?.into_iter().max();
        Ok(newest.map(|number| Home { work: self.dir.clone(), number, cleared: false }))
    }

    /// A new directory, above all others and `used`, with nothing in it but what says whose it is.
    pub(crate) fn create(&self, used: u32) -> Result<Home, Error> {
        let number = self.newest()?.map_or(0, |newest| newest.number).max(used) + 1;
        let home = Home { work: self.dir.clone(), number, cleared: false };
        let path = home.path();
        make_directory(&path)?;
        self.claim(&home)?;
        Ok(home)
    }

    /// Writes down, durably, that `home` is good for this history and this boot.
    pub(crate) fn claim(&self, home: &Home) -> Result<(), Error> {
        home.write_file(MADE_BY, &self.made_by())?;
        sync_path(&self.dir)
    }

    /// Why the files in `home` cannot be trusted, or after a clean stop the positions that sled has to have.
    pub(crate) fn examine(&self, home: &Home) -> Result<Option<String>, String> {
        let made_by = home.read_file(MADE_BY)?.ok_or("it was given up")?;
        let mut lines = made_by.lines();
        let history = self.made_by();
        let mut expected = history.lines();
        if lines.next() != expected.next() || lines.next() != expected.next() {
            return Err("it has another layout or belongs to another history".to_owned());
        }
        let clean = home.read_file(CLEAN)?;
        if clean.is_none() && lines.next() != expected.next() {
            return Err("the machine was restarted without a clean stop".to_owned());
        }
        Ok(clean)
    }

    fn made_by(&self) -> String {
        format!("layout {LAYOUT}\nstore {}\nboot {}\n", self.store, self.boot)
    }
}

/// One numbered directory.
#[derive(Debug, Clone)]
pub(crate) struct Home {
    work: PathBuf,
    number: u32,
    cleared: bool,
}

impl Home {
    pub(crate) fn number(&self) -> u32 {
        self.number
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.work.join(format!("{:04}", self.number))
    }

    pub(crate) fn tree(&self) -> PathBuf {
        self.path().join("tree")
    }

    /// Removes sled's snapshots, which it makes only to open faster. A half-written one would keep it from opening.
    pub(crate) fn remove_snapshots(&self) -> Result<(), Error> {
        for path in entries(&self.tree())? {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            if name.starts_with("snap.") || name.ends_with(".generating") {
                fs::remove_file(&path).map_err(|source| failed("removing", &path, source))?;
            }
        }
        Ok(())
    }

    /// Makes every file and directory durable.
    pub(crate) fn sync(&self) -> Result<(), Error> {
        sync_all(&self.path())?;
        sync_path(&self.work)
    }

    /// Leaves the mark of a clean stop; everything else is durable by now.
    pub(crate) fn mark_clean(&self, positions: Positions) -> Result<(), Error> {
        self.write_file(CLEAN, &describe(positions))
    }

    /// Takes the mark away, durably, before sled may write.
    pub(crate) fn unmark(&self) -> Result<(), Error> {
        self.remove_file(CLEAN)
    }

    /// Gives the directory up: no later start keeps it.
    pub(crate) fn disown(&self) -> Result<(), Error> {
        self.remove_file(MADE_BY)
    }

    /// Deletes the other directories, once. What cannot be deleted costs space and nothing else.
    pub(crate) fn remove_others(&mut self) {
        if std::mem::replace(&mut self.cleared, true) {
            return;
        }
        let others =
            numbers(&self.work).unwrap_or_default().into_iter().filter(|number| *number < self.number);
        for number in others {
            Home { work: self.work.clone(), number, cleared: true }.remove();
        }
    }

    /// Deletes this directory, also under an applier that still uses it.
    pub(crate) fn remove(&self) {
        let path = self.path();
        match fs::remove_dir_all(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "an old work tree could not be deleted");
            }
        }
    }

    fn read_file(&self, name: &str) -> Result<Option<String>, String> {
        let path = self.path().join(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(format!("reading {}: {error}", path.display())),
        }
    }

    /// Writes a small file so that after any cut it is there whole, or not at all.
    fn write_file(&self, name: &str, text: &str) -> Result<(), Error> {
        let path = self.path().join(name);
        let new = self.path().join(format!("{name}.new"));
        let write = || {
            let mut file = File::create(&new)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&new, &path)
        };
        write().map_err(|source| failed("writing", &path, source))?;
        sync_path(&self.path())
    }

    fn remove_file(&self, name: &str) -> Result<(), Error> {
        let path = self.path().join(name);
        match fs::remove_file(&path) {
            Ok(()) => sync_path(&self.path()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(source) => Err(failed("removing", &path, source)),
        }
    }
}

/// What the mark of a clean stop says.
pub(crate) fn describe(positions: Positions) -> String {
    let Positions { applied: Position(applied), folded: Position(folded) } = positions;
    format!("applied {applied}\nfolded {folded}\n")
}

/// Makes a directory that only the owner can enter: what sled makes below it has the modes of the umask.
fn make_directory(path: &Path) -> Result<(), Error> {
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| failed("creating", path, source))
}

fn numbers(work: &Path) -> Result<Vec<u32>, Error> {
    let names = entries(work)?;
    Ok(names.iter().filter_map(|path| path.file_name()?.to_str()?.parse().ok()).collect())
}

fn sync_all(path: &Path) -> Result<(), Error> {
    if path.is_dir() {
        for entry in entries(path)? {
            sync_all(&entry)?;
        }
    }
    sync_path(path)
}

fn sync_path(path: &Path) -> Result<(), Error> {
    File::open(path).and_then(|file| file.sync_all()).map_err(|source| failed("syncing", path, source))
}

fn entries(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let paths =
        fs::read_dir(dir).and_then(|entries| entries.map(|entry| entry.map(|found| found.path())).collect());
    paths.map_err(|source| failed("listing", dir, source))
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Io { action, place: path.display().to_string(), source }
}
