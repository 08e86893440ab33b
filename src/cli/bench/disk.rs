//! The disk beside the log: what one sync of an overwrite costs here and now.

use crate::clock::Clock;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

/// Bytes of the file that is overwritten.
const FILE_BYTES: u64 = 4 << 20;
/// Bytes of one write: about a frame of one job.
const WRITE_BYTES: usize = 512;

/// A zero-filled file in the directory that is measured.
#[derive(Debug)]
pub(in crate::cli::bench) struct Disk {
    file: File,
    at: u64,
    clock: Clock,
}

impl Disk {
    pub(in crate::cli::bench) fn create(dir: &Path, clock: &Clock) -> std::io::Result<Disk> {
        let file = File::create(dir.join("sync-probe"))?;
        file.write_all_at(&vec![0; usize::try_from(FILE_BYTES).expect("a few MiB")], 0)?;
        file.sync_all()?;
        Ok(Disk { file, at: 0, clock: clock.clone() })
    }

    /// Overwrites a few bytes and syncs them.
    pub(in crate::cli::bench) fn sync(&mut self) -> std::io::Result<Duration> {
        let before = self.clock.now().tick;
        self.file.write_all_at(&[0x5a; WRITE_BYTES], self.at)?;
        self.file.sync_data()?;
        self.at = (self.at + WRITE_BYTES as u64) % (FILE_BYTES - WRITE_BYTES as u64);
        Ok(self.clock.now().tick.since(before))
    }
}
