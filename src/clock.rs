//! Time: the only file that reads the clock. Everything else takes a [`Now`] as an argument, so
//! that the engine can run under a simulated clock.

use serde::Deserialize;
use serde::Serialize;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::time::Duration;

/// A point of wall time in milliseconds since the Unix epoch.
///
/// Due times, expiry and the times in the log are of this kind. Lease deadlines are not: see [`Tick`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Timestamp(pub u64);

impl Timestamp {
    /// The latest time the service accepts: 9999-01-01T00:00:00Z, exclusive.
    pub const END: Timestamp = Timestamp(253_370_764_800_000);

    /// This time moved later by `duration`, stopping at the end of the number range.
    #[must_use]
    pub fn after(self, duration: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this time; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// A point of monotonic time in nanoseconds since the process started. Never stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tick(pub u64);

impl Tick {
    /// This tick moved later by `duration`.
    #[must_use]
    pub fn after(self, duration: Duration) -> Tick {
        Tick(self.0.saturating_add(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long it is from `earlier` to this tick; zero if `earlier` is later.
    #[must_use]
    pub fn since(self, earlier: Tick) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// Both clocks read at one moment. A request reads them once and passes them on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Wall time: what a person's watch says. It may jump.
    pub wall: Timestamp,
    /// Monotonic time: what lease deadlines are measured with. It never goes back.
    pub tick: Tick,
}

/// A source of [`Now`]: the machine's clocks, or a clock that a test moves by hand.
#[derive(Clone, Debug)]
pub struct Clock(Source);

#[derive(Clone, Debug)]
enum Source {
    System,
    Manual(Arc<Mutex<Now>>),
}

impl Clock {
    /// The machine's own clocks.
    #[must_use]
    pub fn system() -> Clock {
        Clock(Source::System)
    }

    /// A clock that stands still at `start` until [`Clock::advance`] or [`Clock::jump`] moves it.
    #[must_use]
    pub fn manual(start: Now) -> Clock {
        Clock(Source::Manual(Arc::new(Mutex::new(start))))
    }

    /// Reads both clocks.
    #[must_use]
    pub fn now(&self) -> Now {
        match &self.0 {
            Source::System => Now { wall: wall(), tick: tick() },
            Source::Manual(now) => *now.lock().expect("no holder of a test clock panics"),
        }
    }

    /// Moves a manual clock's wall and monotonic time on together.
    ///
    /// # Panics
    /// If this is the system clock: only tests move clocks.
    pub fn advance(&self, by: Duration) {
        self.change(|now| Now { wall: now.wall.after(by), tick: now.tick.after(by) });
    }

    /// Sets a manual clock's wall time, as an operator or NTP would; monotonic time stays.
    ///
    /// # Panics
    /// If this is the system clock: only tests move clocks.
    pub fn jump(&self, wall: Timestamp) {
        self.change(|now| Now { wall, ..now });
    }

    fn change(&self, change: impl FnOnce(Now) -> Now) {
        match &self.0 {
            Source::System => panic!("the system clock cannot be moved"),
            Source::Manual(now) => {
                let mut now = now.lock().expect("no holder of a test clock panics");
                *now = change(*now);
            }
        }
    }
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads wall time")]
fn wall() -> Timestamp {
    let since_epoch = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX))
}

#[allow(clippy::disallowed_methods, reason = "the one place that reads monotonic time")]
fn tick() -> Tick {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    Tick(u64::try_from(START.get_or_init(std::time::Instant::now).elapsed().as_nanos()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::clock::Now;
    use crate::clock::Tick;
    use crate::clock::Timestamp;
    use std::time::Duration;

    #[test]
    fn a_manual_clock_moves_only_when_told_and_a_jump_leaves_monotonic_time_alone() {
        let clock = Clock::manual(Now { wall: Timestamp(1_000), tick: Tick(5) });
        clock.advance(Duration::from_millis(2));
        clock.jump(Timestamp(10));
        assert_eq!(clock.now(), Now { wall: Timestamp(10), tick: Tick(2_000_005) });
    }

    #[test]
    fn the_system_clock_is_after_2020_and_its_ticks_do_not_go_back() {
        let clock = Clock::system();
        let first = clock.now();
        let second = clock.now();
        assert!(first.wall > Timestamp(1_577_836_800_000));
        assert!(second.tick >= first.tick);
    }
}
