//! File systems of the test's own: ext4 on a loop device, whose power can be cut, and a tmpfs of a chosen size. They need
//! root; where they cannot be had the reason is told.

use std::io::Write;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;

/// A mounted file system, unmounted when it is dropped.
pub(crate) struct Volume {
    mount: Vec<String>,
    place: TempDir,
}

/// How often a volume is asked to come back, every 5 ms: tests with a network of their own beside this one hold what is
/// mounted for as long as they run.
const TRIES: u32 = 12_000;

/// `ioctl(FS_IOC_SHUTDOWN, NOLOGFLUSH)`: what was not synced is gone after the next mount. It waits for a line, so that
/// the moment is ours. Python, because the call has no safe wrapper.
const CUT: &str = "import fcntl, os, struct, sys
fd = os.open(sys.argv[1], os.O_RDONLY)
print('ready', flush=True)
sys.stdin.readline()
fcntl.ioctl(fd, 0x8004587D, struct.pack('I', 2))";

/// A cut that is ready to happen.
pub(crate) struct Cut(Child);

impl Volume {
    /// An ext4 file system in a sparse file.
    ///
    /// # Errors
    /// Why there is none here.
    pub(crate) fn ext4(bytes: u64) -> Result<Volume, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let image = place.path().join("image");
        make_ext4(&image, bytes)?;
        Volume::of_image(&image, place)
    }

    /// The file system in this file, mounted in this place.
    ///
    /// # Errors
    /// Why it cannot be.
    pub(crate) fn of_image(image: &Path, place: TempDir) -> Result<Volume, String> {
        let image = image.display().to_string();
        Volume::mounted(["-o", "loop", "-t", "ext4", &image].map(str::to_owned).to_vec(), place)
    }

    /// A file system in memory that holds so many MiB.
    ///
    /// # Errors
    /// Why there is none here.
    pub(crate) fn tmpfs(mebibytes: u64) -> Result<Volume, String> {
        let place = tempfile::tempdir().map_err(|error| error.to_string())?;
        let size = format!("size={mebibytes}m");
        Volume::mounted(["-t", "tmpfs", "-o", &size, "tmpfs"].map(str::to_owned).to_vec(), place)
    }

    fn mounted(mount: Vec<String>, place: TempDir) -> Result<Volume, String> {
        let volume = Volume { mount, place };
        std::fs::create_dir(volume.path()).map_err(|error| error.to_string())?;
        volume.mount()?;
        Ok(volume)
    }

    /// Where it is mounted.
    pub(crate) fn path(&self) -> PathBuf {
        self.place.path().join("mount")
    }

    /// A place that outlives its power.
    pub(crate) fn beside(&self) -> &Path {
        self.place.path()
    }

    pub(crate) fn mount(&self) -> Result<(), String> {
        let path = self.path().display().to_string();
        let words: Vec<&str> = self.mount.iter().map(String::as_str).chain([path.as_str()]).collect();
        run("mount", &words).map(drop)
    }

    pub(crate) fn unmount(&self) -> Result<(), String> {
        run("umount", &[&self.path().display().to_string()]).map(drop)
    }

    /// Unmounts it as soon as a server that is being killed has let go of it, and mounts it again: with power. While
    /// somebody else's namespace holds it, what is mounted is still the one without.
    ///
    /// # Errors
    /// Why that is not possible in time.
    pub(crate) fn remount(&self) -> Result<(), String> {
        let probe = self.path().join("probe");
        let mut last = Ok(());
        for _ in 0..TRIES {
            last = self.unmount();
            if last.is_ok() {
                self.mount()?;
                last = std::fs::write(&probe, "power").map_err(|error| error.to_string());
                if last.is_ok() {
                    return std::fs::remove_file(&probe).map_err(|error| error.to_string());
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        last
    }

    /// Makes a tmpfs hold so many MiB.
    pub(crate) fn grow(&self, mebibytes: u64) {
        let options = format!("remount,size={mebibytes}m");
        run("mount", &["-o", &options, &self.path().display().to_string()]).expect("a tmpfs can grow");
    }

    /// Makes the cut ready.
    pub(crate) fn prepare_cut(&self) -> Cut {
        let child = Command::new("python3")
            .args(["-c", CUT])
            .arg(self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let mut child = child.expect("python3 was there before");
        let mut ready = [0; 6];
        let out = child.stdout.as_mut().expect("piped");
        std::io::Read::read_exact(out, &mut ready).expect("python says that it is ready");
        Cut(child)
    }
}

impl Cut {
    /// The power goes.
    pub(crate) fn now(mut self) {
        let mut stdin = self.0.stdin.take().expect("piped");
        stdin.write_all(b"\n").expect("python waits for it");
        assert!(self.0.wait().expect("it is our child").success(), "the power could not be cut");
    }
}

impl Drop for Volume {
    fn drop(&mut self) {
        // It may be unmounted, or still in use by a server that is ending: then lazily.
        if self.unmount().is_err() {
            run("umount", &["-l", &self.path().display().to_string()]).ok();
        }
    }
}

/// Makes an ext4 file system in a sparse file.
///
/// # Errors
/// Why that is not possible here.
pub(crate) fn make_ext4(image: &Path, bytes: u64) -> Result<(), String> {
    run("python3", &["-c", "import fcntl"])?;
    let file = std::fs::File::create(image).map_err(|error| error.to_string())?;
    file.set_len(bytes).map_err(|error| error.to_string())?;
    run("mkfs.ext4", &["-q", "-b", "4096", &image.display().to_string()]).map(drop)
}

pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<String, String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{program} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}
