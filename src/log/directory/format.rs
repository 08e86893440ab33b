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

/// What may be in a directory whose creation was interrupted before it got its format file, or in any mount point.
const HARMLESS: [&str; 3] = ["lock", "format.new", "lost+found"];

/// Looks whether `layout` is a data directory, without touching a byte. `None`: it can become one.
///
/// # Errors
/// [`Error::Unusable`] or [`Error::NewerFormat`].
pub(crate) fn check(layout: &Layout) -> Result<Option<StoreId>, Error> {
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
    if let Some(store) = stored(layout)? {
        return Ok(Some(store));
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

/// Which history the format file names; `None` if there is no such file.
///
/// # Errors
/// [`Error::Unusable`] or [`Error::NewerFormat`].
pub(crate) fn stored(layout: &Layout) -> Result<Option<StoreId>, Error> {
    let root = layout.root();
    match std::fs::read_to_string(layout.format()) {
        Ok(text) => parse(root, &text).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) if error.kind() == ErrorKind::InvalidData => Err(Error::Unusable {
            place: root.display().to_string(),
            reason: "its format file is not text".to_owned(),
        }),
        Err(error) => Err(io("reading", &layout.format())(error)),
    }
}

/// Makes the directory one with a new history.
pub(crate) fn create(layout: &Layout) -> Result<StoreId, Error> {
    let id = StoreId(random()?);
    let path = layout.format();
    let mut unfinished = Unfinished::create(&path)?;
    write!(unfinished.file, "{TITLE}\nformat {FORMAT}\nstore {id}\n").map_err(io("writing", &path))?;
    unfinished.publish()?;
    layout::sync_directory(layout.root())?;
    Ok(id)
}

/// Sixteen random bytes: for store ids and salts.
pub(crate) fn random() -> Result<[u8; 16], Error> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; 16];
    File::open(path).and_then(|mut file| file.read_exact(&mut bytes)).map_err(io("reading", path))?;
    Ok(bytes)
}

fn parse(root: &Path, text: &str) -> Result<StoreId, Error> {
    let place = root.display().to_string();
    let mut lines = text.lines();
    let title = lines.next();
    let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
    let store = lines.next().and_then(|line| line.strip_prefix("store ")?.parse::<uuid::Uuid>().ok());
    match (title, format, store) {
        (Some(TITLE), Some(found), _) if found > FORMAT => {
            Err(Error::NewerFormat { place, found, known: FORMAT })
        }
        (Some(TITLE), Some(FORMAT), Some(store)) => Ok(StoreId(store.into_bytes())),
        _ => Err(Error::Unusable {
            place,
            reason: "its format file is not what this program writes: restore it from a backup, or name another place"
                .to_owned(),
        }),
    }
}
