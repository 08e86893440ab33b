//! The process of a server that is measured: this program, started on a directory, and what the kernel says of it.

use anyhow::Context;
use anyhow::bail;
use std::collections::BTreeMap;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

/// How often a command that is measured is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// CPU time that a process has used, user and system.
pub(in crate::cli::bench) fn cpu(pid: u32) -> anyhow::Result<Duration> {
    Ok(used(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?).1)
}

/// CPU time that the threads of a process have used, by name; threads that differ in a number at the end are one.
fn threads(pid: u32) -> anyhow::Result<BTreeMap<String, Duration>> {
    let mut threads = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // One that has ended meanwhile is not counted.
        let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { continue };
        let (name, cpu) = used(&stat);
        let name = name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('-');
        *threads.entry(name.to_owned()).or_default() += cpu;
    }
    Ok(threads)
}

/// The name and the CPU time, user and system, that a `stat` of the kernel tells.
fn used(stat: &str) -> (&str, Duration) {
    // The second field is the name in parentheses, which may hold spaces and parentheses.
    let (before, after_name) = stat.rsplit_once(')').unwrap_or_default();
    let (_, name) = before.split_once('(').unwrap_or_default();
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks = |place: usize| fields.get(place).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    let per_second = rustix::param::clock_ticks_per_second();
    (name, Duration::from_secs_f64((ticks(11) + ticks(12)) as f64 / per_second as f64))
}

/// Memory of a process.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) struct Memory {
    /// Resident bytes.
    pub(in crate::cli::bench) rss_bytes: u64,
    /// The most there ever were.
    pub(in crate::cli::bench) peak_bytes: u64,
}

impl Memory {
    fn of(pid: u32) -> anyhow::Result<Memory> {
        let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
        let bytes = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = value.and_then(|value| value.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
            kib.map(|kib| kib * 1_024).with_context(|| format!("process {pid} has gone"))
        };
        Ok(Memory { rss_bytes: bytes("VmRSS:")?, peak_bytes: bytes("VmHWM:")? })
    }
}

/// A server process; it goes with the bench.
#[derive(Debug)]
pub(in crate::cli::bench) struct Server {
    child: Child,
    address: String,
}

impl Server {
    /// Starts one on the data directory `data` and waits until it says where it listens.
    pub(in crate::cli::bench) fn start(data: &Path) -> anyhow::Result<Server> {
        let mut child = Command::new(std::env::current_exe()?)
            .args(["serve", "--listen", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .args(["--log-filter", "warn"])
            .spawn()
            .context("the server to measure cannot be started")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("the server's stdout was piped")?;
        BufReader::new(stdout).read_line(&mut line)?;
        match line.trim().strip_prefix("listening on ") {
            Some(address) => Ok(Server { address: address.to_owned(), child }),
            None => {
                child.kill()?;
                bail!("the server to measure did not start; it said {line:?}");
            }
        }
    }

    pub(in crate::cli::bench) fn address(&self) -> &str {
        &self.address
    }

    /// CPU time that it has used.
    pub(in crate::cli::bench) fn cpu(&self) -> anyhow::Result<Duration> {
        cpu(self.child.id())
    }

    /// The same, by the names of its threads.
    pub(in crate::cli::bench) fn threads(&self) -> anyhow::Result<BTreeMap<String, Duration>> {
        threads(self.child.id())
    }

    /// Its memory now.
    pub(in crate::cli::bench) fn memory(&self) -> anyhow::Result<Memory> {
        Memory::of(self.child.id())
    }
}

/// A command of this program that is measured until it ends. What it prints is thrown away.
#[derive(Debug)]
pub(in crate::cli::bench) struct Reading {
    child: Child,
}

/// What a command took.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::cli::bench) struct Used {
    pub(in crate::cli::bench) cpu: Duration,
    pub(in crate::cli::bench) peak_bytes: u64,
    /// Whether it ended with exit code 0.
    pub(in crate::cli::bench) succeeded: bool,
}

impl Reading {
    /// Starts `gangline WORDS… DIR REST…`.
    pub(in crate::cli::bench) fn start(words: &[&str], dir: &Path, rest: &[&str]) -> anyhow::Result<Reading> {
        let mut command = Command::new(std::env::current_exe()?);
        command.args(words).arg(dir).args(rest);
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Reading { child: quiet.spawn().context("the command to measure cannot be started")? })
    }

    /// Waits for its end, and looks at it until then: the kernel tells nothing of what it has forgotten.
    pub(in crate::cli::bench) async fn end(&mut self) -> anyhow::Result<Used> {
        let mut used = Used::default();
        loop {
            let pid = self.child.id();
            used.cpu = cpu(pid)?;
            // It ends between two looks: then the one before was the last.
            used.peak_bytes = Memory::of(pid).map_or(used.peak_bytes, |memory| memory.peak_bytes);
            if let Some(status) = self.child.try_wait()? {
                used.succeeded = status.success();
                return Ok(used);
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Its directory goes too, so it need not stop cleanly.
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::bench::process::used;
    use std::time::Duration;

    #[test]
    fn a_thread_is_told_by_its_name_whatever_is_in_it() {
        let stat = "71 (a) b (c)) S 1 71 71 0 -1 4194560 12 0 0 0 100 50 0 0 20 0 9 0 4242 1 2 3";
        let ticks = 150.0 / rustix::param::clock_ticks_per_second() as f64;
        assert_eq!(used(stat), ("a) b (c)", Duration::from_secs_f64(ticks)));
        assert_eq!(used(""), ("", Duration::ZERO));
    }
}
