//! How many jobs a second do handlers inside the process finish, with no gRPC between them and the engine: submitted to
//! the service, synced, leased, handled, synced? Compared with a plain append-only file that gets about the same bytes, with
//! one sync per 1,000 jobs, in the same run.
//!
//! `cargo bench --bench handlers`; it writes below the current directory.

#![allow(clippy::print_stdout, reason = "a benchmark prints its figures")]

use bytes::Bytes;
use gangline::clock::Clock;
use gangline::clock::Timestamp;
use gangline::engine::Engine;
use gangline::engine::Parts;
use gangline::engine::core::Options;
use gangline::engine::retention::Keeping;
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

fn main() {
    gangline::pool::spawner::run_if_asked();
    let dir = tempfile::Builder::new().prefix(".handlers-bench").tempdir_in(".");
    let dir = dir.expect("the current directory is writable");
    let clock = Clock::system();
    println!("durability fdatasync, {JOBS} jobs of {BYTES} bytes, 2 handlers");
    for round in 0..ROUNDS {
        let limit = plain(dir.path(), round, &clock);
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let rate = runtime.expect("a runtime").block_on(handled(&dir.path().join(round.to_string()), &clock));
        println!("limit {limit:9.0} jobs/s, handlers {rate:9.0} jobs/s, {:.2} of the limit", rate / limit);
    }
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

struct NoOp(Bytes);

impl Handler for NoOp {
    fn call(&self, _job: &Assignment, _context: &Context) -> Result<Bytes, HandlerError> {
        Ok(self.0.clone())
    }
}

/// Jobs a second, from the first submit until every job's end is synced.
async fn handled(data: &Path, clock: &Clock) -> f64 {
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
    let mode = Mode::Handler(Arc::new(NoOp(vec![9; BYTES].into())));
    let queues = vec!["q".parse().expect("a queue name")];
    let spec = PoolSpec { name: "bench".into(), queues, config: Config::new(mode) };
    local::start(&service, spec, &spawner, clock).expect("the pool starts");
    let mut seen = service.engine().view().follow();
    let began = clock.now().tick;
    let mut submitting = JoinSet::new();
    for _ in 0..SUBMITTERS {
        let service = service.clone();
        submitting.spawn(async move {
            for _ in 0..JOBS / SUBMITTERS / BATCH {
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
