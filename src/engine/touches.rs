//! Where a watched job was touched lately, so that its watcher reads those frames and no others.

use crate::job::id::Position;
use std::collections::VecDeque;

/// How many frames are remembered of one watched job; a watcher that is further behind reads every frame. [MEM-1]
const REMEMBERED_MAX: usize = 64;

/// The newest frames with an update of one job, in order.
#[derive(Debug, Default)]
pub(in crate::engine) struct Touches {
    positions: VecDeque<Position>,
    /// The newest of those that are not remembered any more.
    forgotten: Position,
}

impl Touches {
    /// Notes a frame; a second update in the same frame changes nothing.
    pub(in crate::engine) fn note(&mut self, position: Position) {
        if self.positions.back() == Some(&position) {
            return;
        }
        self.positions.push_back(position);
        if self.positions.len() > REMEMBERED_MAX {
            self.forgotten = self.positions.pop_front().unwrap_or_default();
        }
    }

    /// The noted frames from `from` on; `None` if some of them are not remembered any more.
    pub(in crate::engine) fn since(&self, from: Position) -> Option<Vec<Position>> {
        (self.forgotten < from)
            .then(|| self.positions.iter().copied().filter(|position| *position >= from).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::touches::REMEMBERED_MAX;
    use crate::engine::touches::Touches;
    use crate::job::id::Position;

    #[test]
    fn a_watcher_is_told_every_frame_or_that_it_is_too_far_behind() {
        let mut touches = Touches::default();
        let newest = REMEMBERED_MAX as u64 + 1;
        for position in (1..=newest).flat_map(|position| [Position(position); 2]) {
            touches.note(position);
        }
        assert_eq!(touches.since(Position(newest)), Some(vec![Position(newest)]));
        assert_eq!(touches.since(Position(newest + 1)), Some(Vec::new()));
        assert_eq!(touches.since(Position(2)).map(|all| all.len()), Some(REMEMBERED_MAX));
        assert_eq!(touches.since(Position(1)), None);
    }
}
