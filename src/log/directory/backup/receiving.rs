//! One file of a backup while it is received.

use crate::log::Error;
use crate::log::directory::capture::Part;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use std::io::Write;
use std::path::PathBuf;

/// A file that is being received.
pub struct Receiving {
    unfinished: Unfinished,
    path: PathBuf,
    part: Part,
    bytes: u64,
}

impl std::fmt::Debug for Receiving {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Receiving").field("path", &self.path).field("bytes", &self.bytes).finish()
    }
}

impl Receiving {
    pub(super) fn new(unfinished: Unfinished, path: PathBuf, part: Part, bytes: u64) -> Receiving {
        Receiving { unfinished, path, part, bytes }
    }

    /// Takes the next bytes.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if they are more than the file has; an input/output error, for one if the disk is full.
    pub fn take(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.bytes += bytes.len() as u64;
        if self.bytes > self.part.bytes {
            return Err(self.odd("more"));
        }
        self.unfinished.file.write_all(bytes).map_err(io("writing", &self.path))
    }

    /// Makes the file durable under its name.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if bytes are missing; an input/output error.
    pub fn finish(self) -> Result<(), Error> {
        if self.bytes != self.part.bytes {
            return Err(self.odd("fewer"));
        }
        self.unfinished.file.set_len(self.part.file_bytes).map_err(io("writing", &self.path))?;
        self.unfinished.publish().map(drop)
    }

    fn odd(&self, than: &str) -> Error {
        let place = self.path.display().to_string();
        let bytes = self.part.bytes;
        Error::NoBackup {
            place,
            reason: format!("the source sent {than} than the {bytes} bytes it announced"),
        }
    }
}
