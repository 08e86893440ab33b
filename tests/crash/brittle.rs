//! A disk whose writes really fail: ext4 on an image with holes in a memory that is full. The kernel tells of it once,
//! with the next sync, and from then on takes the lost pages for written: they can be read until the power goes.

use crate::volume::Volume;
use crate::volume::make_ext4;
use crate::volume::run;
use std::fs::File;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::path::PathBuf;

const BLOCK: u64 = 4_096;
/// So many zeros at the end of a block mean that the next append begins in it.
const ROOM: usize = 64;

/// The disk.
pub(crate) struct Brittle {
    // Unmounted first: it lies in the other.
    pub(crate) volume: Volume,
    back: Volume,
}

impl Brittle {
    /// A disk of 64 MiB.
    ///
    /// # Errors
    /// Why there is none here.
    pub(crate) fn new() -> Result<Brittle, String> {
        let back = Volume::tmpfs(80)?;
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = back.path().join("image");
        make_ext4(&image, 64 << 20)?;
        // Without holes at first: what the file system itself writes to does not fail.
        let bytes = std::fs::read(&image).map_err(|error| error.to_string())?;
        std::fs::write(&image, bytes).map_err(|error| error.to_string())?;
        let volume = Volume::of_image(&image, place)?;
        Ok(Brittle { volume, back })
    }

    fn ballast(&self) -> PathBuf {
        self.back.path().join("ballast")
    }

    /// From now on whatever is appended to what these files hold fails. Nobody may write meanwhile.
    pub(crate) fn break_under(&self, folder: &Path) {
        run("sync", &["-f", &folder.display().to_string()]).expect("it is mounted");
        for entry in std::fs::read_dir(folder).expect("it is mounted") {
            self.punch(&entry.expect("it can be listed").path());
        }
        let mut ballast = File::create(self.ballast()).expect("a file");
        for step in [64 << 10, BLOCK as usize] {
            while ballast.write(&vec![1; step]).is_ok_and(|written| written == step) {}
        }
    }

    /// Takes the memory from under the end of a file: from the block that the next append begins in, because a loop device
    /// takes a write that succeeds in part for one that succeeded. That block comes back when it is written again. A file
    /// that holds no more than its first block is left alone.
    fn punch(&self, path: &Path) {
        let file = File::open(path).expect("it is mounted");
        let blocks = file.metadata().expect("it is open").len() / BLOCK;
        let mut block = [0; BLOCK as usize];
        let is_used = |number: &u64| {
            file.read_exact_at(&mut block, number * BLOCK).expect("it can be read");
            block.iter().any(|byte| *byte != 0)
        };
        let Some(last) = (1..blocks).rev().find(is_used) else { return };
        let has_room = block[block.len() - ROOM..].iter().all(|byte| *byte == 0);
        let kept = if has_room { last } else { last + 1 };
        let image = self.back.path().join("image").display().to_string();
        let extents = run("filefrag", &["-b4096", "-v", &path.display().to_string()]).expect("it tells");
        for (logical, physical, length) in extents.lines().filter_map(extent) {
            let skipped = kept.saturating_sub(logical).min(length);
            let (at, bytes) = ((physical + skipped) * BLOCK, (length - skipped) * BLOCK);
            if bytes > 0 {
                run("fallocate", &["-p", "-o", &at.to_string(), "-l", &bytes.to_string(), &image])
                    .expect("a hole can be made");
            }
        }
    }

    /// Writes succeed again.
    pub(crate) fn mend(&self) {
        std::fs::remove_file(self.ballast()).expect("it was broken");
    }
}

/// `NUMBER: LOGICAL.. END: PHYSICAL.. END: LENGTH: …`, in blocks.
fn extent(line: &str) -> Option<(u64, u64, u64)> {
    let spaced = line.replace([':', '.'], " ");
    let mut numbers = spaced.split_whitespace();
    numbers.next()?.parse::<u64>().ok()?;
    let mut number = || numbers.next()?.parse().ok();
    let (logical, _, physical, _, length) = (number()?, number()?, number()?, number()?, number()?);
    Some((logical, physical, length))
}
