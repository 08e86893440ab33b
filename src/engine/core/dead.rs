//! Warning operators before dead jobs go: a queue keeps a bounded number of them, and whoever wants to retry them wants
//! to know before the oldest is deleted. [DEAD-1]

use crate::job::id::QueueNo;
use crate::job::queue::Queue;
use std::collections::HashMap;

/// What was said of each queue since it was calm; at most one entry a queue.
#[derive(Debug, Default)]
pub(in crate::engine::core) struct Warned(HashMap<QueueNo, Fill>);

/// How full of dead jobs a queue is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fill {
    /// Nine tenths of what it keeps.
    Nearly,
    /// The next death deletes the oldest.
    Full,
}

impl Warned {
    /// Looks at a queue after a frame, and says once what should be known of it; again after it was at four fifths or less.
    pub(in crate::engine::core) fn look_at(&mut self, number: QueueNo, queue: &Queue) {
        let (dead, dead_max) = (queue.counts.dead, u64::from(queue.settings.dead_max));
        let Some(fill) = self.news(number, dead, dead_max) else { return };
        let name = queue.name.as_str();
        match fill {
            Fill::Nearly => tracing::warn!(
                queue = name,
                dead,
                dead_max,
                "dead jobs nearly fill a queue: beyond its bound the oldest are deleted; retry or purge them, or raise the bound"
            ),
            Fill::Full => tracing::warn!(
                queue = name,
                dead,
                dead_max,
                "a queue is full of dead jobs: each further death deletes the oldest; retry or purge them, or raise the bound"
            ),
        }
    }

    fn news(&mut self, number: QueueNo, dead: u64, dead_max: u64) -> Option<Fill> {
        // A queue that keeps none has nothing to lose.
        let fill = match dead {
            0 => None,
            _ if dead >= dead_max => Some(Fill::Full),
            _ if dead * 10 >= dead_max * 9 => Some(Fill::Nearly),
            _ => None,
        };
        let told = self.0.get(&number).copied();
        if fill > told {
            self.0.extend(fill.map(|fill| (number, fill)));
            return fill;
        }
        if told.is_some() && dead * 10 <= dead_max * 8 {
            self.0.remove(&number);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::core::dead::Fill;
    use crate::engine::core::dead::Warned;
    use crate::job::id::QueueNo;

    #[test]
    fn a_queue_is_told_of_once_at_each_mark_and_again_after_it_was_calm() {
        let mut warned = Warned::default();
        let mut said = |dead, dead_max| warned.news(QueueNo(1), dead, dead_max);
        let rising = [0, 89, 90, 91, 99, 100, 100, 99, 100].map(|dead| said(dead, 100));
        let expected = [None, None, Some(Fill::Nearly), None, None, Some(Fill::Full), None, None, None];
        assert_eq!(rising, expected);
        let again = [85, 95, 80, 95].map(|dead| said(dead, 100));
        assert_eq!(again, [None, None, None, Some(Fill::Nearly)]);
        assert_eq!([said(95, 1_000), said(95, 90)], [None, Some(Fill::Full)], "the bound was moved");
        assert_eq!(warned.news(QueueNo(2), 0, 0), None);
    }
}
