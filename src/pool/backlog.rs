//! The jobs of a pool that no slot has begun. Slots take from it by themselves, so that a fast one takes more.

use crate::pool::Assignment;
use crate::pool::AttemptId;
use std::collections::VecDeque;
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
    slots: usize,
}

#[derive(Debug, Default)]
struct Waiting {
    jobs: VecDeque<Assignment>,
    closed: bool,
}

impl Backlog {
    pub(crate) fn new(slots: usize) -> Backlog {
        Backlog { waiting: Mutex::default(), arrived: Notify::new(), slots }
    }

    /// Adds jobs at the end; returns those there is no room for.
    pub(crate) fn put(&self, mut jobs: Vec<Assignment>) -> Vec<Assignment> {
        let excess = {
            let mut waiting = self.lock();
            let room = if waiting.closed { 0 } else { WAITING_MAX.saturating_sub(waiting.jobs.len()) };
            let excess = jobs.split_off(room.min(jobs.len()));
            waiting.jobs.extend(jobs);
            excess
        };
        self.arrived.notify_waiters();
        excess
    }

    /// Puts back what a slot had taken and not begun; it is next again.
    pub(crate) fn put_back(&self, jobs: impl DoubleEndedIterator<Item = Assignment>) {
        {
            let mut waiting = self.lock();
            for job in jobs.rev() {
                waiting.jobs.push_front(job);
            }
        }
        self.arrived.notify_waiters();
    }

    /// Takes up to `room` jobs for one slot, but not more than its share while others may be idle.
    pub(crate) fn take(&self, room: usize) -> Vec<Assignment> {
        let mut waiting = self.lock();
        if waiting.closed {
            return Vec::new();
        }
        let share = waiting.jobs.len().div_ceil(self.slots);
        waiting.jobs.drain(..share.min(room)).collect()
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
    pub(crate) fn remove(&self, attempt: AttemptId) -> bool {
        let mut waiting = self.lock();
        let place = waiting.jobs.iter().position(|job| job.attempt_id() == attempt);
        place.is_some_and(|place| waiting.jobs.remove(place).is_some())
    }

    pub(crate) fn take_back(&self) -> Vec<Assignment> {
        self.lock().jobs.drain(..).collect()
    }

    /// Takes everything and from now on accepts and gives nothing.
    pub(crate) fn close(&self) -> Vec<Assignment> {
        let mut waiting = self.lock();
        waiting.closed = true;
        waiting.jobs.drain(..).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().expect("no holder of the backlog panics")
    }
}
