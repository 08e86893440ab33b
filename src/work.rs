//! The work tree: every submitted job by its UUIDv7, in sled. It answers what has left memory: Get and List.
//!
//! It is an index and never the only copy of anything: a fold of the log that can be deleted at any time and is
//! rebuilt when in doubt. [LOG-3] Claims, finishes and dedupe never wait for it.
//!
//! - [`WorkTree`] belongs to whoever supervises: it opens, abandons and rebuilds.
//! - [`Applier`] belongs to one thread, which feeds it the durable frames in order.
//! - [`Query`] is for readers, any number, on any thread.
//! - [`Trace`] is the same fold without sled, for some jobs, while the disk has no space for a tree.
//!
//! Jobs stand in slices of up to 46 records, written once, as their submits pass. What happens to a job later waits
//! in a bounded buffer in memory, which readers also consult, and is folded into the slices in id order. So there
//! are two positions: submits up to *applied* are in slices, changes up to *folded* are too; a restart replays from
//! *folded*. Every operation is idempotent, because of two facts about one job the one later in the log wins.

mod applier;
mod buffer;
mod fact;
mod fold;
mod keeper;
mod place;
mod prune;
mod query;
mod record;
mod slice;
mod tail;
mod trace;
mod tree;
mod view;

pub use crate::work::applier::AppliedFrame;
pub use crate::work::applier::Applier;
pub use crate::work::applier::Tended;
pub use crate::work::keeper::Opened;
pub use crate::work::keeper::Options;
pub use crate::work::keeper::Span;
pub use crate::work::keeper::WorkTree;
pub use crate::work::place::Place;
pub use crate::work::place::boot_id;
pub use crate::work::query::Filter;
pub use crate::work::query::Page;
pub use crate::work::query::Query;
pub use crate::work::record::Mark;
pub use crate::work::record::Record;
pub use crate::work::record::State;
pub use crate::work::record::States;
pub use crate::work::trace::Trace;
pub use crate::work::view::Pulse;
pub use crate::work::view::Reading;

use crate::job::id::Position;

/// Why the work tree cannot answer or go on. None of these endangers a job: the log has everything.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// sled failed or panicked, or stored bytes are not what was written. The supervisor abandons this tree.
    #[error("the work tree is broken and has to be rebuilt from the log: {0}")]
    Broken(String),
    /// The tree does not hold all of the history yet, so that "there is no such job" cannot be said.
    #[error("the work tree is being rebuilt from the log: at frame {applied} of {head}")]
    Rebuilding {
        /// The frame up to which it answers.
        applied: Position,
        /// The frame from which on it answers everything.
        head: Position,
    },
    /// The tree was abandoned while this caller held on to it; its successor is built by someone else.
    #[error("this work tree was abandoned")]
    Abandoned,
    /// The tree is not open: not yet, or no more.
    #[error("the work tree is not open")]
    Closed,
    /// The caller did not keep to the order in which frames and jobs come. Rebuilding would not help.
    #[error("the work tree was fed out of order: {0}")]
    Disorder(String),
    /// The operating system refused.
    #[error("{action} {place}")]
    Io {
        /// What was tried, as a verb: "creating", "syncing".
        action: &'static str,
        /// The file or directory.
        place: String,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
}

#[cfg(test)]
mod tests;
