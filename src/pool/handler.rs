//! Workers inside this program, for Rust users: a thread a slot. A handler that panics counts as crashed; one
//! that does not return when it is told to keeps its slot, because a thread cannot be killed.

use crate::clock::Clock;
use crate::job::event::FailureKind;
use crate::job::retry::Retryable;
use crate::pool::Assignment;
use crate::pool::ExecutionNo;
use crate::pool::Outcome;
use crate::pool::Report;
use crate::pool::backlog::Backlog;
use crate::pool::desk::Desk;
use crate::pool::desk::Found;
use crate::pool::desk::Tells;
use crate::pool::outcome::Why;
use crate::pool::outcome::over_limit;
use crate::pool::serve::progress_of;
use crate::pool::slot::Slot;
use crate::pool::slot::wait_until;
use bytes::Bytes;
use std::any::Any;
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

/// Progress of one job is passed on no more often than this; the newest wins.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);
/// Progress for which there was no room among the reports is told again after this.
const FULL_PERIOD: Duration = Duration::from_millis(10);

/// Work done inside this program. It may block and compute: each slot has a thread of its own.
pub trait Handler: Send + Sync + 'static {
    /// Works on one job and returns its result. May be called on several threads at the same time.
    ///
    /// # Errors
    /// [`HandlerError`] makes the attempt fail.
    fn call(&self, job: &Assignment, context: &Context) -> Result<Bytes, HandlerError>;
}

impl fmt::Debug for dyn Handler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Handler")
    }
}

/// Why a handler failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct HandlerError {
    /// In the handler's words.
    pub message: String,
    /// Whether another attempt makes sense.
    pub retry: Retryable,
}

/// What a handler may ask and tell while it works.
#[derive(Debug)]
pub struct Context {
    desk: Arc<Desk>,
}

impl Context {
    /// Whether nobody wants the result any more: the job was cancelled, its time is over or the pool stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.desk.is_given_up()
    }

    /// Tells how far the job is: `share` from 0 to 1, and a few words. Of frequent calls the newest counts.
    pub fn progress(&self, share: Option<f64>, message: &str) {
        self.desk.keep_progress(progress_of(share, message));
    }
}

/// Runs a slot until the pool stops.
pub(crate) async fn run(mut slot: Slot, handler: Arc<dyn Handler>) {
    let desk = Arc::new(Desk::default());
    let hand = Hand {
        handler,
        context: Context { desk: Arc::clone(&desk) },
        backlog: Arc::clone(&slot.backlog),
        reports: slot.reports.downgrade(),
        result_bytes_max: slot.config.result_bytes_max,
        clock: slot.clock.clone(),
    };
    let name = format!("handler-{}", slot.number);
    if let Err(error) = std::thread::Builder::new().name(name).spawn(move || hand.work()) {
        tracing::error!(slot = slot.number, %error, "no thread could be started for a handler; the slot is lost");
        return;
    }
    // A runtime that is dropped ends the thread, too.
    let closing = Closing(Arc::clone(&slot.backlog));
    watch(&mut slot, &desk).await;
    slot.release_waiting().await;
    drop(closing);
}

/// Closes the backlog when it is dropped, for which the threads wait.
struct Closing(Arc<Backlog>);

impl Drop for Closing {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The thread of a slot. It takes jobs and tells their ends itself: a job that waits for another thread twice costs more
/// than most jobs that are worth a handler.
struct Hand {
    handler: Arc<dyn Handler>,
    context: Context,
    backlog: Arc<Backlog>,
    /// Weak, because a thread that never returns must not keep the reports from ending.
    reports: mpsc::WeakSender<Report>,
    result_bytes_max: usize,
    clock: Clock,
}

impl Hand {
    fn work(self) {
        while let Some(execution) =
            self.backlog.wait(|execution| self.context.desk.begin(execution, || self.clock.now().tick))
        {
            let outcome = call(self.handler.as_ref(), &execution.job, &self.context, self.result_bytes_max);
            if self.context.desk.end() == Tells::Thread {
                self.tell(Report::Ended(execution.number, outcome));
            }
        }
    }

    /// Waits while the reports are not read.
    fn tell(&self, report: Report) {
        // Nobody may listen to the pool any more, which is no concern of the thread.
        let Some(reports) = self.reports.upgrade() else { return };
        if let Err(TrySendError::Full(report)) = reports.try_send(report) {
            reports.blocking_send(report).ok();
        }
    }
}

impl Drop for Hand {
    fn drop(&mut self) {
        self.context.desk.leave();
    }
}

/// Gives up calls that are cancelled, take too long or outlive the pool, and passes on their progress, until the thread has
/// ended or, when the pool stops, does not return in time.
async fn watch(slot: &mut Slot, desk: &Desk) {
    let mut stop_by = None;
    let mut return_by = None;
    loop {
        let now = slot.now();
        desk.tell_progress(now, PROGRESS_PERIOD, now.after(FULL_PERIOD), |execution, progress| {
            match slot.reports.try_send(Report::Progress(execution, progress)) {
                Err(TrySendError::Full(Report::Progress(_, progress))) => Err(progress),
                Ok(()) | Err(_) => Ok(()),
            }
        });
        match desk.look(now) {
            Found::Overdue(execution, timeout) => {
                give_up(slot, desk, Some(execution), &Why::TimedOut(timeout)).await;
                continue;
            }
            Found::Working if stop_by.is_some_and(|by| by <= now) => {
                give_up(slot, desk, None, &Why::PoolStopped).await;
                continue;
            }
            Found::GivenUp if stop_by.is_some() => {
                if *return_by.get_or_insert(now.after(slot.config.kill_grace)) <= now {
                    tracing::warn!(
                        slot = slot.number,
                        "a handler does not return although it was told to stop"
                    );
                    return;
                }
            }
            Found::Idle | Found::Working | Found::GivenUp => {}
            Found::Ended(call) => {
                if let Some(execution) = call {
                    tracing::error!(
                        slot = slot.number,
                        "the thread of a handler ended under a job; the slot is lost"
                    );
                    let outcome = Outcome::released("the handler's thread is gone");
                    slot.report(Report::Ended(execution, outcome)).await;
                }
                return;
            }
        }
        let own = return_by.or(stop_by.filter(|by| *by > now));
        let look_at = desk.look_at(own);
        tokio::select! {
            () = desk.rung() => {}
            Some(execution) = slot.cancels.recv() => give_up(slot, desk, Some(execution), &Why::Cancelled).await,
            () = slot.stop.cancelled(), if stop_by.is_none() => {
                slot.release_waiting().await;
                stop_by = Some(slot.now().after(slot.config.stop_grace));
            }
            () = wait_until(&slot.clock, look_at) => {}
        }
    }
}

/// Gives up the call of this execution, or of any, and tells how it ended. The thread keeps the slot until it returns.
async fn give_up(slot: &Slot, desk: &Desk, execution: Option<ExecutionNo>, why: &Why) {
    if let Some(execution) = desk.give_up(execution) {
        slot.report(Report::Ended(execution, given_up(why))).await;
    }
}

/// The outcome of a call that the pool gave up.
fn given_up(why: &Why) -> Outcome {
    match why {
        Why::Cancelled => Outcome::Cancelled,
        Why::TimedOut(timeout) => {
            let message = format!("ran longer than its time-out of {}", humantime::format_duration(*timeout));
            Outcome::failed(FailureKind::TimedOut, &message, None)
        }
        Why::PoolStopped
        | Why::Retired
        | Why::ResultOverLimit(_)
        | Why::LineOverLimit(_)
        | Why::Misbehaved(_) => Outcome::released("the pool stopped"),
    }
}

/// Calls the handler, and survives its panic.
fn call(handler: &dyn Handler, job: &Assignment, context: &Context, result_bytes_max: usize) -> Outcome {
    match catch_unwind(AssertUnwindSafe(|| handler.call(job, context))) {
        Ok(Ok(result)) if result.len() > result_bytes_max => {
            Outcome::failed(FailureKind::Failed, &over_limit(result_bytes_max), None)
        }
        Ok(Ok(result)) => Outcome::Completed { result, content_type: Arc::default(), usage: None },
        Ok(Err(HandlerError { message, retry })) => {
            Outcome::failed(FailureKind::Failed, &message, None).with_retry(retry)
        }
        Err(panic) => {
            let message = format!("the handler panicked: {}", panic_text(panic.as_ref()));
            Outcome::failed(FailureKind::Crashed, &message, None)
        }
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a text")
}
