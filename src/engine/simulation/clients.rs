//! Those who submit, cancel, retry, delete and set; and what they may be answered.

use crate::clock::Timestamp;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Purge;
use crate::engine::command::Reply;
use crate::engine::command::Welcome;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::world::World;
use crate::job::decide::Refused;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Backoff;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::spec::QueueChange;
use crate::job::spec::QueueSettings;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;

pub(in crate::engine::simulation) const QUEUES: [&str; 3] = ["a", "b", "c"];

type Answer<T> = Receiver<Result<T, Error>>;

/// An answer that somebody waits for.
#[derive(Debug)]
pub(in crate::engine::simulation) enum Pending {
    Submit(Answer<Accepted>, Origin, u64),
    Each(Answer<Vec<Result<Sequence, Error>>>, &'static str, Vec<JobId>),
    Purge(Answer<u64>),
    SetQueue(Answer<QueueNo>),
    Cursor(Answer<()>, Arc<str>, Option<Sequence>),
    Attach(Answer<Welcome>, usize),
    Stop(Answer<()>),
}

#[derive(Clone, Debug)]
struct Keyed {
    jobs: Vec<NewJob>,
    fingerprint: u64,
}

#[derive(Debug, Default)]
pub(in crate::engine::simulation) struct Clients {
    serial: u64,
    keyed: BTreeMap<Arc<str>, Keyed>,
    /// A producer's name and the highest ordinal it knows to be accepted.
    producer: (u64, u64),
}

fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

impl World {
    pub(in crate::engine::simulation) fn client_acts(&mut self) {
        match self.dice.below(20) {
            0..=4 => self.submit_anonymous(),
            5..=7 => self.submit_keyed(),
            8..=9 => self.repeat_key(),
            10..=12 => self.produce(),
            13..=15 => self.ask_each(),
            16 => self.purge(),
            17 => self.set_queue(),
            18 => self.prune(),
            _ => self.move_cursor(),
        }
    }

    fn job(&mut self, payload: String) -> NewJob {
        let dice = &mut self.dice;
        let delay = [0, 0, 0, dice.below(2_000), dice.below(3_600_000)][dice.index(5)];
        let run_at = if delay == 0 { Timestamp(0) } else { Timestamp(self.now.wall.0 + delay) };
        let expires = dice.one_in(6).then(|| Timestamp(self.now.wall.0 + 1 + dice.below(5_000)));
        let policy = Policy {
            max_attempts: 1 + dice.below(4) as u16,
            crashed_max: 1 + dice.below(3) as u16,
            timed_out_max: dice.one_in(2).then(|| 1 + dice.below(2) as u16),
            lost_max: 1 + dice.below(6) as u16,
            backoff: Backoff { initial_ms: dice.below(3_000), max_ms: 60_000, ..Backoff::default() },
            timeout_ms: dice.one_in(3).then(|| 1 + dice.below(20_000)),
            expires,
        };
        NewJob {
            queue: queue(QUEUES[dice.index(QUEUES.len())]),
            priority: dice.below(3) as i8 - 1,
            run_at,
            policy: (expires.is_some() || !dice.one_in(3)).then(|| Box::new(policy)),
            extra: None,
            payload: Payload(payload.into()),
        }
    }

    fn submit(&mut self, jobs: Vec<NewJob>, origin: Origin) {
        let (reply, answer) = Reply::once();
        self.pending.push(Pending::Submit(answer, origin.clone(), jobs.len() as u64));
        self.commands.push(Command::Submit(Batch { jobs, origin }, reply));
    }

    fn submit_anonymous(&mut self) {
        let count = 1 + self.dice.below(4);
        let jobs = (0..count).map(|_| {
            self.clients.serial += 1;
            self.job(format!("a:{}", self.clients.serial))
        });
        let jobs = jobs.collect();
        self.submit(jobs, Origin::Anonymous);
    }

    fn submit_keyed(&mut self) {
        self.clients.serial += 1;
        let key: Arc<str> = format!("k{}", self.clients.serial).into();
        let count = 1 + self.dice.below(4);
        let jobs: Vec<NewJob> = (0..count).map(|step| self.job(format!("{key}:{step}"))).collect();
        let fingerprint = self.dice.number();
        self.clients.keyed.insert(key.clone(), Keyed { jobs: jobs.clone(), fingerprint });
        self.submit(jobs, Origin::Key { key, fingerprint });
    }

    /// Says again what was said under a key, or now and then something else.
    fn repeat_key(&mut self) {
        let count = self.clients.keyed.len();
        if count == 0 {
            return;
        }
        let (key, known) = self.clients.keyed.iter().nth(self.dice.index(count)).unwrap();
        let (key, mut known) = (key.clone(), known.clone());
        if self.reference.keys.contains_key(&key) && self.dice.one_in(8) {
            known.fingerprint ^= 1;
        }
        self.submit(known.jobs, Origin::Key { key, fingerprint: known.fingerprint });
    }

    /// The producer goes on behind what it knows to be accepted, or a little before; one batch at a time.
    fn produce(&mut self) {
        let under_way = |pending: &Pending| matches!(pending, Pending::Submit(_, Origin::Producer { .. }, _));
        if self.pending.iter().any(under_way) {
            return;
        }
        let (name, accepted) = self.clients.producer;
        let producer: Arc<str> = format!("p{name}").into();
        let ordinal = (accepted + 1).saturating_sub(self.dice.below(3)).max(1);
        let count = self.dice.below(5);
        let jobs = (0..count).map(|step| self.job(format!("{producer}:{}", ordinal + step))).collect();
        self.submit(jobs, Origin::Producer { producer, ordinal });
    }

    fn some_jobs(&mut self) -> Vec<JobId> {
        let known = self.reference.jobs.len();
        let count = self.dice.below(4).min(known as u64);
        (0..count)
            .map(|_| {
                let back = self.dice.index(known).min(self.dice.index(known));
                *self.reference.jobs.keys().rev().nth(back).unwrap()
            })
            .collect()
    }

    fn ask_each(&mut self) {
        let ids = self.some_jobs();
        let (reply, answer) = Reply::once();
        let (kind, command) = match self.dice.below(3) {
            0 => ("cancelled", Command::Cancel(ids.clone(), "why not".into(), reply)),
            1 => ("retried", Command::Retry(ids.clone(), reply)),
            _ => {
                let looked_up = ids.iter().map(|id| {
                    let job = &self.reference.jobs[id];
                    let left = matches!(job.life, Life::Succeeded | Life::Cancelled | Life::Expired);
                    (*id, left.then_some(job.queue))
                });
                ("deleted", Command::Delete(looked_up.collect(), reply))
            }
        };
        self.pending.push(Pending::Each(answer, kind, ids));
        self.commands.push(command);
    }

    fn purge(&mut self) {
        let what = if self.dice.one_in(2) { Purge::Waiting } else { Purge::Dead };
        let (name, limit) = (queue(QUEUES[self.dice.index(3)]), self.dice.index(5));
        let (reply, answer) = Reply::once();
        self.pending.push(Pending::Purge(answer));
        self.commands.push(Command::Purge(name, what, limit, reply));
    }

    fn set_queue(&mut self) {
        let dice = &mut self.dice;
        let settings = QueueSettings {
            paused: dice.one_in(3),
            max_pending: dice.one_in(3).then(|| dice.below(20)),
            dead_max: dice.below(6) as u32,
            retention_ms: dice.one_in(2).then(|| dice.below(20_000)),
        };
        let name = queue(QUEUES[dice.index(3)]);
        self.say_settings(name, settings);
    }

    fn say_settings(&mut self, name: QueueName, settings: QueueSettings) {
        let (reply, answer) = Reply::once();
        self.pending.push(Pending::SetQueue(answer));
        let change = QueueChange {
            paused: Some(settings.paused),
            max_pending: Some(settings.max_pending),
            dead_max: Some(settings.dead_max),
            retention_ms: Some(settings.retention_ms),
        };
        self.commands.push(Command::SetQueue(name, change, reply));
    }

    pub(in crate::engine::simulation) fn set_plain_queues(&mut self) {
        for name in QUEUES {
            self.say_settings(queue(name), QueueSettings::default());
        }
    }

    /// One at a time: the answer is compared with what is there afterwards.
    fn move_cursor(&mut self) {
        if self.pending.iter().any(|pending| matches!(pending, Pending::Cursor(..))) {
            return;
        }
        let name: Arc<str> = format!("c{}", self.dice.below(3)).into();
        let to = Sequence(self.dice.below(self.reference.updates.len() as u64 + 3));
        let (reply, answer) = Reply::once();
        let drop = self.dice.one_in(4);
        self.pending.push(Pending::Cursor(answer, name.clone(), (!drop).then_some(to)));
        let set = |reply| Command::CommitCursor(name.clone(), to, reply);
        self.commands.push(if drop { Command::DropCursor(name.clone(), reply) } else { set(reply) });
    }

    /// Everyone is answered by now, and what was answered is in a durable frame. [ACK-1]
    pub(in crate::engine::simulation) fn hear(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Submit(answer, origin, count) => self.hear_submit(told(answer), &origin, count),
                Pending::Each(answer, kind, ids) => self.hear_each(told(answer), kind, &ids),
                Pending::Purge(answer) => self.allow(told(answer).err(), &[]),
                Pending::SetQueue(answer) => self.allow(told(answer).err(), &[]),
                Pending::Cursor(answer, name, to) => match told(answer) {
                    Ok(()) => assert_eq!(self.reference.cursors.get(&name), to.as_ref()),
                    Err(error) => self.allow(Some(error), &[]),
                },
                Pending::Attach(answer, hand) => self.hear_welcome(told(answer), hand),
                Pending::Stop(answer) => told(answer).unwrap(),
            }
        }
        self.hear_outputs();
    }

    /// A refusal is in order; a full disk only if it is full.
    fn allow(&self, error: Option<Error>, never: &[fn(&Refused) -> bool]) {
        match error {
            None => {}
            Some(Error::Refused(refused)) => {
                assert!(!never.iter().any(|never| never(&refused)), "{refused}");
            }
            Some(error) => assert!(error == Error::DiskFull && self.full, "{error}"),
        }
    }

    fn hear_submit(&mut self, answer: Result<Accepted, Error>, origin: &Origin, count: u64) {
        let accepted = match answer {
            Ok(accepted) => accepted,
            Err(error) => return self.hear_refused_submit(error, origin),
        };
        for range in &accepted.ranges {
            for step in 0..range.jobs {
                let id = range.first.plus(step);
                let sequence = range.first_sequence.plus(step);
                assert_eq!(self.reference.updates[sequence.0 as usize - 1], (id, "submitted"), "[ACK-1]");
            }
        }
        match origin {
            Origin::Anonymous => {
                assert_eq!(accepted.ranges.iter().map(|range| range.jobs).sum::<u64>(), count)
            }
            Origin::Key { key, .. } => {
                let jobs = accepted.ranges.iter().map(|range| range.jobs).sum::<u64>();
                let answer = (accepted.ranges[0].first, jobs);
                // A repeat may be answered in the frame that forgets the key.
                match self.reference.keys.get(key).map(|(first, jobs)| (*first, u64::from(*jobs))) {
                    Some(first) => assert_eq!(answer, first, "a repeat gets the first answer [ID-1]"),
                    None => assert!(accepted.repeated > 0, "the key is in the log [ID-1]"),
                }
            }
            Origin::Producer { producer, ordinal } => {
                let last = ordinal + count - 1;
                // A repeat of all may be answered in the frame that forgets the producer.
                let known = self.reference.producers.get(producer).map(|(last, _)| *last);
                assert!(
                    known.map_or(accepted.repeated == count, |known| count == 0 || known >= last),
                    "[ACK-1]"
                );
                assert_eq!(accepted.ranges.iter().map(|range| range.jobs).sum::<u64>(), count, "[ID-1]");
                if **producer == *format!("p{}", self.clients.producer.0) {
                    self.clients.producer.1 = self.clients.producer.1.max(last);
                }
            }
        }
    }

    fn hear_refused_submit(&mut self, error: Error, origin: &Origin) {
        let reused = |refused: &Refused| matches!(refused, Refused::KeyReused { .. });
        let gap = |refused: &Refused| matches!(refused, Refused::OrdinalGap { .. });
        match origin {
            Origin::Anonymous => self.allow(Some(error), &[reused, gap]),
            Origin::Key { key, fingerprint } => {
                let other = self.clients.keyed[key].fingerprint != *fingerprint;
                if other { self.allow(Some(error), &[gap]) } else { self.allow(Some(error), &[reused, gap]) }
            }
            Origin::Producer { producer, .. } => {
                let forgotten = !self.reference.producers.contains_key(producer);
                if forgotten && error != Error::DiskFull {
                    self.clients.producer = (self.clients.producer.0 + 1, 0);
                } else {
                    self.allow(Some(error), &[reused, gap]);
                }
            }
        }
    }

    fn hear_each(&mut self, answer: Result<Vec<Result<Sequence, Error>>, Error>, kind: &str, ids: &[JobId]) {
        let outcomes = match answer {
            Ok(outcomes) => outcomes,
            Err(error) => return self.allow(Some(error), &[]),
        };
        assert_eq!(outcomes.len(), ids.len());
        for (outcome, id) in outcomes.into_iter().zip(ids) {
            match outcome {
                Ok(sequence) => {
                    let update = self.reference.updates[sequence.0 as usize - 1];
                    assert_eq!((update.0, update.1), (*id, kind), "[ACK-1]");
                }
                Err(error) => self.allow(Some(error), &[]),
            }
        }
    }

    /// The log failed: nobody is told anything but that. [ACK-2]
    pub(in crate::engine::simulation) fn hear_unknown(&mut self) {
        for pending in std::mem::take(&mut self.pending) {
            match pending {
                Pending::Submit(answer, ..) => unknown(answer),
                Pending::Each(answer, ..) => unknown(answer),
                Pending::Purge(answer) => unknown(answer),
                Pending::SetQueue(answer) => unknown(answer),
                Pending::Cursor(answer, ..) => unknown(answer),
                Pending::Attach(answer, _) => unknown(answer),
                Pending::Stop(answer) => unknown(answer),
            }
        }
        self.hands.iter_mut().for_each(|hand| assert!(hand.heard_nothing(), "[ACK-2]"));
    }
}

fn told<T: Debug>(mut answer: Answer<T>) -> Result<T, Error> {
    answer.try_recv().expect("every call is answered with its step")
}

fn unknown<T: Debug>(answer: Answer<T>) {
    assert_eq!(told(answer).unwrap_err(), Error::OutcomeUnknown, "[ACK-2]");
}
