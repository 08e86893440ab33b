//! How much happened when: counts in equal spans of log time, in bounded memory however long the log is.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::offline::Located;
use std::collections::VecDeque;

/// How many spans there are at most.
pub const SPANS_MAX: usize = 24;
/// Lengths of a span in milliseconds; each is a multiple of the one before. After the last they double.
const LENGTHS_MS: [u64; 14] = [
    1_000,
    2_000,
    10_000,
    30_000,
    60_000,
    120_000,
    600_000,
    1_800_000,
    3_600_000,
    7_200_000,
    21_600_000,
    43_200_000,
    86_400_000,
    604_800_000,
];

/// What happened in one span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    /// Frames.
    pub frames: u64,
    /// Their bytes on the disk.
    pub bytes: u64,
    /// Updates.
    pub updates: u64,
    /// Jobs submitted.
    pub submitted: u64,
    /// Attempts started.
    pub started: u64,
    /// Jobs that succeeded.
    pub succeeded: u64,
    /// Attempts that failed, the last ones of dead jobs included.
    pub failed: u64,
}

/// Spans of equal length, from the first that something happened in to the last.
#[derive(Clone, Debug)]
pub struct Rates {
    length_ms: u64,
    /// Number of the first span since 1970.
    first: u64,
    spans: VecDeque<Span>,
}

impl Default for Rates {
    fn default() -> Rates {
        Rates { length_ms: LENGTHS_MS[0], first: 0, spans: VecDeque::new() }
    }
}

impl Rates {
    /// Length of a span in milliseconds.
    #[must_use]
    pub fn length_ms(&self) -> u64 {
        self.length_ms
    }

    /// The spans and when each begins.
    pub fn spans(&self) -> impl Iterator<Item = (Timestamp, &Span)> {
        (self.first..).map(|number| Timestamp(number * self.length_ms)).zip(&self.spans)
    }

    /// Counts a frame.
    pub fn frame(&mut self, located: &Located, events: &[Event]) {
        let span = self.span(located.frame.time);
        span.frames += 1;
        span.bytes += located.span;
        span.updates += u64::from(located.frame.updates);
        for event in events {
            match event {
                Event::Submitted(_) => span.submitted += 1,
                Event::Started { .. } => span.started += 1,
                Event::Succeeded { .. } => span.succeeded += 1,
                Event::Retrying { .. } | Event::Dead { .. } => span.failed += 1,
                Event::Progress { .. }
                | Event::Released { .. }
                | Event::Cancelled { .. }
                | Event::Expired { .. }
                | Event::Retried { .. }
                | Event::Deleted { .. }
                | Event::QueueMade { .. }
                | Event::QueueSet { .. }
                | Event::CursorSet { .. }
                | Event::CursorDropped { .. }
                | Event::KeyTaken { .. }
                | Event::KeysForgotten { .. }
                | Event::ProducerAdvanced { .. }
                | Event::ProducersForgotten { .. }
                | Event::Opened { .. } => {}
            }
        }
    }

    fn span(&mut self, time: Timestamp) -> &mut Span {
        if self.spans.is_empty() {
            self.first = time.0 / self.length_ms;
        }
        // Log time does not go back, except in a damaged log: then it counts where the log begins.
        while (time.0 / self.length_ms).saturating_sub(self.first) >= SPANS_MAX as u64 {
            self.widen();
        }
        let place = (time.0 / self.length_ms).saturating_sub(self.first);
        let place = usize::try_from(place).expect("it is under the number of spans");
        if place >= self.spans.len() {
            self.spans.resize(place + 1, Span::default());
        }
        &mut self.spans[place]
    }

    fn widen(&mut self) {
        let longer = LENGTHS_MS.into_iter().find(|length| *length > self.length_ms);
        let length_ms = longer.unwrap_or(self.length_ms * 2);
        let wider = |number: u64| number * self.length_ms / length_ms;
        let first = wider(self.first);
        let mut spans: VecDeque<Span> = VecDeque::new();
        for (number, span) in (self.first..).zip(&self.spans) {
            let place = usize::try_from(wider(number) - first).expect("there are fewer than before");
            if place >= spans.len() {
                spans.resize(place + 1, Span::default());
            }
            spans[place].add(span);
        }
        *self = Rates { length_ms, first, spans };
    }
}

impl Span {
    fn add(&mut self, other: &Span) {
        self.frames += other.frames;
        self.bytes += other.bytes;
        self.updates += other.updates;
        self.submitted += other.submitted;
        self.started += other.started;
        self.succeeded += other.succeeded;
        self.failed += other.failed;
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::offline::rates::Rates;
    use crate::offline::rates::SPANS_MAX;

    fn counted(times: &[u64]) -> Rates {
        let mut rates = Rates::default();
        times.iter().for_each(|time| rates.span(Timestamp(*time)).updates += 1);
        rates
    }

    #[test]
    fn spans_widen_so_that_any_log_fits_and_nothing_is_counted_twice() {
        let base = 1_755_000_000_000;
        for (last_ms, length_ms) in [(0, 1_000), (23_000, 1_000), (25_000, 2_000), (86_400_000, 7_200_000)] {
            let times: Vec<u64> = (0..=1_000).map(|part| base + last_ms * part / 1_000).collect();
            let rates = counted(&times);
            assert_eq!(rates.length_ms(), length_ms, "{last_ms}");
            assert!(rates.spans.len() <= SPANS_MAX);
            assert_eq!(rates.spans().map(|(_, span)| span.updates).sum::<u64>(), 1_001);
            let (begins, _) = rates.spans().next().unwrap();
            assert!(begins.0 <= base && base < begins.0 + length_ms);
        }
    }

    #[test]
    fn decades_and_a_clock_that_goes_back_fit_too() {
        let rates = counted(&[4_000_000_000_000, 0, 1, 250_000_000_000_000]);
        assert!(rates.spans.len() <= SPANS_MAX);
        assert_eq!(rates.spans().map(|(_, span)| span.updates).sum::<u64>(), 4);
    }
}
