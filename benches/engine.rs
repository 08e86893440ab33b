//! How fast is the engine alone: decide, apply, encode, append, sync, publish, without gRPC or threads? Compared with a
//! plain append-only file that gets the same bytes and the same syncs, in the same run.
//!
//! `cargo bench --bench engine`; it writes below the current directory. CPU is of the whole process, the preparing of
//! segments included.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use gangline::clock::Clock;
use gangline::clock::Tick;
use gangline::clock::Timestamp;
use gangline::engine::chance::Chance;
use gangline::engine::command::Command;
use gangline::engine::command::FinishRequest;
use gangline::engine::command::Reply;
use gangline::engine::command::WorkerMessage;
use gangline::engine::core::Core;
use gangline::engine::core::Options;
use gangline::engine::workers::Attach;
use gangline::engine::workers::Liveness;
use gangline::engine::workers::Unnamed;
use gangline::job::decide::finish::Finish;
use gangline::job::decide::finish::Holder;
use gangline::job::decide::submit::Batch;
use gangline::job::decide::submit::Origin;
use gangline::job::spec::NewJob;
use gangline::job::spec::Payload;
use gangline::job::state::State;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use std::io::Write;
use std::path::Path;
use std::time::Duration;

const JOBS: usize = 400_000;
const FRAME: usize = 1_000;

fn main() {
    let dir = tempfile::Builder::new()
        .prefix(".engine-bench")
        .tempdir_in(".")
        .expect("the current directory is writable");
    let clock = Clock::system();
    println!("durability fdatasync, {JOBS} jobs of 100 bytes, {FRAME} a frame");
    for round in 0..3 {
        let limit = plain(dir.path(), round, &clock);
        let submit = submit(&dir.path().join(format!("submit-{round}")), &clock);
        let lifecycle = lifecycle(&dir.path().join(format!("lifecycle-{round}")), &clock);
        println!("limit     {:9.0} jobs/s", limit.0);
        for (name, (rate, cpu_us)) in [("submit", submit), ("lifecycle", lifecycle)] {
            println!(
                "{name:<9} {rate:9.0} jobs/s, {:.2} of the limit, {cpu_us:.2} µs of CPU a job",
                rate / limit.0
            );
        }
    }
}

/// When a measurement began: the clock and this process's CPU time.
struct Start(Tick, Duration);

impl Start {
    fn now(clock: &Clock) -> Start {
        Start(clock.now().tick, cpu())
    }

    /// Jobs a second, and microseconds of CPU a job.
    fn end(self, clock: &Clock) -> (f64, f64) {
        let took = clock.now().tick.since(self.0).as_secs_f64();
        (JOBS as f64 / took, (cpu() - self.1).as_secs_f64() * 1e6 / JOBS as f64)
    }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn plain(dir: &Path, round: usize, clock: &Clock) -> (f64, f64) {
    let mut file = std::fs::File::create(dir.join(format!("plain-{round}"))).expect("a file can be made");
    let chunk = vec![7; 271 * FRAME];
    let start = Start::now(clock);
    for _ in 0..JOBS / FRAME {
        file.write_all(&chunk).expect("the disk takes it");
        file.sync_data().expect("the disk syncs it");
    }
    start.end(clock)
}

fn open(dir: &Path, clock: &Clock) -> Core<Directory> {
    let log = Directory::open(dir, DirectoryOptions::default()).expect("a new directory opens").log;
    Core::open(log, State::default(), Options::default(), Chance::from_seed(7), clock.now())
}

fn batch() -> Command {
    let job = NewJob {
        queue: "q".parse().expect("a queue name"),
        priority: 0,
        run_at: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload(vec![7; 100].into()),
    };
    Command::Submit(Batch { jobs: vec![job; FRAME], origin: Origin::Anonymous }, Reply::Nobody)
}

fn submit(dir: &Path, clock: &Clock) -> (f64, f64) {
    let mut core = open(dir, clock);
    let start = Start::now(clock);
    for _ in 0..JOBS / FRAME {
        core.step([batch()], clock.now()).expect("the log works");
    }
    start.end(clock)
}

fn lifecycle(dir: &Path, clock: &Clock) -> (f64, f64) {
    let mut core = open(dir, clock);
    let (outlet, mut output) = tokio::sync::mpsc::unbounded_channel();
    let (reply, mut welcome) = Reply::once();
    let attach = Attach {
        name: "worker".into(),
        description: "".into(),
        slots: 0,
        queues: vec!["q".parse().expect("a queue name")],
        free: FRAME as u32,
        held: Vec::new(),
        outlet,
        liveness: Liveness::Local,
        unnamed: Unnamed::Lost,
    };
    core.step([Command::Attach(attach, reply)], clock.now()).expect("the log works");
    let session = welcome.try_recv().expect("answered").expect("welcomed").session;
    let result = Payload(vec![9; 100].into());
    let start = Start::now(clock);
    let mut finished = 0;
    core.step([batch()], clock.now()).expect("the log works");
    while finished < JOBS {
        let grants = std::iter::from_fn(|| output.try_recv().ok()).flat_map(|output| output.grants);
        let finishes: Vec<FinishRequest> = grants
            .map(|grant| FinishRequest {
                holder: Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) },
                finish: Finish::Complete { result: result.clone(), content_type: "".into(), usage: None },
            })
            .collect();
        finished += finishes.len();
        let free = finishes.len() as u32;
        let message = WorkerMessage { finishes, free, ..WorkerMessage::default() };
        // One frame holds the finishes of a thousand jobs, the submits of the next, and their claims.
        core.step([Command::Work(session, message), batch()], clock.now()).expect("the log works");
    }
    start.end(clock)
}
