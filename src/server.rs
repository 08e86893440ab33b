//! The server: a data directory, the engine on it, and everything that listens. `gangline serve` and `gangline run`
//! start it; nothing here reads arguments, signals or the environment.

pub mod health;

use crate::clock::Clock;
use crate::config::Config;
use crate::config::Reflection;
use crate::engine;
use crate::engine::Engine;
use crate::engine::Handle;
use crate::engine::Parts;
use crate::engine::command::Command;
use crate::engine::core::Options;
use crate::engine::view::Health;
use crate::grpc;
use crate::grpc::convert::spec::CONTENT_TYPE_BYTES_MAX;
use crate::grpc::limits;
use crate::grpc::listener;
use crate::grpc::listener::Listener;
use crate::job::event::Failure;
use crate::log;
use crate::log::Archive;
use crate::log::Log;
use crate::log::causes::in_one_line;
use crate::log::directory::Directory;
use crate::log::directory::Recovered;
use crate::offline::Snapshot;
use crate::offline::snapshot;
use crate::pool;
use crate::pool::Spawner;
use crate::pool::local;
use crate::service::Service;
use crate::service::Settings;
use crate::service::home::Home;
use crate::service::pruner;
use crate::shutdown::Shutdown;
use crate::shutdown::Waited;
use crate::work;
use crate::work::Place;
use crate::work::WorkTree;
use std::net::SocketAddr;
use std::time::Duration;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthReporter;
use tonic_health::server::HealthService;

/// How long the start waits for the work tree, so that the first look-ups after an ordinary start find it. One that has to
/// be built from much log goes on behind the server.
const TREE_WITHIN: Duration = Duration::from_millis(500);

/// How long streams and connections have to end after they were told to; the rest is cut.
const GOODBYE: Duration = Duration::from_secs(3);

/// Why the server could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The data directory could not be opened.
    #[error("cannot open the data directory")]
    Log(#[from] log::Error),
    /// The engine could not start on it.
    #[error("cannot start from the data directory")]
    Engine(#[from] engine::Error),
    /// What the work tree needs to know of the machine.
    #[error("cannot tell this boot of the machine from the last")]
    Boot(#[from] work::Error),
    /// The address cannot be listened on.
    #[error(transparent)]
    Listen(#[from] listener::Error),
    /// A pool of the configuration cannot run.
    #[error("the pool {name:?} cannot run")]
    Pool {
        /// Its name.
        name: String,
        /// Why.
        #[source]
        source: pool::Error,
    },
    /// The start was cut off by a panic, or by the end of the runtime.
    #[error("the start was interrupted")]
    Interrupted,
}

/// How a server ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// Everything has ended and is on disk; the next start has nothing to settle.
    Clean,
    /// Everything is on disk, but this many tasks did not end in time and were cut.
    Cut(usize),
}

/// A running server. Dropping it without [`Running::stop`] is a crash, which it survives.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    service: Service,
    /// Not there if the server only reads.
    engine: Option<Engine>,
    reporter: HealthReporter,
    pools: Pools,
    shutdown: Shutdown,
}

/// Starts a server: opens the data directory, recovers, listens. When this returns it answers calls.
///
/// # Errors
/// [`Error`]; nothing is left running.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn start(config: &Config) -> Result<Running, Error> {
    let (options, data) = (config.directory.clone(), config.data.clone());
    let opened = blocking(move || Directory::open(&data, options)).await??;
    report(&opened.recovered);
    // Before the engine, which begins a new epoch: an address in use leaves the log as it is.
    let listener = Listener::bind(config.listen, config.exposure).await?;
    let clock = Clock::system();
    let parts = parts(config, &opened.log, &clock)?;
    let archive = opened.log.archive();
    let engine = blocking(move || Engine::start(opened.log, parts)).await??;
    engine.handle().wait_for_work_tree(TREE_WITHIN).await;
    let shutdown = Shutdown::new();
    let told = Settings { archive: Some(archive), ..settings(config) };
    let service = Service::new(engine.handle(), told, shutdown.clone());
    // Pools stop first and have their own grace, while readers still see what becomes of the last jobs.
    let pools = Shutdown::new();
    let begun = start_pools(config, &Service::new(engine.handle(), settings(config), pools.clone()), &clock);
    if let Err(error) = begun {
        return Err(give_up(error, engine, &pools).await);
    }
    pruner::start(&service);
    let pools = Pools { shutdown: pools, grace: pools_grace(config) };
    Ok(answer(config, listener, service, shutdown, Some(engine), pools).await)
}

/// Starts a server that only reads: what is in the data directory now, up to its first damage if it is damaged. It takes no
/// lock and writes nothing, so another server may run on the directory. When this returns it answers calls.
///
/// # Errors
/// [`Error`]; nothing is left running.
///
/// # Panics
/// Outside a tokio runtime.
pub async fn start_read_only(config: &Config) -> Result<Running, Error> {
    let listener = Listener::bind(config.listen, config.exposure).await?;
    let (data, clock) = (config.data.clone(), Clock::system());
    let scene = blocking(move || Snapshot::scene(&data, clock)).await?.map_err(|refused| match refused {
        snapshot::Refused::Log(error) => Error::Log(error),
        snapshot::Refused::Boot(error) => Error::Boot(error),
    })?;
    match &scene.damaged {
        Some(damaged) => tracing::warn!(
            %damaged,
            sequence = scene.seen.sequence.0,
            "read-only, up to the damage: what is behind it is not served"
        ),
        None => tracing::info!(sequence = scene.seen.sequence.0, "read-only: what there is now is served"),
    }
    if !config.pools.is_empty() {
        tracing::warn!("the pools of the configuration are not started: the server is read-only");
    }
    let shutdown = Shutdown::new();
    let service = Service::new(Handle::of_scene(scene), settings(config), shutdown.clone());
    let pools = Pools { shutdown: Shutdown::new(), grace: GOODBYE };
    Ok(answer(config, listener, service, shutdown, None, pools).await)
}

/// The pools of a server, and how long they have to stop.
#[derive(Debug)]
struct Pools {
    shutdown: Shutdown,
    grace: Duration,
}

/// Begins to answer calls.
async fn answer(
    config: &Config,
    listener: Listener,
    service: Service,
    shutdown: Shutdown,
    engine: Option<Engine>,
    pools: Pools,
) -> Running {
    let clock = service.engine().clock().clone();
    let reporter = HealthReporter::new();
    health::tell(&reporter, service.engine().view().health()).await;
    health::follow(reporter.clone(), service.engine().view(), &shutdown);
    let address = listener.address();
    let incoming = listener.incoming(&config.transport, clock, &shutdown);
    let health = HealthServer::new(HealthService::from_health_reporter(reporter.clone()));
    let routes = grpc::routes(&service, config.sizes, &config.transport, health, reflects(config, address));
    let served = limits::server(&config.transport)
        .add_routes(routes)
        .serve_with_incoming_shutdown(incoming, shutdown.token().clone().cancelled_owned());
    shutdown.spawn(async move {
        if let Err(error) = served.await {
            tracing::error!(error = in_one_line(&error), "the transport failed");
        }
    });
    tracing::info!(%address, data = %config.data.display(), version = env!("CARGO_PKG_VERSION"), "serving");
    Running { address, service, engine, reporter, pools, shutdown }
}

impl Running {
    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its use cases, for callers in this process.
    #[must_use]
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Returns when the log has failed: nothing is acknowledged any more, and the process should end. [ACK-2]
    pub async fn failed(&self) {
        let mut health = self.service.engine().view().follow_health();
        // The view lives as long as the service, so the sender is there.
        if health.wait_for(|health| *health == Health::Poisoned).await.is_err() {
            std::future::pending().await
        }
    }

    /// Stops: health says NOT_SERVING, no submit is accepted and no lease given any more, jobs of the server's own pools
    /// have the grace and are released after it, streams end with UNAVAILABLE, everything is vouched for. Leases of
    /// workers on other machines stay: they run on after the next start.
    ///
    /// # Errors
    /// What the log failed with, if it did.
    pub async fn stop(self) -> Result<Stopped, log::Error> {
        let Running { service, engine, reporter, pools, shutdown, .. } = self;
        health::tell(&reporter, Health::Draining).await;
        tracing::info!("stopping: no new jobs and leases");
        if engine.is_some()
            && let Err(error) = service.engine().call(0, Command::Drain).await
        {
            tracing::warn!(%error, "the writer cannot drain");
        }
        pools.shutdown.begin();
        let pools = pools.shutdown.wait(pools.grace).await;
        shutdown.begin();
        health::end(reporter).await;
        let waited = shutdown.wait(GOODBYE).await;
        drop(service);
        let stop = move || engine.map_or(Ok(()), Engine::stop);
        let stopped = tokio::task::spawn_blocking(stop).await;
        stopped.unwrap_or(Err(log::Error::Poisoned))?;
        let left = [pools, waited].into_iter().map(|waited| match waited {
            Waited::Ended => 0,
            Waited::Left(tasks) => tasks,
        });
        match left.sum() {
            0 => Ok(Stopped::Clean),
            tasks => {
                tracing::warn!(tasks, "tasks did not end in time and were cut");
                Ok(Stopped::Cut(tasks))
            }
        }
    }
}

fn start_pools(config: &Config, service: &Service, clock: &Clock) -> Result<(), Error> {
    if config.pools.is_empty() {
        return Ok(());
    }
    let failed = |name: &str| {
        let name = name.to_owned();
        move |source| Error::Pool { name, source }
    };
    let spawner = Spawner::start(service.shutdown()).map_err(failed(&config.pools[0].name))?;
    for spec in &config.pools {
        local::start(service, spec.clone(), &spawner, clock).map_err(failed(&spec.name))?;
    }
    Ok(())
}

/// Ends what had begun when a later part could not start.
async fn give_up(error: Error, engine: Engine, pools: &Shutdown) -> Error {
    pools.begin();
    pools.wait(GOODBYE).await;
    match blocking(move || engine.stop()).await {
        Ok(Ok(())) => error,
        Ok(Err(stopping)) => stopping.into(),
        Err(stopping) => stopping,
    }
}

/// Until when every job of the pools has ended or was killed.
fn pools_grace(config: &Config) -> Duration {
    let graces = config.pools.iter().map(|spec| spec.config.stop_grace + spec.config.kill_grace);
    graces.max().unwrap_or_default() + GOODBYE
}

/// Runs what waits for the disk where it holds nobody up.
async fn blocking<T: Send + 'static>(run: impl FnOnce() -> T + Send + 'static) -> Result<T, Error> {
    tokio::task::spawn_blocking(run).await.map_err(|_| Error::Interrupted)
}

fn parts(config: &Config, log: &Directory, clock: &Clock) -> Result<Parts, Error> {
    let place =
        Place { dir: config.data.join("work"), store: log.archive().store_id(), boot: work::boot_id()? };
    Ok(Parts {
        tree: WorkTree::new(place, config.work_tree),
        options: Options { outcome_bytes_max: outcome_bytes_max(config), ..config.engine.clone() },
        keeping: config.keeping,
        clock: clock.clone(),
    })
}

/// The largest thing that a worker may tell of the end of an attempt.
fn outcome_bytes_max(config: &Config) -> usize {
    let of_pools = config.pools.iter().map(|spec| spec.config.result_bytes_max);
    let result = of_pools.fold(config.sizes.result_bytes_max, usize::max);
    (result + CONTENT_TYPE_BYTES_MAX).max(Failure::MESSAGE_BYTES_MAX + Failure::STDERR_BYTES_MAX)
}

fn settings(config: &Config) -> Settings {
    Settings {
        lease_period: config.engine.lease_period,
        reconnect_grace: config.engine.reconnect_grace,
        heartbeat: config.heartbeat,
        home: home(config),
        ..Settings::default()
    }
}

/// What holds the data directory; the server runs without knowing it.
fn home(config: &Config) -> Home {
    Home::of(&config.data).unwrap_or_else(|error| {
        tracing::warn!(%error, "the file system of the data directory is not known");
        Home::default()
    })
}

fn reflects(config: &Config, address: SocketAddr) -> grpc::Reflects {
    match config.reflection {
        Reflection::Loopback if address.ip().to_canonical().is_loopback() => grpc::Reflects::Yes,
        Reflection::Always => grpc::Reflects::Yes,
        Reflection::Loopback | Reflection::Never => grpc::Reflects::No,
    }
}

fn report(recovered: &Recovered) {
    if let Some(cut) = &recovered.cut {
        tracing::warn!(
            file = %cut.file.display(),
            offset = cut.offset,
            bytes = cut.bytes,
            "the log ended in bytes that were never acknowledged; they were cut off"
        );
    }
    if recovered.frames_rewritten > 0 {
        // After a clean stop too: nothing can vouch for the frames that vouch for the rest.
        tracing::info!(frames = recovered.frames_rewritten, "the end of the log was written again");
    }
}
