//! Worker pools: supervised execution of jobs. Below the claim loop, which gives a pool its jobs and turns its
//! reports into finishes; a pool knows neither leases nor retries.
//!
//! A pool has slots, one job (or one line of jobs) at a time each, and three ways to work: [`Mode::Each`]
//! execs a program for every job, [`Mode::Serve`] keeps a process that reads jobs a line, [`Mode::Handler`]
//! calls Rust. `docs/workers.md` is the contract with the processes.

pub mod claims;
pub mod command;
pub mod handler;
pub mod limits;
pub mod local;
pub mod remote;
pub mod spawner;

mod ahead;
mod backlog;
mod backoff;
mod desk;
mod each;
mod outcome;
mod process;
mod serve;
mod slot;
mod source;
mod tail;

pub use crate::pool::command::Command;
pub use crate::pool::handler::Handler;
pub use crate::pool::outcome::EXIT_NO_RETRY;
pub use crate::pool::outcome::Outcome;
pub use crate::pool::serve::Recycle;
pub use crate::pool::spawner::Spawner;

use crate::clock::Clock;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::pool::backlog::Backlog;
use crate::pool::slot::Alarm;
use crate::pool::slot::Slot;
use crate::pool::spawner::Order;
use crate::shutdown::Shutdown;
use bytes::Bytes;
use std::io;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// How many reports may wait for the claim loop before the slots do.
const REPORTS_MAX: usize = 256;

/// How many cancels may wait for a slot before the caller does.
const CANCELS_MAX: usize = 64;

/// One job as a worker process sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The job.
    pub id: JobId,
    /// Which execution this is, from 1.
    pub attempt: u32,
    /// Its queue.
    pub queue: QueueName,
    /// What is to be worked on.
    pub payload: Bytes,
    /// Media type of the payload; may be empty.
    pub content_type: Arc<str>,
    /// W3C `traceparent` of the submitter; may be empty.
    pub traceparent: Arc<str>,
    /// The job's labels, names and values.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// How long the execution may take, from when the worker gets the job; `None`: as long as it likes.
    pub timeout: Option<Duration>,
}

/// One execution in a pool, numbered by whoever gives it. Job and attempt do not tell two executions apart: a server that was
/// restored from a backup gives the same attempt once more, and the pool may still be ending the one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct ExecutionNo(pub u64);

/// A job that a pool is given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// By which the pool tells of it; no other that the pool is given has it.
    pub number: ExecutionNo,
    /// What is to be done.
    pub job: Assignment,
}

/// What a pool tells about a job that it was given.
#[derive(Clone, Debug, PartialEq)]
pub enum Report {
    /// How far it is; at most one each 500 ms, the newest wins.
    Progress(ExecutionNo, Progress),
    /// Its execution has ended. Each job given to a pool ends with exactly one such report, unless it is
    /// taken back.
    Ended(ExecutionNo, Outcome),
}

/// How a pool works on its jobs.
#[derive(Clone, Debug)]
pub enum Mode {
    /// One process a job: payload on stdin, result on stdout.
    Each(Command),
    /// A long-lived process a slot: a JSON object a line, in and out.
    Serve(Command, Recycle),
    /// A function of this program, on a thread a slot.
    Handler(Arc<dyn Handler>),
}

/// What an operator says about a pool.
#[derive(Clone, Debug)]
pub struct Config {
    /// How it works.
    pub mode: Mode,
    /// How many slots it has.
    pub processes: NonZeroUsize,
    /// How long a process has between SIGTERM and SIGKILL.
    pub kill_grace: Duration,
    /// How long running jobs may go on after the shutdown has begun.
    pub stop_grace: Duration,
    /// The longest result, in bytes; a longer one is a failure.
    pub result_bytes_max: usize,
}

impl Config {
    /// The defaults: a slot a core, 5 s kill grace, 30 s stop grace, results up to 1 MiB.
    #[must_use]
    pub fn new(mode: Mode) -> Config {
        Config {
            mode,
            processes: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            kill_grace: Duration::from_secs(5),
            stop_grace: Duration::from_secs(30),
            result_bytes_max: 1 << 20,
        }
    }
}

/// Why a pool could not start or could not start a process.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The command is empty.
    #[error("the pool has no command: name a program and its arguments")]
    NoCommand,
    /// The program is not there or cannot be executed.
    #[error("the pool's command {command:?} was not found or is not executable; PATH is {path:?}")]
    NoSuchCommand {
        /// As it was named.
        command: String,
        /// Where it was looked for.
        path: String,
    },
    /// The working directory is not there.
    #[error("the pool's working directory {} does not exist: make it or change the setting", .0.display())]
    NoDirectory(PathBuf),
    /// The server's own working directory is gone.
    #[error("the server's working directory cannot be read")]
    Directory(#[source] io::Error),
    /// Arguments and environment are too long.
    #[error("the pool's command and environment take {bytes} bytes; at most {bytes_max} are possible")]
    LongCommand {
        /// What they take.
        bytes: usize,
        /// What they may take.
        bytes_max: usize,
    },
    /// The spawner could not be started or reached.
    #[error("the spawner, which starts worker processes, could not be started or reached: {0}")]
    Spawner(io::Error),
    /// There is no spawner, as it, or who should have started it, says.
    #[error("the spawner, which starts worker processes, could not be started: {0}")]
    NoSpawner(String),
    /// The spawner died before it had started the process, without a word.
    #[error(
        "the spawner died while it started a worker process; somebody killed it, or the machine has no memory left"
    )]
    SpawnerDied,
    /// The operating system refused to start the process.
    #[error("the worker process could not be started: {0}")]
    Refused(String),
    /// No pipe could be made.
    #[error("no pipe to a worker process could be made")]
    Pipe(#[source] io::Error),
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopped,
}

/// A running pool. It stops when the shutdown begins: what waits is released at once, what runs has the grace.
#[derive(Debug)]
pub struct Pool {
    backlog: Arc<Backlog>,
    /// Kept so that the reports end with the pool and not with its slots.
    _reports: mpsc::Sender<Report>,
    cancels: Vec<mpsc::Sender<ExecutionNo>>,
}

impl Pool {
    /// Starts the slots of a pool and, for [`Mode::Serve`], their processes. The receiver gets every report
    /// and must be read; `recv_many` suits it. It ends when all slots have ended and the pool is dropped.
    ///
    /// # Errors
    /// A command that does not exist, a missing working directory, a command too long.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(
        config: Config,
        spawner: &Spawner,
        clock: &Clock,
        shutdown: &Shutdown,
    ) -> Result<(Pool, mpsc::Receiver<Report>), Error> {
        let work = Work::of(&config.mode)?;
        work.warn_of_loose_limits();
        let (reports, told) = mpsc::channel(REPORTS_MAX);
        let processes = config.processes.get();
        let backlog = Arc::new(Backlog::new(processes));
        let config = Arc::new(config);
        let mut cancels = Vec::with_capacity(processes);
        for number in 0..processes {
            let (cancel, cancelled) = mpsc::channel(CANCELS_MAX);
            cancels.push(cancel);
            let slot = Slot {
                number,
                config: Arc::clone(&config),
                backlog: Arc::clone(&backlog),
                reports: reports.clone(),
                cancels: cancelled,
                stop: shutdown.token().clone(),
                clock: clock.clone(),
                alarm: Alarm::default(),
            };
            match work.clone() {
                Work::Each(order) => shutdown.spawn(each::run(slot, spawner.slot(), order)),
                Work::Serve(order, recycle) => {
                    shutdown.spawn(serve::run(slot, spawner.slot(), order, recycle))
                }
                Work::Handler(handler) => shutdown.spawn(handler::run(slot, handler)),
            };
        }
        Ok((Pool { backlog, _reports: reports, cancels }, told))
    }

    /// Gives the pool jobs to work on, in order. Returns those it has no room for: beyond
    /// [`Pool::WAITING_MAX`], and all of them once the shutdown has begun.
    #[must_use = "what is returned will not be worked on"]
    pub fn give(&self, executions: Vec<Execution>) -> Vec<Execution> {
        self.backlog.put(executions)
    }

    /// The most jobs that may wait in a pool for a slot.
    pub const WAITING_MAX: usize = backlog::WAITING_MAX;

    /// How many jobs wait for a slot.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.backlog.len()
    }

    /// Takes back the jobs that no slot has taken, but for the `keep` that are next. There will be no report about them.
    #[must_use = "what is returned will not be worked on"]
    pub fn take_back(&self, keep: usize) -> Vec<Execution> {
        self.backlog.take_back(keep)
    }

    /// Takes one job back that no slot has taken; says whether it was there. There will be no report about it.
    pub fn withdraw(&self, execution: ExecutionNo) -> bool {
        self.backlog.remove(execution)
    }

    /// Stops one execution that a slot has taken: SIGTERM, the grace, SIGKILL. It ends as [`Outcome::Cancelled`], unless it
    /// ends by itself first; a job the pool does not have is no error. The reports must be read meanwhile.
    pub async fn stop(&self, execution: ExecutionNo) {
        for slot in &self.cancels {
            // A slot whose task has ended has no job to stop.
            slot.send(execution).await.ok();
        }
    }
}

/// A mode whose command has been checked.
#[derive(Clone)]
enum Work {
    Each(Order),
    Serve(Order, Recycle),
    Handler(Arc<dyn Handler>),
}

impl Work {
    fn of(mode: &Mode) -> Result<Work, Error> {
        Ok(match mode {
            Mode::Each(command) => Work::Each(command.resolve()?),
            Mode::Serve(command, recycle) => Work::Serve(command.resolve()?, *recycle),
            Mode::Handler(handler) => Work::Handler(Arc::clone(handler)),
        })
    }

    fn warn_of_loose_limits(&self) {
        let (Work::Each(order) | Work::Serve(order, _)) = self else { return };
        if let Err(error) = order.limits.check_processes_max() {
            tracing::warn!(
                processes_max = order.limits.processes_max,
                %error,
                "the kernel does not hold processes_max here: a fork bomb can outrun our looks, one in 50 ms; run as root, \
                 or let systemd delegate: Delegate=pids and DelegateSubgroup=server"
            );
        }
    }
}
