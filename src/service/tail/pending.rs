//! Frames that a reader has and has not dealt with: it is somewhere in the first of them.

use crate::engine::view::Published;
use crate::job::id::Sequence;
use std::collections::VecDeque;
use std::sync::Arc;

/// Frames in order, and the newest update that has been dealt with.
#[derive(Debug)]
pub struct Pending {
    frames: VecDeque<Arc<Published>>,
    cursor: Sequence,
}

impl Pending {
    /// Nothing yet, for a reader that has dealt with every update up to `cursor`.
    #[must_use]
    pub fn after(cursor: Sequence) -> Pending {
        Pending { frames: VecDeque::new(), cursor }
    }

    /// The newest update that has been dealt with.
    #[must_use]
    pub fn cursor(&self) -> Sequence {
        self.cursor
    }

    /// The frame that holds the next update, and how many of its updates have been dealt with.
    #[must_use]
    pub fn front(&self) -> Option<(Arc<Published>, usize)> {
        let frame = self.frames.front()?;
        let dealt_with = (self.cursor.0 + 1).saturating_sub(frame.first_sequence.0);
        Some((Arc::clone(frame), usize::try_from(dealt_with).expect("updates of one frame")))
    }

    /// Every update up to `sequence` has been dealt with.
    pub fn pass(&mut self, sequence: Sequence) {
        self.cursor = self.cursor.max(sequence);
        while self.frames.front().is_some_and(|frame| frame.last_sequence() <= self.cursor) {
            self.frames.pop_front();
        }
    }

    pub(in crate::service::tail) fn is_empty(&self) -> bool {
        self.frames.is_empty()
    }

    /// Adds frames. What lies between them and the cursor does not touch the reader.
    pub(in crate::service::tail) fn put(&mut self, frames: Vec<Arc<Published>>) {
        let before = frames.first().map_or(0, |first| first.first_sequence.0 - 1);
        self.frames.extend(frames);
        self.pass(Sequence(before));
    }
}
