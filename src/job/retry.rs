//! Budgets and backoff: whether a failed attempt is the last, and how long to wait if not. [RETRY-1]

use crate::job::event::FailureKind;
use crate::job::extra::Rare;
use crate::job::spec::Backoff;
use crate::job::spec::Policy;
use std::time::Duration;

/// Whether the worker thinks that another attempt could help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retryable {
    /// Another attempt may succeed.
    Yes,
    /// The job can never succeed: it is dead at once, whatever its budgets.
    No,
}

/// What follows a failed attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Another attempt after this time.
    RetryAfter(Duration),
    /// The budget is used up.
    Dead,
}

/// What follows when an attempt of a job that has `rare` fails by `kind`; `chance` is a random number for the jitter.
///
/// Each kind has its own budget of that many failures, the last included. A lost attempt is retried at once: it was
/// not the job's fault, and its own budget bounds it.
#[must_use]
pub fn after_failure(
    rare: &Rare,
    policy: &Policy,
    kind: FailureKind,
    retryable: Retryable,
    chance: u32,
) -> Verdict {
    let (used, budget) = match kind {
        FailureKind::Failed => (rare.failed, policy.max_attempts),
        FailureKind::Crashed => (rare.crashed, policy.crashed_max),
        FailureKind::TimedOut => match policy.timed_out_max {
            Some(budget) => (rare.timed_out, budget),
            None => (rare.failed, policy.max_attempts),
        },
        FailureKind::Lost => (rare.lost, policy.lost_max),
    };
    if retryable == Retryable::No || used.saturating_add(1) >= budget {
        return Verdict::Dead;
    }
    if kind == FailureKind::Lost {
        return Verdict::RetryAfter(Duration::ZERO);
    }
    let failures = rare.failed.saturating_add(rare.crashed).saturating_add(rare.timed_out);
    Verdict::RetryAfter(wait(&policy.backoff, failures, chance))
}

/// `initial · factor^earlier`, at most `max`, of which the last `jitter` percent are scaled by `chance / 2³²`.
#[must_use]
pub fn wait(backoff: &Backoff, earlier: u16, chance: u32) -> Duration {
    let mut full_ms = backoff.initial_ms.min(backoff.max_ms);
    for _ in 0..earlier {
        if full_ms >= backoff.max_ms || full_ms == 0 || backoff.factor_percent <= 100 {
            break;
        }
        let grown_ms = (u128::from(full_ms) * u128::from(backoff.factor_percent)).div_ceil(100);
        full_ms = u64::try_from(grown_ms).unwrap_or(u64::MAX).min(backoff.max_ms);
    }
    let random_ms = u128::from(full_ms) * u128::from(backoff.jitter_percent.min(100)) / 100;
    let saved_ms = (random_ms * u128::from(chance)) >> 32;
    Duration::from_millis(full_ms - u64::try_from(saved_ms).expect("a part of a u64"))
}

#[cfg(test)]
mod tests {
    use crate::job::retry::wait;
    use crate::job::spec::Backoff;
    use proptest::prelude::*;
    use std::time::Duration;

    const PLAIN: Backoff =
        Backoff { initial_ms: 1_000, factor_percent: 200, max_ms: 10_000, jitter_percent: 20 };

    #[test]
    fn waiting_doubles_up_to_the_maximum() {
        let waits: Vec<u128> = (0..6).map(|earlier| wait(&PLAIN, earlier, 0).as_millis()).collect();
        assert_eq!(waits, [1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert_eq!(wait(&PLAIN, u16::MAX, 0), Duration::from_secs(10));
    }

    #[test]
    fn jitter_takes_off_at_most_its_share() {
        assert_eq!(wait(&PLAIN, 0, u32::MAX), Duration::from_millis(801));
        assert_eq!(wait(&PLAIN, 0, u32::MAX / 2), Duration::from_millis(901));
    }

    #[test]
    fn extreme_settings_do_not_overflow() {
        let extreme =
            Backoff { initial_ms: u64::MAX, factor_percent: u16::MAX, max_ms: u64::MAX, jitter_percent: 100 };
        assert_eq!(wait(&extreme, 9, 0), Duration::from_millis(u64::MAX));
        let nothing = Backoff { initial_ms: 0, factor_percent: 0, max_ms: 0, jitter_percent: 0 };
        assert_eq!(wait(&nothing, 9, 7), Duration::ZERO);
    }
    fn any_backoff() -> impl Strategy<Value = Backoff> {
        let ms = || prop_oneof![0..100_000_u64, any::<u64>()];
        (ms(), any::<u16>(), ms(), any::<u8>()).prop_map(
            |(initial_ms, factor_percent, max_ms, jitter_percent)| Backoff {
                initial_ms,
                factor_percent,
                max_ms,
                jitter_percent,
            },
        )
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_wait_is_bounded_never_shorter_after_more_failures_and_loses_only_the_jitters_share(
            backoff in any_backoff(),
            earlier in 0..300_u16,
            chance: u32,
        ) {
            let waited = wait(&backoff, earlier, chance);
            let full = wait(&backoff, earlier, 0);
            prop_assert!(full <= Duration::from_millis(backoff.max_ms));
            prop_assert!(wait(&backoff, earlier + 1, chance) >= waited, "[RETRY-1]");
            prop_assert!(waited <= full);
            let kept_percent = u128::from(100 - backoff.jitter_percent.min(100));
            prop_assert!(waited.as_millis() >= full.as_millis() * kept_percent / 100);
        }
    }
}
