//! A state with the frames that led to it: what the tests of the job's life stand on. Every event they make passes
//! through the codec, as it would through the log.

use crate::clock::Timestamp;
use crate::codec;
use crate::job::apply::At;
use crate::job::apply::Change;
use crate::job::apply::Inconsistent;
use crate::job::decide::Limits;
use crate::job::decide::Refused;
use crate::job::decide::claim::claim;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::finish::finish;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::decide::submit::submit;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::QueueName;
use crate::job::retry::Retryable;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::state::Stage;
use crate::job::state::State;
use std::time::Duration;

/// One stored frame: its log time and its body.
pub(in crate::job) struct Stored {
    pub(in crate::job) time: Timestamp,
    pub(in crate::job) body: Vec<u8>,
}

/// A state and its log.
pub(in crate::job) struct Journal {
    pub(in crate::job) state: State,
    pub(in crate::job) frames: Vec<Stored>,
    pub(in crate::job) now: Timestamp,
    pub(in crate::job) limits: Limits,
    next_id: u64,
}

impl Journal {
    pub(in crate::job) fn new() -> Journal {
        Journal {
            state: State::default(),
            frames: Vec::new(),
            now: Timestamp(1_000_000),
            limits: Limits::default(),
            next_id: 1,
        }
    }

    /// Appends `events` as the next frame and applies it.
    pub(in crate::job) fn append(&mut self, events: &[Event]) -> Vec<Change> {
        let mut body = Vec::new();
        codec::begin(&mut body);
        events.iter().for_each(|event| codec::put(event, &mut body));
        let stored = Stored { time: self.now, body };
        let changes = apply_frame(&mut self.state, &stored).expect("what was decided fits");
        self.frames.push(stored);
        changes
    }

    /// The state that the stored frames alone lead to. [LOG-3]
    pub(in crate::job) fn replayed(&self) -> State {
        let mut state = State::default();
        for stored in &self.frames {
            apply_frame(&mut state, stored).expect("what was applied once applies again");
        }
        state
    }

    pub(in crate::job) fn submit(&mut self, jobs: Vec<NewJob>, origin: Origin) -> Result<Accepted, Refused> {
        let mut events = Vec::new();
        let first_id = JobId::from_u128(u128::from(self.next_id));
        let accepted = submit(&self.state, Batch { jobs, origin }, first_id, &self.limits, &mut events);
        assert!(accepted.is_ok() || events.is_empty(), "a refused batch leaves no event behind");
        let accepted = accepted?;
        self.next_id += events.iter().filter(|event| matches!(event, Event::Submitted(_))).count() as u64;
        self.append(&events);
        Ok(accepted)
    }

    /// Submits one job to queue `q` and says its id.
    pub(in crate::job) fn one(&mut self, policy: Policy) -> JobId {
        let job = NewJob { policy: Some(Box::new(policy)), ..job("q") };
        self.submit(vec![job], Origin::Anonymous).unwrap().ranges[0].first
    }

    /// Claims the job and says its lease.
    pub(in crate::job) fn claim(&mut self, id: JobId) -> LeaseToken {
        let event = claim(&self.state, self.state.find(id, None).unwrap().1, &"w".into(), self.now).unwrap();
        assert!(matches!(event, Event::Started { .. }), "{event:?}");
        self.append(&[event]);
        self.token(id)
    }

    /// The lease that holds the running job.
    pub(in crate::job) fn token(&self, id: JobId) -> LeaseToken {
        match self.state.find(id, None).unwrap().1.stage() {
            Stage::Running { token, .. } => token,
            other @ (Stage::Waiting { .. } | Stage::Dead { .. }) => panic!("{id} is {other:?}"),
        }
    }

    /// Ends the attempt and says the events that this led to.
    pub(in crate::job) fn finish(
        &mut self,
        id: JobId,
        token: LeaseToken,
        end: Finish,
    ) -> Result<Vec<Event>, Refused> {
        let mut events = Vec::new();
        finish(&self.state, Holder { id, token, hint: None }, end, self.now, 0, &mut events)?;
        self.append(&events);
        Ok(events)
    }

    /// Claims the waiting job, lets the attempt fail, and says whether the job is dead now.
    pub(in crate::job) fn attempt(&mut self, id: JobId, kind: FailureKind, retryable: Retryable) -> bool {
        let token = self.claim(id);
        let events = self.finish(id, token, fail(kind, retryable)).unwrap();
        matches!(events[0], Event::Dead { .. })
    }

    /// Claims the waiting job and completes it.
    pub(in crate::job) fn work_off(&mut self, id: JobId) {
        let token = self.claim(id);
        self.finish(id, token, complete()).unwrap();
    }

    pub(in crate::job) fn advance(&mut self, by: Duration) {
        self.now = self.now.after(by);
    }
}

pub(in crate::job) fn apply_frame(state: &mut State, stored: &Stored) -> Result<Vec<Change>, Inconsistent> {
    let position = state.position().next();
    let mut run = codec::Run::open(&stored.body).unwrap();
    let mut changes = Vec::new();
    for index in 0.. {
        if run.is_empty() {
            break;
        }
        let event: Event = run.take().unwrap();
        let at = At { pointer: Pointer { position, index }, time: stored.time };
        let before = state.sequence();
        changes.push(state.apply(&event, at, None)?);
        let taken = u64::from(event.is_update());
        assert_eq!(state.sequence(), before.plus(taken), "an update takes one sequence [LOG-1]");
    }
    state.applied(position, stored.time);
    Ok(changes)
}

pub(in crate::job) fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

/// A job for the queue called `name`, all else default.
pub(in crate::job) fn job(name: &str) -> NewJob {
    NewJob {
        queue: queue(name),
        priority: 0,
        run_at: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload::default(),
    }
}

pub(in crate::job) fn complete() -> Finish {
    Finish::Complete { result: Payload::default(), content_type: "".into(), usage: None }
}

pub(in crate::job) fn fail(kind: FailureKind, retryable: Retryable) -> Finish {
    Finish::Fail { failure: Failure { kind, message: "".into(), process: None }, retryable }
}

pub(in crate::job) fn release() -> Finish {
    Finish::Release { delay: Duration::ZERO, reason: "".into() }
}

/// Everything that a state says through its getters, one thing a line, without places in memory.
pub(in crate::job) fn picture(state: &State) -> Vec<String> {
    let mut lines = vec![format!("{} {} {:?}", state.position(), state.sequence(), state.time())];
    for (_, job) in state.jobs().in_id_order() {
        let stage = match job.stage() {
            Stage::Waiting { due } => format!("waiting {due:?}"),
            Stage::Running { token, .. } => format!("running {token} {:?}", state.worker(job)),
            Stage::Dead { sequence } => format!("dead {sequence}"),
        };
        let key = state.key(job).map(|key| state.keys().digest_of(key));
        let carried: Vec<Pointer> = state.carried(job).collect();
        lines.push(format!(
            "{} {stage} {} {:?} {carried:?} {} {} {:?} {key:?} {} {}/{}/{}/{} {} {}",
            job.id,
            job.submitted,
            state.rare(job).expires,
            job.payload_bytes,
            job.queue,
            state.policy(job),
            job.attempt,
            state.rare(job).failed,
            state.rare(job).crashed,
            state.rare(job).timed_out,
            state.rare(job).lost,
            state.rare(job).generation,
            job.priority,
        ));
    }
    for (number, queue) in state.queues().iter() {
        let dead: Vec<JobId> = queue.dead.iter().map(|(_, slot)| state.jobs().at(*slot).id).collect();
        lines.push(format!("{number} {} {:?} {:?} {dead:?}", queue.name, queue.settings, queue.counts));
    }
    lines.push(format!("{:?}", state.cursors()));
    lines.extend(state.keys().in_order().iter().map(|key| format!("{key:?}")));
    lines.push(format!("{:?}", state.producers()));
    lines
}
