//! A backup of a data directory on the same machine, while a server may run on it: no lock of the server's is taken, and its
//! writer notices nothing. Over the API the command line drives the same [`Backup`] with what the server sends.

use crate::log::Error;
use crate::log::directory::backup::Announced;
use crate::log::directory::backup::Backup;
use crate::log::directory::backup::Last;
use crate::log::directory::backup::Linked;
use crate::log::directory::backup::Manifest;
use crate::log::directory::capture::Capture;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::offline::fresh;
use std::io::ErrorKind;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::path::Path;

/// How much is copied at once.
const PIECE_BYTES: usize = 1 << 20;
/// How often a backup begins anew because the server let go of a file before it was taken over. Files that were taken over
/// by then stay.
const TRIES: usize = 64;

/// Whether files may get a second name in place of a copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// Where the file system can: at no cost, and no help if the disk fails.
    Allowed,
    /// Every file is copied.
    No,
}

/// What a backup took.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// What the backup holds now.
    pub manifest: Manifest,
    /// Bytes that were written, received or copied.
    pub bytes_copied: u64,
    /// Bytes of files that got a second name.
    pub bytes_linked: u64,
    /// Bytes that were there already.
    pub bytes_kept: u64,
}

/// How far a backup is, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Done.
    pub done: u64,
    /// To be done.
    pub whole: u64,
}

/// Backs up the data directory at `data` into `out`.
///
/// # Errors
/// [`Error::NoBackup`] if `out` holds something else, or more; [`Error::Damaged`]; an input/output error, for one if the disk
/// is full. What was in `out` before stays as it was, and the next try goes on with what this one has copied.
pub fn take(data: &Path, out: &Path, links: Links, see: &mut dyn FnMut(Progress)) -> Result<Taken, Error> {
    if fresh::is_inside(out, data) {
        let place = out.display().to_string();
        let reason = "it is inside the directory that is backed up: name another place".to_owned();
        return Err(Error::NoBackup { place, reason });
    }
    let mut tries = TRIES;
    // Before anything is made at `out`.
    let mut capture = Capture::of_files(data)?;
    let backup = Backup::open(out)?;
    let mut taking = Taking { backup, links, copied: 0, linked: 0 };
    loop {
        tries -= 1;
        match taking.parts(&capture, see) {
            Ok(()) => break,
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries > 0 => {
                capture = Capture::of_files(data)?;
            }
            Err(error) => return Err(error),
        }
    }
    let Taking { backup, copied, linked, .. } = taking;
    let whole: u64 = capture.parts().iter().map(|part| part.bytes).sum();
    let kept = whole.saturating_sub(copied + linked);
    let manifest = backup.finish(&Announced::of(&capture), capture.parts())?;
    Ok(Taken { manifest, bytes_copied: copied, bytes_linked: linked, bytes_kept: kept })
}

struct Taking {
    backup: Backup,
    links: Links,
    copied: u64,
    linked: u64,
}

impl Taking {
    /// Takes over every file that is not there yet.
    fn parts(&mut self, capture: &Capture, see: &mut dyn FnMut(Progress)) -> Result<(), Error> {
        self.backup.begin(&Announced::of(capture))?;
        let held = self.backup.held()?;
        let mut progress = Progress { done: 0, whole: capture.parts().iter().map(|part| part.bytes).sum() };
        for (part, left) in capture.parts().iter().zip((0..capture.parts().len()).rev()) {
            see(progress);
            let last = if left == 0 { Last::Yes } else { Last::No };
            match self.backup.wants(part, &held)? {
                None => {}
                Some(_) if self.link(capture, part, last)? == Linked::Yes => self.linked += part.bytes,
                Some(from) => self.copy(capture, part, from, last, progress, see)?,
            }
            progress.done += part.bytes;
        }
        see(progress);
        Ok(())
    }

    /// The last segment is still written: its file is never shared. Those before it are not, because a frame in a later one
    /// is durable, so no recovery comes back to them.
    fn link(&self, capture: &Capture, part: &Part, last: Last) -> Result<Linked, Error> {
        if last == Last::Yes || self.links == Links::No {
            return Ok(Linked::No);
        }
        match self.backup.link(part, &capture.path(part)) {
            // A replaced checkpoint or carry file is still open, and can be copied.
            Err(Error::Io { source, .. })
                if source.kind() == ErrorKind::NotFound && part.kind != PartKind::Segment =>
            {
                Ok(Linked::No)
            }
            other => other,
        }
    }

    fn copy(
        &mut self,
        capture: &Capture,
        part: &Part,
        from: u64,
        last: Last,
        progress: Progress,
        see: &mut dyn FnMut(Progress),
    ) -> Result<(), Error> {
        let path = capture.path(part);
        let io = |source| Error::Io { action: "reading", place: path.display().to_string(), source };
        let mut file = capture.open(part)?;
        let mut receiving = self.backup.receive(part, from, last)?;
        file.seek(SeekFrom::Start(from)).map_err(io)?;
        let mut left = file.take(part.bytes - from);
        let mut piece = vec![0; PIECE_BYTES];
        let mut done = from;
        loop {
            let read = left.read(&mut piece).map_err(io)?;
            if read == 0 {
                return receiving.finish();
            }
            receiving.take(&piece[..read])?;
            self.copied += read as u64;
            done += read as u64;
            see(Progress { done: progress.done + done, ..progress });
        }
    }
}
