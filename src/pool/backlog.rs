//! The jobs of a pool that no slot has begun. Slots take from it by themselves, so that a fast one takes more.

use crate::pool::Execution;
use crate::pool::ExecutionNo;
use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;

/// The most jobs that may wait in a pool.
pub(crate) const WAITING_MAX: usize = 4_096;

#[derive(Debug)]
pub(crate) struct Backlog {
    waiting: Mutex<Waiting>,
    arrived: Notify,
    /// The same for slots that are threads.
    came: Condvar,
    slots: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Execution>,
    closed: bool,
    /// Threads that wait for a job.
    sleepers: usize,
}

impl Backlog {
    pub(crate) fn new(slots: usize) -> Backlog {
        Backlog { waiting: Mutex::default(), arrived: Notify::new(), came: Condvar::new(), slots }
    }

    /// Adds jobs at the end; returns those there is no room for.
    pub(crate) fn put(&self, mut jobs: Vec<Execution>) -> Vec<Execution> {
        let excess = {
            let mut waiting = self.lock();
            let room = if waiting.closed { 0 } else { WAITING_MAX.saturating_sub(waiting.jobs.len()) };
            let excess = jobs.split_off(room.min(jobs.len()));
            waiting.jobs.extend(jobs);
            self.wake(&waiting);
            excess
        };
        self.arrived.notify_waiters();
        excess
    }

    /// Puts back what a slot had taken and not begun; it is next again.
    pub(crate) fn put_back(&self, jobs: impl DoubleEndedIterator<Item = Execution>) {
        {
            let mut waiting = self.lock();
            for job in jobs.rev() {
                waiting.jobs.push_front(job);
            }
            self.wake(&waiting);
        }
        self.arrived.notify_waiters();
    }

    /// Takes up to `room` jobs for one slot, but not more than its share while others may be idle.
    pub(crate) fn take(&self, room: usize) -> Vec<Execution> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Vec::new();
        }
        let share = waiting.jobs.len().div_ceil(self.slots);
        waiting.jobs.drain(..share.min(room)).collect()
    }

    /// Takes the next job for a slot that still works on one, unless another slot could be idle then.
    pub(crate) fn take_ahead(&self) -> Option<Execution> {
        let mut waiting = self.lock();
        if waiting.closed || waiting.jobs.len() < self.slots { None } else { waiting.jobs.pop_front() }
    }

    /// Takes the next job for a slot that is a thread, which sleeps until there is one; `None` once the backlog is closed.
    /// `begin` is called before anybody can see that the job waits no more, so that a cancel finds it here or there.
    pub(crate) fn wait(&self, begin: impl FnOnce(&Execution)) -> Option<Execution> {
        let mut waiting = self.lock();
        loop {
            if waiting.closed {
                return None;
            }
            if let Some(job) = waiting.jobs.pop_front() {
                begin(&job);
                return Some(job);
            }
            waiting.sleepers += 1;
            waiting = self.came.wait(waiting).expect("no holder of the backlog panics");
            waiting.sleepers -= 1;
        }
    }

    /// Wakes no more threads than there are jobs.
    fn wake(&self, waiting: &Waiting) {
        match waiting.sleepers.min(waiting.jobs.len()) {
            0 => {}
            1 => self.came.notify_one(),
            _ => self.came.notify_all(),
        }
    }

    /// Becomes ready when jobs arrive after it was enabled.
    pub(crate) fn arrived(&self) -> Notified<'_> {
        self.arrived.notified()
    }

    /// Whether [`Backlog::take`] would give something.
    pub(crate) fn has_jobs(&self) -> bool {
        let waiting = self.lock();
        !waiting.closed && !waiting.jobs.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().jobs.len()
    }

    /// Removes one job, if it is here.
    pub(crate) fn remove(&self, execution: ExecutionNo) -> bool {
        let mut waiting = self.lock();
        let place = waiting.jobs.iter().position(|job| job.number == execution);
        place.is_some_and(|place| waiting.jobs.remove(place).is_some())
    }

    /// Takes all but the first `keep`.
    pub(crate) fn take_back(&self, keep: usize) -> Vec<Execution> {
        let mut waiting = self.lock();
        let keep = keep.min(waiting.jobs.len());
        waiting.jobs.drain(keep..).collect()
    }

    /// Takes everything and from now on accepts and gives nothing.
    pub(crate) fn close(&self) -> Vec<Execution> {
        let mut waiting = self.lock();
        waiting.closed = true;
        self.came.notify_all();
        waiting.jobs.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of the backlog panics")
    }
}

#[cfg(test)]
mod tests {
    use crate::job::id::JobId;
    use crate::pool::Assignment;
    use crate::pool::Execution;
    use crate::pool::ExecutionNo;
    use crate::pool::backlog::Backlog;
    use bytes::Bytes;

    fn job(number: u64) -> Execution {
        let job = Assignment {
            id: JobId::from_u128(7),
            attempt: 1,
            queue: "q".parse().unwrap(),
            payload: Bytes::new(),
            content_type: "".into(),
            traceparent: "".into(),
            labels: Vec::new(),
            timeout: None,
        };
        Execution { number: ExecutionNo(number), job }
    }

    #[test]
    fn the_next_jobs_stay_when_the_rest_is_taken_back() {
        let backlog = Backlog::new(1);
        assert_eq!(backlog.put((1..=5).map(job).collect()), []);
        assert_eq!(backlog.take_back(2), [job(3), job(4), job(5)]);
        assert_eq!(backlog.take_back(9), []);
        assert_eq!(backlog.take(9), [job(1), job(2)]);
    }

    #[test]
    fn threads_that_sleep_get_a_job_each_and_end_with_the_backlog() {
        let backlog = Backlog::new(2);
        std::thread::scope(|scope| {
            let took: Vec<_> =
                (0..2).map(|_| scope.spawn(|| [backlog.wait(|_| {}), backlog.wait(|_| {})])).collect();
            while backlog.lock().sleepers < 2 {
                std::thread::yield_now();
            }
            backlog.put(vec![job(1), job(2)]);
            while backlog.len() > 0 {
                std::thread::yield_now();
            }
            backlog.close();
            let mut took: Vec<_> =
                took.into_iter().flat_map(|thread| thread.join().unwrap()).flatten().collect();
            took.sort_by_key(|job| job.number.0);
            assert_eq!(took, [job(1), job(2)]);
        });
        assert_eq!(backlog.wait(|_| {}), None);
    }
}
