//! The spawner process of one slot: one thread, no runtime. It starts the slot's worker process, waits for it, signals
//! its group when asked, holds it to its limits, and kills everything when the server's end of the socket closes,
//! however the server died, or when the warden dies.
//!
//! It is the parent of the worker, and only it reaps it: between its check and its kill a process id cannot pass to a
//! stranger. It is the subreaper of the worker's descendants and has never more than one worker. So whoever is below
//! it when the worker has ended is a leftover of that worker, also if it left its group or its session.

use crate::pool::spawner::cgroup::Cgroup;
use crate::pool::spawner::family;
use crate::pool::spawner::message::BYTES_MAX;
use crate::pool::spawner::message::Exit;
use crate::pool::spawner::message::GroupSignal;
use crate::pool::spawner::message::Notice;
use crate::pool::spawner::message::Order;
use crate::pool::spawner::message::PIPES;
use crate::pool::spawner::message::Received;
use crate::pool::spawner::message::Request;
use crate::pool::spawner::message::Start;
use crate::pool::spawner::message::Turn;
use crate::pool::spawner::message::receive;
use crate::pool::spawner::message::send;
use crate::pool::spawner::outlive_signals;
use crate::pool::spawner::watch::Watch;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::event::poll;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::getpid;
use rustix::process::getppid;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use rustix::process::set_child_subreaper;
use rustix::thread::set_no_new_privs;
use signal_hook::consts::SIGCHLD;
use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const AT_ONCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 0 };

/// The worker process and so its group, which bears the same number.
struct Worker {
    ticket: u64,
    pid: Pid,
    pidfd: OwnedFd,
    watch: Watch,
}

/// A worker process that was asked for.
struct Wanted {
    ticket: u64,
    order: Box<Order>,
    pipes: Vec<OwnedFd>,
}

struct Spawner {
    socket: OwnedFd,
    warden: OwnedFd,
    worker: Option<Worker>,
    /// Started as soon as the worker has ended, without a word from the server.
    next: Option<Wanted>,
    cgroup: Option<Cgroup>,
    /// Whether a descendant may have become our child and died.
    orphans: bool,
    buffer: Vec<u8>,
}

/// Whether the server at the other end, and the warden, are still there.
#[derive(PartialEq, Eq)]
enum Above {
    Alive,
    Gone,
}

/// Serves the server at the other end of `socket` until it or the warden goes away, then kills every worker.
///
/// # Errors
/// What kept the spawner from starting or going on. The workers are killed also then.
pub(crate) fn run(socket: OwnedFd, warden: Pid) -> io::Result<()> {
    let pidfd = match begin(warden) {
        Ok(pidfd) => pidfd,
        Err(error) => {
            // The server would only know that nobody is there.
            let broken = Notice::Broken { error: format!("the spawner could not begin: {error}") };
            send(socket.as_fd(), &broken, &[], SendFlags::empty())?;
            return Err(error);
        }
    };
    let mut spawner = Spawner {
        socket,
        warden: pidfd,
        worker: None,
        next: None,
        cgroup: None,
        orphans: false,
        buffer: vec![0; BYTES_MAX],
    };
    spawner.tell(&Notice::Hello { pid: getpid().as_raw_nonzero().get().unsigned_abs() })?;
    let served = spawner.serve();
    family::kill_all();
    served.map_err(io::Error::from)
}

/// What has to be so before a worker can be started; the handle on the warden.
fn begin(warden: Pid) -> io::Result<OwnedFd> {
    outlive_signals()?;
    // So that a poll is cut short when an orphan dies.
    signal_hook::flag::register(SIGCHLD, Arc::new(AtomicBool::new(false)))?;
    set_child_subreaper(Some(getpid()))?;
    let pidfd = pidfd_open(warden, PidfdFlags::empty())?;
    if getppid() != Some(warden) {
        return Err(io::Error::other("the warden died at once"));
    }
    Ok(pidfd)
}

impl Spawner {
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let ready = match self.wait() {
                Ok(ready) => ready,
                Err(Errno::INTR) => {
                    self.orphans = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            if ready == [false; 3]
                && let Some(worker) = &mut self.worker
            {
                if std::mem::take(&mut self.orphans) {
                    family::reap_others(worker.pid);
                }
                if worker.watch.look(self.cgroup.as_ref()) {
                    signal_group(worker.pid, GroupSignal::Kill)?;
                }
            }
            let [asked, warden_ended, worker_ended] = ready;
            if worker_ended {
                self.bury()?;
            }
            if warden_ended || (asked && self.obey()? == Above::Gone) {
                return Ok(());
            }
        }
    }

    /// Waits for a message, the end of the warden or of the worker, or the time to look at what the worker uses.
    fn wait(&self) -> Result<[bool; 3], Errno> {
        let mut fds =
            vec![PollFd::new(&self.socket, PollFlags::IN), PollFd::new(&self.warden, PollFlags::IN)];
        fds.extend(self.worker.iter().map(|worker| PollFd::new(&worker.pidfd, PollFlags::IN)));
        let timeout = match &self.worker {
            Some(_) if self.orphans => Some(&AT_ONCE),
            Some(worker) => worker.watch.period(),
            None => None,
        };
        poll(&mut fds, timeout)?;
        let mut ready = [false; 3];
        ready.iter_mut().zip(&fds).for_each(|(ready, fd)| *ready = !fd.revents().is_empty());
        Ok(ready)
    }

    /// Does what the server asks for next. There may be more; then the next wait is none.
    fn obey(&mut self) -> Result<Above, Errno> {
        match receive::<Request>(self.socket.as_fd(), &mut self.buffer) {
            Ok(Received::Message(Request::Spawn { ticket, order, turn }, pipes)) => {
                self.forget_next()?;
                let wanted = Wanted { ticket, order, pipes };
                match (&self.worker, turn) {
                    (Some(_), Turn::Next) => self.next = Some(wanted),
                    (Some(worker), Turn::Now) => {
                        // Nobody waits for it any more, and there is only one at a time.
                        signal_group(worker.pid, GroupSignal::Kill)?;
                        self.bury()?;
                        let start = self.start(wanted);
                        self.tell(&Notice::Started(start))?;
                    }
                    (None, Turn::Now | Turn::Next) => {
                        let start = self.start(wanted);
                        self.tell(&Notice::Started(start))?;
                    }
                }
            }
            Ok(Received::Message(Request::Signal { ticket, signal }, _)) => {
                if let Some(worker) = self.worker.as_ref().filter(|worker| worker.ticket == ticket) {
                    signal_group(worker.pid, signal)?;
                }
                self.recall(ticket)?;
            }
            Ok(Received::Message(Request::Recall { ticket }, _)) => self.recall(ticket)?,
            Ok(Received::End) | Err(Errno::CONNRESET) => return Ok(Above::Gone),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        Ok(Above::Alive)
    }

    /// Forgets the process that is next, if it has this ticket. That of one which runs by now has been told.
    fn recall(&mut self, ticket: u64) -> Result<(), Errno> {
        if self.next.as_ref().is_some_and(|next| next.ticket == ticket) { self.forget_next() } else { Ok(()) }
    }

    fn forget_next(&mut self) -> Result<(), Errno> {
        self.next.take().map_or(Ok(()), |next| self.tell(&Notice::Recalled { ticket: next.ticket }))
    }

    fn start(&mut self, Wanted { ticket, order, pipes }: Wanted) -> Start {
        Start { ticket, pid: self.spawn(ticket, &order, pipes).map_err(|error| error.to_string()) }
    }

    fn spawn(&mut self, ticket: u64, order: &Order, pipes: Vec<OwnedFd>) -> io::Result<u32> {
        let [stdin, stdout, stderr] = <[OwnedFd; PIPES]>::try_from(pipes)
            .map_err(|_| io::Error::other("the pipes did not arrive: too many open files in the spawner"))?;
        self.confine(order)?;
        let mut command = Command::new(os(&order.program));
        command
            .arg0(os(&order.name))
            .args(order.arguments.iter().map(|argument| os(argument)))
            .env_clear()
            .envs(order.environment.iter().map(|(name, value)| (os(name), os(value))))
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .stderr(Stdio::from(stderr))
            .process_group(0);
        if let Some(directory) = &order.directory {
            command.current_dir(os(directory));
        }
        let mut child = command.spawn()?;
        let pid = Pid::from_child(&child);
        match order.limits.apply(pid).and_then(|()| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => {
                self.worker = Some(Worker { ticket, pid, pidfd, watch: Watch::new(order.limits) });
                Ok(child.id())
            }
            Err(error) => {
                abandon(&mut child, pid)?;
                Err(io::Error::other(format!("its limits or its supervision could not be set up: {error}")))
            }
        }
    }

    /// What a worker inherits from us and cannot shed. All orders of a slot have the same limits.
    fn confine(&mut self, order: &Order) -> io::Result<()> {
        if order.limits.new_privileges.is_denied() {
            set_no_new_privs(true)?;
        }
        if let Some(threads_max) = order.limits.processes_max {
            if self.cgroup.is_none() {
                // Where there is none the watch counts; the server has said so at its start.
                self.cgroup = Cgroup::enter(threads_max).ok();
            }
            if let Some(cgroup) = &mut self.cgroup {
                cgroup.open()?;
            }
        }
        Ok(())
    }

    /// Kills what is left of the worker's group, reaps the worker (as long as it is a zombie its number cannot pass to
    /// another group), and kills whoever had left the group. Only then the next one starts and the server hears of the end.
    fn bury(&mut self) -> Result<(), Errno> {
        let Some(mut worker) = self.worker.take() else { return Ok(()) };
        // Before it is closed, which would look like a bound that was met.
        let met = self.cgroup.as_ref().is_some_and(Cgroup::is_met);
        if let Some(cgroup) = &self.cgroup {
            // Only a bomb needs it, and it is killed without it too, if later.
            cgroup.close().ok();
        }
        signal_group(worker.pid, GroupSignal::Kill)?;
        let number = worker.pid.as_raw_nonzero().get().unsigned_abs();
        // Killed a moment ago, it may need another one.
        while poll(&mut [PollFd::new(&worker.pidfd, PollFlags::IN)], None) == Err(Errno::INTR) {}
        let Ok(Some(used)) = wait4::try_wait4_pid(number) else {
            // Nobody else reaps.
            return Err(Errno::CHILD);
        };
        family::kill_others(&[]);
        self.orphans = false;
        let cpu = used.rusage.utime + used.rusage.stime;
        let code = used.status.code();
        let exit = Exit {
            code,
            signal: used.status.signal(),
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            rss_kib: used.rusage.maxrss / 1024,
            over: if code == Some(0) { worker.watch.over() } else { worker.watch.last_look(met) },
        };
        let next = self.next.take().map(|next| self.start(next));
        self.tell(&Notice::Exited { ticket: worker.ticket, exit, next })
    }

    fn tell(&self, notice: &Notice) -> Result<(), Errno> {
        match send(self.socket.as_fd(), notice, &[], SendFlags::empty()) {
            // The server is gone; the next receive finds the end.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// A group without members is no error: it has ended by itself.
fn signal_group(pid: Pid, signal: GroupSignal) -> Result<(), Errno> {
    let signal = match signal {
        GroupSignal::Term => Signal::TERM,
        GroupSignal::Kill => Signal::KILL,
    };
    match kill_process_group(pid, signal) {
        // PERM: the whole group runs as another user (a set-user-id program); it is not ours to end.
        Ok(()) | Err(Errno::SRCH | Errno::PERM) => Ok(()),
        Err(error) => Err(error),
    }
}

fn abandon(child: &mut Child, pid: Pid) -> io::Result<()> {
    signal_group(pid, GroupSignal::Kill)?;
    child.wait().map(|_status| ())
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
