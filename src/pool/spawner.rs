//! The server's side of the processes that start the worker processes, so that all of them die with the server, also on
//! kill -9.
//!
//! ```text
//! server ── warden ─┬─ spawner of slot 0 ── worker ── whatever it starts
//!                   └─ spawner of slot 1 ── worker ...
//! ```
//!
//! A spawner serves one slot, so what is below it belongs to that slot's job. The warden is the parent of the spawners
//! and finds the workers of one that dies. Each of the two notices the end of the server and of the other. What dies is
//! replaced at the next spawn; what ran under it counts as crashed.

pub(crate) mod cgroup;

mod again;
mod family;
mod link;
mod message;
mod process;
mod warden;
mod watch;

pub(crate) use crate::pool::spawner::link::Ended;
pub(crate) use crate::pool::spawner::link::Recall;
pub(crate) use crate::pool::spawner::link::Worker;
pub(crate) use crate::pool::spawner::message::BYTES_MAX;
pub(crate) use crate::pool::spawner::message::Exit;
pub(crate) use crate::pool::spawner::message::GroupSignal;
pub(crate) use crate::pool::spawner::message::Order;

use crate::pool::Error;
use crate::pool::spawner::link::Link;
use crate::pool::spawner::message::PIPES;
use crate::pool::spawner::warden::Warden;
use crate::shutdown::Shutdown;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::fs::fcntl_setfl;
use rustix::pipe::PipeFlags;
use rustix::pipe::pipe_with;
use rustix::process::Pid;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGQUIT;
use signal_hook::consts::SIGTERM;
use std::fmt;
use std::fs::File;
use std::io;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

/// First argument of our own binary that makes it a warden.
const WARDEN: &str = "__warden";

/// First argument of our own binary that makes it a spawner; the second is the warden's process id.
const SPAWNER: &str = "__spawner";

/// Set for both, so that a program that forgot [`run_if_asked`] does not start itself for ever.
const MARK: &str = "GANGLINE_SPAWNER";

/// Input that is written before the worker is there to read it: so much a new pipe always holds, however many the user has.
const AT_ONCE_BYTES_MAX: usize = 4 << 10;

/// Exit status of a warden or a spawner that could not do its work.
const EXIT_BROKEN: i32 = 70;

/// Becomes the warden or a spawner, and never returns, if this process was started as one; otherwise does nothing.
///
/// Call it first thing in `main`: before arguments are read, threads started or anything printed.
pub fn run_if_asked() {
    let mut arguments = std::env::args_os().skip(1);
    let verb = arguments.next().filter(|_| std::env::var_os(MARK).is_some());
    let done = match verb.as_ref().and_then(|verb| verb.to_str()) {
        Some(WARDEN) => socket().and_then(warden::process::run),
        Some(SPAWNER) => {
            let warden = arguments.next().and_then(|pid| pid.to_str()?.parse().ok()).and_then(Pid::from_raw);
            let warden = warden.ok_or(io::Error::from(io::ErrorKind::InvalidInput));
            warden.and_then(|warden| process::run(socket()?, warden))
        }
        Some(_) | None => return,
    };
    std::process::exit(if done.is_ok() { 0 } else { EXIT_BROKEN });
}

/// The socket to the server, which is our stdin.
fn socket() -> io::Result<OwnedFd> {
    io::stdin().as_fd().try_clone_to_owned()
}

/// Ctrl-C and a service manager's SIGTERM are for the server, which drains and then closes the socket. A handler
/// and not "ignore", because workers would inherit the latter.
fn outlive_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

/// A cloneable handle on the warden, under which each slot has a spawner. When the last clone is dropped, they and all
/// that they started end.
#[derive(Clone)]
pub struct Spawner {
    shared: Arc<Shared>,
}

struct Shared {
    program: PathBuf,
    shutdown: Shutdown,
    warden: Mutex<Arc<Warden>>,
    tickets: AtomicU64,
    dropped: CancellationToken,
    _guard: DropGuard,
}

/// The spawner of one slot. It is started when it is first needed, and ends when this is dropped.
pub(crate) struct SlotSpawner {
    shared: Arc<Shared>,
    link: Option<Arc<Link>>,
    dropped: CancellationToken,
    _guard: DropGuard,
}

/// Our ends of a worker's pipes.
pub(crate) struct Pipes {
    /// `None` if all that the worker gets is in the pipe.
    pub(crate) stdin: Option<Sender>,
    pub(crate) stdout: Receiver,
    pub(crate) stderr: Receiver,
}

impl Spawner {
    /// Starts the warden from this process's own binary, whose `main` begins with [`run_if_asked`].
    ///
    /// # Errors
    /// [`Error::Spawner`] if it cannot be started.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(shutdown: &Shutdown) -> Result<Spawner, Error> {
        Spawner::start_from(again::OURSELVES, shutdown)
    }

    /// Starts the warden from the binary `program`, whose `main` begins with [`run_if_asked`].
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
        let warden = Warden::start(&program, shutdown, &dropped).map_err(Error::Spawner)?;
        Ok(Spawner {
            shared: Arc::new(Shared {
                program,
                shutdown: shutdown.clone(),
                warden: Mutex::new(warden),
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

    /// Process id of the present warden, the parent of all spawners.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.shared.warden.lock().expect("no holder of the warden panics").pid()
    }

    /// A spawner for one more slot.
    pub(crate) fn slot(&self) -> SlotSpawner {
        let dropped = self.shared.dropped.child_token();
        SlotSpawner {
            shared: Arc::clone(&self.shared),
            link: None,
            dropped: dropped.clone(),
            _guard: dropped.drop_guard(),
        }
    }
}

impl Shared {
    /// The living warden; a dead one is replaced.
    fn warden(&self) -> Result<Arc<Warden>, Error> {
        let mut warden = self.warden.lock().expect("no holder of the warden panics");
        if !warden.is_open() {
            if self.shutdown.token().is_cancelled() || self.dropped.is_cancelled() {
                return Err(Error::Stopped);
            }
            *warden = Warden::start(&self.program, &self.shutdown, &self.dropped).map_err(Error::Spawner)?;
            tracing::warn!(pid = warden.pid(), "the warden had died and was started again");
        }
        Ok(Arc::clone(&warden))
    }
}

impl SlotSpawner {
    /// Starts a worker process and returns when it runs. One that still runs in this slot is killed. If all that it is to
    /// read is known and short, it is in its pipe from the beginning.
    pub(crate) async fn spawn(
        &mut self,
        order: Order,
        whole_input: Option<&[u8]>,
    ) -> Result<(Worker, Pipes), Error> {
        let link = self.link().await?;
        let (pipes, theirs) = pipes(whole_input)?;
        let ticket = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let worker = link.spawn(ticket, order, &theirs).await?;
        Ok((worker, pipes))
    }

    /// Has a worker process started as soon as the one that runs has ended, or now if none does. Nothing waits for the
    /// server in between.
    pub(crate) async fn queue(
        &mut self,
        order: Order,
        whole_input: Option<&[u8]>,
    ) -> Result<(Worker, Pipes), Error> {
        let link = self.link.as_ref().ok_or(Error::SpawnerDied)?;
        let (pipes, theirs) = pipes(whole_input)?;
        let ticket = self.shared.tickets.fetch_add(1, Ordering::Relaxed);
        let worker = link.queue(ticket, order, &theirs).await?;
        Ok((worker, pipes))
    }

    /// The link to the living spawner; a dead one is replaced.
    async fn link(&mut self) -> Result<Arc<Link>, Error> {
        if let Some(link) = self.link.take_if(|link| !link.is_open()) {
            drop(link);
            if self.shared.shutdown.token().is_cancelled() {
                return Err(Error::Stopped);
            }
        }
        if let Some(link) = &self.link {
            return Ok(Arc::clone(link));
        }
        let (socket, charge) = match self.shared.warden()?.ask().await {
            Ok(asked) => asked,
            // It died and nobody had noticed.
            Err(_gone) => self.shared.warden()?.ask().await.map_err(Error::Spawner)?,
        };
        let link =
            Link::start(socket, charge, &self.shared.shutdown, &self.dropped).map_err(Error::Spawner)?;
        Ok(Arc::clone(self.link.insert(link)))
    }
}

impl fmt::Debug for Spawner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Spawner").field("pid", &self.pid()).finish_non_exhaustive()
    }
}

/// Our ends of the three pipes of a worker, and its own.
fn pipes(whole_input: Option<&[u8]>) -> Result<(Pipes, [OwnedFd; PIPES]), Error> {
    let make = || -> io::Result<_> {
        let (their_stdin, stdin) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stdout, their_stdout) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, their_stderr) = pipe_with(PipeFlags::CLOEXEC)?;
        let stdin = match whole_input {
            Some(input) if input.len() <= AT_ONCE_BYTES_MAX => {
                File::from(stdin).write_all(input)?;
                None
            }
            Some(_) | None => Some(Sender::from_owned_fd_unchecked(not_blocking(stdin)?)?),
        };
        let stdout = Receiver::from_owned_fd_unchecked(not_blocking(stdout)?)?;
        let stderr = Receiver::from_owned_fd_unchecked(not_blocking(stderr)?)?;
        Ok((Pipes { stdin, stdout, stderr }, [their_stdin, their_stdout, their_stderr]))
    };
    make().map_err(Error::Pipe)
}

/// For our end only: a worker's own must block, as every program expects of them.
fn not_blocking(pipe: OwnedFd) -> io::Result<OwnedFd> {
    fcntl_setfl(&pipe, OFlags::NONBLOCK)?;
    Ok(pipe)
}
