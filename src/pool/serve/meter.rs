//! What each job of a long-lived process used: the process's CPU clock and peak memory, read between jobs.
//!
//! Only the process tells its jobs apart, so a reading is charged to the job that ends then. What is read costs less
//! than a job: the clock once a millisecond at most, which is the unit of what is told, and /proc every 10 ms. What a
//! reading leaves over is told with a later job, so that the sum over many short jobs is right.

use crate::clock::Tick;
use crate::job::event::Usage;
use nix::time::clock_getcpuclockid;
use nix::time::clock_gettime;
use nix::unistd::Pid;
use std::borrow::Cow;
use std::fs::File;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::time::Duration;

/// The clock is read no more often than this.
const CPU_PERIOD: Duration = Duration::from_millis(1);

/// Peak memory and the CPU time of children are read no more often than this.
const PROC_PERIOD: Duration = Duration::from_millis(10);

/// Writing this to `clear_refs` begins a new peak of resident memory.
const NEW_PEAK: &[u8] = b"5";

/// More than the kernel writes into `stat`, and into `status` for a process of up to a thousand groups.
const FILE_BYTES: usize = 16 << 10;

pub(crate) struct Meter {
    pid: u32,
    files: Files,
    /// CPU time of the process so far, and of its children that it has waited for.
    own: Duration,
    children: Duration,
    /// How much of the two has been told.
    told: Duration,
    rss_kib: u64,
    cpu_read: Option<Tick>,
    proc_read: Option<Tick>,
}

impl Meter {
    pub(crate) fn new(pid: u32) -> Meter {
        Meter {
            pid,
            files: Files::open(pid),
            own: Duration::ZERO,
            children: Duration::ZERO,
            told: Duration::ZERO,
            rss_kib: 0,
            cpu_read: None,
            proc_read: None,
        }
    }

    /// A job comes to an idle process: what the process used until now is nobody's.
    pub(crate) fn begin(&mut self, now: Tick) {
        if due(&mut self.cpu_read, now, CPU_PERIOD) {
            self.read_clock();
            self.told = self.own + self.children;
        }
    }

    /// What the job used that ends now.
    pub(crate) fn end(&mut self, now: Tick) -> Usage {
        if due(&mut self.cpu_read, now, CPU_PERIOD) {
            self.read_clock();
        }
        if due(&mut self.proc_read, now, PROC_PERIOD) {
            self.read_proc();
        }
        let cpu_ms = self.untold_ms(self.own + self.children);
        self.told += Duration::from_millis(cpu_ms);
        Usage { cpu_ms, rss_kib: self.rss_kib }
    }

    /// What the job used under which the process ended, of all that the process used since it started.
    pub(crate) fn last(&self, all: Usage) -> Usage {
        Usage { cpu_ms: self.untold_ms(Duration::from_millis(all.cpu_ms)), rss_kib: all.rss_kib }
    }

    fn untold_ms(&self, all: Duration) -> u64 {
        u64::try_from(all.saturating_sub(self.told).as_millis()).unwrap_or(u64::MAX)
    }

    // A process that has just ended has no clock and no files any more; its end is on its way with better figures.

    fn read_clock(&mut self) {
        let pid = i32::try_from(self.pid).map(Pid::from_raw);
        if let Ok(pid) = pid
            && let Ok(time) = clock_getcpuclockid(pid).and_then(clock_gettime)
        {
            self.own = self.own.max(time.into());
        }
    }

    fn read_proc(&mut self) {
        let mut room = [0; FILE_BYTES];
        if let Some(rss_kib) =
            Files::read(self.files.status.as_ref(), &mut room).as_deref().and_then(peak_kib)
        {
            self.rss_kib = rss_kib;
            self.files.begin_new_peak();
        }
        if let Some(ticks) =
            Files::read(self.files.stat.as_ref(), &mut room).as_deref().and_then(children_ticks)
        {
            let per_second = rustix::param::clock_ticks_per_second().max(1);
            self.children = self.children.max(Duration::from_millis(ticks * 1_000 / per_second));
        }
    }
}

/// What /proc says of the process. The files stay open: the worker waits for its next job while they are read, and
/// opening them takes longer than reading. None of them can be read any more when the process has ended.
struct Files {
    status: Option<File>,
    stat: Option<File>,
    clear_refs: Option<File>,
}

impl Files {
    fn open(pid: u32) -> Files {
        let path = |file: &str| format!("/proc/{pid}/{file}");
        Files {
            status: File::open(path("status")).ok(),
            stat: File::open(path("stat")).ok(),
            clear_refs: OpenOptions::new().write(true).open(path("clear_refs")).ok(),
        }
    }

    /// What the kernel says now, as far as it fits. A program's name may be anything, even no text.
    fn read<'room>(file: Option<&File>, room: &'room mut [u8; FILE_BYTES]) -> Option<Cow<'room, str>> {
        let bytes = file?.read_at(room, 0).ok()?;
        Some(String::from_utf8_lossy(&room[..bytes]))
    }

    /// Where that is refused, the peak is that of the whole life of the process.
    fn begin_new_peak(&self) {
        if let Some(file) = &self.clear_refs {
            file.write_at(NEW_PEAK, 0).ok();
        }
    }
}

/// Whether a reading is due; if so it counts as read.
fn due(read: &mut Option<Tick>, now: Tick, period: Duration) -> bool {
    let due = read.is_none_or(|last| now.since(last) >= period);
    if due {
        *read = Some(now);
    }
    due
}

/// Peak resident memory in KiB, from `status`.
fn peak_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

/// User and system time of the children that were waited for, in clock ticks: the 16th and 17th field of `stat`. The
/// second one is the program's name, in brackets, and may hold anything.
fn children_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(13);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::clock::Tick;
    use crate::job::event::Usage;
    use crate::pool::serve::meter::Meter;
    use crate::pool::serve::meter::children_ticks;
    use crate::pool::serve::meter::peak_kib;
    use std::time::Duration;

    #[test]
    fn the_files_are_read_as_the_kernel_writes_them() {
        assert_eq!(peak_kib("Name:\tVmHWM: 1\nVmHWM:\t   12304 kB\nVmRSS:\t 4 kB\n"), Some(12_304));
        let stat = "7 (a) b) R 1 7 7 0 -1 4194560 9 8 7 6 11 12 13 14 20 0 1 0 55 0 0";
        assert_eq!(children_ticks(stat), Some(27));
        assert_eq!((peak_kib(""), children_ticks("")), (None, None));
    }

    #[test]
    fn what_a_job_used_is_told_once_and_nothing_is_lost_between_short_ones() {
        let mut meter = Meter::new(std::process::id());
        let clock = Clock::system();
        meter.begin(clock.now().tick);
        let mut told_ms = 0;
        for _ in 0..200 {
            let until = clock.now().tick.after(Duration::from_micros(200));
            while clock.now().tick < until {
                std::hint::spin_loop();
            }
            told_ms += meter.end(clock.now().tick).cpu_ms;
        }
        assert!((20..=1_000).contains(&told_ms), "40 ms of work were told as {told_ms}");
        let next = meter.end(clock.now().tick);
        assert!(next.cpu_ms <= 5 && next.rss_kib > 100, "{next:?}");
    }

    #[test]
    fn the_last_job_is_charged_with_what_is_left() {
        let mut meter = Meter::new(u32::MAX);
        meter.told = Duration::from_millis(900);
        assert_eq!(meter.end(Tick::default()), Usage { cpu_ms: 0, rss_kib: 0 }, "there is no such process");
        let all = Usage { cpu_ms: 1_000, rss_kib: 7 };
        assert_eq!(meter.last(all), Usage { cpu_ms: 100, rss_kib: 7 });
    }
}
