//! The server that is measured: a process of its own on an empty directory, or one that runs already.

use crate::cli::bench::Arguments;
use crate::cli::bench::disk::Disk;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::leftovers;
use crate::cli::bench::process::Memory;
use crate::cli::bench::process::Server;
use crate::cli::bench::process::cpu;
use crate::client;
use crate::clock::Clock;
use crate::clock::Tick;
use crate::grpc::limits::Limits;
use crate::offline::DataDirectory;
use crate::offline::Step;
use crate::proto::v1;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use anyhow::Context;
use anyhow::bail;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tonic::transport::Channel;
use tonic::transport::Endpoint;

/// The queue that benches use, and how all names of their queues begin. The names are the same in each run: queues are never
/// removed, and a server takes only so many.
pub(in crate::cli::bench) const QUEUE: &str = "gangline-bench";
/// A queue that nobody works on.
pub(in crate::cli::bench) const IDLE: &str = "gangline-bench-idle";
/// How long the work tree may take to catch up.
const CATCH_UP: Duration = Duration::from_secs(120);

/// A server to measure, and what the bench was told.
#[derive(Debug)]
pub(in crate::cli::bench) struct Bench {
    pub(in crate::cli::bench) arguments: Arguments,
    pub(in crate::cli::bench) clock: Clock,
    address: String,
    // Before its directory, so that it ends first.
    server: Option<Server>,
    dir: Temporary,
    info: v1::GetServerInfoResponse,
    /// What tells its producers and workers from those of any other run: 32 hexadecimal digits.
    run: String,
}

/// CPU and frames at one moment.
#[derive(Clone, Debug)]
pub(in crate::cli::bench) struct Start {
    pub(in crate::cli::bench) at: Tick,
    own_cpu: Duration,
    server_cpu: Option<Duration>,
    /// The same by thread; empty where it is not known.
    server_threads: BTreeMap<String, Duration>,
    position: u64,
}

impl Bench {
    /// Starts a server, or finds the one that was named.
    pub(in crate::cli::bench) async fn start(arguments: &Arguments) -> anyhow::Result<Bench> {
        let clock = Clock::system();
        if let Some(server) = &arguments.server {
            leftovers::clear(server, &clock, arguments.patience).await?;
        }
        let dir = Temporary::make(&arguments.data, &clock)?;
        let server = match &arguments.server {
            Some(_) => None,
            None => Some(Server::start(&dir.path.join("data"))?),
        };
        let named = arguments.server.clone();
        let address = named.or(server.as_ref().map(|server| server.address().to_owned())).unwrap_or_default();
        let mut bench = Bench {
            arguments: arguments.clone(),
            clock,
            address,
            dir,
            server,
            info: v1::GetServerInfoResponse::default(),
            run: client::unique_name()?,
        };
        bench.info = bench.look().await?;
        Ok(bench)
    }

    /// A name for a producer that no run before had: a server knows a producer by its name, and takes what it sends again for
    /// what it has.
    pub(in crate::cli::bench) fn producer(&self, name: &str) -> String {
        format!("gangline-bench-{}-{name}", self.run)
    }

    /// The same for a worker. Short, because it is in the log once for each job.
    pub(in crate::cli::bench) fn worker(&self, name: &str) -> String {
        format!("{}-{name}", self.run.get(..5).unwrap_or(&self.run))
    }

    /// A connection of its own.
    pub(in crate::cli::bench) async fn connect(&self) -> anyhow::Result<Channel> {
        let scheme = if self.address.contains("://") { "" } else { "http://" };
        let endpoint = Endpoint::from_shared(format!("{scheme}{}", self.address))?
            .initial_stream_window_size(Limits::default().stream_window_bytes)
            .initial_connection_window_size(Limits::default().connection_window_bytes)
            .tcp_nodelay(true);
        endpoint.connect().await.with_context(|| format!("no server answers at {}", self.address))
    }

    /// Memory of the server's process.
    ///
    /// # Errors
    /// Of a server that was running before it is not known.
    pub(in crate::cli::bench) fn memory(&self) -> anyhow::Result<Memory> {
        self.server.as_ref().context("the process of a server that was running before is not known")?.memory()
    }

    /// CPU time that the server has used.
    ///
    /// # Errors
    /// As for [`Bench::memory`].
    pub(in crate::cli::bench) fn server_cpu(&self) -> anyhow::Result<Duration> {
        self.server.as_ref().context("the process of a server that was running before is not known")?.cpu()
    }

    /// Bytes that frames take in the log, without the zeros that lie ahead of them. `None`: of a server that was running
    /// before it is not known.
    pub(in crate::cli::bench) fn log_bytes(&self) -> anyhow::Result<Option<u64>> {
        if self.arguments.server.is_some() {
            return Ok(None);
        }
        let mut bytes = 0;
        for step in DataDirectory::open(&self.data())?.walk() {
            if let Step::Frame(frame) = step? {
                bytes += frame.span;
            }
        }
        Ok(Some(bytes))
    }

    /// Kills the server with SIGKILL and starts it again on its directory.
    pub(in crate::cli::bench) fn restart(&mut self) -> anyhow::Result<()> {
        self.kill()?;
        self.start_again()
    }

    /// Kills the server with SIGKILL, and waits until it is gone.
    pub(in crate::cli::bench) fn kill(&mut self) -> anyhow::Result<()> {
        let server = self.server.take().context("a server that was running before is not restarted")?;
        drop(server);
        Ok(())
    }

    /// Starts a server on the directory of the one that was killed.
    pub(in crate::cli::bench) fn start_again(&mut self) -> anyhow::Result<()> {
        let again = Server::start(&self.data())?;
        self.address = again.address().to_owned();
        self.server = Some(again);
        Ok(())
    }

    /// A file to measure syncs with, beside the server's data.
    pub(in crate::cli::bench) fn disk(&self) -> anyhow::Result<Disk> {
        Ok(Disk::create(&self.dir.path, &self.clock)?)
    }

    pub(in crate::cli::bench) fn dir(&self) -> &Path {
        &self.dir.path
    }

    /// The server's data directory.
    pub(in crate::cli::bench) fn data(&self) -> PathBuf {
        self.dir.path.join("data")
    }

    /// The payload of every job.
    pub(in crate::cli::bench) fn payload(&self) -> Bytes {
        Bytes::from(vec![b'x'; self.arguments.payload])
    }

    pub(in crate::cli::bench) async fn look(&self) -> anyhow::Result<v1::GetServerInfoResponse> {
        let mut admin = AdminServiceClient::new(self.connect().await?);
        Ok(admin.get_server_info(v1::GetServerInfoRequest {}).await?.into_inner())
    }

    pub(in crate::cli::bench) async fn begin(&self) -> anyhow::Result<Start> {
        let position = self.look().await?.head_position;
        let server_cpu = self.server.as_ref().map(|server| server.cpu()).transpose()?;
        let server_threads = self.server_threads()?;
        let own_cpu = cpu(std::process::id())?;
        Ok(Start { at: self.clock.now().tick, own_cpu, server_cpu, server_threads, position })
    }

    fn server_threads(&self) -> anyhow::Result<BTreeMap<String, Duration>> {
        self.server.as_ref().map_or_else(|| Ok(BTreeMap::new()), Server::threads)
    }

    /// Waits until the work tree has caught up, stops the clock, and counts what `jobs` took since `start`.
    pub(in crate::cli::bench) async fn end(
        &self,
        start: Start,
        jobs: u64,
        bench: &'static str,
    ) -> anyhow::Result<Figures> {
        let done = self.look().await?;
        let mut now = done.clone();
        let deadline = self.clock.now().tick.after(CATCH_UP);
        while now.applied_position < done.head_position {
            if self.clock.now().tick > deadline {
                bail!("the work tree is at frame {} of {}", now.applied_position, done.head_position);
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
            now = self.look().await?;
        }
        let took = self.clock.now().tick.since(start.at).as_secs_f64();
        let own = cpu(std::process::id())?.saturating_sub(start.own_cpu);
        let server = self.server.as_ref().map(|server| server.cpu()).transpose()?;
        let server = server.zip(start.server_cpu).map(|(now, before)| now.saturating_sub(before));
        let per_job = |cpu: Duration| cpu.as_secs_f64() * 1e6 / jobs as f64;
        let threads = self.server_threads()?.into_iter().map(|(name, now)| {
            let before = start.server_threads.get(&name).copied().unwrap_or_default();
            (name, per_job(now.saturating_sub(before)))
        });
        let frames = (done.head_position - start.position).max(1);
        Ok(Figures {
            jobs: Some(jobs),
            jobs_per_s: Some(jobs as f64 / took),
            cpu_us_per_job: Some(per_job(own + server.unwrap_or_default())),
            server_cpu_us_per_job: server.map(per_job),
            server_cpu_us_by_thread: threads.filter(|(_, cpu_us)| *cpu_us > 0.0).collect(),
            jobs_per_frame: Some(jobs as f64 / frames as f64),
            applier_lag: Some(done.head_position.saturating_sub(done.applied_position)),
            ..self.figures(bench)
        })
    }

    /// Figures that say only where they are from.
    pub(in crate::cli::bench) fn figures(&self, bench: &'static str) -> Figures {
        let in_memory = self.info.data_filesystem == "tmpfs";
        Figures {
            bench,
            durability: if in_memory { "none" } else { "fdatasync" }.to_owned(),
            filesystem: self.info.data_filesystem.clone(),
            cores: std::thread::available_parallelism().map_or(1, Into::into),
            payload_bytes: self.arguments.payload,
            ..Figures::default()
        }
    }
}

/// A directory that is removed with everything in it.
#[derive(Debug)]
struct Temporary {
    path: PathBuf,
}

impl Temporary {
    fn make(parent: &Path, clock: &Clock) -> anyhow::Result<Temporary> {
        let name = format!(".gangline-bench-{}-{}", std::process::id(), clock.now().tick.0);
        let path = parent.join(name);
        std::fs::create_dir(&path).with_context(|| format!("{} cannot be made", path.display()))?;
        Ok(Temporary { path: path.canonicalize()? })
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.path);
    }
}
