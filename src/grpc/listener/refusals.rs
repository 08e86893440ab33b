//! Warnings about refused connections, at most one a second: a flood of connections must not become a flood of log.

use crate::clock::Clock;
use crate::clock::Tick;
use std::sync::Mutex;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// Counts what it does not say.
#[derive(Debug)]
pub(crate) struct Refusals {
    clock: Clock,
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    last: Option<Tick>,
    unsaid: u64,
}

impl Refusals {
    pub(crate) fn new(clock: Clock) -> Refusals {
        Refusals { clock, said: Mutex::default() }
    }

    /// Warns about one refusal, or counts it for the next warning.
    pub(crate) fn add(&self, what: &str) {
        if let Some(unsaid) = self.turn() {
            tracing::warn!(unsaid, "{what}");
        }
    }

    /// Whether it is time for a warning, and how many were left unsaid since the last one.
    fn turn(&self) -> Option<u64> {
        let now = self.clock.now().tick;
        let mut said = self.said.lock().expect("no holder panics");
        if said.last.is_some_and(|last| now.since(last) < PERIOD) {
            said.unsaid += 1;
            return None;
        }
        said.last = Some(now);
        Some(std::mem::take(&mut said.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Clock;
    use crate::clock::Now;
    use crate::grpc::listener::refusals::Refusals;
    use std::time::Duration;

    #[test]
    fn one_warning_a_second_that_counts_the_others() {
        let clock = Clock::manual(Now::default());
        let refusals = Refusals::new(clock.clone());
        assert_eq!(refusals.turn(), Some(0));
        clock.advance(Duration::from_millis(999));
        assert_eq!(refusals.turn(), None);
        assert_eq!(refusals.turn(), None);
        clock.advance(Duration::from_millis(1));
        assert_eq!(refusals.turn(), Some(2));
    }
}
