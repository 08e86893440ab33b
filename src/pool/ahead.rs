//! How many leases a pool holds ahead of its processes: none for long jobs, one a process to begin with, more when jobs
//! are so short that waiting for the next lease would cost more than the job.

use std::time::Duration;

/// Leases ahead, by the time that a job takes on average: the first row whose time is above it counts.
const BY_PACE: [(Duration, u32); 3] =
    [(Duration::from_millis(1), 64), (Duration::from_millis(10), 8), (Duration::from_millis(100), 1)];
/// Leases ahead of a process whose pace is not known yet.
const AT_FIRST: u32 = 1;

/// The most leases a pool holds, whatever its size: a pool has room for so many waiting jobs, and one hello for twice as many.
const LEASES_MAX: u32 = 4_000;

/// The pace of a pool, and what follows from it.
#[derive(Debug)]
pub(in crate::pool) struct Ahead {
    processes: u32,
    ahead: u32,
    ended: u32,
    stands_still: bool,
}

impl Ahead {
    pub(in crate::pool) fn new(processes: usize) -> Ahead {
        let processes = u32::try_from(processes).unwrap_or(u32::MAX);
        Ahead { processes, ahead: AT_FIRST, ended: 0, stands_still: false }
    }

    /// How many leases the pool holds at best.
    pub(in crate::pool) fn target(&self) -> u32 {
        self.processes.saturating_mul(1 + self.ahead).min(LEASES_MAX)
    }

    /// One job ended.
    pub(in crate::pool) fn ended(&mut self) {
        self.ended += 1;
        self.stands_still = false;
    }

    /// Takes the pace of the last `time`, in which `running` jobs were in work at the end.
    pub(in crate::pool) fn look(&mut self, time: Duration, running: usize) {
        let ended = std::mem::take(&mut self.ended);
        self.stands_still = ended == 0 && running > 0;
        if ended > 0 {
            let each = time * self.processes / ended;
            self.ahead = BY_PACE.iter().find(|(under, _)| each < *under).map_or(0, |(_, ahead)| *ahead);
        } else if running > 0 {
            self.ahead = 0;
        }
    }

    /// Whether no job ended between the last two looks.
    pub(in crate::pool) fn stands_still(&self) -> bool {
        self.stands_still
    }
}

#[cfg(test)]
mod tests {
    use crate::pool::ahead::Ahead;
    use std::time::Duration;

    #[test]
    fn short_jobs_are_leased_ahead_and_long_ones_are_not() {
        let mut ahead = Ahead::new(2);
        assert_eq!(ahead.target(), 4, "one ahead of each process to begin with");
        (0..5_000).for_each(|_| ahead.ended());
        ahead.look(Duration::from_millis(500), 2);
        assert_eq!(ahead.target(), 2 * 65);
        (0..20).for_each(|_| ahead.ended());
        ahead.look(Duration::from_millis(500), 2);
        assert_eq!(ahead.target(), 4);
        assert!(!ahead.stands_still());
        ahead.look(Duration::from_millis(500), 2);
        assert_eq!(ahead.target(), 2, "nothing ended: nothing ahead");
        assert!(ahead.stands_still());
    }

    #[test]
    fn an_idle_pool_keeps_its_pace() {
        let mut ahead = Ahead::new(1);
        ahead.look(Duration::from_millis(500), 0);
        assert_eq!(ahead.target(), 2);
    }
}
