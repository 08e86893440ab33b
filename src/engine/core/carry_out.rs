//! Carrying out one command: decide, emit, and keep the answer until the frame is synced.

use crate::codec;
use crate::engine::command::Backlog;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Purge;
use crate::engine::command::Reply;
use crate::engine::command::weight;
use crate::engine::core::Answer;
use crate::engine::core::Core;
use crate::engine::overlay::JobView;
use crate::engine::view::Health;
use crate::engine::workers::WorkerView;
use crate::job::decide::Refused;
use crate::job::decide::control;
use crate::job::decide::prune;
use crate::job::decide::prune::Finished;
use crate::job::decide::submit;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::QueueChange;
use crate::job::state::State;
use crate::log::Log;
use std::sync::Arc;

/// At most how many bytes of log the settings of a queue need, and its name if it is new.
const SETTINGS_BYTES: usize = 1_024;
/// At most how many bytes of log a purged job needs.
const PURGED_BYTES: usize = 64;

impl<L: Log> Core<L> {
    pub(in crate::engine::core) fn carry_out(&mut self, command: Command) {
        match command {
            Command::Submit(batch, reply) => {
                let outcome = self.submit(batch);
                self.answer(reply, outcome);
            }
            Command::LastOrdinal(producer, reply) => {
                let last = self.state.producers().get(&producer).map_or(0, |known| known.last_ordinal);
                self.answer(reply, Ok(last));
            }
            Command::Cancel(ids, reason, reply) => {
                let cancel = |state: &State, id: JobId| control::cancel(state, id, Arc::clone(&reason));
                let outcomes = ids.into_iter().map(|id| self.decide_one(id, cancel)).collect();
                self.answer(reply, Ok(outcomes));
            }
            Command::Retry(ids, reply) => {
                let outcomes = ids.into_iter().map(|id| self.retry(id)).collect();
                self.answer(reply, Ok(outcomes));
            }
            Command::Delete(jobs, reply) => {
                let delete = |state: &State, (id, queue)| control::delete(state, id, queue);
                let outcomes = jobs.into_iter().map(|job| self.decide_one(job, delete)).collect();
                self.answer(reply, Ok(outcomes));
            }
            Command::Purge(queue, what, limit, reply) => {
                let outcome = self.purge(&queue, what, limit);
                self.answer(reply, outcome);
            }
            Command::Prune(jobs, reply) => {
                let outcome = self.prune(jobs);
                self.answer(reply, outcome);
            }
            Command::SetQueue(name, change, reply) => {
                let outcome = self.set_queue(&name, change);
                self.answer(reply, outcome);
            }
            Command::Backlogs(queues, reply) => self.tell_backlogs(queues, reply),
            Command::Look(id, reply) => self.answer(reply, Ok(JobView::live(&self.state, id))),
            Command::CommitCursor(name, sequence, reply) => {
                let decided = control::commit_cursor(&self.state, &name, sequence, &self.options.limits);
                // A reader that commits often must not take what is left for those that run.
                let affords = self.affords(self.left_bytes());
                let outcome = if affords { self.emit_decided(decided) } else { Err(Error::DiskFull) };
                self.answer(reply, outcome.map(|_| ()));
            }
            Command::DropCursor(name, reply) => {
                let outcome = self.emit_decided(control::drop_cursor(&self.state, &name));
                self.answer(reply, outcome.map(|_| ()));
            }
            Command::Attach(attach, reply) => {
                let welcome = self.attach(attach);
                self.answer(reply, welcome);
            }
            Command::Work(session, message) => self.work(session, message),
            Command::Finish(worker, message, reply) => {
                let acks = self.finish_for(&worker, message);
                self.answer(reply, Ok(acks));
            }
            Command::Extend(worker, claimed, message, reply) => {
                self.finish_for(&worker, message);
                let held = self.extend(&worker, claimed);
                self.answer(reply, Ok(held));
            }
            Command::Detach(session, bye) => self.detach(session, bye),
            Command::StopLeases(session, reply) => {
                self.stop_leases(session);
                self.answer(reply, Ok(()));
            }
            Command::ListWorkers(reply) => self.list_workers(reply),
            Command::Drain(reply) => self.drain(reply),
        }
    }

    /// The answer leaves after the sync of the frame, or says that its outcome is unknown. [ACK-1]
    pub(in crate::engine::core) fn answer<T: Send + 'static>(
        &mut self,
        reply: Reply<T>,
        outcome: Result<T, Error>,
    ) {
        self.answers.push(Answer(Box::new(move |written| reply.send(written.and(outcome)))));
    }

    fn drain(&mut self, reply: Reply<()>) {
        self.draining = true;
        self.view.set_health(Health::Draining);
        self.answer(reply, Ok(()));
    }

    fn list_workers(&mut self, reply: Reply<Vec<WorkerView>>) {
        let views = self.workers.views(self.now.tick, |slot| self.state.jobs().at(slot).id);
        self.answer(reply, Ok(views));
    }

    fn submit(&mut self, batch: Batch) -> Result<Accepted, Error> {
        if self.draining {
            return Err(Error::ShuttingDown);
        }
        let (bytes, bytes_max) = (weight(&batch), self.log.limits().frame_bytes_max);
        if self.disk_full() {
            return Err(Error::DiskFull);
        }
        if bytes > bytes_max / 2 {
            return Err(Error::TooLarge { bytes, bytes_max: bytes_max / 2 });
        }
        // What a submit may not take is for what runs by then. [ACK-2]
        if !self.affords(bytes + bytes_max / 4) {
            return Err(Error::DiskFull);
        }
        self.make_room(bytes);
        let first = self.ids.take(batch.jobs.len() as u64, self.time(), self.chance.next_u64());
        let mut events = Vec::with_capacity(batch.jobs.len() + 1);
        let accepted = submit::submit(&self.state, batch, first, &self.options.limits, &mut events)?;
        for event in events {
            self.add(event, None);
        }
        Ok(accepted)
    }

    fn retry(&mut self, id: JobId) -> Result<Sequence, Error> {
        if self.disk_full() {
            return Err(Error::DiskFull);
        }
        self.decide_one(id, control::retry)
    }

    fn decide_one<T>(
        &mut self,
        what: T,
        decide: impl Fn(&State, T) -> Result<Event, Refused>,
    ) -> Result<Sequence, Error> {
        let decided = decide(&self.state, what);
        self.emit_decided(decided)
    }

    fn emit_decided(&mut self, decided: Result<Event, Refused>) -> Result<Sequence, Error> {
        let event = decided?;
        if !self.affords(codec::encode(&event).len()) {
            return Err(Error::DiskFull);
        }
        self.tell_of_cancel(&event);
        self.emit(event, None);
        Ok(self.state.sequence())
    }

    fn tell_backlogs(&mut self, queues: Vec<QueueNo>, reply: Reply<Vec<Backlog>>) {
        let backlogs = queues.into_iter().map(|queue| self.backlog(queue)).collect();
        self.answer(reply, Ok(backlogs));
    }

    fn backlog(&self, queue: QueueNo) -> Backlog {
        let waiting = self.state.queues().get(queue).map_or(0, |queue| queue.counts.waiting);
        let scheduled = self.index.scheduled(queue);
        let oldest_due = self.index.oldest_ready(&self.state, queue);
        Backlog { ready: waiting.saturating_sub(scheduled), scheduled, oldest_due }
    }

    fn set_queue(&mut self, name: &QueueName, change: QueueChange) -> Result<QueueNo, Error> {
        let known = self.state.queues().find(name).and_then(|queue| self.state.queues().get(queue));
        let settings = change.of(&known.map(|queue| queue.settings.clone()).unwrap_or_default());
        if !self.affords(SETTINGS_BYTES) {
            return Err(Error::DiskFull);
        }
        let mut events = Vec::new();
        let queue = control::set_queue(&self.state, name, settings, &self.options.limits, &mut events)?;
        for event in events {
            self.emit(event, None);
        }
        self.workers.wake_takers(name);
        Ok(queue)
    }

    fn purge(&mut self, name: &QueueName, what: Purge, limit: usize) -> Result<u64, Error> {
        let queue = self.state.queues().find(name).ok_or_else(|| Refused::NoQueue(name.clone()))?;
        let ids: Vec<JobId> = match what {
            Purge::Dead => {
                let dead = self.state.queue(queue).dead.iter().take(limit);
                dead.map(|(_, slot)| self.state.jobs().at(*slot).id).collect()
            }
            Purge::Waiting => {
                let waiting = self.index.waiting(&self.state, queue, limit);
                waiting.into_iter().map(|slot| self.state.jobs().at(slot).id).collect()
            }
        };
        if !self.affords(PURGED_BYTES * ids.len()) {
            return Err(Error::DiskFull);
        }
        let reason: Arc<str> = "purged".into();
        let mut purged = 0;
        for id in ids {
            let event = match what {
                Purge::Waiting => control::cancel(&self.state, id, reason.clone())?,
                Purge::Dead => control::delete(&self.state, id, None)?,
            };
            self.emit(event, None);
            purged += 1;
        }
        Ok(purged)
    }

    /// On a full disk retention waits: a deleted job frees nothing by itself, and what room is left is for what runs. [ACK-2]
    fn prune(&mut self, jobs: Vec<Finished>) -> Result<u64, Error> {
        if self.disk_full() || !self.affords(PURGED_BYTES * jobs.len()) {
            return Err(Error::DiskFull);
        }
        let mut pruned = 0;
        for job in jobs {
            if let Some(event) = prune::prune(&self.state, job, self.time()) {
                self.emit(event, None);
                pruned += 1;
            }
        }
        Ok(pruned)
    }
}
