//! What does the work tree's applier cost a job, submit and finish together? CPU of the whole process, sled's
//! threads included, without the reading and decoding of the log. The budget is 2 µs.
//!
//! Run with `cargo bench --bench applier [jobs]`.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use gangline::clock::Clock;
use gangline::clock::Timestamp;
use gangline::job::event::Event;
use gangline::job::event::Submitted;
use gangline::job::id::JobId;
use gangline::job::id::Position;
use gangline::job::id::QueueNo;
use gangline::job::id::Sequence;
use gangline::job::id::StoreId;
use gangline::job::spec::Payload;
use gangline::work::AppliedFrame;
use gangline::work::Options;
use gangline::work::Place;
use gangline::work::Span;
use gangline::work::WorkTree;
use rustix::time::ClockId;
use std::collections::VecDeque;

/// In which order jobs finish.
#[derive(Clone, Copy)]
enum Pattern {
    /// In the frame that submits them.
    SameBatch,
    /// The oldest of a backlog first.
    Fifo { backlog: usize },
    /// At random among the oldest `window` of a backlog.
    Window { backlog: usize, window: usize },
}

/// Frames whose jobs finish in the order of a pattern.
struct Work {
    pattern: Pattern,
    payload: Payload,
    unfinished: VecDeque<u64>,
    jobs: u64,
    random: u64,
}

impl Work {
    fn new(pattern: Pattern) -> Work {
        let payload = Payload(vec![b'x'; 100].into());
        Work { pattern, payload, unfinished: VecDeque::new(), jobs: 0, random: 1 }
    }

    fn frame(&mut self, submits: usize) -> Vec<Event> {
        let mut events = Vec::with_capacity(2 * submits);
        for _ in 0..submits {
            self.jobs += 1;
            self.unfinished.push_back(self.jobs);
            events.push(self.submitted(self.jobs));
        }
        let backlog = match self.pattern {
            Pattern::SameBatch => 0,
            Pattern::Fifo { backlog } | Pattern::Window { backlog, .. } => backlog,
        };
        while self.unfinished.len() > backlog {
            events.push(self.finish());
        }
        events
    }

    fn finish(&mut self) -> Event {
        let at = match self.pattern {
            Pattern::SameBatch | Pattern::Fifo { .. } => 0,
            Pattern::Window { window, .. } => self.random() as usize % window.min(self.unfinished.len()),
        };
        self.unfinished.swap(0, at);
        let job = self.unfinished.pop_front().expect("there are unfinished jobs");
        Event::Succeeded {
            id: id(job),
            queue: QueueNo(1),
            attempt: 1,
            result: Payload::default(),
            content_type: "".into(),
            usage: None,
        }
    }

    fn submitted(&self, job: u64) -> Event {
        Event::Submitted(Submitted {
            id: id(job),
            queue: QueueNo(1),
            priority: 0,
            due: Timestamp(0),
            policy: None,
            extra: None,
            payload: self.payload.clone(),
        })
    }

    fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }
}

fn id(job: u64) -> JobId {
    JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0000 + u128::from(job))
}

fn nanoseconds(clock: ClockId) -> i64 {
    let time = rustix::time::clock_gettime(clock);
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Applies `jobs` jobs, `batch` a frame and a call. Gives CPU µs a job, wall µs a job, the longest call in ms.
fn run(pattern: Pattern, jobs: usize, batch: usize) -> (f64, f64, f64) {
    let dir = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory for the tree");
    let clock = Clock::system();
    let place = Place { dir: dir.path().join("work"), store: StoreId([1; 16]), boot: "bench".to_owned() };
    let tree = WorkTree::new(place, Options::default());
    let opened = tree.open(Span { head: Position(0), floor: Position(1) }).expect("a new tree");
    let mut applier = opened.applier;
    applier.seed([]).expect("an empty seed");
    let mut work = Work::new(pattern);
    let (mut sequence, mut ours, mut wall, mut longest) = (1, 0, 0.0, 0.0_f64);
    let started = nanoseconds(ClockId::ProcessCPUTime);
    for position in 1..=jobs.div_ceil(batch) as u64 {
        let before = nanoseconds(ClockId::ThreadCPUTime);
        let events = work.frame(batch);
        ours += nanoseconds(ClockId::ThreadCPUTime) - before;
        let frame = AppliedFrame {
            position: Position(position),
            time: Timestamp(position),
            first_sequence: Sequence(sequence),
            events: &events,
        };
        sequence += events.len() as u64;
        let now = clock.now().tick;
        applier.apply(&[frame], now).expect("applying");
        let took = clock.now().tick.since(now).as_secs_f64();
        wall += took;
        longest = longest.max(took);
        let before = nanoseconds(ClockId::ThreadCPUTime);
        drop(events);
        ours += nanoseconds(ClockId::ThreadCPUTime) - before;
    }
    let now = clock.now().tick;
    applier.close().expect("closing");
    wall += clock.now().tick.since(now).as_secs_f64();
    let cpu = (nanoseconds(ClockId::ProcessCPUTime) - started - ours) as f64 / 1e9;
    let a_job = 1e6 / jobs as f64;
    (cpu * a_job, wall * a_job, longest * 1e3)
}

fn main() {
    let jobs = std::env::args().filter_map(|word| word.parse().ok()).next().unwrap_or(1_000_000);
    println!("the applier's cost of {jobs} jobs of 100 bytes, submit and finish, the clean stop included");
    println!("{:<44}{:>8}{:>12}{:>12}{:>12}", "finished", "batch", "CPU µs/job", "wall µs/job", "longest ms");
    let patterns = [
        ("in the same batch", Pattern::SameBatch),
        ("first in first out, backlog 100,000", Pattern::Fifo { backlog: 100_000 }),
        ("at random in 10,000, backlog 100,000", Pattern::Window { backlog: 100_000, window: 10_000 }),
        ("at random, 10,000 in flight", Pattern::Window { backlog: 10_000, window: 10_000 }),
    ];
    for (name, pattern) in patterns {
        for batch in [256, 4_096] {
            let (cpu, wall, longest) = run(pattern, jobs, batch);
            println!("{name:<44}{batch:>8}{cpu:>12.2}{wall:>12.2}{longest:>12.1}");
        }
    }
    let (cpu, wall, _) = run(Pattern::SameBatch, 1_000_000, 65_536);
    println!("rebuilding 1,000,000 finished jobs: {wall:.2} s wall, {cpu:.2} s CPU");
}
