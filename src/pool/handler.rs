//! Workers inside this program, for Rust users: a thread a slot. A handler that panics counts as crashed; one
//! that does not return when it is told to keeps its slot, because a thread cannot be killed.

use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::retry::Retryable;
use crate::pool::Assignment;
use crate::pool::Outcome;
use crate::pool::Report;
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
use std::sync::mpsc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Progress of one job is passed on no more often than this; the newest wins.
const PROGRESS_PERIOD: Duration = Duration::from_millis(500);

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
    stop: CancellationToken,
    progress: watch::Sender<Option<Progress>>,
}

impl Context {
    /// Whether nobody wants the result any more: the job was cancelled, its time is over or the pool stops.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.stop.is_cancelled()
    }

    /// Tells how far the job is: `share` from 0 to 1, and a few words. Of frequent calls the newest counts.
    pub fn progress(&self, share: Option<f64>, message: &str) {
        self.progress.send_replace(Some(progress_of(share, message)));
    }
}

/// A job on its way to the thread.
struct Call {
    job: Assignment,
    context: Context,
    done: oneshot::Sender<Outcome>,
}

/// Runs a slot until the pool stops.
pub(crate) async fn run(mut slot: Slot, handler: Arc<dyn Handler>) {
    let (calls, called) = mpsc::sync_channel::<Call>(1);
    let result_bytes_max = slot.config.result_bytes_max;
    let name = format!("handler-{}", slot.number);
    let thread = std::thread::Builder::new().name(name).spawn(move || {
        for Call { job, context, done } in called {
            // The slot may have given up waiting, which is no concern of the thread.
            done.send(call(handler.as_ref(), &job, &context, result_bytes_max)).ok();
        }
    });
    if let Err(error) = thread {
        tracing::error!(slot = slot.number, %error, "no thread could be started for a handler; the slot is lost");
        return;
    }
    while let Some(job) = slot.next().await {
        if execute(&mut slot, job, &calls).await == Thread::Stuck {
            break;
        }
    }
    slot.release_waiting().await;
}

/// Whether the thread can take another job.
#[derive(PartialEq, Eq)]
enum Thread {
    Free,
    Stuck,
}

async fn execute(slot: &mut Slot, job: Assignment, calls: &mpsc::SyncSender<Call>) -> Thread {
    let stop = CancellationToken::new();
    let (progress, told) = watch::channel(None);
    let (done, mut is_done) = oneshot::channel();
    let context = Context { stop: stop.clone(), progress };
    if calls.try_send(Call { job: job.clone(), context, done }).is_err() {
        slot.end(&job, gone()).await;
        return Thread::Stuck;
    }
    match follow(slot, &job, &mut is_done, told).await {
        Ok(outcome) => {
            slot.end(&job, outcome).await;
            Thread::Free
        }
        Err(why) => {
            stop.cancel();
            slot.end(&job, given_up(&why)).await;
            wait_for_thread(slot, is_done).await
        }
    }
}

/// Follows a call until it returns, or until there is a reason to give it up.
async fn follow(
    slot: &mut Slot,
    job: &Assignment,
    is_done: &mut oneshot::Receiver<Outcome>,
    mut told: watch::Receiver<Option<Progress>>,
) -> Result<Outcome, Why> {
    let began = slot.now();
    let mut deadline = job.timeout.map(|timeout| (began.after(timeout), Why::TimedOut(timeout)));
    let mut stopping = false;
    let mut progress_from = began;
    let mut progress_due = None;
    loop {
        let at = deadline.as_ref().map(|(at, _)| *at);
        tokio::select! {
            outcome = &mut *is_done => return Ok(outcome.unwrap_or_else(|_| gone())),
            Ok(()) = told.changed(), if progress_due.is_none() => progress_due = Some(progress_from),
            () = wait_until(&slot.clock, progress_due) => {
                progress_due = None;
                progress_from = slot.now().after(PROGRESS_PERIOD);
                let progress = told.borrow_and_update().clone();
                if let Some(progress) = progress {
                    slot.report(Report::Progress(job.attempt_id(), progress)).await;
                }
            }
            Some(attempt) = slot.cancels.recv() => if attempt == job.attempt_id() {
                return Err(Why::Cancelled);
            },
            () = slot.stop.cancelled(), if !stopping => {
                stopping = true;
                slot.release_waiting().await;
                let until = slot.now().after(slot.config.stop_grace);
                if at.is_none_or(|at| until < at) {
                    deadline = Some((until, Why::PoolStopped));
                }
            }
            () = wait_until(&slot.clock, at) => if let Some((_, why)) = deadline.take() {
                return Err(why);
            },
        }
    }
}

/// Waits for the thread of a call that was given up; when the pool stops, no longer than the kill grace.
async fn wait_for_thread(slot: &mut Slot, mut is_done: oneshot::Receiver<Outcome>) -> Thread {
    let mut by = None;
    loop {
        tokio::select! {
            _returned = &mut is_done => return Thread::Free,
            Some(_) = slot.cancels.recv() => {}
            () = slot.stop.cancelled(), if by.is_none() => by = Some(slot.now().after(slot.config.kill_grace)),
            () = wait_until(&slot.clock, by) => {
                tracing::warn!(slot = slot.number, "a handler does not return although it was told to stop");
                return Thread::Stuck;
            }
        }
    }
}

fn gone() -> Outcome {
    Outcome::released("the handler's thread is gone")
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
        Ok(Ok(result)) => Outcome::Completed { result, content_type: "".into(), usage: None },
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
