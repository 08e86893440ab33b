//! What every slot has, whatever it runs: where jobs come from, where reports go, what it must listen to.

use crate::clock::Clock;
use crate::clock::Tick;
use crate::pool::Config;
use crate::pool::Execution;
use crate::pool::ExecutionNo;
use crate::pool::Outcome;
use crate::pool::Report;
use crate::pool::backlog::Backlog;
use std::pin::Pin;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

pub(crate) struct Slot {
    pub(crate) number: usize,
    pub(crate) config: Arc<Config>,
    pub(crate) backlog: Arc<Backlog>,
    pub(crate) reports: mpsc::Sender<Report>,
    pub(crate) cancels: mpsc::Receiver<ExecutionNo>,
    pub(crate) stop: CancellationToken,
    pub(crate) clock: Clock,
    pub(crate) alarm: Alarm,
}

/// The timer of a slot. It stays set when nobody waits for it any more: jobs that end long before their time-out, one
/// after the other, then set it once and not each anew.
#[derive(Default)]
pub(crate) struct Alarm {
    set: Option<(Tick, Pin<Box<Sleep>>)>,
}

impl Alarm {
    /// Waits until `at`; for ever if it is `None`. May be cancelled and called again.
    pub(crate) async fn wait(&mut self, clock: &Clock, at: Option<Tick>) {
        let Some(at) = at else { return std::future::pending().await };
        loop {
            let now = clock.now().tick;
            if at <= now {
                return;
            }
            if self.set.as_ref().is_some_and(|(set_for, _)| *set_for > at) {
                self.set = None;
            }
            let (_, sleep) =
                self.set.get_or_insert_with(|| (at, Box::pin(tokio::time::sleep(at.since(now)))));
            sleep.await;
            self.set = None;
        }
    }
}

impl Slot {
    pub(crate) fn now(&self) -> Tick {
        self.clock.now().tick
    }

    /// The next job of a slot that runs one at a time; `None` when the pool stops.
    pub(crate) async fn next(&mut self) -> Option<Execution> {
        while !self.stop.is_cancelled() {
            let arrived = self.backlog.arrived();
            tokio::pin!(arrived);
            arrived.as_mut().enable();
            if let Some(execution) = self.backlog.take(1).pop() {
                return Some(execution);
            }
            tokio::select! {
                () = arrived => {}
                () = self.stop.cancelled() => {}
                // It is for a job that another slot has, or that has just ended here.
                Some(_) = self.cancels.recv() => {}
            }
        }
        None
    }

    /// Waits, unless the pool stops first.
    pub(crate) async fn pause(&mut self, until: Tick) {
        let done = wait_until(&self.clock, Some(until));
        tokio::pin!(done);
        loop {
            tokio::select! {
                () = &mut done => return,
                () = self.stop.cancelled() => return,
                Some(_) = self.cancels.recv() => {}
            }
        }
    }

    pub(crate) async fn report(&self, report: Report) {
        if self.reports.send(report).await.is_err() {
            tracing::debug!(slot = self.number, "nobody listens to the pool any more");
        }
    }

    pub(crate) async fn end(&self, execution: &Execution, outcome: Outcome) {
        self.report(Report::Ended(execution.number, outcome)).await;
    }

    /// Hands back all that waits, because the pool stops. Each slot calls it; the first one finds the jobs.
    pub(crate) async fn release_waiting(&self) {
        for execution in self.backlog.close() {
            self.end(&execution, Outcome::released("the pool stopped")).await;
        }
    }
}

/// Waits until `at`; for ever if it is `None`.
pub(crate) async fn wait_until(clock: &Clock, at: Option<Tick>) {
    match at {
        Some(at) => tokio::time::sleep(at.since(clock.now().tick)).await,
        None => std::future::pending().await,
    }
}
