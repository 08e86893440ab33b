//! Random commands against a small reference model that knows nothing of slots, tables or frames. After each step the
//! state agrees with it; at the end the log alone, decoded again, leads to the same state. [JOB-1] [LOG-3]

use crate::codec::Reader;
use crate::codec::Writer;
use crate::job::decide::claim::claim;
use crate::job::decide::claim::expire;
use crate::job::decide::control::cancel;
use crate::job::decide::control::delete;
use crate::job::decide::control::retry;
use crate::job::decide::control::set_queue;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::finish::finish;
use crate::job::decide::finish::progress;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Origin;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::journal::Journal;
use crate::job::journal::complete;
use crate::job::journal::fail;
use crate::job::journal::job;
use crate::job::journal::picture;
use crate::job::journal::queue;
use crate::job::journal::release;
use crate::job::queue::Counts;
use crate::job::retry::Retryable;
use crate::job::spec::NewJob;
use crate::job::spec::Policy;
use crate::job::spec::QueueSettings;
use crate::job::state::State;
use crate::job::table::Slot;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;

const QUEUES: [&str; 3] = ["a", "b", "c"];

#[derive(Clone, Debug)]
enum Step {
    Submit {
        queues: Vec<usize>,
        expires_in_ms: Option<u64>,
        timed_out_max: Option<u16>,
    },
    SubmitKeyed {
        key: u8,
        jobs: usize,
    },
    Produce {
        back: u64,
        jobs: usize,
    },
    Claim {
        pick: usize,
        worker: u8,
    },
    /// Ends an attempt under the lease number `lease` ever given, which may be stale.
    Finish {
        lease: usize,
        end: End,
        wrong_hint: u32,
    },
    Progress {
        lease: usize,
    },
    Cancel {
        pick: usize,
    },
    Retry {
        pick: usize,
    },
    Delete {
        pick: usize,
    },
    Expire {
        pick: usize,
    },
    SetDeadMax {
        queue: usize,
        dead_max: u32,
    },
    Forget,
    Wait {
        ms: u64,
    },
}

#[derive(Clone, Copy, Debug)]
enum End {
    Complete,
    Fail(FailureKind),
    FailForGood,
    Release,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let kind = prop_oneof![
        Just(FailureKind::Failed),
        Just(FailureKind::Crashed),
        Just(FailureKind::TimedOut),
        Just(FailureKind::Lost)
    ];
    let end = prop_oneof![
        2 => Just(End::Complete),
        4 => kind.prop_map(End::Fail),
        2 => Just(End::FailForGood),
        1 => Just(End::Release),
    ];
    let queues = prop::collection::vec(0..QUEUES.len(), 0..4);
    let any_job = 0..1_000_usize;
    let step = prop_oneof![
        3 => (queues, prop::option::of(1..200_u64), prop::option::of(1..3_u16)).prop_map(
            |(queues, expires_in_ms, timed_out_max)| Step::Submit { queues, expires_in_ms, timed_out_max }
        ),
        2 => (0..4_u8, 0..3_usize).prop_map(|(key, jobs)| Step::SubmitKeyed { key, jobs }),
        1 => (0..4_u64, 0..4_usize).prop_map(|(back, jobs)| Step::Produce { back, jobs }),
        8 => (any_job.clone(), 0..3_u8).prop_map(|(pick, worker)| Step::Claim { pick, worker }),
        8 => (0..8_usize, end, 0..9_000_u32)
            .prop_map(|(lease, end, wrong_hint)| Step::Finish { lease, end, wrong_hint }),
        1 => (0..8_usize).prop_map(|lease| Step::Progress { lease }),
        1 => any_job.clone().prop_map(|pick| Step::Cancel { pick }),
        2 => any_job.clone().prop_map(|pick| Step::Retry { pick }),
        1 => any_job.clone().prop_map(|pick| Step::Delete { pick }),
        1 => any_job.prop_map(|pick| Step::Expire { pick }),
        1 => (0..QUEUES.len(), 0..4_u32).prop_map(|(queue, dead_max)| Step::SetDeadMax { queue, dead_max }),
        1 => Just(Step::Forget),
        2 => (1..100_u64).prop_map(|ms| Step::Wait { ms }),
    ];
    prop::collection::vec(step, 1..120)
}

/// What the model knows of a job.
#[derive(Clone, Debug, PartialEq)]
enum Life {
    Waiting,
    Running(u64),
    Dead,
    /// It ended, or was deleted when dead.
    Over,
}

#[derive(Debug)]
struct Known {
    queue: usize,
    life: Life,
    generation: u32,
    terminal_updates: u32,
    attempts: u32,
}

#[derive(Default)]
struct Model {
    jobs: BTreeMap<JobId, Known>,
    leases: Vec<(JobId, u64)>,
    counts: [Counts; QUEUES.len()],
    sequence: u64,
    keys: BTreeMap<u8, Accepted>,
    produced: Vec<JobId>,
}

impl Model {
    fn job(&self, pick: usize) -> Option<JobId> {
        (!self.jobs.is_empty()).then(|| *self.jobs.keys().nth(pick % self.jobs.len()).unwrap())
    }

    fn lease(&self, back: usize) -> Option<(JobId, u64)> {
        self.leases.iter().rev().nth(back).copied()
    }

    /// Follows one event in the plainest way.
    fn see(&mut self, event: &Event, queue_of: impl Fn(&Event) -> usize) {
        let Some((id, _)) = event.job() else { return };
        self.sequence += 1;
        let sequence = self.sequence;
        let queue = queue_of(event);
        if let Event::Submitted(_) = event {
            let known = Known { queue, life: Life::Waiting, generation: 0, terminal_updates: 0, attempts: 0 };
            assert!(self.jobs.insert(id, known).is_none(), "an id is used once");
            self.counts[queue].submitted_total += 1;
        }
        let job = self.jobs.get_mut(&id).unwrap();
        assert_eq!(job.queue, queue, "a job stays in its queue");
        let counts = &mut self.counts[queue];
        let (life, total) = match event {
            Event::Submitted(_) => (Life::Waiting, None),
            Event::Started { attempt, .. } => {
                job.attempts += 1;
                assert_eq!(job.attempts, *attempt);
                assert!(
                    self.leases.last().is_none_or(|(_, token)| *token < sequence),
                    "leases rise [LEASE-1]"
                );
                self.leases.push((id, sequence));
                (Life::Running(sequence), Some(&mut counts.started_total))
            }
            Event::Progress { .. } => (job.life.clone(), None),
            Event::Retrying { .. } | Event::Released { .. } => (Life::Waiting, None),
            Event::Succeeded { .. } => (Life::Over, Some(&mut counts.succeeded_total)),
            Event::Dead { .. } => (Life::Dead, Some(&mut counts.dead_total)),
            Event::Cancelled { .. } => (Life::Over, Some(&mut counts.cancelled_total)),
            Event::Expired { .. } => (Life::Over, Some(&mut counts.expired_total)),
            Event::Retried { generation, .. } => {
                job.generation += 1;
                assert_eq!(job.generation, u32::from(*generation));
                (Life::Waiting, None)
            }
            Event::Deleted { .. } => (Life::Over, None),
            Event::QueueMade { .. }
            | Event::QueueSet { .. }
            | Event::CursorSet { .. }
            | Event::CursorDropped { .. }
            | Event::KeyTaken { .. }
            | Event::KeysForgotten { .. }
            | Event::ProducerAdvanced { .. }
            | Event::ProducersForgotten { .. }
            | Event::Opened { .. } => unreachable!("these are about no job"),
        };
        total.into_iter().for_each(|total| *total += 1);
        let ended = matches!(
            event,
            Event::Succeeded { .. } | Event::Dead { .. } | Event::Cancelled { .. } | Event::Expired { .. }
        );
        job.terminal_updates += u32::from(ended);
        assert!(job.terminal_updates <= job.generation + 1, "{id} ended twice in a generation [JOB-1]");
        job.life = life;
    }

    fn count(&self, queue: usize) -> Counts {
        let of = |wanted: fn(&Life) -> bool| {
            self.jobs.values().filter(|job| job.queue == queue && wanted(&job.life)).count() as u64
        };
        Counts {
            waiting: of(|life| matches!(life, Life::Waiting)),
            running: of(|life| matches!(life, Life::Running(_))),
            dead: of(|life| matches!(life, Life::Dead)),
            ..self.counts[queue]
        }
    }
}

struct Run {
    journal: Journal,
    model: Model,
}

impl Run {
    fn take(&mut self, step: &Step) {
        let frames = self.journal.frames.len();
        match step {
            Step::Submit { queues, expires_in_ms, timed_out_max } => {
                self.submit(queues, *expires_in_ms, *timed_out_max);
            }
            Step::SubmitKeyed { key, jobs } => self.submit_keyed(*key, *jobs),
            Step::Produce { back, jobs } => self.produce(*back, *jobs),
            Step::Claim { pick, worker } => self.claim(*pick, *worker),
            Step::Finish { lease, end, wrong_hint } => self.finish(*lease, *end, Slot(*wrong_hint)),
            Step::Progress { lease } => self.progress(*lease),
            Step::Cancel { pick } => self.change(
                *pick,
                |life| matches!(life, Life::Waiting | Life::Running(_)),
                |journal, id| cancel(&journal.state, id, "".into()).ok(),
            ),
            Step::Retry { pick } => {
                self.change(*pick, |life| *life == Life::Dead, |journal, id| retry(&journal.state, id).ok());
            }
            Step::Delete { pick } => {
                let deleted = |journal: &Journal, id| delete(&journal.state, id, None).ok();
                self.change(*pick, |life| *life == Life::Dead, deleted);
            }
            Step::Expire { pick } => self.expire(*pick),
            Step::SetDeadMax { queue, dead_max } => self.set_dead_max(*queue, *dead_max),
            Step::Forget => {
                let ended_before = self.journal.now;
                self.journal.append(&[Event::KeysForgotten { ended_before }]);
                let keys = self.journal.state.keys();
                self.model.keys.retain(|key, _| keys.get(crate::job::dedupe::digest(&name(*key))).is_some());
            }
            Step::Wait { ms } => self.journal.advance(Duration::from_millis(*ms)),
        }
        self.follow(frames);
    }

    /// Lets the model see what was appended since there were `frames` frames, then compares.
    fn follow(&mut self, frames: usize) {
        for stored in &self.journal.frames[frames..] {
            let mut run = crate::codec::Run::open(&stored.body).unwrap();
            while !run.is_empty() {
                let event: Event = run.take().unwrap();
                let state = &self.journal.state;
                self.model.see(&event, |event| {
                    let (_, queue) = event.job().unwrap();
                    let name = state.queue_name(queue);
                    QUEUES.iter().position(|known| *known == name.as_str()).unwrap()
                });
            }
        }
        self.compare();
        self.compare_shared();
    }

    fn compare(&self) {
        let Run { journal: Journal { state, .. }, model } = self;
        assert_eq!(state.sequence().0, model.sequence, "sequences have no gap [LOG-1]");
        for (number, name) in QUEUES.iter().enumerate() {
            let counts = state.queues().find(&queue(name)).map_or(Counts::default(), |no| {
                let queue = state.queue(no);
                assert_eq!(queue.dead.len() as u64, queue.counts.dead);
                queue.counts
            });
            assert_eq!(counts, model.count(number), "counts of queue {name}");
        }
        let live = model.jobs.values().filter(|job| job.life != Life::Over).count();
        assert_eq!(state.jobs().len(), live);
        for (id, known) in &model.jobs {
            let life = state.find(*id, None).map_or(Life::Over, |(_, job)| match job.stage() {
                crate::job::state::Stage::Waiting { .. } => Life::Waiting,
                crate::job::state::Stage::Running { token, .. } => Life::Running(token.0),
                crate::job::state::Stage::Dead { .. } => Life::Dead,
            });
            assert_eq!(life, known.life, "job {id}");
        }
    }

    /// Policies and worker names are kept as long as a job has them, and no longer. [MEM-1]
    fn compare_shared(&self) {
        let state = &self.journal.state;
        let jobs = || state.jobs().iter().map(|(_, job)| job);
        let workers: HashSet<&str> = jobs().filter_map(|job| state.worker(job)).map(|name| &**name).collect();
        assert_eq!(state.workers.len(), workers.len());
        let with_policy = jobs().filter(|job| state.own_policy(job).is_some());
        let policies: HashSet<Policy> =
            with_policy.map(|job| Policy { expires: None, ..state.policy(job) }).collect();
        assert_eq!(state.policies.len(), policies.len());
    }

    fn submit(&mut self, queues: &[usize], expires_in_ms: Option<u64>, timed_out_max: Option<u16>) {
        let expires = expires_in_ms.map(|ms| self.journal.now.after(Duration::from_millis(ms)));
        let policy = Policy { max_attempts: 3, timed_out_max, expires, ..Policy::default() };
        let policy = (expires.is_some() || timed_out_max.is_some()).then(|| Box::new(policy));
        let jobs = queues.iter().map(|queue| NewJob { policy: policy.clone(), ..job(QUEUES[*queue]) });
        let accepted = self.journal.submit(jobs.collect(), Origin::Anonymous).unwrap();
        assert_eq!(accepted.ranges.iter().map(|range| range.jobs).sum::<u64>(), queues.len() as u64);
    }

    fn submit_keyed(&mut self, key: u8, jobs: usize) {
        let origin = Origin::Key { key: name(key).into(), fingerprint: 1 };
        let accepted = self.journal.submit(vec![job("a"); jobs], origin).unwrap();
        match self.model.keys.get(&key) {
            Some(first) => assert_eq!(accepted.ranges, first.ranges, "a repeat makes nothing new [ID-1]"),
            None if jobs > 0 => {
                self.model.keys.insert(key, accepted);
            }
            None => {}
        }
    }

    /// Submits from `back` ordinals before the next one on.
    fn produce(&mut self, back: u64, jobs: usize) {
        let next = self.model.produced.len() as u64 + 1;
        let ordinal = next.saturating_sub(back).max(1);
        let origin = Origin::Producer { producer: "p".into(), ordinal };
        let accepted = self.journal.submit(vec![job("b"); jobs], origin).unwrap();
        let ids: Vec<JobId> = accepted
            .ranges
            .iter()
            .flat_map(|range| (0..range.jobs).map(|step| range.first.plus(step)))
            .collect();
        assert_eq!(ids.len(), jobs);
        for (id, place) in ids.iter().zip(ordinal as usize - 1..) {
            match self.model.produced.get(place) {
                Some(known) => assert_eq!(id, known, "an ordinal is one job [ID-1]"),
                None => self.model.produced.push(*id),
            }
        }
    }

    fn claim(&mut self, pick: usize, worker: u8) {
        let Some(id) = self.model.job(pick) else { return };
        let Some((_, found)) = self.journal.state.find(id, None) else { return };
        let claimed = claim(&self.journal.state, found, &format!("w{worker}").into(), self.journal.now);
        assert_eq!(claimed.is_ok(), self.model.jobs[&id].life == Life::Waiting);
        if let Ok(event) = claimed {
            self.journal.append(&[event]);
        }
    }

    fn finish(&mut self, lease: usize, end: End, hint: Slot) {
        let Some((id, token)) = self.model.lease(lease) else { return };
        let end = match end {
            End::Complete => complete(),
            End::Fail(kind) => fail(kind, Retryable::Yes),
            End::FailForGood => fail(FailureKind::Failed, Retryable::No),
            End::Release => release(),
        };
        let holds = self.model.jobs[&id].life == Life::Running(token);
        let handed_back = matches!(end, Finish::Release { .. });
        let holder = Holder { id, token: LeaseToken(token), hint: Some(hint) };
        let mut events = Vec::new();
        let finished = finish(&self.journal.state, holder, end, self.journal.now, 0, &mut events);
        assert_eq!(finished.is_ok(), holds, "only the lease that holds the job ends it [LEASE-1]");
        assert_eq!(finished.is_ok(), !events.is_empty());
        assert!(!handed_back || events.iter().all(|event| matches!(event, Event::Released { .. })));
        if holds {
            self.journal.append(&events);
        }
    }

    fn progress(&mut self, lease: usize) {
        let Some((id, token)) = self.model.lease(lease) else { return };
        let told = Progress { done: None, message: "".into() };
        let holder = Holder { id, token: LeaseToken(token), hint: None };
        let event = progress(&self.journal.state, holder, told);
        assert_eq!(event.is_ok(), self.model.jobs[&id].life == Life::Running(token), "[LEASE-1]");
        if let Ok(event) = event {
            self.journal.append(&[event]);
        }
    }

    fn change(
        &mut self,
        pick: usize,
        allowed: impl Fn(&Life) -> bool,
        decide: impl Fn(&Journal, JobId) -> Option<Event>,
    ) {
        let Some(id) = self.model.job(pick) else { return };
        let event = decide(&self.journal, id);
        assert_eq!(event.is_some(), allowed(&self.model.jobs[&id].life));
        event.into_iter().for_each(|event| drop(self.journal.append(&[event])));
    }

    fn expire(&mut self, pick: usize) {
        let Some(id) = self.model.job(pick) else { return };
        let now = self.journal.now;
        let event =
            self.journal.state.find(id, None).and_then(|(_, job)| expire(&self.journal.state, job, now));
        let known = &self.model.jobs[&id];
        assert!(event.is_none() || (known.life == Life::Waiting && known.attempts == 0));
        event.into_iter().for_each(|event| drop(self.journal.append(&[event])));
    }

    fn set_dead_max(&mut self, number: usize, dead_max: u32) {
        let settings = QueueSettings { dead_max, ..QueueSettings::default() };
        let mut events = Vec::new();
        set_queue(&self.journal.state, &queue(QUEUES[number]), settings, &self.journal.limits, &mut events)
            .unwrap();
        self.journal.append(&events);
    }
}

fn name(key: u8) -> String {
    format!("key {key}")
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn any_commands_leave_the_state_that_a_plain_model_expects(steps in steps()) {
        let mut run = Run { journal: Journal::new(), model: Model::default() };
        steps.iter().for_each(|step| run.take(step));
        let state = &run.journal.state;
        let replayed = run.journal.replayed();
        prop_assert_eq!(picture(&replayed), picture(state), "[LOG-3]");
        prop_assert_eq!(replayed.digest(), state.digest());
        let mut saved = Vec::new();
        Writer::over(&mut saved, |out| state.save(out)).unwrap();
        let loaded = State::load(&mut Reader::over(&mut &saved[..])).unwrap();
        prop_assert_eq!(picture(&loaded), picture(state), "a saved state is whole");
        prop_assert_eq!(loaded.digest(), state.digest());
    }
}
