//! The deciding side, one rule at a time; the simulation covers how they play together.

mod disk;
mod frames;
mod leases;
mod progress;
mod time;

use crate::clock::Now;
use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::engine::chance::Chance;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::FinishRequest;
use crate::engine::command::Grant;
use crate::engine::command::Reply;
use crate::engine::command::WorkerMessage;
use crate::engine::core::Core;
use crate::engine::core::Options;
use crate::engine::recover::recover;
use crate::engine::workers::Attach;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Session;
use crate::engine::workers::Unnamed;
use crate::engine::workers::rig::attaching;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::log::Archive;
use crate::log::Log;
use crate::log::memory::Disk;
use crate::log::memory::Memory;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

/// A core on a simulated disk, and its clock.
struct Rig {
    disk: Disk,
    core: Core<Memory>,
    now: Now,
}

/// A worker's end of its session.
struct Hand {
    session: Session,
    outputs: UnboundedReceiver<Output>,
}

impl Rig {
    fn new() -> Rig {
        let disk = Disk::new(StoreId([7; 16]), 1);
        let now = Now { wall: Timestamp(1_700_000_000_000), tick: Tick(1_000_000_000) };
        let mut rig = Rig { core: open(&disk, now), disk, now };
        rig.step(Vec::new());
        rig
    }

    /// The engine stops without a word and starts again on the same disk.
    fn restart(&mut self) {
        self.core = open(&self.disk, self.now);
        self.step(Vec::new());
    }

    fn step(&mut self, commands: Vec<Command>) {
        self.core.step(commands, self.now).unwrap();
    }

    fn pass(&mut self, ms: u64) {
        let by = Duration::from_millis(ms);
        self.now = Now { wall: self.now.wall.after(by), tick: self.now.tick.after(by) };
    }

    /// Time passes as the engine means to sleep, step by step.
    fn live(&mut self, ms: u64) {
        let until = self.now.tick.after(Duration::from_millis(ms));
        while let Some(next) = self.core.next_step().filter(|next| *next <= until) {
            let by = next.since(self.now.tick);
            self.now = Now { wall: self.now.wall.after(by), tick: self.now.tick.after(by) };
            self.step(Vec::new());
        }
        let rest = until.since(self.now.tick);
        self.now = Now { wall: self.now.wall.after(rest), tick: until };
    }

    fn call<T: std::fmt::Debug>(&mut self, command: impl FnOnce(Reply<T>) -> Command) -> Result<T, Error> {
        let (reply, mut answer) = Reply::once();
        self.step(vec![command(reply)]);
        answer.try_recv().unwrap()
    }

    fn submit(&mut self, jobs: Vec<NewJob>) -> Result<Accepted, Error> {
        self.call(|reply| Command::Submit(Batch { jobs, origin: Origin::Anonymous }, reply))
    }

    fn one(&mut self) -> JobId {
        self.submit(vec![job("q")]).unwrap().ranges[0].first
    }

    fn attach(&mut self, name: &str, queues: &[&str], free: u32) -> Hand {
        let (attach, outputs) = attaching(name, queues, free);
        let local = name.starts_with(LOCAL_PREFIX);
        let liveness = if local { Liveness::Local } else { Liveness::Signs };
        let attach = Attach { liveness, unnamed: Unnamed::Kept, ..attach };
        let welcome = self.call(|reply| Command::Attach(attach, reply)).unwrap();
        Hand { session: welcome.session, outputs }
    }

    fn work(&mut self, hand: &Hand, message: WorkerMessage) {
        self.step(vec![Command::Work(hand.session, message)]);
    }

    /// Events of the durable frames from `from` on, with the kinds' names.
    fn kinds_since(&self, from: Position) -> Vec<&'static str> {
        self.events_since(from).iter().map(Event::kind_name).collect()
    }

    fn events_since(&self, from: Position) -> Vec<Event> {
        let frames = self.core.archive().read(from, usize::MAX).unwrap();
        frames.iter().flat_map(|frame| frame.events().unwrap()).collect()
    }

    fn next_position(&self) -> Position {
        self.core.archive().durable().next()
    }
}

impl Hand {
    fn hear(&mut self) -> Output {
        let mut all = Output::default();
        while let Ok(output) = self.outputs.try_recv() {
            all.grants.extend(output.grants);
            all.acks.extend(output.acks);
            all.cancels.extend(output.cancels);
        }
        all
    }
}

fn open(disk: &Disk, now: Now) -> Core<Memory> {
    let log = disk.open();
    let state = recover(&log.archive()).unwrap().state;
    Core::open(log, state, Options::default(), Chance::from_seed(1), now)
}

fn job(queue: &str) -> NewJob {
    NewJob {
        queue: queue.parse().unwrap(),
        priority: 0,
        run_at: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload::default(),
    }
}

fn with(policy: Policy) -> NewJob {
    NewJob { policy: Some(Box::new(policy)), ..job("q") }
}

fn holder(grant: &Grant) -> Holder {
    Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) }
}

fn completed(grants: &[Grant]) -> WorkerMessage {
    let result = Payload::default();
    let complete = Finish::Complete { result, content_type: "".into(), usage: None };
    let finish = |grant| FinishRequest { holder: holder(grant), finish: complete.clone() };
    WorkerMessage { finishes: grants.iter().map(finish).collect(), ..WorkerMessage::default() }
}
