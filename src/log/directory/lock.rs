//! The file `lock`: one process owns a data directory, and says who it is. [DIR-1]

use crate::clock::Clock;
use crate::log::Error;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use std::fs::File;
use std::fs::OpenOptions;
use std::fs::TryLockError;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock on a data directory. It is the kernel's, so it ends with this value or with the process, however that ends.
#[derive(Debug)]
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock and writes down who holds it.
    ///
    /// # Errors
    /// [`Error::InUse`] naming the holder.
    pub(crate) fn take(layout: &Layout) -> Result<Lock, Error> {
        let path = layout.lock();
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .map_err(io("opening", &path))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::InUse {
                    place: layout.root().display().to_string(),
                    holder: holder(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(io("locking", &path)(error)),
        }
        sign(&mut file, &path)?;
        Ok(Lock { _file: file })
    }
}

/// Keeps servers away while files are copied that only a stopped server leaves alone. Nothing is written; a copy of a
/// directory may have no lock.
#[derive(Debug)]
pub struct Stopped {
    _file: Option<File>,
}

impl Stopped {
    /// Makes sure that no server runs on the directory, nor starts while this value lives.
    ///
    /// # Errors
    /// [`Error::InUse`] naming the holder.
    pub(crate) fn take(layout: &Layout) -> Result<Stopped, Error> {
        let path = layout.lock();
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Stopped { _file: None }),
            Err(error) => return Err(io("opening", &path)(error)),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(Stopped { _file: Some(file) }),
            Err(TryLockError::WouldBlock) => {
                Err(Error::InUse { place: layout.root().display().to_string(), holder: holder(&mut file) })
            }
            Err(TryLockError::Error(error)) => Err(io("locking", &path)(error)),
        }
    }
}

/// Writes pid, host and time. On a full disk the note stays empty: it only serves the message of another process.
fn sign(file: &mut File, path: &Path) -> Result<(), Error> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let millis = i64::try_from(Clock::system().now().wall.0).unwrap_or(i64::MAX);
    let since = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
    file.set_len(0).map_err(io("writing", path))?;
    let note = format!("process {} on {host} since {since}\n", std::process::id());
    if let Err(error) = file.write_all(note.as_bytes()) {
        tracing::warn!(file = %path.display(), %error, "cannot note the holder of the lock");
    }
    Ok(())
}

fn holder(file: &mut File) -> String {
    let mut note = String::new();
    match file.read_to_string(&mut note) {
        Ok(_) if !note.trim().is_empty() => note.trim().to_owned(),
        Ok(_) | Err(_) => "another process".to_owned(),
    }
}
