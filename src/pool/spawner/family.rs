//! The processes below this one: who they are, what they use together, and how to be rid of them. For the spawner and
//! the warden, which are subreapers: whoever loses its parent below them becomes their child and can be found again.

use rustix::event::Timespec;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;
use rustix::process::getpid;
use rustix::process::kill_process;
use rustix::process::wait;
use rustix::process::waitpid;
use rustix::thread::nanosleep;

/// How long to wait for the killed to end when none did.
const KILL_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 1_000_000 };

/// How many times: a process that hangs in the kernel must not hold a slot for ever. It stays our child and is
/// reaped later.
const KILL_POLLS: u32 = 1_000;

/// After so many rounds something multiplies as fast as we kill our children: then their children are killed with them.
const MILD_ROUNDS: u32 = 20;

/// The most processes that are looked at: a bomb grows while it is counted.
const FOUND_MAX: usize = 4_096;

/// What all processes below this one use together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Census {
    /// Resident memory, in which what two processes share counts twice.
    pub(crate) resident_bytes: u64,
    /// Threads, of which every process has one at least: what a cgroup counts too.
    pub(crate) threads: u64,
}

/// Kills and reaps every child but those of `keep`, and theirs, as they become ours. Waits for them, but not much longer
/// than a second for one that cannot die.
pub(crate) fn kill_others(keep: &[Pid]) {
    let (mut rounds, mut polls) = (0, 0);
    while polls < KILL_POLLS {
        // With nobody to keep, the kernel's own word that there is no child is the surer one, and the cheaper.
        if keep.is_empty() && matches!(wait(WaitOptions::NOHANG), Err(Errno::CHILD)) {
            return;
        }
        let others: Vec<Pid> = children().into_iter().filter(|child| !keep.contains(child)).collect();
        if others.is_empty() && !keep.is_empty() {
            return;
        }
        for other in &others {
            // It is our child and not reaped yet, so its number is its own. What may not be killed runs as another
            // user; it is not ours to end.
            kill_process(*other, Signal::KILL).ok();
        }
        if rounds > MILD_ROUNDS {
            // Their numbers are as good as a number can be that is read and used at once.
            for descendant in below(others.clone()).0.into_iter().skip(others.len()) {
                kill_process(descendant, Signal::KILL).ok();
            }
        }
        rounds += 1;
        if reap(&others) == 0 {
            polls += 1;
            // Cut short by a signal it only looks again sooner.
            let _ = nanosleep(&KILL_POLL);
        }
    }
}

/// Kills every descendant, until there is no child.
pub(crate) fn kill_all() {
    loop {
        for child in children() {
            kill_process(child, Signal::KILL).ok();
        }
        match wait(WaitOptions::empty()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(_no_child_left) => return,
        }
        while let Ok(Some(_)) = wait(WaitOptions::NOHANG) {}
    }
}

/// Reaps the dead among the children but `keep`: those that lost their own parent.
pub(crate) fn reap_others(keep: Pid) {
    let others: Vec<Pid> = children().into_iter().filter(|child| *child != keep).collect();
    reap(&others);
}

/// Says how many were dead. One that lives is reaped another time.
fn reap(children: &[Pid]) -> usize {
    children.iter().filter(|child| matches!(waitpid(Some(**child), WaitOptions::NOHANG), Ok(Some(_)))).count()
}

/// The children of this process, which has one thread.
pub(crate) fn children() -> Vec<Pid> {
    let myself = getpid();
    children_of_thread(&format!("/proc/{0}/task/{0}", myself.as_raw_nonzero()))
}

fn children_of_thread(directory: &str) -> Vec<Pid> {
    let listed = std::fs::read_to_string(format!("{directory}/children")).unwrap_or_default();
    listed.split_ascii_whitespace().filter_map(|number| number.parse().ok().and_then(Pid::from_raw)).collect()
}

/// Every process below this one, and how many threads they have.
fn descendants() -> (Vec<Pid>, u64) {
    below(children())
}

/// The processes `found` and those below them, and how many threads they have: all of them, but of what multiplies without
/// bound only so many that the search ends.
fn below(mut found: Vec<Pid>) -> (Vec<Pid>, u64) {
    let (mut next, mut threads) = (0, 0);
    while next < FOUND_MAX
        && let Some(pid) = found.get(next).copied()
    {
        next += 1;
        // A process that ends while we look has no tasks any more.
        for task in
            std::fs::read_dir(format!("/proc/{}/task", pid.as_raw_nonzero())).into_iter().flatten().flatten()
        {
            threads += 1;
            found.extend(children_of_thread(&task.path().to_string_lossy()));
        }
    }
    (found, threads)
}

/// Counts what all processes below this one use.
pub(crate) fn census() -> Census {
    let (pids, threads) = descendants();
    Census { resident_bytes: pids.into_iter().filter_map(resident_bytes).sum(), threads }
}

/// Memory of all processes below this one in bytes, with what they share divided among them. The kernel walks all their
/// pages for it.
pub(crate) fn proportional_bytes() -> u64 {
    let (pids, _) = descendants();
    let of = |pid: Pid| {
        let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", pid.as_raw_nonzero())).ok();
        rollup.as_deref().and_then(proportional_kib).map(|kib| kib * 1_024).or_else(|| resident_bytes(pid))
    };
    pids.into_iter().filter_map(of).sum()
}

/// The second number of statm is in pages.
fn resident_bytes(pid: Pid) -> Option<u64> {
    let statm = std::fs::read_to_string(format!("/proc/{}/statm", pid.as_raw_nonzero())).ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages * u64::try_from(rustix::param::page_size()).unwrap_or(4_096))
}

fn proportional_kib(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use crate::pool::spawner::family::proportional_kib;

    #[test]
    fn the_share_is_found_and_not_the_other_lines_that_begin_like_it() {
        let rollup = "Rss:   900 kB\nPss:     300 kB\nPss_Dirty:  10 kB\n";
        assert_eq!(proportional_kib(rollup), Some(300));
        assert_eq!(proportional_kib("Pss_Dirty: 10 kB\n"), None);
    }
}
