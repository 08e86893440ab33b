//! Makes job ids: UUIDv7 of the log time, strictly rising, consecutive within a batch.

use crate::clock::Timestamp;
use crate::job::id::JobId;

/// Bits of a UUIDv7 below the 48 bits of its time that we count with: the low 62, between the variant and the end.
const COUNTER_BITS: u32 = 62;
/// The two variant bits of RFC 9562, above the counter.
const VARIANT: u128 = 0b10 << COUNTER_BITS;
/// The version nibble 7 of RFC 9562, above `rand_a`.
const VERSION: u128 = 0x7 << 76;
/// How far into its range the counter of a new millisecond may begin, so that no batch runs out of it.
const START_BITS: u32 = 61;

/// The newest id given; ids after a restart go on above it. [LOG-1]
#[derive(Clone, Copy, Debug)]
pub struct Ids {
    last: JobId,
}

impl Ids {
    /// Makes ids above `last`.
    #[must_use]
    pub const fn after(last: JobId) -> Ids {
        Ids { last }
    }

    /// The first of `count` consecutive new ids. `time` is log time, `chance` a random number for the counter's start.
    pub fn take(&mut self, count: u64, time: Timestamp, chance: u64) -> JobId {
        let fresh = VERSION
            | (u128::from(time.0 & 0xffff_ffff_ffff) << 80)
            | (u128::from(chance >> 52) << 64)
            | VARIANT
            | u128::from(chance.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - START_BITS));
        let next = self.last.as_u128() + 1;
        let first = if fresh > self.last.as_u128() { fresh } else { next };
        self.last = JobId::from_u128(first).plus(count.saturating_sub(1));
        JobId::from_u128(first)
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::engine::ids::Ids;
    use crate::job::id::JobId;

    #[test]
    fn ids_are_uuid_v7_of_the_log_time_and_rise_whatever_the_chance() {
        let mut ids = Ids::after(JobId::MIN);
        let mut last = JobId::MIN;
        for (step, chance) in [(0, u64::MAX), (0, 0), (1, 0), (1, u64::MAX), (1, 5)] {
            let time = Timestamp(1_700_000_000_000 + step);
            let first = ids.take(10_000, time, chance);
            let uuid = uuid::Uuid::from_u128(first.as_u128());
            assert_eq!(uuid.get_version_num(), 7);
            assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
            assert_eq!(uuid.as_u128() >> 80, u128::from(time.0));
            assert!(first > last);
            last = first.plus(9_999);
        }
    }

    #[test]
    fn a_restart_goes_on_above_the_last_id_even_if_the_clock_went_back() {
        let last = Ids::after(JobId::MIN).take(1, Timestamp(2_000), 7);
        let next = Ids::after(last).take(1, Timestamp(1_000), 9);
        assert_eq!(next, last.plus(1));
    }
}
