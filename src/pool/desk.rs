//! Where the thread of a handler and the task that watches over it meet: what the thread works on, whether that is still
//! wanted, and what it has to tell meanwhile. The thread goes from job to job by itself; the task is woken only by a deadline
//! that comes before the one it waits for, by progress, and by the end of the thread.

use crate::clock::Tick;
use crate::job::event::Progress;
use crate::pool::Execution;
use crate::pool::ExecutionNo;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::Notify;

#[derive(Debug, Default)]
pub(in crate::pool) struct Desk {
    state: Mutex<State>,
    /// The same as in the state, for handlers that ask often.
    given_up: AtomicBool,
    bell: Notify,
}

#[derive(Debug, Default)]
struct State {
    call: Option<Call>,
    /// When the task looks again by itself; `None`: only when the bell rings.
    look_at: Option<Tick>,
    thread: Thread,
}

/// One call of the handler.
#[derive(Debug)]
struct Call {
    execution: ExecutionNo,
    timeout: Option<(Tick, Duration)>,
    given_up: bool,
    progress: Option<Progress>,
    /// Progress is not passed on before.
    progress_from: Tick,
}

#[derive(Debug, Default, PartialEq, Eq)]
enum Thread {
    #[default]
    Runs,
    Ended,
}

/// Who tells how an execution ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Tells {
    /// The thread, which has just returned from it.
    Thread,
    /// The task did, when it gave the call up.
    Task,
}

/// What the task finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::pool) enum Found {
    /// The thread waits for a job.
    Idle,
    /// The thread is in a call that may go on.
    Working,
    /// The call runs longer than this, its time-out.
    Overdue(ExecutionNo, Duration),
    /// The thread is in a call that was given up.
    GivenUp,
    /// The thread has ended, under this call or between two.
    Ended(Option<ExecutionNo>),
}

impl Desk {
    /// The thread begins with a job; `now` is asked only if the job has a time-out.
    pub(in crate::pool) fn begin(&self, execution: &Execution, now: impl FnOnce() -> Tick) {
        let timeout = execution.job.timeout.map(|timeout| (now().after(timeout), timeout));
        let (execution, progress_from) = (execution.number, Tick::default());
        let mut state = self.lock();
        self.given_up.store(false, Ordering::Release);
        state.call = Some(Call { execution, timeout, given_up: false, progress: None, progress_from });
        if let Some((at, _)) = timeout {
            self.call_for(&mut state, at);
        }
    }

    /// The thread has returned from a call.
    pub(in crate::pool) fn end(&self) -> Tells {
        let mut state = self.lock();
        match state.call.take() {
            Some(call) if !call.given_up => Tells::Thread,
            Some(_) | None => {
                // It waits for this while the pool stops.
                self.bell.notify_one();
                Tells::Task
            }
        }
    }

    /// The thread takes no more jobs.
    pub(in crate::pool) fn leave(&self) {
        self.lock().thread = Thread::Ended;
        self.bell.notify_one();
    }

    /// Whether nobody wants the result of the call any more.
    pub(in crate::pool) fn is_given_up(&self) -> bool {
        self.given_up.load(Ordering::Acquire)
    }

    /// How far the call is. Of what comes before it is passed on the newest counts.
    pub(in crate::pool) fn keep_progress(&self, progress: Progress) {
        let mut state = self.lock();
        let Some(call) = &mut state.call else { return };
        call.progress = Some(progress);
        let at = call.progress_from;
        self.call_for(&mut state, at);
    }

    /// Gives up the call of this execution, or of any; says which one it was. The thread does not tell of it any more.
    pub(in crate::pool) fn give_up(&self, execution: Option<ExecutionNo>) -> Option<ExecutionNo> {
        let mut state = self.lock();
        let call = state.call.as_mut().filter(|call| !call.given_up)?;
        if execution.is_some_and(|execution| execution != call.execution) {
            return None;
        }
        call.given_up = true;
        self.given_up.store(true, Ordering::Release);
        Some(call.execution)
    }

    /// What the task has to deal with at `now`.
    pub(in crate::pool) fn look(&self, now: Tick) -> Found {
        let state = self.lock();
        if state.thread == Thread::Ended {
            return Found::Ended(
                state.call.as_ref().filter(|call| !call.given_up).map(|call| call.execution),
            );
        }
        match &state.call {
            Some(call) if call.given_up => Found::GivenUp,
            Some(Call { execution, timeout: Some((at, timeout)), .. }) if *at <= now => {
                Found::Overdue(*execution, *timeout)
            }
            Some(_) => Found::Working,
            None => Found::Idle,
        }
    }

    /// Tells progress that is due at `now` through `tell`, before the thread can tell the end of the call; the next of this
    /// call is due a `period` later. `tell` gives back what there is no room for; it is due at `later` then.
    pub(in crate::pool) fn tell_progress(
        &self,
        now: Tick,
        period: Duration,
        later: Tick,
        tell: impl FnOnce(ExecutionNo, Progress) -> Result<(), Progress>,
    ) {
        let mut state = self.lock();
        let Some(call) = state.call.as_mut().filter(|call| !call.given_up && call.progress_from <= now)
        else {
            return;
        };
        let Some(progress) = call.progress.take() else { return };
        call.progress_from = match tell(call.execution, progress) {
            Ok(()) => now.after(period),
            Err(progress) => {
                call.progress = Some(progress);
                later
            }
        };
    }

    /// When the task has to look again by itself, `own` included. Whatever comes before rings the bell.
    pub(in crate::pool) fn look_at(&self, own: Option<Tick>) -> Option<Tick> {
        let mut state = self.lock();
        let call = state.call.as_ref().filter(|call| !call.given_up);
        let timeout = call.and_then(|call| call.timeout).map(|(at, _)| at);
        let progress = call.and_then(|call| call.progress.as_ref().and(Some(call.progress_from)));
        state.look_at = [timeout, progress, own].into_iter().flatten().min();
        state.look_at
    }

    /// Waits for the bell; it may have rung before.
    pub(in crate::pool) async fn rung(&self) {
        self.bell.notified().await;
    }

    /// The task is to look at `at`, if it does not anyway by then. A call that ends before does not take that back, so that
    /// of many jobs with the same time-out few wake the task.
    fn call_for(&self, state: &mut State, at: Tick) {
        if state.look_at.is_none_or(|look_at| at < look_at) {
            state.look_at = Some(at);
            self.bell.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
