//! The world of one run: the engine, its disk, its clock, and everyone who talks to it.

use crate::clock::Now;
use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::engine::chance::Chance;
use crate::engine::checkpoint;
use crate::engine::command::Command;
use crate::engine::core::Core;
use crate::engine::core::Options;
use crate::engine::recover::each_frame;
use crate::engine::recover::recover;
use crate::engine::simulation::clients::Clients;
use crate::engine::simulation::clients::Pending;
use crate::engine::simulation::hands::Hand;
use crate::engine::simulation::life::Known;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::life::Moment;
use crate::engine::simulation::reference::Reference;
use crate::engine::workers::LOCAL_PREFIX;
use crate::job::decide::Limits;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Archive;
use crate::log::Log;
use crate::log::memory::Disk;
use crate::log::memory::Memory;
use crate::log::memory::MemoryArchive;
use std::ops::ControlFlow;
use std::time::Duration;

const HOUR: Duration = Duration::from_secs(3_600);

/// Random numbers of the run, as people throw them.
#[derive(Debug)]
pub(in crate::engine::simulation) struct Dice(Chance);

impl Dice {
    /// A number below `end`.
    pub(in crate::engine::simulation) fn below(&mut self, end: u64) -> u64 {
        ((u128::from(self.0.next_u64()) * u128::from(end)) >> 64) as u64
    }

    pub(in crate::engine::simulation) fn one_in(&mut self, chances: u64) -> bool {
        self.below(chances) == 0
    }

    pub(in crate::engine::simulation) fn index(&mut self, length: usize) -> usize {
        self.below(length as u64) as usize
    }

    pub(in crate::engine::simulation) fn number(&mut self) -> u64 {
        self.0.next_u64()
    }
}

#[derive(Debug)]
pub(in crate::engine::simulation) struct World {
    pub(in crate::engine::simulation) dice: Dice,
    pub(in crate::engine::simulation) disk: Disk,
    pub(in crate::engine::simulation) core: Core<Memory>,
    pub(in crate::engine::simulation) options: Options,
    pub(in crate::engine::simulation) now: Now,
    pub(in crate::engine::simulation) reference: Reference,
    pub(in crate::engine::simulation) commands: Vec<Command>,
    pub(in crate::engine::simulation) pending: Vec<Pending>,
    pub(in crate::engine::simulation) clients: Clients,
    pub(in crate::engine::simulation) hands: Vec<Hand>,
    /// How many updates there were when this engine was opened.
    pub(in crate::engine::simulation) opened_at: usize,
    pub(in crate::engine::simulation) full: bool,
    /// What log time is to the running engine.
    pub(in crate::engine::simulation) log_time: Timestamp,
    /// Since when the wall clock is behind it.
    behind: Option<Now>,
    /// When the engine did its last step.
    stepped: Tick,
    /// A fault was ordered: a step may fail.
    faults: bool,
}

impl World {
    pub(in crate::engine::simulation) fn new(seed: u64) -> World {
        let mut dice = Dice(Chance::from_seed(seed));
        let disk = Disk::new(StoreId([7; 16]), seed);
        if dice.one_in(2) {
            // Steps of several frames.
            disk.limit_frames(2_000);
        }
        let options = Options {
            limits: Limits { live_max: 300, keys_max: 40, ..Limits::default() },
            dedupe_window: if dice.one_in(2) { Duration::from_secs(600) } else { 24 * HOUR },
            ring_bytes: if dice.one_in(2) { 4_096 } else { 1 << 20 },
            ..Options::default()
        };
        let now = Now { wall: Timestamp(1_700_000_000_000), tick: Tick(1_000_000_000) };
        let log = disk.open();
        let state = recover(&log.archive()).unwrap().state;
        let core = Core::open(log, state, options.clone(), Chance::from_seed(dice.number()), now);
        World {
            hands: ["w0", "w1", "w2", "@pool"].map(Hand::new).into(),
            clients: Clients::default(),
            reference: Reference::default(),
            commands: Vec::new(),
            pending: Vec::new(),
            opened_at: 0,
            full: false,
            log_time: now.wall,
            behind: None,
            stepped: now.tick,
            faults: false,
            dice,
            disk,
            core,
            options,
            now,
        }
    }

    pub(in crate::engine::simulation) fn archive(&self) -> MemoryArchive {
        self.core.archive()
    }

    /// Lives for so many random steps, and then until every job has ended.
    pub(in crate::engine::simulation) fn live(mut self, steps: usize) {
        self.step();
        for step in 0..steps {
            for _ in 0..self.dice.below(5) {
                self.act();
            }
            self.disturb();
            self.step();
            if step % 8 == 0 {
                self.check();
            }
            self.pass_time();
        }
        self.finish_all();
    }

    fn act(&mut self) {
        if self.dice.one_in(2) { self.client_acts() } else { self.hand_acts() }
    }

    fn disturb(&mut self) {
        match self.dice.below(120) {
            0 => self.crash(),
            1 => {
                self.disk.fail_append(1 + self.dice.below(3));
                self.faults = true;
            }
            2 | 3 => {
                self.disk.fail_sync(1 + self.dice.below(3));
                self.faults = true;
            }
            4 => {
                let left = [0, 80 << 10, 20 << 20, 40 << 20][self.dice.index(4)];
                self.disk.fill_but(left);
                self.full = true;
            }
            5..=12 if self.full => self.empty_disk(),
            13..=18 => self.checkpoint(),
            _ => {}
        }
    }

    fn empty_disk(&mut self) {
        self.disk.empty();
        self.full = false;
    }

    fn checkpoint(&mut self) {
        let archive = self.archive();
        let log_bytes_max = if self.dice.one_in(2) { u64::MAX } else { self.dice.below(2_000) };
        let made = checkpoint::advance(&archive, archive.durable(), log_bytes_max);
        assert!(made.is_ok() || self.full, "{made:?}");
        if let (Ok(_), Some(&newest)) = (made, archive.checkpoints().unwrap().first())
            && newest == self.reference.replayed.position()
        {
            let (_, state) = checkpoint::load(&archive, newest).unwrap();
            assert_eq!(state.digest(), self.reference.replayed.digest(), "checkpoint and replay [LOG-3]");
        }
        if self.dice.one_in(2) {
            checkpoint::trim(&archive, archive.durable()).unwrap();
        }
    }

    /// The clocks go on; now and then the wall clock jumps, or the engine is stopped for a while.
    fn pass_time(&mut self) {
        let ms = match self.dice.below(40) {
            0..=19 => self.dice.below(60),
            20..=31 => {
                let next = self.core.next_step();
                let ns = next.map_or(0, |next| next.since(self.now.tick).as_nanos());
                return self.advance(Duration::from_nanos(ns as u64));
            }
            32..=36 => self.dice.below(3_000),
            37 => 20_000,
            38 => {
                let wall = self.now.wall.0 as i64 + self.dice.below(7_200_000) as i64 - 3_600_000;
                self.now.wall = Timestamp(wall as u64);
                0
            }
            _ => self.dice.below(900_000),
        };
        if self.dice.one_in(2) {
            let _ = self.core.next_step();
        }
        self.advance(Duration::from_millis(ms));
    }

    pub(in crate::engine::simulation) fn advance(&mut self, by: Duration) {
        self.now = Now { wall: self.now.wall.after(by), tick: self.now.tick.after(by) };
    }

    /// Log time goes with the wall clock, and at half its own pace while that is behind.
    fn pass_log_time(&mut self) {
        let last = self.log_time.max(self.reference.time);
        if self.now.wall >= last {
            (self.log_time, self.behind) = (self.now.wall, None);
        } else {
            let since = *self.behind.get_or_insert(Now { wall: last, tick: self.stepped });
            self.log_time = since.wall.after(self.now.tick.since(since.tick) / 2).max(last);
        }
        self.stepped = self.now.tick;
    }

    /// Lets the engine carry out what was said, and hears its answers.
    pub(in crate::engine::simulation) fn step(&mut self) {
        self.pass_log_time();
        let commands = std::mem::take(&mut self.commands);
        let stepped = self.core.step(commands, self.now);
        self.observe();
        match stepped {
            Ok(()) => self.hear(),
            Err(error) => {
                assert!(self.faults, "the log was well: {error}");
                self.hear_unknown();
                self.reopen();
            }
        }
    }

    /// Follows the newly durable frames.
    fn observe(&mut self) {
        let archive = self.archive();
        let durable = archive.durable();
        assert!(self.core.view().seen().position <= durable, "published before it was synced [ACK-1]");
        let moment = Moment {
            tick: self.now.tick,
            log_time: self.log_time,
            progress_ns: self.options.progress_interval.as_nanos() as u64,
            dedupe_ms: self.options.dedupe_window.as_millis() as u64,
            time: self.reference.time,
            earliest: Tick(0),
        };
        let from = Position(self.reference.hashes.len() as u64 + 1);
        each_frame(&archive, from, durable, |frame| {
            self.reference.see(frame, moment);
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        assert_eq!(self.reference.hashes.len() as u64, durable.0, "what was durable stays [ACK-1]");
    }

    fn crash(&mut self) {
        self.commands.clear();
        self.pending.clear();
        self.disk.crash();
        self.reopen();
    }

    /// The engine starts again on what the disk kept.
    fn reopen(&mut self) {
        if self.full {
            self.empty_disk();
        }
        let log = self.disk.open();
        self.disk.forget_faults();
        self.faults = false;
        let archive = log.archive();
        assert!(archive.durable().0 >= self.reference.hashes.len() as u64, "what was durable stays [ACK-1]");
        each_frame(&archive, archive.floor().position, archive.durable(), |frame| {
            if let Some(known) = self.reference.hashes.get(frame.position.0 as usize - 1) {
                assert_eq!(frame.hash(), *known, "one history [LOG-1]");
            }
            Ok(ControlFlow::Continue(()))
        })
        .unwrap();
        let state = recover(&archive).unwrap().state;
        self.hands.iter_mut().for_each(Hand::cut_off);
        let deadline = self.now.tick.after(self.options.lease_period);
        let chance = Chance::from_seed(self.dice.number());
        self.core = Core::open(log, state, self.options.clone(), chance, self.now);
        // The clock of the stopped engine no longer counts for what is due, that of its frames does.
        self.observe();
        self.opened_at = self.reference.updates.len();
        (self.log_time, self.behind, self.stepped) = (self.now.wall, None, self.now.tick);
        self.reference.told.clear();
        for hand in &self.hands {
            self.reference.lapse_not_before.insert(hand.name.clone(), deadline);
        }
        let recovered = recover(&archive).unwrap().state.digest();
        assert_eq!(recovered, self.reference.replayed.digest(), "recovery and replay [LOG-3]");
        self.step();
        let local =
            |job: &&Known| job.worker.starts_with(LOCAL_PREFIX) && matches!(job.life, Life::Running(_));
        let orphan = self.reference.jobs.values().find(local);
        assert!(orphan.is_none(), "its process ended with the engine: {orphan:?}");
    }

    /// Faults stop; one new worker goes on, the others are never heard of again. Every job must come to its end.
    fn finish_all(&mut self) {
        self.empty_disk();
        self.disk.forget_faults();
        self.faults = false;
        self.now.wall = self.log_time.max(self.reference.time).after(2 * HOUR);
        self.set_plain_queues();
        self.hands.push(Hand::new("w9"));
        self.local_pool_ends();
        let last = self.hands.len() - 1;
        for _ in 0..5_000 {
            self.work_off(last);
            self.step();
            let over = self.reference.jobs.values().all(|job| job.life.is_over());
            if over {
                self.check();
                return self.crash();
            }
            let held = !self.hands[last].held.is_empty();
            let next = self.core.next_step();
            let next = next.filter(|_| !held).or(held.then_some(self.now.tick));
            let next = next.expect("a job is left and the engine would sleep for ever");
            self.advance(next.since(self.now.tick));
        }
        let left = self.reference.jobs.iter().find(|(_, job)| !job.life.is_over());
        panic!("jobs starve: {left:?}");
    }
}
