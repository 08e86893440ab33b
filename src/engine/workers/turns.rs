//! The queues that a worker takes jobs from, and whose turn it is.

use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::queue::Queues;
use std::collections::BTreeSet;

#[derive(Debug, Default)]
pub(in crate::engine::workers) struct Turns {
    names: Vec<QueueName>,
    /// Those of them that exist, in their order.
    numbers: Vec<QueueNo>,
    /// How many queues there were when it was looked which of these exist.
    seen: usize,
    /// Which had its turn last.
    last: Option<QueueNo>,
}

impl Turns {
    /// From now on it is about these queues; some may not exist yet.
    pub(in crate::engine::workers) fn take_from(&mut self, names: Vec<QueueName>) {
        self.names = names;
        self.numbers = Vec::new();
        self.seen = 0;
    }

    pub(in crate::engine::workers) fn names(&self) -> &[QueueName] {
        &self.names
    }

    /// How many of the queues exist.
    pub(in crate::engine::workers) fn learn(&mut self, queues: &Queues) -> usize {
        if self.seen < queues.len() && self.numbers.len() < self.names.len() {
            self.numbers = self.names.iter().filter_map(|name| queues.find(name)).collect();
            self.numbers.sort_unstable();
        }
        self.seen = queues.len();
        self.numbers.len()
    }

    /// The queue among `ready` whose turn it is: of those that [`Turns::learn`] found, the next after the one that had its turn
    /// last. Each step passes over all that only one of the two sides has.
    pub(in crate::engine::workers) fn next(&mut self, ready: &BTreeSet<QueueNo>) -> Option<QueueNo> {
        let after = self.last.map_or(QueueNo(0), |last| QueueNo(last.0 + 1));
        let next = first_common(&self.numbers, ready, after)
            .or_else(|| first_common(&self.numbers, ready, QueueNo(0)));
        self.last = next.or(self.last);
        next
    }
}

/// The first queue from `from` on that is in both; `numbers` are in their order.
fn first_common(numbers: &[QueueNo], ready: &BTreeSet<QueueNo>, from: QueueNo) -> Option<QueueNo> {
    let mut numbers = &numbers[numbers.partition_point(|number| *number < from)..];
    loop {
        let taken = *numbers.first()?;
        let open = *ready.range(taken..).next()?;
        if open == taken {
            return Some(taken);
        }
        numbers = &numbers[numbers.partition_point(|number| *number < open)..];
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::workers::turns::Turns;
    use crate::job::id::QueueNo;
    use std::collections::BTreeSet;

    #[test]
    fn queues_that_are_ready_take_turns_and_the_others_are_passed_over() {
        let numbers = [1, 3, 5, 7].map(QueueNo).to_vec();
        let mut turns = Turns { numbers, ..Turns::default() };
        let mut next = |ready: &[u32], count| {
            let ready: BTreeSet<QueueNo> = ready.iter().copied().map(QueueNo).collect();
            (0..count).map(|_| turns.next(&ready).map(|queue| queue.0)).collect::<Vec<Option<u32>>>()
        };
        assert_eq!(next(&[0, 1, 2, 5, 6, 7, 9], 4), [Some(1), Some(5), Some(7), Some(1)]);
        assert_eq!(next(&[0, 2, 4], 2), [None, None]);
        assert_eq!(next(&[1, 3], 3), [Some(3), Some(1), Some(3)], "whoever had its turn last is remembered");
    }
}
