//! Which waiting job is next: lanes of ready jobs by queue and priority, and timers for those that become ready or
//! expire later. Derived from the state and the clock; rebuilt at start, never stored.
//!
//! A lane is a doubly linked list through an array beside the table of jobs, so that entering, claiming and cancelling
//! touch a few words whatever the backlog. Order within a queue: priority, then the order of becoming ready.

use crate::clock::Timestamp;
use crate::job::id::QueueNo;
use crate::job::state::Job;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::job::table::Slot;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

const NONE: u32 = u32::MAX;

#[derive(Clone, Copy, Debug)]
struct Link {
    before: u32,
    after: u32,
}

const UNLINKED: Link = Link { before: NONE, after: NONE };

#[derive(Clone, Copy, Debug)]
struct Lane {
    first: u32,
    last: u32,
}

/// The index of waiting jobs.
#[derive(Debug, Default)]
pub struct Index {
    links: Vec<Link>,
    queues: Vec<BTreeMap<Reverse<i8>, Lane>>,
    ready: BTreeSet<QueueNo>,
    due: BTreeSet<(Timestamp, Slot)>,
    expiring: BTreeSet<(Timestamp, Slot)>,
    /// By queue: how many of its jobs are in `due`.
    scheduled: Vec<u64>,
}

impl Index {
    /// The index of all waiting jobs of `state` as of `now`: what a restart begins with.
    #[must_use]
    pub fn of(state: &State, now: Timestamp) -> Index {
        let mut waiting: Vec<(Timestamp, Slot)> = Vec::new();
        for (slot, job) in state.jobs().in_id_order() {
            if let Stage::Waiting { due } = job.stage() {
                waiting.push((due, slot));
            }
        }
        waiting.sort_by_key(|(due, _)| *due);
        let mut index = Index::default();
        for (_, slot) in waiting {
            index.enter(state, slot, now);
        }
        index
    }

    /// The waiting job in `slot` is ready now, or will be when it is due.
    pub fn enter(&mut self, state: &State, slot: Slot, now: Timestamp) {
        let job = state.jobs().at(slot);
        let Stage::Waiting { due } = job.stage() else { return };
        let expires = state.rare(job).expires;
        if expires != Timestamp(0) && job.attempt == 0 {
            self.expiring.insert((expires, slot));
        }
        if due > now {
            self.due.insert((due, slot));
            *self.scheduled_mut(job.queue) += 1;
        } else {
            self.append(slot, job.queue, job.priority);
        }
    }

    /// The job in `slot`, which waits as `state` says, waits no longer.
    pub fn leave(&mut self, state: &State, slot: Slot) {
        let job = state.jobs().at(slot);
        let Stage::Waiting { due } = job.stage() else { return };
        let expires = state.rare(job).expires;
        if expires != Timestamp(0) {
            self.expiring.remove(&(expires, slot));
        }
        let scheduled = due != Timestamp(0) && self.due.remove(&(due, slot));
        if scheduled {
            *self.scheduled_mut(job.queue) -= 1;
        } else {
            self.unlink(slot, job.queue, job.priority);
        }
    }

    /// Moves at most `limit` jobs that are due by `now` to their lanes; says in which queues jobs became ready.
    pub fn promote(&mut self, state: &State, now: Timestamp, limit: usize) -> Vec<QueueNo> {
        let mut touched = Vec::new();
        for _ in 0..limit {
            match self.due.first() {
                Some(&(due, slot)) if due <= now => {
                    self.due.pop_first();
                    let job = state.jobs().at(slot);
                    *self.scheduled_mut(job.queue) -= 1;
                    self.append(slot, job.queue, job.priority);
                    touched.push(job.queue);
                }
                Some(_) | None => break,
            }
        }
        touched
    }

    /// Slots of at most `limit` waiting jobs whose expiry has passed by `now`.
    #[must_use]
    pub fn expired(&self, now: Timestamp, limit: usize) -> Vec<Slot> {
        let passed = self.expiring.iter().take_while(|(expires, _)| *expires <= now);
        passed.take(limit).map(|(_, slot)| *slot).collect()
    }

    /// When the next job becomes due or expires.
    #[must_use]
    pub fn next_timer(&self) -> Option<Timestamp> {
        let due = self.due.first().map(|(time, _)| *time);
        let expiring = self.expiring.first().map(|(time, _)| *time);
        [due, expiring].into_iter().flatten().min()
    }

    /// The next ready job of `queue`.
    #[must_use]
    pub fn first_ready(&self, queue: QueueNo) -> Option<Slot> {
        let lanes = self.queues.get(queue.0 as usize)?;
        lanes.first_key_value().map(|(_, lane)| Slot(lane.first))
    }

    /// At most `limit` waiting jobs of `queue`: the ready ones in their order, then the scheduled ones.
    #[must_use]
    pub fn waiting(&self, state: &State, queue: QueueNo, limit: usize) -> Vec<Slot> {
        let lanes = self.queues.get(queue.0 as usize).into_iter().flat_map(BTreeMap::values);
        let ready = lanes.flat_map(|lane| {
            std::iter::successors(Some(lane.first), |slot| {
                let after = self.links[*slot as usize].after;
                (after != NONE).then_some(after)
            })
        });
        let scheduled = self.due.iter().map(|(_, slot)| *slot);
        let scheduled = scheduled.filter(|slot| state.jobs().at(*slot).queue == queue);
        ready.map(Slot).chain(scheduled).take(limit).collect()
    }

    /// The queues that have ready jobs.
    #[must_use]
    pub fn ready_queues(&self) -> &BTreeSet<QueueNo> {
        &self.ready
    }

    /// How many jobs of `queue` wait and are not due yet.
    #[must_use]
    pub fn scheduled(&self, queue: QueueNo) -> u64 {
        self.scheduled.get(queue.0 as usize).copied().unwrap_or(0)
    }

    /// When the oldest ready job of `queue` became due: the first of each lane has waited longest.
    #[must_use]
    pub fn oldest_ready(&self, state: &State, queue: QueueNo) -> Option<Timestamp> {
        let lanes = self.queues.get(queue.0 as usize)?.values();
        lanes.filter_map(|lane| due_of(state.jobs().at(Slot(lane.first)))).min()
    }

    fn scheduled_mut(&mut self, queue: QueueNo) -> &mut u64 {
        let place = queue.0 as usize;
        if place >= self.scheduled.len() {
            self.scheduled.resize(place + 1, 0);
        }
        &mut self.scheduled[place]
    }

    fn append(&mut self, slot: Slot, queue: QueueNo, priority: i8) {
        if self.links.len() <= slot.index() {
            self.links.resize(slot.index() + 1, UNLINKED);
        }
        if self.queues.len() <= queue.0 as usize {
            self.queues.resize_with(queue.0 as usize + 1, BTreeMap::new);
        }
        let lane = self.queues[queue.0 as usize]
            .entry(Reverse(priority))
            .or_insert(Lane { first: slot.0, last: NONE });
        let before = std::mem::replace(&mut lane.last, slot.0);
        self.links[slot.index()] = Link { before, after: NONE };
        if before == NONE {
            self.ready.insert(queue);
        } else {
            self.links[before as usize].after = slot.0;
        }
    }

    fn unlink(&mut self, slot: Slot, queue: QueueNo, priority: i8) {
        let Link { before, after } = std::mem::replace(&mut self.links[slot.index()], UNLINKED);
        if before != NONE {
            self.links[before as usize].after = after;
        }
        if after != NONE {
            self.links[after as usize].before = before;
        }
        if before != NONE && after != NONE {
            return;
        }
        let lanes = &mut self.queues[queue.0 as usize];
        let lane = lanes.get_mut(&Reverse(priority)).expect("a ready job is in the lane of its priority");
        if before == NONE {
            lane.first = after;
        }
        if after == NONE {
            lane.last = before;
        }
        if lane.first == NONE {
            lanes.remove(&Reverse(priority));
            if lanes.is_empty() {
                self.ready.remove(&queue);
            }
        }
    }
}

/// When a waiting job became due; one that may start at once, with its submission.
fn due_of(job: &Job) -> Option<Timestamp> {
    match job.stage() {
        Stage::Waiting { due: Timestamp(0) } => Some(job.id.time()),
        Stage::Waiting { due } => Some(due),
        Stage::Running { .. } | Stage::Dead { .. } => None,
    }
}

#[cfg(test)]
mod tests;
