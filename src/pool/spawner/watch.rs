//! Holds a worker process and all that it started to the limits that no resource limit of the kernel can express: the
//! memory and the processes of them together.
//!
//! By looking every 50 ms, and not by a memory cgroup: it works without root and delegation, kills all of the job and
//! not the one process the kernel picks, and can say why. What it costs: a peak between two looks goes unseen, and a job
//! may overshoot by what it can touch in 50 ms. `address_space` is the limit that a process cannot exceed for a moment.

use crate::pool::limits::Limits;
use crate::pool::limits::Over;
use crate::pool::spawner::cgroup::Cgroup;
use crate::pool::spawner::family;
use rustix::event::Timespec;

/// Between two looks.
const PERIOD: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// Looks without a walk through all pages after one that found that they are shared.
const REST: u32 = 10;

pub(crate) struct Watch {
    memory_bytes_max: Option<u64>,
    processes_max: Option<u64>,
    over: Option<Over>,
    rest: u32,
}

impl Watch {
    pub(crate) fn new(limits: Limits) -> Watch {
        let Limits { memory_bytes_max, processes_max, .. } = limits;
        Watch { memory_bytes_max, processes_max, over: None, rest: 0 }
    }

    /// How long to wait before the next look; `None`: there is nothing to look for.
    pub(crate) fn period(&self) -> Option<&'static Timespec> {
        (self.memory_bytes_max.is_some() || self.processes_max.is_some()).then_some(&PERIOD)
    }

    pub(crate) fn over(&self) -> Option<Over> {
        self.over
    }

    /// Looks at what is used. Says whether a limit is exceeded.
    pub(crate) fn look(&mut self, cgroup: Option<&Cgroup>) -> bool {
        if self.over.is_none() && self.period().is_some() {
            let census = family::census();
            let met = cgroup.is_some_and(Cgroup::is_met);
            self.over = self.processes(met, census.threads).or_else(|| self.memory(census.resident_bytes));
        }
        self.over.is_some()
    }

    /// The process ended by itself: `met` says whether the kernel had refused it more processes.
    pub(crate) fn last_look(&mut self, met: bool) -> Option<Over> {
        self.over = self.over.or_else(|| self.processes(met, 0));
        self.over
    }

    fn processes(&self, met: bool, threads: u64) -> Option<Over> {
        let processes_max = self.processes_max?;
        let over = met || threads > processes_max;
        over.then_some(Over::Processes { processes_max })
    }

    fn memory(&mut self, resident_bytes: u64) -> Option<Over> {
        let memory_bytes_max = self.memory_bytes_max?;
        if resident_bytes <= memory_bytes_max {
            return None;
        }
        if self.rest > 0 {
            self.rest -= 1;
            return None;
        }
        // Processes that share much, as after a fork, count it once together.
        let memory_bytes = family::proportional_bytes();
        if memory_bytes > memory_bytes_max {
            return Some(Over::Memory { memory_bytes, memory_bytes_max });
        }
        self.rest = REST;
        None
    }
}
