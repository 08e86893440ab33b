//! What the durable frames say, followed in the plainest way, and every promise that can be checked from them. It shares
//! no code with `decide` and `apply`; the state that `apply` gives is kept beside it, to be compared.

use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::engine::recover::apply_frame;
use crate::engine::simulation::life::Known;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::life::Moment;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::queue::Counts;
use crate::job::spec::QueueSettings;
use crate::job::state::State;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub(in crate::engine::simulation) struct QueueRef {
    pub(in crate::engine::simulation) name: QueueName,
    pub(in crate::engine::simulation) settings: QueueSettings,
    pub(in crate::engine::simulation) counts: Counts,
    /// The most dead jobs that may be there at the end of the frame. [DEAD-1]
    dead_allowed: u64,
}

#[derive(Debug, Default)]
pub(in crate::engine::simulation) struct Reference {
    pub(in crate::engine::simulation) jobs: BTreeMap<JobId, Known>,
    pub(in crate::engine::simulation) queues: Vec<QueueRef>,
    /// Job and kind of each update.
    pub(in crate::engine::simulation) updates: Vec<(JobId, &'static str)>,
    pub(in crate::engine::simulation) hashes: Vec<Hash>,
    pub(in crate::engine::simulation) cursors: BTreeMap<Arc<str>, Sequence>,
    pub(in crate::engine::simulation) producers: HashMap<Arc<str>, (u64, Timestamp)>,
    pub(in crate::engine::simulation) keys: HashMap<Arc<str>, (JobId, u32)>,
    /// Payloads are unique by origin and ordinal: a second one is a repeat that made a job. [ID-1]
    payloads: HashSet<Bytes>,
    /// When a worker's leases may lapse at the earliest. [LEASE-2]
    pub(in crate::engine::simulation) lapse_not_before: HashMap<Arc<str>, Tick>,
    /// When the running engine told of a lease's progress last.
    pub(in crate::engine::simulation) told: HashMap<LeaseToken, Tick>,
    pub(in crate::engine::simulation) time: Timestamp,
    /// The replay from zero. [LOG-3]
    pub(in crate::engine::simulation) replayed: State,
}

impl Reference {
    /// Follows the next durable frame.
    pub(in crate::engine::simulation) fn see(&mut self, frame: &Frame, moment: Moment) {
        assert_eq!(frame.position.0, self.hashes.len() as u64 + 1, "positions have no gap [LOG-1]");
        assert_eq!(frame.previous, self.hashes.last().copied().unwrap_or(Hash::ZERO), "one history [LOG-1]");
        assert_eq!(frame.first_sequence.0, self.updates.len() as u64 + 1, "sequences have no gap [LOG-1]");
        assert!(frame.time >= self.time, "log time does not go back");
        self.time = frame.time;
        for queue in &mut self.queues {
            queue.dead_allowed = queue.counts.dead.max(u64::from(queue.settings.dead_max));
        }
        let events = frame.events().unwrap();
        for (event, index) in events.iter().zip(0..) {
            let at = Pointer { position: frame.position, index };
            match event.job() {
                Some((id, queue)) => self.update(event, id, queue, at, moment),
                None => self.table(event, moment),
            }
        }
        for queue in &self.queues {
            assert!(queue.counts.dead <= queue.dead_allowed, "[DEAD-1] {queue:?}");
        }
        apply_frame(&mut self.replayed, frame).unwrap();
        self.hashes.push(frame.hash());
    }

    fn update(&mut self, event: &Event, id: JobId, queue: QueueNo, at: Pointer, moment: Moment) {
        self.updates.push((id, event.kind_name()));
        let sequence = Sequence(self.updates.len() as u64);
        if let Event::Submitted(submitted) = event {
            return self.submitted(submitted, sequence, at);
        }
        if let Event::Started { attempt, worker, .. } = event {
            self.check_start(id, moment);
            let job = self.jobs.get_mut(&id).unwrap();
            job.attempt += 1;
            assert_eq!(*attempt, job.attempt, "attempts count up");
            job.worker = worker.clone();
        }
        let job = self.jobs.get_mut(&id).expect("updates are about submitted jobs");
        assert_eq!(job.queue, queue, "a job stays in its queue");
        if let (Event::Progress { .. }, Life::Running(token)) = (event, job.life) {
            let earlier = self.told.insert(token, moment.tick);
            assert!(earlier.is_none_or(|earlier| moment.tick.0 >= earlier.0 + moment.progress_ns));
        }
        let before = job.life;
        let earliest = self.lapse_not_before.get(&job.worker).copied().unwrap_or_default();
        job.follow(event, sequence, Moment { earliest, time: self.time, ..moment });
        let after = job.life;
        self.count(queue, before, after);
    }

    fn submitted(&mut self, submitted: &Submitted, sequence: Sequence, at: Pointer) {
        let last = self.jobs.last_key_value().map(|(id, _)| *id);
        assert!(last.is_none_or(|last| last < submitted.id), "ids rise");
        assert!(
            self.payloads.insert(submitted.payload.0.clone()),
            "a repeat made a job [ID-1] {submitted:?}"
        );
        let queue = &mut self.queues[submitted.queue.0 as usize];
        queue.counts.waiting += 1;
        queue.counts.submitted_total += 1;
        let max = queue.settings.max_pending.unwrap_or(u64::MAX);
        assert!(queue.counts.waiting <= max, "the queue takes no more");
        self.jobs.insert(submitted.id, Known::new(submitted, sequence, at));
    }

    /// A start takes the most urgent of the jobs that are ready.
    fn check_start(&self, id: JobId, moment: Moment) {
        let job = &self.jobs[&id];
        let Life::Waiting(due) = job.life else { panic!("{id} was started while {:?} [JOB-1]", job.life) };
        assert!(due <= moment.log_time.max(self.time), "{id} was started before it was due");
        assert!(!self.queues[job.queue.0 as usize].settings.paused, "{id} was started in a paused queue");
        for (other, known) in &self.jobs {
            let ready = matches!(known.life, Life::Waiting(due) if due <= self.time);
            let more = known.queue == job.queue && known.priority > job.priority;
            let late = known.attempt == 0 && known.policy.expires.is_some_and(|at| at <= self.time);
            assert!(!(ready && more && !late), "{id} was started before the more urgent {other}");
        }
    }

    fn count(&mut self, queue: QueueNo, before: Life, after: Life) {
        let counts = &mut self.queues[queue.0 as usize].counts;
        match before {
            Life::Waiting(_) => counts.waiting -= 1,
            Life::Running(_) => counts.running -= 1,
            Life::Dead => counts.dead -= 1,
            Life::Succeeded | Life::Cancelled | Life::Expired | Life::Deleted => {}
        }
        match after {
            Life::Waiting(_) => counts.waiting += 1,
            Life::Running(_) => {
                counts.running += 1;
                counts.started_total += u64::from(before != after);
            }
            Life::Dead => {
                counts.dead += 1;
                counts.dead_total += 1;
            }
            Life::Succeeded => counts.succeeded_total += 1,
            Life::Cancelled => counts.cancelled_total += 1,
            Life::Expired => counts.expired_total += 1,
            Life::Deleted => {}
        }
    }

    fn table(&mut self, event: &Event, moment: Moment) {
        match event {
            Event::QueueMade { queue, name } => {
                assert_eq!(queue.0 as usize, self.queues.len());
                let (settings, counts) = (QueueSettings::default(), Counts::default());
                let dead_allowed = u64::from(settings.dead_max);
                self.queues.push(QueueRef { name: name.clone(), settings, counts, dead_allowed });
            }
            Event::QueueSet { queue, settings } => {
                let queue = &mut self.queues[queue.0 as usize];
                queue.settings = settings.clone();
                queue.dead_allowed = queue.dead_allowed.max(u64::from(settings.dead_max));
            }
            Event::CursorSet { name, sequence } => {
                assert!(sequence.0 <= self.updates.len() as u64);
                self.cursors.insert(name.clone(), *sequence);
            }
            Event::CursorDropped { name } => {
                assert!(self.cursors.remove(name).is_some());
            }
            Event::KeyTaken { key, first, jobs, .. } => {
                assert!(self.keys.insert(key.clone(), (*first, *jobs)).is_none(), "[ID-1] {key}");
            }
            Event::KeysForgotten { ended_before } => self.keys_forgotten(*ended_before, moment),
            Event::ProducerAdvanced { producer, ordinal, jobs, .. } => {
                let known = self.producers.entry(producer.clone()).or_default();
                assert_eq!(known.0 + 1, *ordinal, "ordinals follow one another [ID-1]");
                *known = (ordinal + u64::from(*jobs) - 1, self.time);
            }
            Event::ProducersForgotten { producers } => {
                for name in producers {
                    let (_, advanced) = self.producers.remove(name).expect("a producer is forgotten once");
                    assert!(advanced.0 + moment.dedupe_ms <= self.time.0, "forgotten too early [ID-1]");
                    let prefix = format!("{name}:");
                    self.payloads.retain(|payload| !payload.starts_with(prefix.as_bytes()));
                }
            }
            Event::Opened { .. } => {}
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
            | Event::Deleted { .. } => unreachable!("updates are about jobs"),
        }
    }

    fn keys_forgotten(&mut self, ended_before: Timestamp, moment: Moment) {
        assert!(ended_before.0 + moment.dedupe_ms <= self.time.0, "forgotten too early [ID-1]");
        let jobs = &self.jobs;
        let gone = self.keys.extract_if(|_, (first, count)| {
            let ends = (0..u64::from(*count)).map(|step| jobs[&first.plus(step)].ended);
            ends.max_by_key(|end| end.unwrap_or(Timestamp(u64::MAX)))
                .flatten()
                .is_some_and(|end| end < ended_before)
        });
        for (key, _) in gone {
            let prefix = format!("{key}:");
            self.payloads.retain(|payload| !payload.starts_with(prefix.as_bytes()));
        }
    }
}
