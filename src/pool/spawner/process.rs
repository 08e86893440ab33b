//! The spawner process itself: one thread, no runtime. It starts worker processes, waits for them, kills their
//! groups when asked, and kills everything when the server's end of the socket closes, however the server died.
//!
//! It is the parent of every worker, and only it reaps them: between its check and its kill a process id
//! cannot pass to a stranger. It is also the subreaper of their descendants, so that no zombie is left to
//! an init that does not reap.

use crate::pool::spawner::message::BYTES_MAX;
use crate::pool::spawner::message::Exit;
use crate::pool::spawner::message::GroupSignal;
use crate::pool::spawner::message::Notice;
use crate::pool::spawner::message::Order;
use crate::pool::spawner::message::PIPES;
use crate::pool::spawner::message::Received;
use crate::pool::spawner::message::Request;
use crate::pool::spawner::message::receive;
use crate::pool::spawner::message::send;
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
use rustix::process::WaitOptions;
use rustix::process::getpid;
use rustix::process::kill_process;
use rustix::process::kill_process_group;
use rustix::process::pidfd_open;
use rustix::process::set_child_subreaper;
use rustix::process::wait;
use rustix::process::waitpgid;
use signal_hook::consts::SIGHUP;
use signal_hook::consts::SIGINT;
use signal_hook::consts::SIGQUIT;
use signal_hook::consts::SIGTERM;
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

/// How often the dead of a killed group are looked for while some are still dying.
const LINGER_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 50_000_000 };

/// A worker process and so its group, which bears the same number.
struct Group {
    ticket: u64,
    pid: Pid,
    pidfd: OwnedFd,
}

struct Spawner {
    socket: OwnedFd,
    groups: Vec<Group>,
    /// Groups whose leader is reaped and whose other members, killed too, may still have to be.
    lingering: Vec<Pid>,
    buffer: Vec<u8>,
}

/// Whether the server is still there.
#[derive(PartialEq, Eq)]
enum Server {
    Alive,
    Gone,
}

/// Serves the server at the other end of `socket` until it goes away, then kills every worker.
///
/// # Errors
/// What kept the spawner from starting or going on. The workers are killed also then.
pub(crate) fn run(socket: OwnedFd) -> io::Result<()> {
    outlive_signals()?;
    set_child_subreaper(Some(getpid()))?;
    let mut spawner =
        Spawner { socket, groups: Vec::new(), lingering: Vec::new(), buffer: vec![0; BYTES_MAX] };
    let served = spawner.serve();
    spawner.kill_all();
    served.map_err(io::Error::from)
}

/// Ctrl-C and a service manager's SIGTERM are for the server, which drains and then closes the socket. A handler
/// and not "ignore", because workers would inherit the latter.
fn outlive_signals() -> io::Result<()> {
    for signal in [SIGHUP, SIGINT, SIGQUIT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::new(AtomicBool::new(false)))?;
    }
    Ok(())
}

impl Spawner {
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
            fds.extend(self.groups.iter().map(|group| PollFd::new(&group.pidfd, PollFlags::IN)));
            let timeout = if self.lingering.is_empty() { None } else { Some(&LINGER_POLL) };
            match poll(&mut fds, timeout) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            // Backwards, because swap_remove moves the last one into the gap.
            for index in (0..self.groups.len()).rev().filter(|index| ready[index + 1]) {
                let group = self.groups.swap_remove(index);
                self.bury(&group)?;
            }
            self.reap_lingering();
            if ready[0] && self.obey()? == Server::Gone {
                return Ok(());
            }
        }
    }

    /// Does all that the server has asked for.
    fn obey(&mut self) -> Result<Server, Errno> {
        loop {
            match receive::<Request>(self.socket.as_fd(), &mut self.buffer) {
                Ok(Received::Message(Request::Spawn { ticket, order }, pipes)) => {
                    let notice = match self.spawn(ticket, &order, pipes) {
                        Ok(pid) => Notice::Spawned { ticket, pid },
                        Err(error) => Notice::Refused { ticket, error: error.to_string() },
                    };
                    self.tell(&notice)?;
                }
                Ok(Received::Message(Request::Signal { ticket, signal }, _)) => {
                    if let Some(group) = self.groups.iter().find(|group| group.ticket == ticket) {
                        signal_group(group.pid, signal)?;
                    }
                }
                Ok(Received::End) | Err(Errno::CONNRESET) => return Ok(Server::Gone),
                Err(Errno::AGAIN) => return Ok(Server::Alive),
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn spawn(&mut self, ticket: u64, order: &Order, pipes: Vec<OwnedFd>) -> io::Result<u32> {
        let [stdin, stdout, stderr] = <[OwnedFd; PIPES]>::try_from(pipes)
            .map_err(|_| io::Error::other("the pipes did not arrive: too many open files in the spawner"))?;
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
        self.lingering.retain(|group| *group != pid);
        match order.limits.apply(pid).and_then(|()| pidfd_open(pid, PidfdFlags::empty())) {
            Ok(pidfd) => {
                self.groups.push(Group { ticket, pid, pidfd });
                Ok(child.id())
            }
            Err(error) => {
                abandon(&mut child, pid)?;
                Err(io::Error::other(format!("its limits or its supervision could not be set up: {error}")))
            }
        }
    }

    /// Kills what is left of a group whose leader has ended, then reaps the leader: as long as it is a zombie
    /// its number cannot pass to another group.
    fn bury(&mut self, group: &Group) -> Result<(), Errno> {
        signal_group(group.pid, GroupSignal::Kill)?;
        let number = group.pid.as_raw_nonzero().get().unsigned_abs();
        let used = match wait4::try_wait4_pid(number) {
            Ok(Some(used)) => used,
            // A pidfd is readable only when its process can be reaped, and nobody else reaps.
            Ok(None) | Err(_) => return Err(Errno::CHILD),
        };
        self.lingering.push(group.pid);
        let cpu = used.rusage.utime + used.rusage.stime;
        let exit = Exit {
            code: used.status.code(),
            signal: used.status.signal(),
            cpu_ms: u64::try_from(cpu.as_millis()).unwrap_or(u64::MAX),
            rss_kib: used.rusage.maxrss / 1024,
        };
        self.tell(&Notice::Exited { ticket: group.ticket, exit })
    }

    fn tell(&self, notice: &Notice) -> Result<(), Errno> {
        match send(self.socket.as_fd(), notice, &[], SendFlags::empty()) {
            // The server is gone; the next receive finds the end.
            Ok(()) | Err(Errno::PIPE | Errno::CONNRESET) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Reaps members of killed groups that became our children when their parent died.
    fn reap_lingering(&mut self) {
        self.lingering.retain(|group| {
            loop {
                match waitpgid(*group, WaitOptions::NOHANG) {
                    Ok(Some(_)) | Err(Errno::INTR) => {}
                    Ok(None) => return true,
                    Err(_no_child_left) => return false,
                }
            }
        });
    }

    /// Kills every group and then every descendant that had left its group, until there is no child.
    fn kill_all(&mut self) {
        for group in self.groups.drain(..) {
            // Nobody is left to tell about a refusal, and the loop below finds who is still alive.
            signal_group(group.pid, GroupSignal::Kill).ok();
        }
        loop {
            for child in children() {
                kill_process(child, Signal::KILL).ok();
            }
            match wait(WaitOptions::empty()) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_no_child_left) => return,
            }
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

/// The children of this process, where the kernel lists them.
fn children() -> Vec<Pid> {
    let path = "/proc/thread-self/children";
    let listed = std::fs::read_to_string(path).unwrap_or_default();
    listed.split_whitespace().filter_map(|number| number.parse().ok().and_then(Pid::from_raw)).collect()
}

fn os(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}
