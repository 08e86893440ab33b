//! A file system of a chosen size, in memory. It needs root.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

/// A small disk in memory.
pub(crate) struct Disk(PathBuf);

impl Disk {
    /// A new one at `path`, of a size as `mount` takes it. `Err` says why there cannot be one.
    pub(crate) fn of(path: PathBuf, size: &str) -> Result<Disk, String> {
        std::fs::create_dir(&path).map_err(|error| error.to_string())?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]).arg(&path);
        let output = mount.output().map_err(|error| format!("mount: {error}"))?;
        if output.status.success() {
            Ok(Disk(path))
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Makes it another size.
    pub(crate) fn grow(&self, size: &str) {
        let mut mount = Command::new("mount");
        mount.args(["-o", &format!("remount,size={size}")]).arg(&self.0);
        assert!(mount.status().expect("it was mounted").success());
    }

    /// Leaves no space.
    pub(crate) fn fill(&self) {
        let ballast = std::fs::OpenOptions::new().create(true).append(true).open(self.ballast());
        let mut ballast = ballast.expect("it is ours");
        let mut bytes = vec![0; 64 << 10];
        while !bytes.is_empty() {
            if ballast.write_all(&bytes).is_err() {
                bytes.truncate(bytes.len() / 2);
            }
        }
    }

    pub(crate) fn ballast(&self) -> PathBuf {
        self.0.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Its server may still be ending.
        Command::new("umount").arg("--lazy").arg(&self.0).status().ok();
    }
}
