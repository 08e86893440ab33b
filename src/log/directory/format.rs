//! The file `format`: which format a data directory has and which history it holds; and the checks before
//! anything in a directory is touched. [FMT-1]

use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// The format this release writes, and the newest it reads.
pub(crate) const FORMAT: u32 = 1;

const TITLE: &str = "gangline data directory";
const MOVING: &str = "moving";

/// What may be in a directory whose creation was interrupted before it got its format file, or in any mount point.
const HARMLESS: [&str; 3] = ["lock", "format.new", "lost+found"];

/// What the format file says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stored {
    pub(crate) format: u32,
    pub(crate) store: StoreId,
    pub(crate) files: Files,
}

/// Where the files of the format are that the format file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Files {
    /// Where they belong.
    InPlace,
    /// Some are still below `migrating`: a migration has switched to them and not yet given all of them their names.
    Moving,
}

/// Looks whether `layout` is a data directory of this release's format, without touching a byte. `None`: it can become
/// one.
///
/// # Errors
/// [`Error::Unusable`], [`Error::NewerFormat`] or [`Error::OlderFormat`].
pub(crate) fn check(layout: &Layout) -> Result<Option<Stored>, Error> {
    examine(layout, FORMAT)?.map(|stored| current(layout, stored)).transpose()
}

/// Looks whether `layout` is a data directory of any format up to `newest`, without touching a byte. `None`: it can
/// become one.
///
/// # Errors
/// [`Error::Unusable`] or [`Error::NewerFormat`].
pub(crate) fn examine(layout: &Layout, newest: u32) -> Result<Option<Stored>, Error> {
    let root = layout.root();
    let metadata = match std::fs::metadata(root) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io("opening", root)(error)),
    };
    let refuse = |reason: String| Err(Error::Unusable { place: root.display().to_string(), reason });
    if !metadata.is_dir() {
        return refuse("it is not a directory: name another place".to_owned());
    }
    let user = rustix::process::geteuid().as_raw();
    if metadata.uid() != user {
        let owner = metadata.uid();
        return refuse(format!(
            "it belongs to user {owner} and this is user {user}: run as its owner, or chown it"
        ));
    }
    if metadata.mode() & 0o022 != 0 {
        let mode = metadata.mode() & 0o7777;
        return refuse(format!("others may write to it (mode {mode:o}): chmod 700 it"));
    }
    if let Some(stored) = stored(layout, newest)? {
        return Ok(Some(stored));
    }
    for entry in std::fs::read_dir(root).map_err(io("listing", root))? {
        let name = entry.map_err(io("listing", root))?.file_name();
        if !HARMLESS.iter().any(|harmless| name == *harmless) {
            return refuse(format!(
                "it has no format file but holds {:?}: name an empty or a new directory",
                name.display().to_string()
            ));
        }
    }
    Ok(None)
}

/// Which history the format file names, of a directory whose files are in place; `None` if there is no such file.
///
/// # Errors
/// [`Error::Unusable`], [`Error::NewerFormat`], [`Error::OlderFormat`] or [`Error::Migrating`].
pub(crate) fn named(layout: &Layout) -> Result<Option<StoreId>, Error> {
    let Some(stored) = stored(layout, FORMAT)? else { return Ok(None) };
    match current(layout, stored)?.files {
        Files::InPlace => Ok(Some(stored.store)),
        Files::Moving => Err(Error::Migrating { place: layout.root().display().to_string() }),
    }
}

/// Refuses a format that only a migration reads.
fn current(layout: &Layout, stored: Stored) -> Result<Stored, Error> {
    if stored.format == FORMAT {
        return Ok(stored);
    }
    let place = layout.root().display().to_string();
    Err(Error::OlderFormat { place, found: stored.format, known: FORMAT })
}

fn stored(layout: &Layout, newest: u32) -> Result<Option<Stored>, Error> {
    let root = layout.root();
    match std::fs::read_to_string(layout.format()) {
        Ok(text) => parse(root, &text, newest).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Error::Unusable {
            place: root.display().to_string(),
            reason: "its format file is not text".to_owned(),
        }),
        Err(error) => Err(io("reading", &layout.format())(error)),
    }
}

/// Makes the directory one with a new history.
pub(crate) fn create(layout: &Layout) -> Result<Stored, Error> {
    let stored = Stored { format: FORMAT, store: StoreId(random()?), files: Files::InPlace };
    write(layout, stored)?;
    Ok(stored)
}

/// Replaces the format file: what it said before, or this, whenever the machine stops.
pub(crate) fn write(layout: &Layout, stored: Stored) -> Result<(), Error> {
    let Stored { format, store, files } = stored;
    let moving = match files {
        Files::InPlace => String::new(),
        Files::Moving => format!("{MOVING}\n"),
    };
    let path = layout.format();
    let mut unfinished = Unfinished::create(&path)?;
    write!(unfinished.file, "{TITLE}\nformat {format}\nstore {store}\n{moving}")
        .map_err(io("writing", &path))?;
    unfinished.publish()?;
    layout::sync_directory(layout.root())
}

/// Sixteen random bytes: for store ids and salts.
pub(crate) fn random() -> Result<[u8; 16], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(io("reading", path))?;
    Ok(bytes)
}

fn parse(root: &Path, text: &str, newest: u32) -> Result<Stored, Error> {
    let place = root.display().to_string();
    let mut lines = text.lines();
    let title = lines.next();
    let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
    let store = lines.next().and_then(|line| line.strip_prefix("store ")?.parse::<uuid::Uuid>().ok());
    let files = match lines.next() {
        None => Some(Files::InPlace),
        Some(MOVING) => Some(Files::Moving),
        Some(_) => None,
    };
    match (title, format, store, files) {
        (Some(TITLE), Some(found), _, _) if found > newest => {
            Err(Error::NewerFormat { place, found, known: newest })
        }
        (Some(TITLE), Some(format), Some(store), Some(files)) => {
            Ok(Stored { format, store: StoreId(store.into_bytes()), files })
        }
        _ => Err(Error::Unusable {
            place,
            reason: "its format file is not what this program writes: restore it from a backup, or name another place"
                .to_owned(),
        }),
    }
}
