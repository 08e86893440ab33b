//! What ends a bench early, other than what its server or the disk says.

use std::time::Duration;

/// Why there are no figures.
#[derive(Debug, thiserror::Error)]
pub(in crate::cli) enum Error {
    /// It reads the memory or the clock of a process, or kills it.
    #[error("the bench {0} measures a server that it starts itself: leave --server out")]
    OwnServer(String),
    /// Nothing came for as long as a bench waits.
    #[error(
        "{waited_for} for {}; {so_far}. Is a queue paused or full, or the server held up? `gangline queues` and the \
         server's log tell; --patience waits longer",
        humantime::format_duration(*patience)
    )]
    Stuck {
        /// What did not come: "no job finished".
        waited_for: &'static str,
        /// How long it was waited for.
        patience: Duration,
        /// What had been reached.
        so_far: String,
    },
    /// Somebody works on the queues of benches.
    #[error(
        "{running} jobs run in queues that benches use, {} and others: another bench, or the workers of one that was \
         stopped, see `gangline workers`; wait for their end",
        crate::cli::bench::setup::QUEUE
    )]
    InUse {
        /// How many.
        running: u64,
    },
    /// The server takes a new producer for one that it knows.
    #[error("the server knows the new producer {0} already: what it would accept are no new jobs")]
    KnownProducer(String),
}
