//! How long and how often to try again: growing pauses, of which a part is chance, with a bound on their sum.

use crate::client::Error;
use crate::engine::chance::Chance;
use crate::grpc::status::Effect;
use crate::grpc::status::Reason;
use std::time::Duration;

const PAUSE_MIN: Duration = Duration::from_millis(50);
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// When a call may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Repeat {
    /// Always: it carries a key or an ordinal, or a repeat changes nothing more.
    Harmless,
    /// Only if the failed one did nothing.
    IfNothingHappened,
}

/// The patience of one call.
#[derive(Debug)]
pub(crate) struct Patience {
    whole: Duration,
    left: Duration,
    next: Duration,
    bugs: u32,
    chance: Option<Chance>,
}

impl Patience {
    pub(crate) fn new(whole: Duration) -> Patience {
        // Without chance the pauses are only less spread.
        Patience { whole, left: whole, next: PAUSE_MIN, bugs: 0, chance: Chance::from_system().ok() }
    }

    /// Something went well: the patience is whole again.
    pub(crate) fn restore(&mut self, whole: Duration) {
        (self.whole, self.left, self.next, self.bugs) = (whole, whole, PAUSE_MIN, 0);
    }

    /// The pauses together may take as much as `whole`, those that were made included.
    pub(crate) fn extend(&mut self, whole: Duration) {
        self.left = self.left.saturating_add(whole.saturating_sub(self.whole));
        self.whole = self.whole.max(whole);
    }

    /// How long to wait before trying again after `error`; `None`: do not.
    pub(crate) fn pause_after(&mut self, error: &Error, repeat: Repeat) -> Option<Duration> {
        let allowed = match repeat {
            Repeat::Harmless => true,
            Repeat::IfNothingHappened => error.effect() == Effect::Nothing,
        };
        if !allowed || !error.passes() || self.left.is_zero() {
            return None;
        }
        if error.reason() == Some(Reason::Internal) {
            // A bug is met again and again: one repeat, as docs/errors.md says.
            self.bugs += 1;
            if self.bugs > 1 {
                return None;
            }
        }
        let asked = match error {
            Error::Refused { retry_after, .. } => retry_after.unwrap_or_default(),
            Error::Address { .. }
            | Error::Unreachable { .. }
            | Error::Link { .. }
            | Error::Answer { .. }
            | Error::Forgotten { .. }
            | Error::TooLarge { .. }
            | Error::NoChance(_) => Duration::ZERO,
        };
        let pause = self.spread(self.next).max(asked).min(self.left);
        self.left -= pause;
        self.next = (self.next * 2).min(PAUSE_MAX);
        Some(pause)
    }

    /// From half of `pause` to all of it.
    fn spread(&mut self, pause: Duration) -> Duration {
        let share = self.chance.as_mut().map_or(u32::MAX, Chance::next_u32);
        pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
    }
}

#[cfg(test)]
mod tests {
    use crate::client::Error;
    use crate::client::patience::PAUSE_MAX;
    use crate::client::patience::PAUSE_MIN;
    use crate::client::patience::Patience;
    use crate::client::patience::Repeat;
    use crate::grpc::status::Reason;
    use crate::grpc::status::Refusal;
    use std::time::Duration;
    use tonic::Status;

    fn refused(reason: Reason) -> Error {
        Error::of("here:1", Status::from(Refusal::new(reason, "text")))
    }

    fn broken() -> Error {
        Error::of("here:1", Status::unavailable("connection reset"))
    }

    #[test]
    fn pauses_grow_to_their_bound_and_their_sum_is_the_patience() {
        let whole = Duration::from_secs(20);
        let mut patience = Patience::new(whole);
        let pauses: Vec<Duration> =
            std::iter::from_fn(|| patience.pause_after(&broken(), Repeat::Harmless)).collect();
        assert_eq!(pauses.iter().sum::<Duration>(), whole);
        assert!(pauses[0] >= PAUSE_MIN / 2 && pauses[0] <= PAUSE_MIN);
        assert!(pauses.iter().all(|&pause| pause <= PAUSE_MAX));
        patience.restore(whole);
        assert!(patience.pause_after(&broken(), Repeat::Harmless).is_some_and(|pause| pause <= PAUSE_MIN));
    }

    #[test]
    fn an_extended_patience_counts_the_pauses_before() {
        let (short, whole) = (Duration::from_millis(100), Duration::from_secs(5));
        let mut patience = Patience::new(short);
        let pauses = |patience: &mut Patience| {
            std::iter::from_fn(|| patience.pause_after(&broken(), Repeat::Harmless)).sum::<Duration>()
        };
        assert_eq!(pauses(&mut patience), short);
        patience.extend(whole);
        assert_eq!(pauses(&mut patience), whole - short);
        patience.extend(whole);
        assert_eq!(pauses(&mut patience), Duration::ZERO, "once is enough");
    }

    #[test]
    fn the_server_says_how_long_to_wait() {
        let told = Refusal::new(Reason::QueueFull, "full").retry_after(Duration::from_secs(7));
        let error = Error::of("here:1", Status::from(told));
        let pause = Patience::new(Duration::from_secs(30)).pause_after(&error, Repeat::Harmless);
        assert_eq!(pause, Some(Duration::from_secs(7)));
    }

    /// A repeat that is not harmless is made only if the documented effect is that nothing happened.
    #[test]
    fn every_reason_is_repeated_as_its_effect_allows() {
        use crate::grpc::status::Effect;
        for &reason in Reason::ALL {
            let error = refused(reason);
            let again = |repeat| Patience::new(Duration::from_secs(1)).pause_after(&error, repeat).is_some();
            assert_eq!(again(Repeat::Harmless), error.passes(), "{reason:?}");
            let may = error.passes() && reason.effect() == Effect::Nothing;
            assert_eq!(again(Repeat::IfNothingHappened), may, "{reason:?}");
        }
        let again = |repeat| Patience::new(Duration::from_secs(1)).pause_after(&broken(), repeat).is_some();
        assert!(again(Repeat::Harmless) && !again(Repeat::IfNothingHappened));
    }

    #[test]
    fn a_bug_of_the_server_is_met_twice_at_most() {
        let mut patience = Patience::new(Duration::from_secs(30));
        assert!(patience.pause_after(&refused(Reason::Internal), Repeat::Harmless).is_some());
        assert!(patience.pause_after(&refused(Reason::Internal), Repeat::Harmless).is_none());
    }
}
