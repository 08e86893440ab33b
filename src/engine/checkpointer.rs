//! Makes checkpoints behind the writer, and lets old log go: when the log since the last one is twice as large as
//! that one, so that the work stays in proportion to what is written.

use crate::clock::Clock;
use crate::engine::bell::Bell;
use crate::engine::bell::Woken;
use crate::engine::checkpoint;
use crate::engine::checkpoint::Made;
use crate::engine::retention::Keeping;
use crate::engine::retention::is_lost;
use crate::engine::view::View;
use crate::job::id::Position;
use crate::log;
use crate::log::Archive;
use crate::log::Floor;
use crate::log::causes::in_one_line;
use crate::work::WorkTree;
use std::sync::Arc;
use std::time::Duration;

/// How many times as large as the last checkpoint the log since must be. More would cost less, and a restart would read more.
const LOG_TO_CHECKPOINT: u64 = 2;
/// How often it looks, while there is new log.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an idle log lets it sleep.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);
/// How many named cursors are told of at once when they lose their place; lists show all of them.
const LOST_TOLD_MAX: usize = 16;

/// What the checkpointer needs.
#[derive(Debug)]
pub(in crate::engine) struct Checkpointing<A> {
    pub(in crate::engine) view: Arc<View>,
    pub(in crate::engine) archive: A,
    pub(in crate::engine) tree: Arc<WorkTree>,
    pub(in crate::engine) bell: Arc<Bell>,
    pub(in crate::engine) keeping: Keeping,
    /// Log since the newest checkpoint, as recovery found it.
    pub(in crate::engine) behind_bytes: u64,
    pub(in crate::engine) clock: Clock,
}

impl<A: Archive> Checkpointing<A> {
    /// Runs until the bell says stop.
    pub(in crate::engine) fn run(self) {
        let mut wanted = self.keeping.checkpoint_bytes;
        let mut done = 0;
        let mut seen = 0;
        let mut look_at = self.clock.now().tick;
        loop {
            let newest = || self.view.seen().position.0;
            let patience = self.keeping.looks_every().unwrap_or(SLEEP_MAX);
            if self.bell.wait_above(seen, newest, patience) == Woken::Stop {
                return;
            }
            seen = newest();
            let written = self.behind_bytes + self.view.published_bytes();
            let now = self.clock.now().tick;
            let looks = self.keeping.looks_every().filter(|_| now >= look_at);
            look_at = looks.map_or(look_at, |every| now.after(every));
            let mut wants = written - done >= wanted;
            if looks.is_some() && !wants {
                wants = self.wants_checkpoint_to_let_go();
                if !wants {
                    self.let_go();
                }
            }
            // What has piled up meanwhile is taken in pieces, each no larger than what calls for a checkpoint.
            while wants {
                match self.advance(wanted) {
                    Some(made) if made.log_bytes > 0 => {
                        // Frame headers are counted there, and not in what was written.
                        done = (done + made.log_bytes).min(written);
                        wanted = self.keeping.checkpoint_bytes.max(LOG_TO_CHECKPOINT * made.bytes);
                    }
                    // It is tried again when as much again was written.
                    Some(_) | None => done = written,
                }
                wants = written - done >= wanted;
                if self.bell.pause(Duration::ZERO) == Woken::Stop {
                    return;
                }
            }
            if self.bell.pause(LOOK_EVERY) == Woken::Stop {
                return;
            }
        }
    }

    /// Makes a checkpoint of about so much more log and lets go of what retention does not ask for.
    fn advance(&self, log_bytes_max: u64) -> Option<Made> {
        let to = self.view.seen().position;
        let made = match checkpoint::advance(&self.archive, to, log_bytes_max) {
            Ok(made) => made,
            Err(error) => {
                tracing::error!(
                    error = in_one_line(&error),
                    "no checkpoint could be made: a restart replays more log, nothing is lost"
                );
                return None;
            }
        };
        tracing::info!(log_bytes = made.log_bytes, bytes = made.bytes, "checkpoint made");
        self.let_go();
        Some(made)
    }

    /// Whether log that nobody asks for any more waits for the older checkpoint to cover it.
    fn wants_checkpoint_to_let_go(&self) -> bool {
        // What fails here is told when it is tried.
        let before = self.lets_go().unwrap_or_default();
        let made = self.archive.checkpoints().unwrap_or_default();
        let nth = |place: usize| made.get(place).copied().unwrap_or_default();
        before > self.archive.floor().position && before > nth(1).next() && nth(0) < self.archive.durable()
    }

    fn lets_go(&self) -> Result<Position, log::Error> {
        let now = self.clock.now().wall.max(self.view.seen().time);
        let cursors = self.view.cursors();
        self.keeping.lets_go(&self.archive, cursors.values().map(|cursor| cursor.sequence), now)
    }

    fn let_go(&self) {
        let floor = self.archive.floor();
        let before = self.lets_go().map_err(checkpoint::Error::from);
        match before.and_then(|before| checkpoint::trim(&self.archive, before)) {
            Ok(raised) => {
                self.tree.forget_below(raised.position);
                self.tell_of_lost_cursors(floor, raised);
            }
            Err(error) => {
                tracing::error!(
                    error = in_one_line(&error),
                    "old log could not be let go: it takes more space than it should"
                );
            }
        }
    }

    /// Says which named cursors have lost their place between two floors.
    fn tell_of_lost_cursors(&self, before: Floor, after: Floor) {
        let cursors = self.view.cursors();
        let lost = |sequence| is_lost(sequence, after) && !is_lost(sequence, before);
        for (name, cursor) in cursors.iter().filter(|(_, cursor)| lost(cursor.sequence)).take(LOST_TOLD_MAX) {
            tracing::warn!(
                cursor = %name,
                sequence = cursor.sequence.0,
                floor = after.sequence.0,
                "a named cursor has lost its place: updates after it are gone, and its reader is told so"
            );
        }
    }
}
