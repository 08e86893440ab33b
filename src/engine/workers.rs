//! The workers that hold or want leases: what they take, what they hold, when they were last heard of. In memory
//! only: after a restart the leases come back from the state and run a full new period. [LEASE-2]

#[cfg(test)]
pub(crate) mod rig;
mod turns;
mod view;

pub use crate::engine::workers::view::WorkerView;

use crate::clock::Tick;
use crate::engine::command::Ack;
use crate::engine::command::Grant;
use crate::engine::workers::turns::Turns;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::queue::Queues;
use crate::job::table::Slot;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use tokio::sync::mpsc;

/// The names of the server's own workers begin with this; no client may use it.
pub const LOCAL_PREFIX: char = '@';

/// The most leases one worker can ask for at once. [MEM-1]
pub const FREE_MAX: u32 = 10_000;

/// One attachment of a worker; a later one of the same worker ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Session {
    worker: u32,
    turn: u64,
}

/// What a worker says when it attaches.
#[derive(Debug)]
pub struct Attach {
    /// Its name; the same name resumes its leases.
    pub name: Arc<str>,
    /// What it says about itself; may be empty.
    pub description: Arc<str>,
    /// How many jobs it works on at a time, for operators; 0: it does not say.
    pub slots: u32,
    /// What it takes jobs from.
    pub queues: Vec<QueueName>,
    /// How many leases it takes now.
    pub free: u32,
    /// The leases it believes to hold.
    pub held: Vec<(JobId, LeaseToken)>,
    /// Where its leases, acks and cancels go.
    pub outlet: Outlet,
    /// How it is known to be alive.
    pub liveness: Liveness,
    /// What becomes of leases that the service knows of and `held` does not name.
    pub unnamed: Unnamed,
}

/// What becomes of leases that an attaching worker does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unnamed {
    /// They are lost: the worker says all it holds.
    Lost,
    /// It keeps them: the worker does not say what it holds.
    Kept,
}

/// How the writer knows that a worker is alive. [LEASE-2]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// It is part of this process.
    Local,
    /// It sends a sign of life at least once in a lease period.
    Signs,
}

/// Where the output for a worker goes.
pub type Outlet = mpsc::UnboundedSender<Output>;

/// What one frame means for one worker: one message, whatever number of jobs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Output {
    /// New leases.
    pub grants: Vec<Grant>,
    /// What became of its finishes, in their order.
    pub acks: Vec<Ack>,
    /// Leases it lost while it works on them: stop those jobs.
    pub cancels: Vec<(JobId, LeaseToken)>,
    /// The session ended: a newer one took its place.
    pub superseded: bool,
}

impl Output {
    fn is_empty(&self) -> bool {
        self.grants.is_empty() && self.acks.is_empty() && self.cancels.is_empty() && !self.superseded
    }
}

/// One worker.
#[derive(Debug)]
pub(in crate::engine) struct Worker {
    pub(in crate::engine) name: Arc<str>,
    description: Arc<str>,
    slots: u32,
    turn: u64,
    free: u32,
    held: Vec<Slot>,
    outlet: Option<Outlet>,
    liveness: Liveness,
    heard: Tick,
    attached: Tick,
    deadline: Option<Tick>,
    output: Output,
    dirty: bool,
    turns: Turns,
}

impl Worker {
    pub(in crate::engine) fn free(&self) -> u32 {
        if self.outlet.is_some() { self.free } else { 0 }
    }
}

/// All workers.
#[derive(Debug, Default)]
pub(in crate::engine) struct Workers {
    list: Vec<Option<Worker>>,
    by_name: HashMap<Arc<str>, u32>,
    /// By slot: the holder and the place in its `held`.
    holders: Vec<(u32, u32)>,
    /// How many jobs are under a lease.
    leases: usize,
    /// How many workers have free slots.
    with_free: usize,
    /// Which workers take jobs from a queue, by the queue's name: the queue may not exist yet.
    takers: HashMap<QueueName, Vec<u32>>,
    /// Workers that have output for the end of the frame.
    dirty: Vec<u32>,
    /// Last words for workers that were removed in this frame. Their streams end after them: an end that is heard says that
    /// what the worker held was handed back. [ACK-1]
    farewells: Vec<(Outlet, Output)>,
    /// Workers whose free slots changed since the last match.
    hungry: HashSet<u32>,
    turns: u64,
}

const NOBODY: (u32, u32) = (u32::MAX, u32::MAX);

impl Workers {
    /// Begins a session for the worker of that name; an earlier one is told that it is over.
    pub(in crate::engine) fn attach(&mut self, attach: Attach, now: Tick) -> Session {
        let number = match self.by_name.get(&attach.name) {
            Some(&number) => number,
            None => self.add(attach.name.clone(), now),
        };
        self.turns += 1;
        let turn = self.turns;
        self.leave_queues(number);
        for queue in &attach.queues {
            self.takers.entry(queue.clone()).or_default().push(number);
        }
        let worker = self.at(number);
        if let Some(earlier) = worker.outlet.replace(attach.outlet) {
            let _ = earlier.send(Output { superseded: true, ..Output::default() });
        }
        worker.turn = turn;
        worker.turns.take_from(attach.queues);
        worker.description = attach.description;
        worker.slots = attach.slots;
        worker.liveness = attach.liveness;
        (worker.heard, worker.attached) = (now, now);
        worker.deadline = None;
        worker.output = Output::default();
        self.set_free(number, attach.free.min(FREE_MAX));
        self.hungry.insert(number);
        Session { worker: number, turn }
    }

    /// A worker known from the state only: it may come back for its leases until `deadline`.
    pub(in crate::engine) fn expect(&mut self, name: &Arc<str>, now: Tick, deadline: Tick) -> u32 {
        let number = match self.by_name.get(name) {
            Some(&number) => number,
            None => self.add(name.clone(), now),
        };
        self.at(number).deadline = Some(deadline);
        number
    }

    fn add(&mut self, name: Arc<str>, now: Tick) -> u32 {
        let worker = Worker {
            name: name.clone(),
            description: "".into(),
            slots: 0,
            turn: 0,
            free: 0,
            held: Vec::new(),
            outlet: None,
            liveness: Liveness::Signs,
            heard: now,
            attached: now,
            deadline: None,
            output: Output::default(),
            dirty: false,
            turns: Turns::default(),
        };
        let place = self.list.iter().position(Option::is_none).unwrap_or_else(|| {
            self.list.push(None);
            self.list.len() - 1
        });
        self.list[place] = Some(worker);
        let number = u32::try_from(place).expect("workers are limited by connections");
        self.by_name.insert(name, number);
        number
    }

    /// The worker behind a session that is still the newest of its worker.
    pub(in crate::engine) fn current(&mut self, session: Session) -> Option<u32> {
        let worker = self.list.get(session.worker as usize)?.as_ref()?;
        (worker.turn == session.turn).then_some(session.worker)
    }

    pub(in crate::engine) fn at(&mut self, number: u32) -> &mut Worker {
        self.list[number as usize].as_mut().expect("numbers in use name workers")
    }

    pub(in crate::engine) fn name(&self, number: u32) -> &Arc<str> {
        &self.list[number as usize].as_ref().expect("numbers in use name workers").name
    }

    /// The worker gave a sign of life.
    pub(in crate::engine) fn heard(&mut self, number: u32, now: Tick) {
        self.at(number).heard = now;
    }

    /// The worker of that name gave a sign of life; if it holds no session, its leases last until `deadline` at least.
    pub(in crate::engine) fn heard_of(&mut self, name: &Arc<str>, now: Tick, deadline: Tick) {
        if let Some(&number) = self.by_name.get(name) {
            let worker = self.at(number);
            worker.heard = now;
            worker.deadline = worker.deadline.map(|before| before.max(deadline));
        }
    }

    /// The worker takes `more` further leases.
    pub(in crate::engine) fn add_free(&mut self, number: u32, more: u32) {
        let free = self.at(number).free;
        self.set_free(number, free.saturating_add(more).min(FREE_MAX));
        self.hungry.insert(number);
    }

    /// The worker takes no more leases.
    pub(in crate::engine) fn clear_free(&mut self, number: u32) {
        self.set_free(number, 0);
    }

    fn set_free(&mut self, number: u32, free: u32) {
        let before = std::mem::replace(&mut self.at(number).free, free);
        self.with_free += usize::from(free > 0);
        self.with_free -= usize::from(before > 0);
    }

    /// Whether any worker has a free slot: if none has, ready jobs need not be looked at.
    pub(in crate::engine) fn any_free(&self) -> bool {
        self.with_free > 0
    }

    /// The job in `slot` is under a lease of this worker from now on.
    pub(in crate::engine) fn hold(&mut self, number: u32, slot: Slot) {
        if self.holders.len() <= slot.index() {
            self.holders.resize(slot.index() + 1, NOBODY);
        }
        let free = self.at(number).free;
        self.set_free(number, free.saturating_sub(1));
        let worker = self.at(number);
        worker.held.push(slot);
        let place = u32::try_from(worker.held.len() - 1).expect("limited by live jobs");
        self.holders[slot.index()] = (number, place);
        self.leases += 1;
    }

    /// How many jobs are under a lease.
    pub(in crate::engine) fn leases(&self) -> usize {
        self.leases
    }

    /// The job in `slot` is no longer under a lease; says whose it was.
    pub(in crate::engine) fn let_go(&mut self, slot: Slot) -> Option<u32> {
        let holder = self.holders.get_mut(slot.index())?;
        let (number, place) = std::mem::replace(holder, NOBODY);
        if number == NOBODY.0 {
            return None;
        }
        self.leases -= 1;
        let held = &mut self.at(number).held;
        held.swap_remove(place as usize);
        if let Some(&moved) = held.get(place as usize) {
            self.holders[moved.index()].1 = place;
        }
        Some(number)
    }

    pub(in crate::engine) fn held(&self, number: u32) -> &[Slot] {
        self.list[number as usize].as_ref().map_or(&[], |worker| &worker.held)
    }

    /// Who holds the job in `slot`.
    pub(in crate::engine) fn holder(&self, slot: Slot) -> Option<u32> {
        let (number, _) = *self.holders.get(slot.index())?;
        (number != NOBODY.0).then_some(number)
    }

    pub(in crate::engine) fn free(&self, number: u32) -> u32 {
        self.list[number as usize].as_ref().map_or(0, Worker::free)
    }

    /// How many of the worker's queues exist.
    pub(in crate::engine) fn learn_queues(&mut self, number: u32, queues: &Queues) -> usize {
        self.at(number).turns.learn(queues)
    }

    /// The one of the worker's queues among `ready` whose turn it is, of those that [`Workers::learn_queues`] found.
    pub(in crate::engine) fn next_queue(
        &mut self,
        number: u32,
        ready: &BTreeSet<QueueNo>,
    ) -> Option<QueueNo> {
        self.at(number).turns.next(ready)
    }

    /// Something about the queue changed: those that take from it look again.
    pub(in crate::engine) fn wake_takers(&mut self, queue: &QueueName) {
        if let Some(takers) = self.takers.get(queue) {
            self.hungry.extend(takers.iter().copied());
        }
    }

    /// Adds to what the worker is told at the end of the frame.
    pub(in crate::engine) fn tell(&mut self, number: u32, say: impl FnOnce(&mut Output)) {
        let worker = self.at(number);
        say(&mut worker.output);
        if !std::mem::replace(&mut worker.dirty, true) {
            self.dirty.push(number);
        }
    }

    /// Sends every worker its output of the frame: after the sync. [ACK-1]
    pub(in crate::engine) fn flush(&mut self) {
        for number in std::mem::take(&mut self.dirty) {
            let Some(worker) = self.list[number as usize].as_mut() else { continue };
            worker.dirty = false;
            let output = std::mem::take(&mut worker.output);
            if let Some(outlet) = &worker.outlet
                && !output.is_empty()
            {
                let _ = outlet.send(output);
            }
        }
        for (outlet, output) in std::mem::take(&mut self.farewells) {
            if !output.is_empty() {
                let _ = outlet.send(output);
            }
        }
    }

    /// The link of the session closed: its leases wait until `deadline`.
    pub(in crate::engine) fn detach(&mut self, number: u32, deadline: Tick) {
        self.leave_queues(number);
        let worker = self.at(number);
        worker.outlet = None;
        worker.turns.take_from(Vec::new());
        worker.deadline = Some(deadline);
        self.set_free(number, 0);
        self.hungry.remove(&number);
    }

    /// Forgets a worker that holds nothing. What it was to be told in this frame it is still told after the sync.
    pub(in crate::engine) fn remove(&mut self, number: u32) {
        self.leave_queues(number);
        self.set_free(number, 0);
        self.hungry.remove(&number);
        if let Some(worker) = self.list[number as usize].take() {
            self.by_name.remove(&worker.name);
            self.farewells.extend(worker.outlet.map(|outlet| (outlet, worker.output)));
        }
    }

    fn leave_queues(&mut self, number: u32) {
        for queue in self.at(number).turns.names().to_vec() {
            if let Some(takers) = self.takers.get_mut(&queue) {
                takers.retain(|taker| *taker != number);
                if takers.is_empty() {
                    self.takers.remove(&queue);
                }
            }
        }
    }

    /// Workers whose last sign of life is `period` old, or whose grace is over, at `now`.
    pub(in crate::engine) fn silent(&self, now: Tick, period: std::time::Duration) -> Vec<u32> {
        let over = |worker: &Worker| due(worker, period).is_some_and(|deadline| deadline <= now);
        self.numbered().filter(|(_, worker)| over(worker)).map(|(number, _)| number).collect()
    }

    /// When the next worker will have been silent for too long.
    pub(in crate::engine) fn next_deadline(&self, period: std::time::Duration) -> Option<Tick> {
        self.numbered().filter_map(|(_, worker)| due(worker, period)).min()
    }

    /// Every deadline moves by `gap`: the engine itself was away, and the workers could not be heard. [LEASE-2]
    pub(in crate::engine) fn forgive(&mut self, gap: std::time::Duration) {
        for worker in self.list.iter_mut().flatten() {
            worker.heard = worker.heard.after(gap);
            worker.deadline = worker.deadline.map(|deadline| deadline.after(gap));
        }
    }

    /// Workers whose free slots changed since the last call.
    pub(in crate::engine) fn take_hungry(&mut self) -> Vec<u32> {
        let mut hungry: Vec<u32> = self.hungry.drain().collect();
        hungry.sort_unstable();
        hungry
    }

    /// The workers that take jobs from `queue`; the first is moved to the back, so that they take turns.
    pub(in crate::engine) fn rotate_takers(&mut self, queue: &QueueName) -> Option<u32> {
        let takers = self.takers.get_mut(queue)?;
        takers.rotate_left(1);
        takers.last().copied()
    }

    pub(in crate::engine) fn takers(&self, queue: &QueueName) -> usize {
        self.takers.get(queue).map_or(0, Vec::len)
    }

    fn numbered(&self) -> impl Iterator<Item = (u32, &Worker)> {
        self.list
            .iter()
            .zip(0..)
            .filter_map(|(worker, number)| worker.as_ref().map(|worker| (number, worker)))
    }
}

/// When the worker's leases lapse if nothing more is heard of it; never, for one of this process.
fn due(worker: &Worker, period: std::time::Duration) -> Option<Tick> {
    match (worker.deadline, worker.liveness) {
        (Some(grace_ends), _) => Some(grace_ends),
        (None, Liveness::Signs) => Some(worker.heard.after(period)),
        (None, Liveness::Local) => None,
    }
}

#[cfg(test)]
mod tests;
