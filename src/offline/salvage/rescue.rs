//! From what is readable, event by event, to the new log. Run twice: first without writing, to learn which jobs are told of
//! although their submission is lost; then with a place in the new log for each of them, in the order of their ids.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Extra;
use crate::job::spec::Payload;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::Names;
use crate::offline::salvage::Gap;
use crate::offline::salvage::Report;
use crate::offline::salvage::bridge;
use crate::offline::salvage::bridge::Known;
use crate::offline::salvage::copy::Copy;
use crate::offline::salvage::copy::Written;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The label of a job whose payload is not there any more, and its values.
const LABEL: &str = "gangline-salvage";
const PAYLOAD_LOST: &str = "payload lost";
const PAYLOAD_TRIMMED: &str = "payload trimmed";

/// More queues than this are not made for one event that names a number.
const QUEUES_MAX: u32 = 1 << 20;
/// One step passes over four billion jobs of a producer.
const PRODUCER_STEPS_MAX: u32 = 1 << 10;

/// A job that is told of, but not its submission.
#[derive(Clone, Copy, Debug)]
pub(in crate::offline) struct Headless {
    queue: QueueNo,
    /// Its submission was let go by retention: nothing is lost.
    trimmed: bool,
}

/// Jobs without a submission.
pub(in crate::offline) type HeadlessJobs = BTreeMap<JobId, Headless>;

/// So many updates kept their order from `old` on.
#[derive(Clone, Copy, Debug)]
struct Run {
    old: u64,
    new: u64,
    count: u64,
}

/// A new log in the making.
pub(in crate::offline) struct Rescue<'a> {
    pub(in crate::offline) copy: Copy,
    pub(in crate::offline) report: Report,
    directory: &'a DataDirectory,
    names: Names,
    /// Those of the first run; empty in it.
    headless: &'a HeadlessJobs,
    pending: Vec<(JobId, Headless)>,
    /// Those found now.
    pub(in crate::offline) found: HeadlessJobs,
    runs: Vec<Run>,
    /// The log was trimmed, and no frame has been lost so far.
    only_trimmed: bool,
    /// Jobs below this one were submitted in what was trimmed.
    first_of_log: Option<JobId>,
    /// Jobs that may have changed in lost frames: live then, and nothing read of them since.
    doubtful: BTreeSet<JobId>,
}

impl<'a> Rescue<'a> {
    pub(in crate::offline) fn new(
        directory: &'a DataDirectory,
        headless: &'a HeadlessJobs,
        copy: Copy,
        trimmed: bool,
    ) -> Result<Rescue<'a>, Error> {
        Ok(Rescue {
            copy,
            report: Report::default(),
            directory,
            names: Names::of(directory)?,
            headless,
            pending: headless.iter().rev().map(|(id, job)| (*id, *job)).collect(),
            found: HeadlessJobs::new(),
            runs: Vec::new(),
            only_trimmed: trimmed,
            first_of_log: None,
            doubtful: BTreeSet::new(),
        })
    }

    /// Frames are lost here: any live job may have changed in them.
    pub(in crate::offline) fn lose(&mut self) {
        self.only_trimmed = false;
        let live = self.copy.state().jobs().iter().map(|(_, job)| job);
        self.doubtful = live.filter(|job| job.state() != JobState::Dead).map(|job| job.id).collect();
    }

    /// One readable event; `old` is its sequence, `None` if it was carried out of a segment that is gone.
    pub(in crate::offline) fn event(&mut self, event: &Event, old: Option<Sequence>) -> Result<(), Error> {
        self.report.events_read += 1;
        if let Event::QueueMade { queue, name } = event {
            self.names.see(event);
            if self.copy.state().queues().get(*queue).is_some_and(|known| known.name == *name) {
                return Ok(());
            }
            self.queues(QueueNo(queue.0.saturating_sub(1)), queue.0 > 0)?;
        }
        let written = match event {
            Event::CursorSet { name, sequence } => {
                let sequence = self.renumbered(*sequence);
                self.copy.write(&Event::CursorSet { name: name.clone(), sequence })?
            }
            Event::CursorDropped { name } if !self.copy.state().cursors().contains_key(name) => Written::Yes,
            Event::QueueSet { queue, .. } => {
                self.queues(*queue, true)?;
                self.copy.write(event)?
            }
            Event::KeyTaken { first, .. } => {
                self.headless_up_to(first.as_u128())?;
                self.copy.write(event)?
            }
            Event::ProducerAdvanced { producer, ordinal, first, .. } => {
                self.headless_up_to(first.as_u128())?;
                self.producer(producer, ordinal.saturating_sub(1))?;
                self.copy.write(event)?
            }
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
            | Event::CursorDropped { .. }
            | Event::KeysForgotten { .. }
            | Event::ProducersForgotten { .. }
            | Event::Opened { .. } => match event.job() {
                Some((id, queue)) => self.update(event, id, queue, old)?,
                None => self.copy.write(event)?,
            },
        };
        if written == Written::No {
            self.report.left_out += 1;
        }
        Ok(())
    }

    fn update(
        &mut self,
        event: &Event,
        id: JobId,
        queue: QueueNo,
        old: Option<Sequence>,
    ) -> Result<Written, Error> {
        self.queues(queue, true)?;
        if matches!(event, Event::Submitted(_)) {
            self.headless_up_to(id.as_u128())?;
            if old.is_some() && self.only_trimmed {
                self.first_of_log.get_or_insert(id);
            }
        } else {
            self.doubtful.remove(&id);
            self.headless_up_to(id.as_u128() + 1)?;
            if self.copy.state().find(id, None).is_none() && !matches!(event, Event::Deleted { .. }) {
                let trimmed = self.only_trimmed || self.first_of_log.is_some_and(|first| id < first);
                self.found.entry(id).or_insert(Headless { queue, trimmed });
            }
            self.report.updates_added += bridge::before(&mut self.copy, event)?;
        }
        let written = self.copy.write(event)?;
        if written == Written::Yes {
            self.report.updates_kept += 1;
            if let Some(old) = old {
                self.number(old.0);
            }
        }
        Ok(written)
    }

    /// Notes that the update `old` is now the newest one.
    fn number(&mut self, old: u64) {
        let new = self.copy.state().sequence().0;
        match self.runs.last_mut() {
            Some(run) if run.old + run.count == old && run.new + run.count == new => run.count += 1,
            _ => self.runs.push(Run { old, new, count: 1 }),
        }
    }

    /// What is now the sequence of the last update that is not after `old`.
    fn renumbered(&self, old: Sequence) -> Sequence {
        let before = self.runs.partition_point(|run| run.old <= old.0);
        let Some(run) = before.checked_sub(1).and_then(|index| self.runs.get(index)) else {
            return Sequence(0);
        };
        Sequence(run.new + (old.0 - run.old).min(run.count - 1))
    }

    /// Makes every queue up to this one, by the name that is known.
    fn queues(&mut self, last: QueueNo, wanted: bool) -> Result<(), Error> {
        let made = self.copy.state().queues().next_no();
        // One that is not to be believed must not make billions.
        let wanted = wanted && last.0.saturating_sub(made.0) < QUEUES_MAX;
        while wanted && self.copy.state().queues().next_no() <= last {
            let queue = self.copy.state().queues().next_no();
            let name = self.names.get(self.directory, queue)?;
            if self.copy.add(&Event::QueueMade { queue, name })? == Written::No {
                let name = format!("lost:{queue}").parse().expect("letters, a colon and digits are a name");
                self.copy.add(&Event::QueueMade { queue, name })?;
            }
        }
        Ok(())
    }

    /// What a producer submitted up to `ordinal` was accepted, although it cannot be said any more as which jobs.
    fn producer(&mut self, producer: &Arc<str>, ordinal: u64) -> Result<(), Error> {
        for _ in 0..PRODUCER_STEPS_MAX {
            let last = self.copy.state().producers().get(producer).map_or(0, |known| known.last_ordinal);
            let Some(jobs) = ordinal.checked_sub(last).filter(|jobs| *jobs > 0) else { return Ok(()) };
            let jobs = u32::try_from(jobs).unwrap_or(u32::MAX);
            let (producer, first) = (producer.clone(), JobId::MIN);
            let event = Event::ProducerAdvanced { producer, ordinal: last + 1, first, jobs };
            if self.copy.add(&event)? == Written::No {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Gives the jobs below this id, whose submission is not there, their place.
    fn headless_up_to(&mut self, end: u128) -> Result<(), Error> {
        while let Some((id, Headless { queue, trimmed })) = self.pending.pop_if(|(id, _)| id.as_u128() < end)
        {
            self.queues(queue, true)?;
            let value = if trimmed { PAYLOAD_TRIMMED } else { PAYLOAD_LOST };
            let extra = Extra { labels: vec![(LABEL.into(), value.into())], ..Extra::default() };
            let event = Event::Submitted(Submitted {
                id,
                queue,
                priority: 0,
                due: Timestamp(0),
                policy: None,
                extra: Some(Box::new(extra)),
                payload: Payload::default(),
            });
            self.report.updates_added += u64::from(self.copy.add(&event)? == Written::Yes);
            if !trimmed {
                self.report.miss(id, Gap::Payload);
            }
        }
        Ok(())
    }

    /// Takes over from a checkpoint what frames that are lost, or were trimmed, have changed.
    pub(in crate::offline) fn settle(&mut self, known: &State) -> Result<(), Error> {
        let last = known.queues().next_no();
        self.queues(QueueNo(last.0.saturating_sub(1)), last.0 > 0)?;
        for (queue, wanted) in known.queues().iter() {
            let settings = wanted.settings.clone();
            let own = self.copy.state().queues().get(queue).map(|own| &own.settings);
            if own.is_some_and(|own| *own != settings) {
                self.copy.add(&Event::QueueSet { queue, settings })?;
            }
        }
        let from = self.copy.state().sequence().0;
        self.settle_jobs(known)?;
        self.report.updates_added += self.copy.state().sequence().0 - from;
        for (producer, state) in known.producers() {
            self.producer(producer, state.last_ordinal)?;
        }
        for (name, cursor) in known.cursors() {
            let sequence = self.renumbered(cursor.sequence);
            if self.copy.state().cursors().get(name).is_none_or(|own| own.sequence != sequence) {
                self.copy.add(&Event::CursorSet { name: name.clone(), sequence })?;
            }
        }
        let keys = known.keys().in_order().into_iter();
        let forgotten = keys.filter(|key| self.copy.state().keys().get(key.digest).is_none()).count();
        self.report.keys_forgotten = self.report.keys_forgotten.max(forgotten as u64);
        self.doubtful.clear();
        Ok(())
    }

    fn settle_jobs(&mut self, known: &State) -> Result<(), Error> {
        for (id, queue) in self.live() {
            if known.find(id, None).is_none() {
                bridge::end(&mut self.copy, id, queue)?;
                if !self.headless.contains_key(&id) {
                    self.report.miss(id, Gap::End);
                }
            }
        }
        for (_, job) in known.jobs().in_id_order() {
            if self.copy.state().find(job.id, None).is_some() {
                bridge::settle(&mut self.copy, job.id, job.queue, &Known::of(known, job))?;
            } else {
                self.report.miss(job.id, Gap::Payload);
            }
        }
        Ok(())
    }

    fn live(&self) -> Vec<(JobId, QueueNo)> {
        let state = self.copy.state();
        state.jobs().in_id_order().map(|(_, job)| (job.id, job.queue)).collect()
    }

    /// The last word: what ran waits again, and what has no payload does not live.
    pub(in crate::offline) fn finish(&mut self) -> Result<(), Error> {
        self.headless_up_to(u128::MAX)?;
        let from = self.copy.state().sequence().0;
        for (id, queue) in self.live() {
            let Some((_, job)) = self.copy.state().find(id, None) else { continue };
            if self.headless.contains_key(&id) {
                bridge::end(&mut self.copy, id, queue)?;
                continue;
            }
            if self.doubtful.contains(&id) {
                self.report.miss(id, Gap::Doubt);
            }
            let attempt = job.attempt;
            if job.state() == JobState::Running {
                let (due, reason) = (Timestamp(0), "salvaged: its lease is void".into());
                self.copy.add(&Event::Released { id, queue, attempt, due, reason })?;
            }
        }
        self.report.updates_added += self.copy.state().sequence().0 - from;
        Ok(())
    }
}
