//! A server's own pool over a real engine: how much it holds ahead of its handlers, and what goes back.

use crate::rig::PATIENCE;
use bytes::Bytes;
use gangline::clock::Clock;
use gangline::clock::Timestamp;
use gangline::engine::Engine;
use gangline::engine::Parts;
use gangline::engine::core::Options;
use gangline::engine::retention::Keeping;
use gangline::job::decide::submit::Batch;
use gangline::job::decide::submit::Origin;
use gangline::job::event::Event;
use gangline::job::id::Position;
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
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// The first byte of the payload of a job that is worked on until the gate opens.
const HELD: u8 = b'h';
/// The same for a job that takes a while until the gate opens.
const SLOW: u8 = b's';
const MIB: usize = 1 << 20;

#[derive(Default)]
struct Gate(AtomicBool);

impl Handler for Gate {
    fn call(&self, job: &Assignment, context: &Context) -> Result<Bytes, HandlerError> {
        let shut = || !self.0.load(Ordering::Acquire) && !context.is_cancelled();
        match job.payload.first() {
            Some(&HELD) => {
                while shut() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            Some(&SLOW) if shut() => std::thread::sleep(Duration::from_millis(20)),
            Some(_) | None => {}
        }
        Ok(Bytes::new())
    }
}

struct Rig {
    _dir: tempfile::TempDir,
    engine: Engine,
    service: Service,
    shutdown: Shutdown,
    _spawner: Spawner,
    gate: Arc<Gate>,
}

impl Rig {
    /// A pool of two handlers.
    fn new() -> Rig {
        let dir = tempfile::tempdir().expect("there is room for a directory");
        let clock = Clock::system();
        let log =
            Directory::open(dir.path(), DirectoryOptions::default()).expect("a new directory opens").log;
        let boot = work::boot_id().expect("the system says it");
        let place = Place { dir: log.work_dir(), store: log.archive().store_id(), boot };
        let parts = Parts {
            tree: WorkTree::new(place, work::Options::default()),
            // All frames stay in memory, for the test to look at.
            options: Options { ring_bytes: 1 << 30, ..Options::default() },
            keeping: Keeping::default(),
            clock: clock.clone(),
        };
        let engine = Engine::start(log, parts).expect("the engine starts");
        let shutdown = Shutdown::new();
        let service = Service::new(engine.handle(), Settings::default(), shutdown.clone());
        let program = Path::new(env!("CARGO_BIN_EXE_gangline"));
        let spawner = Spawner::start_from(program, &shutdown).expect("the spawner starts");
        let gate = Arc::new(Gate::default());
        let mode = Mode::Handler(Arc::clone(&gate) as Arc<dyn Handler>);
        let config =
            Config { processes: NonZeroUsize::new(2).expect("two is not zero"), ..Config::new(mode) };
        let spec = PoolSpec { name: "two".into(), queues: vec!["q".parse().expect("a queue name")], config };
        local::start(&service, spec, &spawner, &clock).expect("the pool starts");
        Rig { _dir: dir, engine, service, shutdown, _spawner: spawner, gate }
    }

    async fn submit(&self, count: usize, payload: &[u8]) {
        let job = NewJob {
            queue: "q".parse().expect("a queue name"),
            priority: 0,
            run_at: Timestamp(0),
            policy: None,
            extra: None,
            payload: Payload(Bytes::copy_from_slice(payload)),
        };
        let batch = Batch { jobs: vec![job; count], origin: Origin::Anonymous };
        self.service.submit(batch).await.expect("there is room");
    }

    /// How many events so far fit `wanted`.
    fn count(&self, wanted: impl Fn(&Event) -> bool) -> usize {
        let frames =
            self.service.engine().view().frames(Position(1), usize::MAX).expect("none has left memory");
        frames.iter().flat_map(|frame| &frame.events).filter(|event| wanted(event)).count()
    }

    async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let mut seen = self.service.engine().view().follow();
        let wait = async {
            while !condition() {
                seen.changed().await.expect("the engine runs");
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
    }

    async fn until_succeeded(&self, count: usize) {
        self.until("they succeed", || self.count(|event| matches!(event, Event::Succeeded { .. })) == count)
            .await;
    }

    fn released(&self, why: &str) -> usize {
        self.count(|event| matches!(event, Event::Released { reason, .. } if reason.contains(why)))
    }

    /// Ends everything; says how many jobs were started.
    async fn end(self) -> usize {
        let started = self.count(|event| matches!(event, Event::Started { .. }));
        self.shutdown.begin();
        drop(self.service);
        tokio::task::spawn_blocking(|| self.engine.stop()).await.expect("no panic").expect("the log works");
        started
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_of_many_short_jobs_is_handled_once() {
    let rig = Rig::new();
    for _ in 0..20 {
        rig.submit(500, b"x").await;
    }
    rig.until_succeeded(10_000).await;
    // On a machine that stands still for a moment something may go back, and then it is started again.
    let again = rig.released("could not be started in time");
    assert_eq!(rig.end().await, 10_000 + again);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pool_that_holds_many_short_jobs_gives_large_ones_back_beyond_its_bytes() {
    let rig = Rig::new();
    rig.submit(10_000, b"x").await;
    rig.until_succeeded(10_000).await;
    let mut large = vec![b'x'; MIB];
    large[0] = HELD;
    for _ in 0..50 {
        rig.submit(2, &large).await;
    }
    rig.until("some go back", || rig.released("as much payload as it may") > 0).await;
    rig.gate.0.store(true, Ordering::Release);
    rig.until_succeeded(10_100).await;
    rig.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pool_that_got_slow_cannot_begin_in_time_goes_back_although_it_goes_on() {
    let rig = Rig::new();
    rig.submit(10_000, b"x").await;
    rig.until_succeeded(10_000).await;
    rig.submit(500, &[SLOW]).await;
    rig.until("some go back", || rig.released("could not be started in time") > 0).await;
    let ended = rig.count(|event| matches!(event, Event::Succeeded { .. })) - 10_000;
    assert!(ended > 0, "it did not stand still");
    rig.gate.0.store(true, Ordering::Release);
    rig.until_succeeded(10_500).await;
    rig.end().await;
}
