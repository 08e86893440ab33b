//! How many leases a pool holds ahead of its processes: none for long jobs, one a process to begin with, more when jobs
//! are so short that waiting for the next lease would cost more than the job, and never more than a bound of bytes.

use crate::clock::Tick;
use std::time::Duration;

/// Leases ahead, by the time that a job takes on average: the first row whose time is above it counts.
const BY_PACE: [(Duration, u32); 2] = [(Duration::from_millis(10), 8), (Duration::from_millis(100), 1)];
/// Of jobs shorter than a millisecond so many are held ahead that they last for this long. A lease comes with a sync of the
/// log and the wakes of three threads, which takes a fraction of a millisecond, or tens of them on a busy machine or over a
/// network: a pool that holds less than it does in that time gets slow, and would then hold still less.
const AHEAD: Duration = Duration::from_millis(64);
const SHORT: Duration = Duration::from_millis(1);
/// Leases ahead of a process whose pace is not known yet.
const AT_FIRST: u32 = 1;

/// The most leases a pool holds, whatever its size: a pool has room for so many waiting jobs, and one hello for twice as many.
const LEASES_MAX: u32 = 4_000;
/// Bytes of payload that a pool holds, unless its processes alone have more in work. [MEM-1]
pub(in crate::pool) const BYTES_MAX: usize = 32 << 20;
/// The mean size of payloads follows those of the last leases, about so many.
const SIZES: i64 = 64;

/// After so many jobs the pace is known anew, without waiting for the next look.
const ENOUGH: u32 = 64;
/// But not so soon.
const SOON: Duration = Duration::from_millis(5);

/// The pace of a pool, and what follows from it.
#[derive(Debug)]
pub(in crate::pool) struct Ahead {
    processes: u32,
    ahead: u32,
    /// Jobs that ended since the last look, and since the pace was last taken.
    ended: u32,
    paced: u32,
    paced_at: Tick,
    /// Whether the pace was taken since the last look: better than a look can, which does not know of idle time.
    known: bool,
    /// Running mean of the bytes of a payload, in 1/64.
    size: i64,
}

impl Ahead {
    pub(in crate::pool) fn new(processes: usize, now: Tick) -> Ahead {
        let processes = u32::try_from(processes).unwrap_or(u32::MAX);
        Ahead { processes, ahead: AT_FIRST, ended: 0, paced: 0, paced_at: now, known: false, size: 0 }
    }

    /// How many leases the pool holds at best.
    pub(in crate::pool) fn target(&self) -> u32 {
        let bytes = usize::try_from(self.size / SIZES).unwrap_or(0).max(1);
        let fit = u32::try_from(BYTES_MAX / bytes).unwrap_or(u32::MAX).max(self.processes);
        self.processes.saturating_mul(1 + self.ahead).min(LEASES_MAX).min(fit)
    }

    /// Jobs come to a pool that had none: the time before does not count.
    pub(in crate::pool) fn begin(&mut self, now: Tick) {
        (self.paced, self.paced_at) = (0, now);
    }

    /// A lease came with a payload of so many bytes.
    pub(in crate::pool) fn leased(&mut self, bytes: usize) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX / SIZES);
        self.size += bytes - self.size / SIZES;
    }

    /// These many jobs ended until `now`.
    pub(in crate::pool) fn ended(&mut self, jobs: u32, now: Tick) {
        self.ended = self.ended.saturating_add(jobs);
        self.paced = self.paced.saturating_add(jobs);
        let time = now.since(self.paced_at);
        if self.paced >= ENOUGH && time >= SOON {
            self.take_pace(time, self.paced, now);
            self.known = true;
        }
    }

    /// Looks at the last `time`, in which `running` jobs were in work at the end; says how many ended.
    pub(in crate::pool) fn look(&mut self, time: Duration, running: usize, now: Tick) -> u32 {
        let (ended, known) = (std::mem::take(&mut self.ended), std::mem::take(&mut self.known));
        if ended == 0 && running > 0 {
            self.ahead = 0;
        } else if ended > 0 && !known {
            self.take_pace(time, ended, now);
        }
        ended
    }

    fn take_pace(&mut self, time: Duration, ended: u32, now: Tick) {
        let each = time * self.processes / ended;
        self.ahead = if each < SHORT {
            let lasting = AHEAD.as_nanos() / each.as_nanos().max(1);
            u32::try_from(lasting).unwrap_or(u32::MAX).min(LEASES_MAX)
        } else {
            BY_PACE.iter().find(|(under, _)| each < *under).map_or(0, |(_, ahead)| *ahead)
        };
        (self.paced, self.paced_at) = (0, now);
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Tick;
    use crate::pool::ahead::Ahead;
    use crate::pool::ahead::BYTES_MAX;
    use std::time::Duration;

    const LOOK: Duration = Duration::from_millis(500);

    fn at(time: Duration) -> Tick {
        Tick::default().after(time)
    }

    #[test]
    fn short_jobs_are_leased_ahead_and_long_ones_are_not() {
        let mut ahead = Ahead::new(2, Tick::default());
        assert_eq!(ahead.target(), 4, "one ahead of each process to begin with");
        ahead.ended(2_500, at(LOOK));
        assert_eq!(ahead.target(), 2 * 161, "0.4 ms a job, and 64 ms ahead");
        assert_eq!(ahead.look(LOOK, 2, at(LOOK)), 2_500);
        assert_eq!(ahead.target(), 2 * 161);
        ahead.ended(20, at(2 * LOOK));
        assert_eq!(ahead.look(LOOK, 2, at(2 * LOOK)), 20);
        assert_eq!(ahead.target(), 4, "50 ms a job");
        assert_eq!(ahead.look(LOOK, 2, at(3 * LOOK)), 0);
        assert_eq!(ahead.target(), 2, "nothing ended: nothing ahead");
    }

    #[test]
    fn the_shortest_jobs_are_held_for_some_time_of_work_and_soon() {
        let mut ahead = Ahead::new(2, Tick::default());
        ahead.ended(1_000, at(Duration::from_millis(4)));
        assert_eq!(ahead.target(), 4, "too soon to tell");
        ahead.ended(1_000, at(Duration::from_millis(100)));
        assert_eq!(ahead.target(), 2 * 641, "0.1 ms a job, and 64 ms ahead");
        ahead.ended(100_000, at(Duration::from_millis(200)));
        assert_eq!(ahead.target(), 4_000, "whatever the pace");
    }

    #[test]
    fn an_idle_pool_keeps_its_pace_and_idle_time_is_not_time_of_work() {
        let mut ahead = Ahead::new(2, Tick::default());
        ahead.ended(2_000, at(Duration::from_millis(200)));
        let busy = ahead.target();
        assert_eq!(ahead.look(LOOK, 0, at(LOOK)), 2_000);
        assert_eq!(ahead.look(LOOK, 0, at(2 * LOOK)), 0);
        assert_eq!(ahead.target(), busy);
        ahead.begin(at(20 * LOOK));
        ahead.ended(2_000, at(20 * LOOK + Duration::from_millis(200)));
        assert_eq!(ahead.target(), busy);
    }

    #[test]
    fn large_payloads_are_held_up_to_their_bytes() {
        let mut ahead = Ahead::new(2, Tick::default());
        ahead.ended(2_500, at(LOOK));
        (0..1_000).for_each(|_| ahead.leased(1 << 20));
        let most = u32::try_from(BYTES_MAX >> 20).unwrap();
        assert!((most..=most + 1).contains(&ahead.target()), "{}", ahead.target());
        (0..1_000).for_each(|_| ahead.leased(BYTES_MAX));
        assert_eq!(ahead.target(), 2, "but one a process");
        (0..2_000).for_each(|_| ahead.leased(100));
        assert_eq!(ahead.target(), 2 * 161);
    }
}
