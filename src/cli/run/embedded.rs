//! The service inside this process: a server on a loopback port, a client of it, and the pool.

use crate::cli::damaged;
use crate::client;
use crate::client::Client;
use crate::clock::Clock;
use crate::config::Config;
use crate::job::id::QueueName;
use crate::log;
use crate::pool;
use crate::pool::Spawner;
use crate::pool::claims::PoolSpec;
use crate::pool::local;
use crate::server;
use crate::server::Running;
use anyhow::Context;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// A run that is stopped stops: what is running is ended and done again by the next run.
pub(super) const STOP_GRACE: Duration = Duration::ZERO;
/// How long a process has between SIGTERM and SIGKILL.
pub(super) const KILL_GRACE: Duration = Duration::from_secs(2);
/// A run must be able to go on after months: its producer is not forgotten, and its log is kept.
const DEDUPE_WINDOW: Duration = Duration::from_secs(10 * 365 * 24 * 3_600);
/// Small segments: a short run should not have to fill 64 MiB with zeros.
const SEGMENT_BYTES: u64 = 16 << 20;
const RESERVE_BYTES: u64 = 1 << 20;

/// A running service of our own.
#[derive(Debug)]
pub(super) struct Embedded {
    running: Running,
    client: Client,
    temporary: Option<TempDir>,
}

impl Embedded {
    /// Starts it in `data`, or in a temporary directory that goes with it.
    pub(super) async fn start(data: Option<&Path>) -> anyhow::Result<Embedded> {
        let temporary = match data {
            Some(_) => None,
            None => {
                let made = tempfile::Builder::new().prefix("gangline-run-").tempdir();
                Some(made.context("cannot make a temporary directory; --data names one that exists")?)
            }
        };
        let directory = data.or(temporary.as_ref().map(TempDir::path)).expect("one of both is there");
        let started = server::start(&config(directory)).await;
        let running = started.map_err(|error| damaged::refused(directory, error))?;
        let client = Client::connect(&running.address().to_string(), client::Options::default())?;
        Ok(Embedded { running, client, temporary })
    }

    /// A client of it.
    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    /// Begins to work on a queue.
    pub(super) fn work_on(&self, queue: &str, config: pool::Config) -> anyhow::Result<()> {
        let service = self.running.service();
        let clock = Clock::system();
        let spawner = Spawner::start(service.shutdown())?;
        let queue: QueueName = queue.parse().expect("the name of our own queue is one");
        let spec = PoolSpec { name: queue.as_str().into(), queues: vec![queue], config };
        local::start(service, spec, &spawner, &clock)?;
        Ok(())
    }

    /// Returns when the log has failed. [ACK-2]
    pub(super) async fn failed(&self) {
        self.running.failed().await;
    }

    /// Stops it; what was running is released, so that the next run does it again.
    pub(super) async fn stop(self) -> Result<(), log::Error> {
        drop(self.client);
        let stopped = self.running.stop().await.map(drop);
        // Only now: the server was still writing to it.
        drop(self.temporary);
        stopped
    }
}

fn config(directory: &Path) -> Config {
    let mut config =
        Config { data: directory.to_owned(), listen: ([127, 0, 0, 1], 0).into(), ..Config::default() };
    config.engine.dedupe_window = DEDUPE_WINDOW;
    config.keeping.retention_bytes = u64::MAX;
    config.directory.segment_bytes = SEGMENT_BYTES;
    config.directory.reserve_bytes = RESERVE_BYTES;
    config
}
