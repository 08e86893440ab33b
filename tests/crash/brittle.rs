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
/// So many zeros at the end of a block mean that the next append begins in it. Fewer may belong to what was appended.
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

    /// From now on whatever is appended to what these files hold fails. Nobody may write meanwhile. Nothing is broken, and
    /// `false` returned, if it cannot be told in which block the next append begins: more must be appended first.
    pub(crate) fn break_under(&self, folder: &Path) -> bool {
        run("sync", &["-f", &folder.display().to_string()]).expect("it is mounted");
        let entries = std::fs::read_dir(folder).expect("it is mounted");
        let files: Vec<PathBuf> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
        let ends: Vec<End> = files.iter().map(|path| end_of(path)).collect();
        if ends.contains(&End::Unclear) {
            return false;
        }
        for (path, end) in files.iter().zip(ends) {
            if let End::Block(first) = end {
                self.punch(path, first);
            }
        }
        let mut ballast = File::create(self.ballast()).expect("a file");
        for step in [64 << 10, BLOCK as usize] {
            while ballast.write(&vec![1; step]).is_ok_and(|written| written == step) {}
        }
        true
    }

    /// Takes the memory from under a file, from its block `first` on. If that one holds something, it comes back when it is
    /// written again.
    fn punch(&self, path: &Path, first: u64) {
        let image = self.back.path().join("image").display().to_string();
        let extents = run("filefrag", &["-b4096", "-v", &path.display().to_string()]).expect("it tells");
        for (logical, physical, length) in extents.lines().filter_map(extent) {
            let skipped = first.saturating_sub(logical).min(length);
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

/// Where the next append to a file begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// In this block, or at its start.
    Block(u64),
    /// The file holds no more than its first block, and is left alone.
    Young,
    /// The last block ends with so few zeros that they may be room, or a part of what was appended.
    Unclear,
}

/// A loop device takes a write that succeeds in part for one that succeeded: a disk that lies. So the block in which an append
/// begins must fail, too, and no block before it.
fn end_of(path: &Path) -> End {
    let file = File::open(path).expect("it is mounted");
    let blocks = file.metadata().expect("it is open").len() / BLOCK;
    let mut block = [0; BLOCK as usize];
    let is_used = |number: &u64| {
        file.read_exact_at(&mut block, number * BLOCK).expect("it can be read");
        block.iter().any(|byte| *byte != 0)
    };
    match (1..blocks).rev().find(is_used) {
        None => End::Young,
        Some(last) => match block.iter().rev().take_while(|byte| **byte == 0).count() {
            0 => End::Block(last + 1),
            ROOM.. => End::Block(last),
            _ => End::Unclear,
        },
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
