//! Starts the processes of a slot in `each` mode. While jobs are short the next one is with the spawner before the one in
//! work has ended, and begins without a word from here: to hear of an end, choose a job and ask for its process would
//! else keep a core waiting after every job.
//!
//! Such a job has not begun. It waits behind no long one: it is taken back when the one before takes longer.

use crate::clock::Tick;
use crate::pool::Error;
use crate::pool::Execution;
use crate::pool::ExecutionNo;
use crate::pool::Outcome;
use crate::pool::command::order_for;
use crate::pool::outcome::Why;
use crate::pool::process::Force;
use crate::pool::process::Process;
use crate::pool::slot::Slot;
use crate::pool::spawner::Order;
use crate::pool::spawner::Recall;
use crate::pool::spawner::SlotSpawner;
use std::time::Duration;

/// A job that takes less is short. Beside a longer one, what the wait costs is little.
const SHORT: Duration = Duration::from_millis(5);

pub(crate) struct Starter {
    spawner: SlotSpawner,
    order: Order,
    /// Whether the last job was short, so that the next one is likely to be.
    pace: Pace,
    next: Option<Next>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    Short,
    /// Or not known.
    Long,
}

/// The job whose process is queued behind the one in work.
struct Next {
    execution: Execution,
    process: Process,
    /// When it is taken back; `None` if that came too late.
    recall_at: Option<Tick>,
    cancelled: bool,
}

impl Starter {
    pub(crate) fn new(spawner: SlotSpawner, order: Order) -> Starter {
        Starter { spawner, order, pace: Pace::Long, next: None }
    }

    /// The next job with its process, or why that could not be started; `None` when the pool stops. A process that was
    /// queued runs by now, or will tell that it could not be started.
    pub(crate) async fn next(&mut self, slot: &mut Slot) -> Option<(Execution, Result<Process, Error>)> {
        if let Some(Next { execution, mut process, cancelled, .. }) = self.next.take() {
            if cancelled {
                process.end(Why::Cancelled, Force::Grace, slot.now(), slot.config.kill_grace);
            }
            return Some((execution, Ok(process)));
        }
        let execution = slot.next().await?;
        let job = &execution.job;
        let started =
            Process::start(&mut self.spawner, order_for(&self.order, job), Some(&job.payload)).await;
        Some((execution, started))
    }

    /// Queues the process of the next job, if there is one and the job that begins now is likely to be short.
    pub(crate) async fn queue_next(&mut self, slot: &Slot, now: Tick) {
        if self.pace == Pace::Long || slot.stop.is_cancelled() {
            return;
        }
        let Some(execution) = slot.backlog.take_ahead() else { return };
        let order = order_for(&self.order, &execution.job);
        match Process::queue(&mut self.spawner, order, &execution.job.payload).await {
            Ok(process) => {
                let recall_at = Some(now.after(SHORT));
                self.next = Some(Next { execution, process, recall_at, cancelled: false });
            }
            // Whatever it is, a job that is started in its own time will tell it.
            Err(_) => slot.backlog.put_back([execution].into_iter()),
        }
    }

    /// When the next job is to be taken back.
    pub(crate) fn recall_at(&self) -> Option<Tick> {
        self.next.as_ref().and_then(|next| next.recall_at)
    }

    /// Takes the next job back, unless it has begun by now.
    pub(crate) async fn recall(&mut self, slot: &Slot) {
        let Some(mut next) = self.next.take() else { return };
        match next.process.recall().await {
            Recall::Back if next.cancelled => slot.end(&next.execution, Outcome::Cancelled).await,
            Recall::Back => slot.backlog.put_back([next.execution].into_iter()),
            Recall::Late => self.next = Some(Next { recall_at: None, ..next }),
        }
    }

    /// Cancels the next job, if it is this execution.
    pub(crate) async fn cancel(&mut self, slot: &Slot, execution: ExecutionNo) {
        if let Some(next) = self.next.as_mut().filter(|next| next.execution.number == execution) {
            next.cancelled = true;
            self.recall(slot).await;
        }
    }

    /// The job in work took so long.
    pub(crate) fn took(&mut self, time: Duration) {
        self.pace = if time < SHORT { Pace::Short } else { Pace::Long };
    }

    /// Waits after a process that could not be started, but not while another one may be running.
    pub(crate) async fn pause(&mut self, slot: &mut Slot, until: Tick) {
        self.pace = Pace::Long;
        self.recall(slot).await;
        if self.next.is_none() {
            slot.pause(until).await;
        }
    }
}
