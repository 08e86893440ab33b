//! The workers: they attach, take leases, finish, forget, come back, and try with leases they have lost.

use crate::clock::Tick;
use crate::engine::command::Bye;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::FinishRequest;
use crate::engine::command::Grant;
use crate::engine::command::Reply;
use crate::engine::command::Welcome;
use crate::engine::command::WorkerMessage;
use crate::engine::simulation::clients::Pending;
use crate::engine::simulation::clients::QUEUES;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::world::Dice;
use crate::engine::simulation::world::World;
use crate::engine::workers::Attach;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Session;
use crate::engine::workers::Unnamed;
use crate::engine::workers::rig::attaching;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::retry::Retryable;
use crate::job::spec::Payload;
use crate::log::Archive;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TryRecvError;

/// One worker as it sees itself.
#[derive(Debug)]
pub(in crate::engine::simulation) struct Hand {
    pub(in crate::engine::simulation) name: Arc<str>,
    /// What it believes to hold.
    pub(in crate::engine::simulation) held: Vec<Grant>,
    /// Leases it held once.
    old: Vec<Grant>,
    session: Option<Session>,
    /// The session that the attach under way is to replace.
    replaced: Option<Session>,
    outlet: Option<mpsc::UnboundedReceiver<Output>>,
    /// Finishes that must be acknowledged with this step.
    sent: Vec<(JobId, LeaseToken)>,
    spoke: Tick,
}

impl Hand {
    pub(in crate::engine::simulation) fn new(name: &str) -> Hand {
        Hand {
            name: name.into(),
            held: Vec::new(),
            old: Vec::new(),
            session: None,
            replaced: None,
            outlet: None,
            sent: Vec::new(),
            spoke: Tick(0),
        }
    }

    /// Its link is gone.
    pub(in crate::engine::simulation) fn cut_off(&mut self) {
        (self.session, self.outlet) = (None, None);
        self.sent.clear();
    }

    pub(in crate::engine::simulation) fn heard_nothing(&mut self) -> bool {
        self.outlet.as_mut().is_none_or(|outlet| {
            outlet.try_recv().map_or(true, |output| output.superseded && output.acks.is_empty())
        })
    }

    fn is_local(&self) -> bool {
        self.name.starts_with(LOCAL_PREFIX)
    }

    fn forget(&mut self, id: JobId, token: LeaseToken) {
        let gone = self.held.extract_if(.., |grant| grant.id == id && grant.token == token);
        self.old.extend(gone);
    }
}

impl World {
    pub(in crate::engine::simulation) fn hand_acts(&mut self) {
        let number = self.dice.index(self.hands.len());
        let Some(session) = self.hands[number].session else { return self.attach(number) };
        match self.dice.below(24) {
            0 => self.attach(number),
            1 => self.detach(number, session, Bye::Unsaid),
            2 => self.detach(number, session, Bye::Said),
            3 => {
                let (reply, answer) = Reply::once();
                self.pending.push(Pending::Stop(answer));
                self.commands.push(Command::StopLeases(session, reply));
            }
            4 => self.speak(number, session, WorkerMessage::default()),
            _ => {
                let message = self.message(number);
                self.speak(number, session, message);
            }
        }
    }

    fn attach(&mut self, number: usize) {
        if self.pending.iter().any(|pending| matches!(pending, Pending::Attach(_, other) if *other == number))
        {
            return;
        }
        let hand = &mut self.hands[number];
        if self.dice.one_in(3) {
            let kept = self.dice.index(hand.held.len() + 1);
            hand.old.extend(hand.held.drain(kept..));
        }
        let unnamed = if self.dice.one_in(4) { Unnamed::Kept } else { Unnamed::Lost };
        let named = |grant: &Grant| (grant.id, grant.token);
        let queues: Vec<&str> = QUEUES.into_iter().filter(|_| !self.dice.one_in(3)).collect();
        let (attach, outputs) = attaching(&hand.name, &queues, self.dice.below(4) as u32);
        hand.replaced = hand.session;
        hand.cut_off();
        hand.outlet = Some(outputs);
        let attach = Attach {
            held: hand.held.iter().chain(hand.old.last()).map(named).collect(),
            liveness: if hand.is_local() { Liveness::Local } else { Liveness::Signs },
            unnamed,
            ..attach
        };
        let (reply, answer) = Reply::once();
        self.pending.push(Pending::Attach(answer, number));
        self.commands.push(Command::Attach(attach, reply));
    }

    fn detach(&mut self, number: usize, session: Session, bye: Bye) {
        self.commands.push(Command::Detach(session, bye));
        let hand = &mut self.hands[number];
        let until = self.now.tick.after(self.options.reconnect_grace);
        self.reference.lapse_not_before.insert(hand.name.clone(), until);
        hand.session = None;
        if bye == Bye::Unsaid {
            hand.cut_off();
        }
    }

    fn speak(&mut self, number: usize, session: Session, message: WorkerMessage) {
        let hand = &mut self.hands[number];
        hand.sent.extend(message.finishes.iter().map(|finish| (finish.holder.id, finish.holder.token)));
        hand.spoke = self.now.tick;
        if !hand.is_local() {
            let until = self.now.tick.after(self.options.lease_period);
            self.reference.lapse_not_before.insert(hand.name.clone(), until);
        }
        self.commands.push(Command::Work(session, message));
    }

    fn message(&mut self, number: usize) -> WorkerMessage {
        let hand = &self.hands[number];
        let mut message = WorkerMessage { free: self.dice.below(3) as u32, ..WorkerMessage::default() };
        for grant in &hand.held {
            if self.dice.one_in(3) {
                let holder = holder(grant);
                let text = format!("t{}", grant.token).into();
                message.progress.push((holder, Progress { done: None, message: text }));
            }
            if self.dice.one_in(3) {
                message.finishes.push(finish(&mut self.dice, grant));
                message.free += 1;
            }
        }
        if !hand.old.is_empty() && self.dice.one_in(3) {
            let stale = &hand.old[self.dice.index(hand.old.len())];
            message.finishes.push(finish(&mut self.dice, stale));
        }
        message
    }

    pub(in crate::engine::simulation) fn hear_welcome(
        &mut self,
        answer: Result<Welcome, Error>,
        number: usize,
    ) {
        let hand = &mut self.hands[number];
        let welcome = match answer {
            Ok(welcome) => welcome,
            Err(error) => {
                assert!(error == Error::DiskFull && self.full, "{error}");
                hand.cut_off();
                if let Some(replaced) = hand.replaced {
                    self.detach(number, replaced, Bye::Unsaid);
                }
                // It was heard, although it could not be told what it holds.
                let hand = &self.hands[number];
                let until = self.now.tick.after(self.options.lease_period);
                self.reference.lapse_not_before.insert(hand.name.clone(), until);
                return;
            }
        };
        let period = self.options.lease_period;
        let until = if hand.is_local() { Tick(u64::MAX) } else { self.now.tick.after(period) };
        self.reference.lapse_not_before.insert(hand.name.clone(), until);
        hand.session = Some(welcome.session);
        for (id, token) in &welcome.held {
            let job = &self.reference.jobs[id];
            let running = job.life == Life::Running(*token) && job.worker == hand.name;
            // Commands behind it in the same frame may have ended it.
            assert!(running || self.reference.updates.len() as u64 > token.0, "{id} {token}");
        }
        let gone = hand.held.extract_if(.., |grant| !welcome.held.contains(&(grant.id, grant.token)));
        hand.old.extend(gone);
    }

    /// What the workers are told holds in the durable frames. [ACK-1] [LEASE-1]
    pub(in crate::engine::simulation) fn hear_outputs(&mut self) {
        for number in 0..self.hands.len() {
            let mut over = false;
            let mut acks = Vec::new();
            while let Some(outlet) = &mut self.hands[number].outlet {
                match outlet.try_recv() {
                    Ok(output) => {
                        over |= output.superseded;
                        acks.extend(output.acks.iter().map(|ack| (ack.id, ack.token)));
                        self.hear_output(number, output);
                    }
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => {
                        over = true;
                        self.hands[number].outlet = None;
                    }
                }
            }
            let hand = &mut self.hands[number];
            let sent = std::mem::take(&mut hand.sent);
            assert!(
                over && acks.is_empty() || sent == acks,
                "every finish is acknowledged: {sent:?} {acks:?}"
            );
            if over {
                hand.cut_off();
            }
        }
    }

    fn hear_output(&mut self, number: usize, output: Output) {
        let archive = self.archive();
        let hand = &mut self.hands[number];
        for ack in output.acks {
            let job = &self.reference.jobs[&ack.id];
            match ack.outcome {
                Ok(()) => assert_ne!(job.life, Life::Running(ack.token), "[ACK-1]"),
                Err(Error::Refused(refused)) => {
                    assert_ne!(job.life, Life::Running(ack.token), "{refused} [LEASE-1]");
                }
                Err(error) => {
                    assert!(error == Error::DiskFull && self.full, "{error}");
                    continue;
                }
            }
            hand.forget(ack.id, ack.token);
        }
        for (id, token) in output.cancels {
            assert_ne!(self.reference.jobs[&id].life, Life::Running(token), "told to stop a job it holds");
            hand.forget(id, token);
        }
        for grant in output.grants {
            let job = &self.reference.jobs[&grant.id];
            assert_eq!(job.life, Life::Running(grant.token), "[LEASE-1]");
            assert_eq!((&job.worker, job.attempt, job.queue), (&hand.name, grant.attempt, grant.queue));
            assert_eq!(job.submitted_at, grant.submitted_at);
            let event = archive.event(grant.submitted_at).unwrap();
            assert!(matches!(event, Event::Submitted(submitted) if submitted.id == grant.id));
            hand.held.push(grant);
        }
    }

    /// The supervisor of the local pool ends: it does not come back.
    pub(in crate::engine::simulation) fn local_pool_ends(&mut self) {
        for number in 0..self.hands.len() {
            if let (true, Some(session)) = (self.hands[number].is_local(), self.hands[number].session) {
                self.detach(number, session, Bye::Unsaid);
            }
        }
    }

    /// The worker attaches if need be, completes all it holds, and is never silent for long.
    pub(in crate::engine::simulation) fn work_off(&mut self, number: usize) {
        let Some(session) = self.hands[number].session else { return self.attach_for_all(number) };
        let finishes = self.hands[number].held.iter().map(complete).collect::<Vec<_>>();
        let silent = self.now.tick.since(self.hands[number].spoke);
        if !finishes.is_empty() || silent > Duration::from_secs(5) {
            let free = finishes.len() as u32;
            self.speak(number, session, WorkerMessage { finishes, progress: Vec::new(), free });
        }
    }

    fn attach_for_all(&mut self, number: usize) {
        let (attach, outputs) = attaching(&self.hands[number].name, &QUEUES, 5);
        self.hands[number].outlet = Some(outputs);
        let (reply, answer) = Reply::once();
        self.pending.push(Pending::Attach(answer, number));
        self.commands.push(Command::Attach(attach, reply));
    }
}

fn holder(grant: &Grant) -> Holder {
    Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) }
}

fn complete(grant: &Grant) -> FinishRequest {
    let result = Payload(grant.token.0.to_le_bytes().to_vec().into());
    let finish = Finish::Complete { result, content_type: "".into(), usage: None };
    FinishRequest { holder: holder(grant), finish }
}

fn finish(dice: &mut Dice, grant: &Grant) -> FinishRequest {
    let text = |end: &str| -> Arc<str> { format!("t{}{end}", grant.token).into() };
    let fail = |kind, retryable| {
        let end = if retryable == Retryable::No { "!" } else { "" };
        Finish::Fail { failure: Failure { kind, message: text(end), process: None }, retryable }
    };
    let finish = match dice.below(10) {
        0..=3 => return complete(grant),
        4 => fail(FailureKind::Failed, Retryable::Yes),
        5 => fail(FailureKind::Crashed, Retryable::Yes),
        6 => fail(FailureKind::TimedOut, Retryable::Yes),
        7 => fail(FailureKind::Failed, Retryable::No),
        _ => {
            let delay = Duration::from_millis([0, 500][dice.index(2)]);
            Finish::Release { delay, reason: text("") }
        }
    };
    FinishRequest { holder: holder(grant), finish }
}
