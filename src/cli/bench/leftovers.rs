//! What benches leave on a server that goes on: jobs that wait, in queues that are theirs by name. They are cancelled before
//! a bench, because one that was stopped half-way leaves some, and after it. What has finished stays, as `docs/cli.md` says. A
//! server that a bench started itself goes away with everything.

use crate::cli::bench::error::Error;
use crate::cli::bench::setup::QUEUE;
use crate::client::Client;
use crate::client::Options;
use crate::clock::Clock;
use crate::proto::v1;
use std::time::Duration;

/// How often jobs that still run are looked at: their worker is gone, and the server will soon know.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Whether a queue is a bench's: nobody else's jobs are worked on, counted or cancelled.
pub(in crate::cli::bench) fn is_ours(queue: &str) -> bool {
    queue.strip_prefix(QUEUE).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Cancels the jobs that wait in the queues of benches, once none runs there.
///
/// # Errors
/// [`Error::InUse`] if some still run after `patience`; the client's, if the server cannot be reached.
pub(in crate::cli::bench) async fn clear(
    server: &str,
    clock: &Clock,
    patience: Duration,
) -> anyhow::Result<()> {
    let at_once = Options { patience: Duration::ZERO, first_patience: Duration::ZERO, ..Options::default() };
    let client = Client::connect(server, at_once)?;
    let deadline = clock.now().tick.after(patience);
    loop {
        let mut queues = client.queues().await?;
        queues.retain(|queue| is_ours(&queue.name));
        let running: u64 = queues.iter().map(|queue| queue.running).sum();
        if running == 0 {
            for queue in queues.iter().filter(|queue| queue.ready + queue.scheduled > 0) {
                client.purge(&queue.name.parse()?, v1::PurgeTarget::Waiting).await?;
            }
            return Ok(());
        }
        if clock.now().tick > deadline {
            return Err(Error::InUse { running }.into());
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::bench::leftovers::is_ours;

    #[test]
    fn only_queues_that_benches_make_are_theirs() {
        for ours in ["gangline-bench", "gangline-bench-idle", "gangline-bench-9999"] {
            assert!(is_ours(ours), "{ours}");
        }
        for other in ["bench", "idle", "gangline", "gangline-benches", "my-gangline-bench"] {
            assert!(!is_ours(other), "{other}");
        }
    }
}
