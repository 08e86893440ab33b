//! How many jobs a second do handlers inside the process finish, with no gRPC between them and the engine: submitted to
//! the service, synced, leased, handled, synced? Once with all jobs submitted as fast as the service takes them, so that most
//! of them wait, and once with about 5,000 unfinished at a time. Compared with a plain append-only file that gets about the
//! same bytes, with one sync per 1,000 jobs, in the same run.
//!
//! `cargo bench --bench handlers`; it writes below the current directory. CPU is of the whole process: the preparing of
//! segments, work tree and checkpoints included.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use bytes::Bytes;
use gangline::clock::Clock;
use gangline::clock::Timestamp;
use gangline::engine::Engine;
use gangline::engine::Parts;
use gangline::engine::core::Options;
use gangline::engine::retention::Keeping;
use gangline::engine::view::Seen;
use gangline::job::decide::submit::Batch;
use gangline::job::decide::submit::Origin;
use gangline::job::spec::NewJob;
use gangline::job::spec::Payload;
use gangline::log::Archive;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::pool::Assignment;
use gangline::pool::Config;
use gangline::pool::Handler;
use gangline::pool::Mode;
use gangline::pool::Spawner;
use gangline::pool::claims::PoolSpec;
use gangline::pool::handler::Context;
use gangline::pool::handler::HandlerError;
use gangline::pool::local;
use gangline::service::Service;
use gangline::service::Settings;
use gangline::shutdown::Shutdown;
use gangline::work;
use gangline::work::Place;
use gangline::work::WorkTree;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const JOBS: usize = 400_000;
const A_SYNC: usize = 1_000;
/// Bytes of payload and of result.
const BYTES: usize = 100;
/// Submitters, each of which waits for the answer to its batch.
const SUBMITTERS: usize = 10;
/// Jobs in a batch. Together with the submitters: how many jobs wait for an answer.
const BATCH: usize = 500;
/// How many jobs are unfinished at a time in the second measurement.
const WINDOW: usize = 5_000;

fn main() {
    gangline::pool::spawner::run_if_asked();
    let dir = tempfile::Builder::new().prefix(".handlers-bench").tempdir_in(".");
    let dir = dir.expect("the current directory is writable");
    let clock = Clock::system();
    println!("durability fdatasync, {JOBS} jobs of {BYTES} bytes, 2 handlers");
    for round in 0..ROUNDS {
        let limit = plain(dir.path(), round, &clock);
        println!("limit              {limit:9.0} jobs/s");
        for (name, window) in [("all at once", JOBS), ("5,000 at a time", WINDOW)] {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let data = dir.path().join(format!("{round}-{window}"));
            let cpu_began = cpu();
            let rate = runtime.expect("a runtime").block_on(handled(&data, window, &clock));
            let cpu_us = (cpu() - cpu_began).as_secs_f64() * 1e6 / JOBS as f64;
            println!(
                "{name:<18} {rate:9.0} jobs/s, {:.2} of the limit, {cpu_us:.2} µs of CPU a job",
                rate / limit
            );
        }
    }
}

fn cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn plain(dir: &Path, round: usize, clock: &Clock) -> f64 {
    let mut file = std::fs::File::create(dir.join(format!("plain-{round}"))).expect("a file can be made");
    let chunk = vec![7; (2 * BYTES + 71) * A_SYNC];
    let began = clock.now().tick;
    for _ in 0..JOBS / A_SYNC {
        file.write_all(&chunk).expect("the disk takes it");
        file.sync_data().expect("the disk syncs it");
    }
    JOBS as f64 / clock.now().tick.since(began).as_secs_f64()
}

/// Gives the same result each time, and counts.
struct NoOp(Bytes, Arc<AtomicUsize>);

impl Handler for NoOp {
    fn call(&self, _job: &Assignment, _context: &Context) -> Result<Bytes, HandlerError> {
        self.1.fetch_add(1, Ordering::Relaxed);
        Ok(self.0.clone())
    }
}

/// Jobs a second, from the first submit until every job's end is synced, with no more submitted than the window and what the
/// submitters have on their way.
async fn handled(data: &Path, window: usize, clock: &Clock) -> f64 {
    let log = Directory::open(data, DirectoryOptions::default()).expect("a new directory opens").log;
    let boot = work::boot_id().expect("the system says it");
    let place = Place { dir: log.work_dir(), store: log.archive().store_id(), boot };
    let parts = Parts {
        tree: WorkTree::new(place, work::Options::default()),
        options: Options::default(),
        keeping: Keeping::default(),
        clock: clock.clone(),
    };
    let engine = Engine::start(log, parts).expect("the engine starts");
    let shutdown = Shutdown::new();
    let service = Service::new(engine.handle(), Settings::default(), shutdown.clone());
    let spawner = Spawner::start(&shutdown).expect("the spawner starts");
    let handled = Arc::new(AtomicUsize::new(0));
    let mode = Mode::Handler(Arc::new(NoOp(vec![9; BYTES].into(), Arc::clone(&handled))));
    let queues = vec!["q".parse().expect("a queue name")];
    let spec = PoolSpec { name: "bench".into(), queues, config: Config::new(mode) };
    local::start(&service, spec, &spawner, clock).expect("the pool starts");
    let mut seen = service.engine().view().follow();
    let began = clock.now().tick;
    let mut submitting = JoinSet::new();
    let submitted = Arc::new(AtomicUsize::new(0));
    for _ in 0..SUBMITTERS {
        let (service, submitted, handled) = (service.clone(), Arc::clone(&submitted), Arc::clone(&handled));
        let mut seen = seen.clone();
        submitting.spawn(async move {
            for _ in 0..JOBS / SUBMITTERS / BATCH {
                let may_go =
                    |_: &Seen| submitted.load(Ordering::Relaxed) < handled.load(Ordering::Relaxed) + window;
                seen.wait_for(may_go).await.expect("the engine runs");
                submitted.fetch_add(BATCH, Ordering::Relaxed);
                service.submit(batch()).await.expect("there is room");
            }
        });
    }
    while let Some(submitted) = submitting.join_next().await {
        submitted.expect("it does not panic");
    }
    // Each job is submitted, started and ended.
    let all = 3 * JOBS as u64;
    seen.wait_for(|seen| seen.sequence.0 >= all).await.expect("the engine runs");
    let rate = JOBS as f64 / clock.now().tick.since(began).as_secs_f64();
    shutdown.begin();
    drop(spawner);
    engine.stop().expect("the log works");
    rate
}

fn batch() -> Batch {
    let job = NewJob {
        queue: "q".parse().expect("a queue name"),
        priority: 0,
        run_at: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload(vec![7; BYTES].into()),
    };
    Batch { jobs: vec![job; BATCH], origin: Origin::Anonymous }
}
