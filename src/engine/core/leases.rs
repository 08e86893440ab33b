//! Workers and their leases: attaching, giving jobs to free slots, taking finishes, and ending the leases of those
//! that went silent. [LEASE-1] [LEASE-2]

use crate::engine::command::Ack;
use crate::engine::command::Bye;
use crate::engine::command::END_BYTES;
use crate::engine::command::Error;
use crate::engine::command::FinishRequest;
use crate::engine::command::Grant;
use crate::engine::command::Welcome;
use crate::engine::command::WorkerMessage;
use crate::engine::command::weight_of_finish;
use crate::engine::core::Core;
use crate::engine::core::EVENTS_OF_TIME_MAX;
use crate::engine::workers::Attach;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Session;
use crate::engine::workers::Unnamed;
use crate::job::decide::claim;
use crate::job::decide::finish;
use crate::job::decide::finish::Finish;
use crate::job::decide::leased;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueNo;
use crate::job::retry::Retryable;
use crate::job::state::Stage;
use crate::job::table::Slot;
use crate::log::Log;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// How many leases one frame gives at most, jobs found expired on the way included; the rest follows in the next.
pub(in crate::engine::core) const GRANTS_MAX: usize = 10_000;
/// At most how many bytes of log a start needs, besides the worker's name.
const START_BYTES: usize = 64;

impl<L: Log> Core<L> {
    /// After a restart: leases of this server's own workers ended with its processes; the others run a full new period
    /// from now: late, never early.
    pub(in crate::engine::core) fn restore_leases(&mut self) {
        let running: Vec<(Slot, Arc<str>)> = self
            .state
            .jobs()
            .in_id_order()
            .filter_map(|(slot, job)| Some((slot, self.state.worker(job)?.clone())))
            .collect();
        let deadline = self.now.tick.after(self.options.lease_period);
        for (slot, worker) in running {
            // What finds no space now lapses when there is some.
            if worker.starts_with(LOCAL_PREFIX) && self.affords(END_BYTES) {
                self.fail_lost(slot, "the server that ran the job was stopped or restarted");
            } else {
                let number = self.workers.expect(&worker, self.now.tick, deadline);
                self.workers.hold(number, slot);
                self.watch_timeout(slot);
            }
        }
    }

    pub(in crate::engine::core) fn attach(&mut self, attach: Attach) -> Result<Welcome, Error> {
        let claimed: HashSet<(JobId, LeaseToken)> = attach.held.iter().copied().collect();
        let unnamed = attach.unnamed;
        let session = self.workers.attach(attach, self.now.tick);
        let number = self.workers.current(session).expect("the session just began");
        let mut held = Vec::new();
        let mut unknown = Vec::new();
        for &slot in self.workers.held(number) {
            let job = self.state.jobs().at(slot);
            match job.stage() {
                Stage::Running { token, .. } if claimed.contains(&(job.id, token)) => {
                    held.push((job.id, token))
                }
                Stage::Running { .. } | Stage::Waiting { .. } | Stage::Dead { .. } => unknown.push(slot),
            }
        }
        if unnamed == Unnamed::Lost {
            for slot in unknown {
                if !self.affords(END_BYTES) {
                    // It has to come again, and has a whole period to: it lives.
                    self.detach(session, Bye::CallEnded);
                    return Err(Error::DiskFull);
                }
                self.fail_lost(slot, "its worker came back without the job");
            }
        }
        Ok(Welcome { session, held, time: self.time() })
    }

    pub(in crate::engine::core) fn work(&mut self, session: Session, message: WorkerMessage) {
        let Some(number) = self.workers.current(session) else {
            // Its outlet was told that the session is over, or went with its link.
            return;
        };
        self.workers.heard(number, self.now.tick);
        for request in message.finishes {
            let (id, token) = (request.holder.id, request.holder.token);
            let outcome = self.finish(request);
            self.workers.tell(number, |output| output.acks.push(Ack { id, token, outcome }));
        }
        for (holder, progress) in message.progress {
            self.progress(holder, progress);
        }
        if message.free > 0 {
            self.workers.add_free(number, message.free);
        }
    }

    /// Ends attempts of a worker that holds no session: the lease tokens prove what they may end. [LEASE-1]
    pub(in crate::engine::core) fn finish_for(
        &mut self,
        worker: &Arc<str>,
        message: WorkerMessage,
    ) -> Vec<Ack> {
        self.heard_of(worker);
        for (holder, progress) in message.progress {
            self.progress(holder, progress);
        }
        let finishes = message.finishes.into_iter().map(|request| {
            let (id, token) = (request.holder.id, request.holder.token);
            Ack { id, token, outcome: self.finish(request) }
        });
        finishes.collect()
    }

    /// Which of these leases the worker holds.
    pub(in crate::engine::core) fn extend(
        &mut self,
        worker: &Arc<str>,
        claimed: Vec<(JobId, LeaseToken)>,
    ) -> Vec<(JobId, LeaseToken)> {
        self.heard_of(worker);
        let holds = |(id, token): &(JobId, LeaseToken)| {
            let leased = leased(&self.state, *id, *token, None);
            leased.is_ok_and(|(_, job)| self.state.worker(job) == Some(worker))
        };
        claimed.into_iter().filter(holds).collect()
    }

    fn heard_of(&mut self, worker: &Arc<str>) {
        let deadline = self.now.tick.after(self.options.lease_period);
        self.workers.heard_of(worker, self.now.tick, deadline);
    }

    fn finish(&mut self, request: FinishRequest) -> Result<(), Error> {
        if !self.affords(weight_of_finish(&request)) {
            return Err(Error::DiskFull);
        }
        let mut events = Vec::with_capacity(1);
        let (chance, now) = (self.chance.next_u32(), self.time());
        let slot = finish::finish(&self.state, request.holder, request.finish, now, chance, &mut events)?;
        self.emit_all(events, slot);
        Ok(())
    }

    /// What one finish leads to stays in one frame; the first event is about the job in `slot`. [DEAD-1]
    fn emit_all(&mut self, events: Vec<Event>, slot: Slot) {
        self.make_room(self.log.limits().frame_bytes_max / 2);
        for event in events {
            self.add(event, Some(slot));
        }
    }

    pub(in crate::engine::core) fn detach(&mut self, session: Session, bye: Bye) {
        let Some(number) = self.workers.current(session) else { return };
        match bye {
            Bye::Unsaid => {
                let deadline = self.now.tick.after(self.options.reconnect_grace);
                self.workers.detach(number, deadline);
            }
            Bye::CallEnded => {
                let deadline = self.now.tick.after(self.options.lease_period);
                self.workers.detach(number, deadline);
            }
            Bye::Said => {
                for slot in self.workers.held(number).to_vec() {
                    self.release(slot, "its worker stopped");
                }
                if self.workers.held(number).is_empty() {
                    self.workers.remove(number);
                } else {
                    // What found no space to be released lapses once there is some.
                    self.detach(session, Bye::Unsaid);
                }
            }
        }
    }

    pub(in crate::engine::core) fn stop_leases(&mut self, session: Session) {
        if let Some(number) = self.workers.current(session) {
            self.workers.clear_free(number);
        }
    }

    /// Ends the leases of workers that were silent for too long. What was received before is decided by now. [LEASE-2]
    pub(in crate::engine::core) fn lapse_leases(&mut self) {
        let mut left = EVENTS_OF_TIME_MAX;
        for number in self.workers.silent(self.now.tick, self.options.lease_period) {
            let held: Vec<Slot> = self.workers.held(number).iter().take(left).copied().collect();
            left -= held.len();
            for slot in held {
                if !self.affords(END_BYTES) {
                    return;
                }
                self.tell_of_loss(slot);
                self.fail_lost(slot, "nothing was heard of its worker any more: the lease lapsed");
            }
            if self.workers.held(number).is_empty() {
                self.workers.remove(number);
            }
        }
    }

    fn fail_lost(&mut self, slot: Slot, why: &str) {
        self.fail(slot, FailureKind::Lost, why);
    }

    /// Ends the attempt of the running job in `slot` without its worker: the update explains the next run. [JOB-3] [RETRY-1]
    pub(in crate::engine::core) fn fail(&mut self, slot: Slot, kind: FailureKind, why: &str) {
        let failure = Failure { kind, message: why.into(), process: None };
        let mut events = Vec::with_capacity(1);
        let (chance, now) = (self.chance.next_u32(), self.time());
        let job = self.state.jobs().at(slot);
        finish::fail(&self.state, job, failure, Retryable::Yes, now, chance, &mut events);
        self.emit_all(events, slot);
    }

    fn release(&mut self, slot: Slot, why: &str) {
        let job = self.state.jobs().at(slot);
        if let Stage::Running { token, .. } = job.stage() {
            let holder = finish::Holder { id: job.id, token, hint: Some(slot) };
            let finish = Finish::Release { delay: Duration::ZERO, reason: why.into() };
            let released = self.finish(FinishRequest { holder, finish });
            debug_assert!(matches!(released, Ok(()) | Err(Error::DiskFull)), "the lease was just read");
        }
    }

    /// A running job is cancelled: its worker is to stop it.
    pub(in crate::engine::core) fn tell_of_cancel(&mut self, event: &Event) {
        if let Event::Cancelled { id, .. } = event
            && let Some((slot, _)) = self.state.find(*id, None)
        {
            self.tell_of_loss(slot);
        }
    }

    /// Tells the holder of the running job in `slot` to stop working on it.
    pub(in crate::engine::core) fn tell_of_loss(&mut self, slot: Slot) {
        let job = self.state.jobs().at(slot);
        if let Stage::Running { token, .. } = job.stage()
            && let Some(number) = self.workers.holder(slot)
        {
            let id = job.id;
            self.workers.tell(number, |output| output.cancels.push((id, token)));
        }
    }

    /// The lease of the job in `slot` ends, whatever follows.
    pub(in crate::engine::core) fn end_lease(&mut self, slot: Slot) {
        self.workers.let_go(slot);
        self.forget_progress(slot);
        self.timeouts.forget(slot);
    }

    /// Gives ready jobs to free slots: workers of a queue take turns, queues of a worker take turns.
    pub(in crate::engine::core) fn give_leases(&mut self) {
        if self.draining || self.nearly_out() {
            // They look again once leases are given again.
            for queue in &self.draft.queues {
                self.workers.wake_takers(&self.state.queue(*queue).name);
            }
            return;
        }
        let mut budget = GRANTS_MAX;
        for number in self.workers.take_hungry() {
            self.fill(number, &mut budget);
        }
        if self.workers.any_free() {
            let ready = self.index.ready_queues();
            let touched = self.draft.queues.iter().filter(|queue| ready.contains(queue));
            for queue in touched.copied().collect::<Vec<QueueNo>>() {
                self.spread(queue, &mut budget);
            }
        }
        self.more_to_give = budget == 0;
    }

    /// Fills the free slots of one worker from its queues in turn: a worker that asks for one job at a time comes to all
    /// of them too.
    fn fill(&mut self, number: u32, budget: &mut usize) {
        let queues = self.workers.learn_queues(number, self.state.queues());
        let mut refused = 0;
        while refused < queues
            && *budget > 0
            && self.workers.free(number) > 0
            && let Some(queue) = self.workers.next_queue(number, self.index.ready_queues())
        {
            if self.give_one(queue, number, budget) { refused = 0 } else { refused += 1 }
        }
        if *budget == 0 {
            self.workers.add_free(number, 0);
        }
    }

    fn is_open(&self, queue: QueueNo) -> bool {
        self.index.ready_queues().contains(&queue) && !self.state.queue(queue).settings.paused
    }

    /// Gives the ready jobs of a queue to those of its workers that have free slots, in turn.
    fn spread(&mut self, queue: QueueNo, budget: &mut usize) {
        let name = self.state.queue_name(queue);
        let takers = self.workers.takers(&name);
        let mut refused = 0;
        while refused < takers && *budget > 0 && self.workers.any_free() && self.is_open(queue) {
            let Some(number) = self.workers.rotate_takers(&name) else { return };
            if self.workers.free(number) > 0 && self.give_one(queue, number, budget) {
                refused = 0;
            } else {
                refused += 1;
            }
        }
        if *budget == 0 {
            self.workers.wake_takers(&name);
        }
    }

    /// Gives the next ready job of the queue to the worker; jobs found expired end on the way, and use the budget too:
    /// any number of them may have expired together, and a frame is bounded. Says whether there was one.
    fn give_one(&mut self, queue: QueueNo, number: u32, budget: &mut usize) -> bool {
        if !self.is_open(queue) {
            return false;
        }
        while *budget > 0
            && let Some(slot) = self.index.first_ready(queue)
        {
            let start_bytes = START_BYTES + self.workers.name(number).len();
            if !self.affords(start_bytes + self.ends_bytes(1)) {
                // They look again once there is space, or an attempt has ended.
                *budget = 0;
                return false;
            }
            *budget -= 1;
            let job = self.state.jobs().at(slot);
            let event = claim::claim(&self.state, job, self.workers.name(number), self.time())
                .expect("the index holds waiting jobs only");
            let started = matches!(event, Event::Started { .. });
            self.emit(event, Some(slot));
            if started {
                self.grant(slot, number);
                return true;
            }
        }
        false
    }

    fn grant(&mut self, slot: Slot, number: u32) {
        let job = self.state.jobs().at(slot);
        let grant = Grant {
            id: job.id,
            token: LeaseToken(self.state.sequence().0),
            slot,
            queue: job.queue,
            attempt: job.attempt,
            submitted_at: job.submitted_at(),
            timeout_ms: self.state.policy(job).timeout_ms,
        };
        self.workers.hold(number, slot);
        self.workers.tell(number, |output| output.grants.push(grant));
        self.watch_timeout(slot);
    }
}
