//! The server's side of the spawner: the small process that starts every worker process, so that all of them
//! die with the server, also on kill -9. The process itself is `spawner/process.rs`.
//!
//! A spawner that dies is replaced at the next spawn; what ran under it counts as crashed.

mod link;
mod message;
mod process;

pub(crate) use crate::pool::spawner::link::Ended;
pub(crate) use crate::pool::spawner::link::Worker;
pub(crate) use crate::pool::spawner::message::BYTES_MAX;
pub(crate) use crate::pool::spawner::message::Exit;
pub(crate) use crate::pool::spawner::message::GroupSignal;
pub(crate) use crate::pool::spawner::message::Order;

use crate::pool::Error;
use crate::pool::spawner::link::Link;
use crate::shutdown::Shutdown;
use rustix::fd::AsFd;
use rustix::pipe::PipeFlags;
use rustix::pipe::pipe_with;
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// First argument of our own binary that makes it a spawner.
const VERB: &str = "__spawner";

/// Set for a spawner, so that a program that forgot [`run_if_asked`] does not start itself for ever.
const MARK: &str = "GANGLINE_SPAWNER";

/// Exit status of a spawner that could not do its work.
const EXIT_BROKEN: i32 = 70;

/// Becomes the spawner, and never returns, if this process was started as one; otherwise does nothing.
///
/// Call it first thing in `main`: before arguments are read, threads started or anything printed.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|verb| verb == VERB) && std::env::var_os(MARK).is_some() {
        let code = match io::stdin().as_fd().try_clone_to_owned().and_then(process::run) {
            Ok(()) => 0,
            Err(_) => EXIT_BROKEN,
        };
        std::process::exit(code);
    }
}

/// A cloneable handle on the spawner. When the last clone is dropped, the spawner and all it started end.
#[derive(Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

struct Shared {
    program: PathBuf,
    shutdown: Shutdown,
    link: Mutex<Arc<Link>>,
    tickets: AtomicU64,
    dropped: CancellationToken,
    _guard: DropGuard,
}

/// Our ends of a worker's pipes.
pub(crate) struct Pipes {
    pub(crate) stdin: Sender,
    pub(crate) stdout: Receiver,
    pub(crate) stderr: Receiver,
}

impl Spawner {
    /// Starts the spawner from this process's own binary, whose `main` begins with [`run_if_asked`].
    ///
    /// # Errors
    /// [`Error::Spawner`] if it cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(shutdown: &Shutdown) -> Result<Spawner, Error> {
        Spawner::start_from("/proc/self/exe", shutdown)
    }

    /// Starts the spawner from the binary `program`, whose `main` begins with [`run_if_asked`].
    ///
    /// # Errors
    /// [`Error::Spawner`] if it cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start_from(program: impl Into<PathBuf>, shutdown: &Shutdown) -> Result<Spawner, Error> {
        if std::env::var_os(MARK).is_some() {
            let hint =
                "this process is itself a spawner: its main must begin with pool::spawner::run_if_asked()";
            return Err(Error::Spawner(io::Error::other(hint)));
        }
        let program = program.into();
        let dropped = CancellationToken::new();
        let link = Link::start(&program, shutdown, &dropped).map_err(Error::Spawner)?;
        Ok(Spawner {
            shared: Arc::new(Shared {
                program,
                shutdown: shutdown.clone(),
                link: Mutex::new(link),
                tickets: AtomicU64::new(1),
                dropped: dropped.clone(),
                _guard: dropped.drop_guard(),
            }),
        })
    }

    /// Kills every process that was started, and ends: nothing can be started after it.
    pub fn kill_all(&self) {
        self.shared.dropped.cancel();
    }

    /// Process id of the spawner that serves at present.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.link.lock().expect("no holder of the link panics").pid()
    }

    /// Starts a worker process and returns when it runs.
    pub(crate) async fn spawn(&self, order: Order) -> Result<(Worker, Pipes), Error> {
        let link = self.link()?;
        let (their_stdin, stdin) = pipe()?;
        let (stdout, their_stdout) = pipe()?;
        let (stderr, their_stderr) = pipe()?;
        let pipes = Pipes {
            stdin: Sender::from_owned_fd(stdin).map_err(Error::Pipe)?,
            stdout: Receiver::from_owned_fd(stdout).map_err(Error::Pipe)?,
            stderr: Receiver::from_owned_fd(stderr).map_err(Error::Pipe)?,
        };
        let ticket = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let worker = link.spawn(ticket, order, &[their_stdin, their_stdout, their_stderr]).await?;
        Ok((worker, pipes))
    }

    /// The link to the living spawner; a dead one is replaced.
    fn link(&self) -> Result<Arc<Link>, Error> {
        let shared = &self.shared;
        let mut link = shared.link.lock().expect("no holder of the link panics");
        if !link.is_open() {
            if shared.shutdown.token().is_cancelled() {
                return Err(Error::Stopped);
            }
            *link =
                Link::start(&shared.program, &shared.shutdown, &shared.dropped).map_err(Error::Spawner)?;
            tracing::warn!(pid = link.pid(), "the spawner had died and was started again");
        }
        Ok(Arc::clone(&link))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Reading end and writing end.
fn pipe() -> Result<(rustix::fd::OwnedFd, rustix::fd::OwnedFd), Error> {
    pipe_with(PipeFlags::CLOEXEC).map_err(|error| Error::Pipe(error.into()))
}
