//! How much log is kept: by size, by age, and for named cursors that have not passed it yet. Pure but for what it asks
//! the log; the checkpointer lets go.

use crate::clock::Timestamp;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::log;
use crate::log::Archive;
use crate::log::Floor;
use std::time::Duration;

/// How often old log is looked for: an eighth of its age, within these bounds.
const LOOK_SHARE: u32 = 8;
const LOOK_MIN: Duration = Duration::from_secs(1);
const LOOK_MAX: Duration = Duration::from_secs(3_600);

/// How checkpoints and retention are set.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// A checkpoint is made when the log since the last is at least this large, and twice as large as that one.
    pub checkpoint_bytes: u64,
    /// Log beyond this size goes, the oldest first; at least so much is kept, unless it is too old.
    pub retention_bytes: u64,
    /// Log that is older goes; zero: whatever its age.
    pub retention_age: Duration,
    /// How far a named cursor may be behind and still hold back what it has not passed; beyond that it loses its place.
    pub lag_budget_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping {
            checkpoint_bytes: 64 << 20,
            retention_bytes: 8 << 30,
            retention_age: Duration::ZERO,
            lag_budget_bytes: 1 << 30,
        }
    }
}

impl Keeping {
    /// The position below which nobody asks for the log any more at `now`. `cursors` are the places of the named ones.
    ///
    /// The log is never larger than its retention and the lag budget allow, however many cursors are never moved.
    ///
    /// # Errors
    /// If the log cannot be read.
    pub fn lets_go<A: Archive>(
        &self,
        archive: &A,
        cursors: impl Iterator<Item = Sequence>,
        now: Timestamp,
    ) -> Result<Position, log::Error> {
        let mut before = archive.keeping(self.retention_bytes);
        if !self.retention_age.is_zero() {
            let age_ms = u64::try_from(self.retention_age.as_millis()).unwrap_or(u64::MAX);
            before = before.max(archive.older(Timestamp(now.0.saturating_sub(age_ms)))?);
        }
        let floor = archive.floor();
        // One that has lost its place needs nothing any more.
        let slowest = cursors.filter(|cursor| !is_lost(*cursor, floor)).min();
        let Some(slowest) = slowest else { return Ok(before) };
        let needed = archive.position_of(slowest.plus(1))?;
        Ok(before.min(needed.max(archive.keeping(self.lag_budget_bytes))))
    }

    /// How often to look for log that has become too old; `None`: its age does not matter.
    #[must_use]
    pub fn looks_every(&self) -> Option<Duration> {
        let share = self.retention_age / LOOK_SHARE;
        (!self.retention_age.is_zero()).then(|| share.clamp(LOOK_MIN, LOOK_MAX))
    }
}

/// Whether updates after a cursor are gone: its reader has missed them. [LOG-2]
#[must_use]
pub fn is_lost(cursor: Sequence, floor: Floor) -> bool {
    cursor.plus(1) < floor.sequence
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::engine::retention::Keeping;
    use crate::job::id::Position;
    use crate::job::id::Sequence;
    use crate::job::id::StoreId;
    use crate::log::Archive;
    use crate::log::Log;
    use crate::log::memory::Disk;
    use crate::log::memory::MemoryArchive;
    use crate::log::suite::append;
    use std::time::Duration;

    /// A log of 40 frames of two updates each; frame n was written at 1,000 + n − 1 milliseconds.
    fn log() -> MemoryArchive {
        let mut log = Disk::new(StoreId([1; 16]), 1).open();
        for _ in 0..40 {
            append(&mut log, 2);
        }
        log.sync().unwrap();
        log.archive()
    }

    fn keeping(retention_bytes: u64, age_ms: u64, lag_budget_bytes: u64) -> Keeping {
        let retention_age = Duration::from_millis(age_ms);
        Keeping { retention_bytes, retention_age, lag_budget_bytes, ..Keeping::default() }
    }

    fn let_go(keeping: Keeping, cursors: &[u64], now: u64) -> u64 {
        let cursors = cursors.iter().map(|cursor| Sequence(*cursor));
        keeping.lets_go(&log(), cursors, Timestamp(now)).unwrap().0
    }

    #[test]
    fn log_goes_by_its_size_or_by_its_age_whichever_is_sooner() {
        assert_eq!(
            let_go(keeping(1 << 30, 0, 0), &[], u64::MAX),
            1,
            "it is small, and its age does not matter"
        );
        assert_eq!(let_go(keeping(1 << 30, 100, 0), &[], 1_100), 1, "it is neither large nor old");
        assert_eq!(let_go(keeping(1 << 30, 100, 0), &[], 1_110), 11);
        let by_size = let_go(keeping(1_500, 0, 0), &[], 1_110);
        assert!((20..40).contains(&by_size), "{by_size}");
        assert_eq!(let_go(keeping(1_500, 100, 0), &[], 1_110), by_size);
    }

    #[test]
    fn a_named_cursor_holds_log_back_as_far_as_its_budget_and_no_further() {
        let old = 1_000_000;
        assert_eq!(let_go(keeping(1 << 30, 10, 1 << 20), &[], old), 41);
        assert_eq!(let_go(keeping(1 << 30, 10, 1 << 20), &[80, 31, 40], old), 16, "update 32 is in frame 16");
        assert_eq!(let_go(keeping(1 << 30, 10, 1 << 20), &[80], old), 41, "it has passed everything");
        let budget = let_go(keeping(1 << 30, 10, 1_500), &[0], old);
        assert!((20..40).contains(&budget), "a reader that is too far behind: {budget}");
        assert_eq!(let_go(keeping(1 << 30, 10, 1_500), &[2 * budget], old), budget + 1, "one that is not");
        assert_eq!(let_go(keeping(1 << 30, 10, 0), &[0], old), 41, "no budget, nothing is held");
    }

    #[test]
    fn a_cursor_that_has_lost_its_place_holds_nothing() {
        let archive = log();
        archive.trim(Position(17), &mut std::iter::empty()).unwrap();
        assert_eq!(archive.floor().sequence, Sequence(33));
        let keeping = keeping(1 << 30, 10, 1 << 20);
        let let_go = |cursor| keeping.lets_go(&archive, [cursor].into_iter(), Timestamp(9_999)).unwrap();
        assert_eq!(let_go(Sequence(31)), Position(41));
        assert_eq!(let_go(Sequence(32)), Position(17), "the next one is the first that is kept");
    }

    #[test]
    fn old_log_is_looked_for_eight_times_in_its_life() {
        let every = |age: u64| keeping(0, age, 0).looks_every().map(|every| every.as_millis());
        assert_eq!(
            [0, 10, 80_000, 365 * 86_400_000].map(every),
            [None, Some(1_000), Some(10_000), Some(3_600_000)]
        );
    }
}
