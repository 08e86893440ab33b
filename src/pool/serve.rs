//! A long-lived process a slot, which is given jobs a line and answers a line. It is replaced when it dies,
//! misbehaves or has served long enough.

mod child;
mod line;
mod meter;

pub(crate) use crate::pool::serve::line::progress_of;

use crate::pool::Error;
use crate::pool::backoff::Backoff;
use crate::pool::process::Process;
use crate::pool::serve::child::Child;
use crate::pool::slot::Slot;
use crate::pool::spawner::Order;
use crate::pool::spawner::SlotSpawner;
use std::time::Duration;

/// A process that ends sooner than this by itself, and without having finished a job, died at once.
const AT_ONCE: Duration = Duration::from_secs(1);

/// When a `serve` process is replaced although it is well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recycle {
    /// After this many jobs.
    pub jobs: Option<u64>,
    /// After a job that left it with more resident memory than this many KiB.
    pub rss_kib: Option<u64>,
}

/// Runs a slot until the pool stops.
pub(crate) async fn run(mut slot: Slot, mut spawner: SlotSpawner, order: Order, recycle: Recycle) {
    let mut backoff = Backoff::default();
    while !slot.stop.is_cancelled() {
        let healthy = match Process::start(&mut spawner, order.clone(), None).await {
            Ok(process) => {
                let started = slot.now();
                let was_well = Child::new(process, recycle).live(&mut slot).await;
                was_well || slot.now().since(started) >= AT_ONCE
            }
            Err(Error::Stopped) => break,
            Err(error) => {
                let reason = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                tracing::warn!(slot = slot.number, %error, reason, "a worker process could not be started");
                false
            }
        };
        if healthy {
            backoff = Backoff::default();
        } else if !slot.stop.is_cancelled() {
            let wait = backoff.next();
            tracing::warn!(
                slot = slot.number,
                ?wait,
                "a worker process did not start or died at once; waiting"
            );
            let until = slot.now().after(wait);
            slot.pause(until).await;
        }
    }
    slot.release_waiting().await;
}
