//! Makes checkpoints behind the writer, and lets old log go: when the log since the last one is as large as that one,
//! so that the work stays in proportion to what is written.

use crate::engine::bell::Bell;
use crate::engine::bell::Woken;
use crate::engine::checkpoint;
use crate::engine::view::View;
use crate::log::Archive;
use crate::work::WorkTree;
use std::sync::Arc;
use std::time::Duration;

/// How often it looks, while there is new log.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long an idle log lets it sleep.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// How checkpoints and retention are set.
#[derive(Clone, Copy, Debug)]
pub struct Keeping {
    /// A checkpoint is made when the log since the last is at least this large, and at least as large as that one.
    pub checkpoint_bytes: u64,
    /// How much log is kept below the head at least before old log goes.
    pub retention_bytes: u64,
}

impl Default for Keeping {
    fn default() -> Keeping {
        Keeping { checkpoint_bytes: 64 << 20, retention_bytes: 8 << 30 }
    }
}

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
}

impl<A: Archive> Checkpointing<A> {
    /// Runs until the bell says stop.
    pub(in crate::engine) fn run(self) {
        let mut wanted = self.keeping.checkpoint_bytes;
        let mut done = 0;
        let mut seen = 0;
        loop {
            let newest = || self.view.seen().position.0;
            if self.bell.wait_above(seen, newest, SLEEP_MAX) == Woken::Stop {
                return;
            }
            seen = newest();
            let written = self.behind_bytes + self.view.published_bytes();
            if written - done >= wanted {
                if let Some(bytes) = self.advance() {
                    done = written;
                    wanted = self.keeping.checkpoint_bytes.max(bytes);
                } else {
                    // It is tried again when as much again was written.
                    done = written;
                }
            }
            if self.bell.pause(LOOK_EVERY) == Woken::Stop {
                return;
            }
        }
    }

    /// Makes a checkpoint and lets go of what retention does not ask for. Says how large the checkpoint is.
    fn advance(&self) -> Option<u64> {
        let to = self.view.seen().position;
        let made = match checkpoint::advance(&self.archive, to) {
            Ok(made) => made,
            Err(error) => {
                let error = anything(&error);
                tracing::error!(
                    error,
                    "no checkpoint could be made: a restart replays more log, nothing is lost"
                );
                return None;
            }
        };
        tracing::info!(position = to.0, log_bytes = made.log_bytes, bytes = made.bytes, "checkpoint made");
        let before = self.archive.keeping(self.keeping.retention_bytes);
        match checkpoint::trim(&self.archive, before) {
            Ok(floor) => self.tree.forget_below(floor.position),
            Err(error) => {
                let error = anything(&error);
                tracing::error!(error, "old log could not be let go: it takes more space than it should");
            }
        }
        Some(made.bytes)
    }
}

/// An error with all its sources, in one line.
fn anything(error: &dyn std::error::Error) -> String {
    let sources = std::iter::successors(error.source(), |error| error.source());
    sources.fold(error.to_string(), |text, source| format!("{text}: {source}"))
}
