//! What an event changes: the only code that changes state. Live running, recovery, checkpoint and verify all
//! come through here. [LOG-3]

mod tables;

use crate::clock::Timestamp;
use crate::job::dedupe::KeySlot;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::event::Submitted;
use crate::job::extra::Rare;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::queue::Counts;
use crate::job::spec::Policy;
use crate::job::state::Job;
use crate::job::state::OpenBatch;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::job::table::Slot;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use std::sync::Arc;

/// Where and when an event happened.
#[derive(Clone, Copy, Debug)]
pub struct At {
    /// Its place in the log.
    pub pointer: Pointer,
    /// Log time of its frame.
    pub time: Timestamp,
}

/// What an event did to a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// It was about no job, or about one that is no longer live.
    None,
    /// The job in this slot entered its stage or changed in it.
    Live(Slot),
    /// The job left the live jobs; the slot is free. [JOB-2]
    Gone(Slot),
}

/// An event that cannot follow from the state: the log is not what a writer wrote.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} does not fit the state: {why}")]
pub struct Inconsistent {
    /// The kind of event and its job.
    pub what: String,
    /// What is wrong.
    pub why: &'static str,
}

impl State {
    /// Applies one event of the frame at `at`. `hint` is where its job was last seen; it only saves a look-up.
    ///
    /// Updates take the next sequence. [LOG-1]
    ///
    /// # Errors
    /// [`Inconsistent`] if the event does not fit; the state is then what it was before.
    pub fn apply(&mut self, event: &Event, at: At, hint: Option<Slot>) -> Result<Change, Inconsistent> {
        let sequence = self.sequence.plus(1);
        let change = match event.job() {
            Some((id, queue)) => {
                let change = self.apply_update(event, id, queue, sequence, at, hint);
                change.map_err(|why| inconsistent(event, why))?
            }
            None => {
                self.apply_to_tables(event, at).map_err(|why| inconsistent(event, why))?;
                Change::None
            }
        };
        if event.is_update() {
            self.sequence = sequence;
        }
        self.position = at.pointer.position;
        self.time = at.time;
        Ok(change)
    }

    /// Notes that a frame was applied whole, also one without events.
    pub fn applied(&mut self, position: Position, time: Timestamp) {
        self.position = position;
        self.time = time;
        self.open_batch = None;
    }

    /// Notes that updates up to `sequence` have their numbers although they were not applied, because they, or what led
    /// to them, are lost. Only for reading damaged logs: a server refuses to start on one.
    pub fn pass_over(&mut self, sequence: Sequence) {
        self.sequence = sequence;
        self.open_batch = None;
    }

    fn apply_update(
        &mut self,
        event: &Event,
        id: JobId,
        queue: QueueNo,
        sequence: Sequence,
        at: At,
        hint: Option<Slot>,
    ) -> Result<Change, &'static str> {
        if self.queues.get(queue).is_none() {
            return Err("its queue was never made");
        }
        if let Event::Submitted(submitted) = event {
            return self.submitted(submitted, sequence, at);
        }
        let Some(slot) = self.jobs.find(id, hint) else {
            let of_finished_job = matches!(event, Event::Deleted { .. });
            #[cfg(any(test, feature = "seeded-bugs"))]
            let of_finished_job = of_finished_job || Bug::TwoTerminals.is_in();
            return if of_finished_job { Ok(Change::None) } else { Err("the job is not live") };
        };
        if self.jobs.at(slot).queue != queue {
            return Err("the job is in another queue");
        }
        self.apply_to_job(event, slot, sequence, at).ok_or("not at this stage or attempt of the job")
    }

    fn submitted(&mut self, event: &Submitted, sequence: Sequence, at: At) -> Result<Change, &'static str> {
        if event.id <= self.last_id {
            return Err("its id is not above all earlier ones");
        }
        if at.pointer.position > Job::POSITION_MAX {
            return Err("no log reaches so far");
        }
        let key = self.next_of_batch(event.id)?;
        let policy = event.policy.as_ref().map(|policy| {
            let shared = Policy { expires: None, ..Policy::clone(policy) };
            self.policies.hold(&shared)
        });
        let payload_bytes = u32::try_from(event.payload.0.len()).unwrap_or(u32::MAX);
        let submitted = (sequence, at.pointer);
        let job = Job::waiting(event.id, event.due, submitted, event.queue, event.priority, payload_bytes);
        let slot = self.jobs.insert(job);
        if event.policy.is_some() || key.is_some() {
            let expires = event.policy.as_ref().and_then(|policy| policy.expires).unwrap_or_default();
            self.change_extra(slot, |extra| {
                (extra.policy, extra.key) = (policy, key);
                extra.change_rare(|rare| rare.expires = expires);
            });
        }
        self.last_id = event.id;
        self.count(event.queue, |counts| {
            counts.waiting += 1;
            counts.submitted_total += 1;
        });
        Ok(Change::Live(slot))
    }

    /// The key whose batch the job belongs to: the jobs of a batch follow its `KeyTaken` in id order with nothing
    /// submitted between them, so that each of them ends its share of the key exactly once. [ID-1]
    fn next_of_batch(&mut self, id: JobId) -> Result<Option<KeySlot>, &'static str> {
        let Some(batch) = self.open_batch else { return Ok(None) };
        if batch.next != id {
            return Err("the submit key before it was taken for another job");
        }
        self.open_batch =
            (batch.left > 1).then(|| OpenBatch { next: id.plus(1), left: batch.left - 1, ..batch });
        Ok(Some(batch.key))
    }

    fn apply_to_job(&mut self, event: &Event, slot: Slot, sequence: Sequence, at: At) -> Option<Change> {
        let job = self.jobs.at(slot);
        let waiting = matches!(job.stage(), Stage::Waiting { .. });
        let running = matches!(job.stage(), Stage::Running { .. });
        let dead = matches!(job.stage(), Stage::Dead { .. });
        let (current, next) = (job.attempt, job.attempt.saturating_add(1));
        let next_generation = self.rare(job).generation.saturating_add(1);
        match event {
            Event::Started { attempt, worker, .. } if waiting && *attempt == next => {
                self.started(slot, *attempt, worker, LeaseToken(sequence.0))
            }
            Event::Progress { .. } if running => Some(Change::Live(slot)),
            Event::Retrying { attempt, failure, due, .. } if running && *attempt == current => {
                self.note_failure(slot, failure.kind, at.pointer);
                self.back_to_waiting(slot, *due)
            }
            Event::Released { attempt, due, .. } if running && *attempt == current => {
                self.back_to_waiting(slot, *due)
            }
            Event::Succeeded { attempt, .. } if running && *attempt == current => {
                self.finish(slot, at.time, |counts| counts.succeeded_total += 1)
            }
            Event::Dead { attempt, failure, .. } if running && *attempt == current => {
                self.note_failure(slot, failure.kind, at.pointer);
                self.died(slot, sequence, at.time)
            }
            Event::Cancelled { attempt, .. } if (waiting || running) && *attempt == current => {
                self.finish(slot, at.time, |counts| counts.cancelled_total += 1)
            }
            Event::Expired { .. } if waiting => {
                self.finish(slot, at.time, |counts| counts.expired_total += 1)
            }
            Event::Retried { generation, .. } if dead && *generation == next_generation => {
                self.revived(slot, *generation)
            }
            Event::Deleted { .. } if dead => self.finish(slot, at.time, |_| {}),
            Event::Submitted(_)
            | Event::Started { .. }
            | Event::Progress { .. }
            | Event::Retrying { .. }
            | Event::Released { .. }
            | Event::Succeeded { .. }
            | Event::Dead { .. }
            | Event::Cancelled { .. }
            | Event::Expired { .. }
            | Event::Retried { .. }
            | Event::Deleted { .. }
            | Event::QueueMade { .. }
            | Event::QueueSet { .. }
            | Event::CursorSet { .. }
            | Event::CursorDropped { .. }
            | Event::KeyTaken { .. }
            | Event::KeysForgotten { .. }
            | Event::ProducerAdvanced { .. }
            | Event::ProducersForgotten { .. }
            | Event::Opened { .. } => None,
        }
    }

    fn started(&mut self, slot: Slot, attempt: u32, worker: &Arc<str>, token: LeaseToken) -> Option<Change> {
        let worker = self.workers.hold(worker);
        let job = self.jobs.at_mut(slot);
        job.set_stage(Stage::Running { token, worker });
        job.attempt = attempt;
        let queue = job.queue;
        self.count(queue, |counts| {
            counts.waiting -= 1;
            counts.running += 1;
            counts.started_total += 1;
        });
        Some(Change::Live(slot))
    }

    fn change_rare(&mut self, slot: Slot, change: impl FnOnce(&mut Rare)) {
        self.change_extra(slot, |extra| extra.change_rare(change));
    }

    fn note_failure(&mut self, slot: Slot, kind: FailureKind, at: Pointer) {
        let own_budget = self.policy(self.jobs.at(slot)).timed_out_max.is_some();
        self.change_rare(slot, |rare| {
            let budget = match kind {
                FailureKind::Failed => &mut rare.failed,
                FailureKind::Crashed => &mut rare.crashed,
                FailureKind::TimedOut if own_budget => &mut rare.timed_out,
                FailureKind::TimedOut => &mut rare.failed,
                FailureKind::Lost => &mut rare.lost,
            };
            *budget = budget.saturating_add(1);
            rare.failures.push(at);
        });
    }

    fn back_to_waiting(&mut self, slot: Slot, due: Timestamp) -> Option<Change> {
        self.leave_stage(slot);
        let job = self.jobs.at_mut(slot);
        job.set_stage(Stage::Waiting { due });
        let queue = job.queue;
        self.count(queue, |counts| counts.waiting += 1);
        Some(Change::Live(slot))
    }

    fn died(&mut self, slot: Slot, sequence: Sequence, now: Timestamp) -> Option<Change> {
        self.leave_stage(slot);
        self.end_key(slot, now);
        let job = self.jobs.at_mut(slot);
        job.set_stage(Stage::Dead { sequence });
        let queue = job.queue;
        self.count(queue, |counts| {
            counts.dead += 1;
            counts.dead_total += 1;
        });
        self.queues.get_mut(queue)?.dead.insert((sequence, slot));
        Some(Change::Live(slot))
    }

    fn revived(&mut self, slot: Slot, generation: u16) -> Option<Change> {
        self.change_rare(slot, |rare| {
            let failures = std::mem::take(&mut rare.failures);
            *rare = Rare { generation, failures, ..Rare::default() };
        });
        self.back_to_waiting(slot, Timestamp(0))
    }

    /// The job leaves the live jobs. [JOB-2]
    fn finish(&mut self, slot: Slot, now: Timestamp, total: impl FnOnce(&mut Counts)) -> Option<Change> {
        self.leave_stage(slot);
        self.end_key(slot, now);
        let (job, extra) = self.remove(slot);
        if let Some(policy) = extra.policy {
            self.policies.drop_hold(policy);
        }
        self.count(job.queue, total);
        Some(Change::Gone(slot))
    }

    fn leave_stage(&mut self, slot: Slot) {
        let job = self.jobs.at(slot);
        let (stage, queue) = (job.stage(), job.queue);
        match stage {
            Stage::Waiting { .. } => self.count(queue, |counts| counts.waiting -= 1),
            Stage::Running { worker, .. } => {
                self.workers.drop_hold(worker);
                self.count(queue, |counts| counts.running -= 1);
            }
            Stage::Dead { sequence } => {
                self.count(queue, |counts| counts.dead -= 1);
                if let Some(queue) = self.queues.get_mut(queue) {
                    queue.dead.remove(&(sequence, slot));
                }
            }
        }
    }

    /// The window in which its key is remembered begins. [ID-1]
    fn end_key(&mut self, slot: Slot, now: Timestamp) {
        if let Some(key) = self.key(self.jobs.at(slot)) {
            self.change_extra(slot, |extra| extra.key = None);
            self.keys.job_ended(key, now);
        }
    }

    fn count(&mut self, queue: QueueNo, change: impl FnOnce(&mut Counts)) {
        change(&mut self.queues.get_mut(queue).expect("checked before the event was applied").counts);
    }
}

fn inconsistent(event: &Event, why: &'static str) -> Inconsistent {
    let what = match event.job() {
        Some((id, _)) => format!("{} of job {id}", event.kind_name()),
        None => event.kind_name().to_owned(),
    };
    Inconsistent { what, why }
}

#[cfg(test)]
mod tests;
