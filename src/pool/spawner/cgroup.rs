//! A cgroup for a spawner, in which the kernel bounds how many processes there may be. Whatever the spawner starts is
//! born in it, so there is no moment at which a job is outside.
//!
//! Version 1 needs the right to make directories in our own cgroup, which root has. Version 2 needs the controller
//! `pids` for the children of our cgroup: it cannot be had where processes live (but in the root), so a service manager
//! must delegate: with systemd `Delegate=pids` and `DelegateSubgroup=server`.

use rustix::process::Pid;
use rustix::process::getpid;
use std::fs;
use std::io;
use std::path::Path;
use std::path::PathBuf;

/// The cgroup of this spawner.
#[derive(Debug)]
pub(crate) struct Cgroup {
    directory: PathBuf,
    threads_max: u64,
    /// How often the bound had been met when the process in work began.
    met: u64,
}

impl Cgroup {
    /// Moves this process into a cgroup of its own, in which there may be `threads_max` threads besides.
    pub(crate) fn enter(threads_max: u64) -> io::Result<Cgroup> {
        // This process is in it too.
        let threads_max = threads_max.saturating_add(1);
        let directory = make(getpid(), threads_max)?;
        fs::write(directory.join("cgroup.procs"), getpid().as_raw_nonzero().to_string())?;
        Ok(Cgroup { directory, threads_max, met: 0 })
    }

    /// A new process begins.
    pub(crate) fn open(&mut self) -> io::Result<()> {
        self.met = self.read();
        self.bound(self.threads_max)
    }

    /// Nothing in it can start a process any more: what is killed cannot be outrun by what multiplies.
    pub(crate) fn close(&self) -> io::Result<()> {
        self.bound(0)
    }

    fn bound(&self, threads_max: u64) -> io::Result<()> {
        fs::write(self.directory.join("pids.max"), threads_max.to_string())
    }

    /// Whether the bound was met since then.
    pub(crate) fn is_met(&self) -> bool {
        self.read() > self.met
    }

    fn read(&self) -> u64 {
        let events = fs::read_to_string(self.directory.join("pids.events")).unwrap_or_default();
        events.lines().find_map(|line| line.strip_prefix("max ")?.parse().ok()).unwrap_or(0)
    }
}

/// Says why the kernel cannot bound the number of processes here, if it cannot.
pub(crate) fn probe() -> io::Result<()> {
    make(getpid(), 1)?;
    remove(getpid());
    Ok(())
}

/// Removes the cgroup of the ended spawner `pid`, if it had one.
pub(crate) fn remove(pid: Pid) {
    for parent in parents().unwrap_or_default() {
        // Most spawners have none; one that is not empty holds a process that hangs in the kernel.
        fs::remove_dir(parent.join(name(pid))).ok();
    }
}

fn name(pid: Pid) -> String {
    format!("gangline-{}", pid.as_raw_nonzero())
}

fn make(pid: Pid, threads_max: u64) -> io::Result<PathBuf> {
    let mut refused = io::Error::new(io::ErrorKind::NotFound, "no cgroup of ours counts processes");
    for parent in parents()? {
        match make_in(&parent, pid, threads_max) {
            Ok(directory) => return Ok(directory),
            Err(error) => refused = io::Error::new(error.kind(), format!("{}: {error}", parent.display())),
        }
    }
    Err(refused)
}

fn make_in(parent: &Path, pid: Pid, threads_max: u64) -> io::Result<PathBuf> {
    let control = parent.join("cgroup.subtree_control");
    if control.exists() && !fs::read_to_string(&control)?.split_ascii_whitespace().any(|name| name == "pids")
    {
        fs::write(&control, "+pids")?;
    }
    let directory = parent.join(name(pid));
    match fs::create_dir(&directory) {
        // Left behind by a process of the same number, whose warden was killed.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
        made => made?,
    }
    match fs::write(directory.join("pids.max"), threads_max.to_string()) {
        Ok(()) => Ok(directory),
        Err(error) => {
            fs::remove_dir(&directory).ok();
            Err(error)
        }
    }
}

/// The cgroups in which ours may be made, the best first.
fn parents() -> io::Result<Vec<PathBuf>> {
    let (own, mounts) =
        (fs::read_to_string("/proc/self/cgroup")?, fs::read_to_string("/proc/self/mountinfo")?);
    Ok(parents_of(&own, &mounts))
}

fn parents_of(own: &str, mounts: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in own.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let version_2 = controllers.is_empty();
        if !version_2 && !controllers.split(',').any(|controller| controller == "pids") {
            continue;
        }
        let Some(mount) = mount(mounts, version_2) else { continue };
        let directory = mount.join(path.trim_start_matches('/'));
        // Beside a subgroup of a service, but never beside the service: nothing may leave it.
        let beside = directory.parent().filter(|parent| {
            version_2 && parent.extension().is_some_and(|kind| kind == "service" || kind == "scope")
        });
        found.extend(beside.map(Path::to_owned));
        found.push(directory);
    }
    found
}

/// Where the hierarchy that counts processes is mounted. A mount of a part of it is left alone.
fn mount(mounts: &str, version_2: bool) -> Option<PathBuf> {
    mounts.lines().find_map(|line| {
        let (place, kind) = line.split_once(" - ")?;
        let mut place = place.split(' ').skip(3);
        let (root, point) = (place.next()?, place.next()?);
        let mut kind = kind.split(' ');
        let (system, options) = (kind.next()?, kind.nth(1)?);
        let fits = match system {
            "cgroup2" => version_2,
            "cgroup" => !version_2 && options.split(',').any(|option| option == "pids"),
            _ => false,
        };
        (fits && root == "/").then(|| PathBuf::from(point))
    })
}

#[cfg(test)]
mod tests {
    use crate::pool::spawner::cgroup::parents_of;
    use std::path::PathBuf;

    const MOUNTS: &str = "\
39 31 0:36 / /sys/fs/cgroup/pids rw,relatime - cgroup cgroup rw,pids
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
";

    fn places(own: &str) -> Vec<PathBuf> {
        parents_of(own, MOUNTS)
    }

    #[test]
    fn our_own_cgroup_is_the_place_and_beside_us_only_within_a_service() {
        assert_eq!(places("9:cpu:/x\n8:pids:/jobs\n"), [PathBuf::from("/sys/fs/cgroup/pids/jobs")]);
        let unified = PathBuf::from("/sys/fs/cgroup/unified");
        assert_eq!(places("0::/"), [unified.join("")]);
        let service = unified.join("system.slice/gangline.service");
        assert_eq!(places("0::/system.slice/gangline.service"), std::slice::from_ref(&service));
        let server = service.join("server");
        assert_eq!(places("0::/system.slice/gangline.service/server"), [service, server]);
        assert!(places("1:name=systemd:/\nnonsense\n").is_empty());
    }
}
