//! The warden process: the parent of all spawners, one thread, no runtime. It starts a spawner for each slot, and it is
//! the subreaper above them: the workers of a spawner that dies become its children, and it kills them. It kills
//! everything when the server's end of its socket closes. So no worker is left as long as server, warden and spawner
//! are not all killed at the same moment.

use crate::pool::spawner::SPAWNER;
use crate::pool::spawner::again;
use crate::pool::spawner::again::OURSELVES;
use crate::pool::spawner::cgroup;
use crate::pool::spawner::family;
use crate::pool::spawner::message::Notice;
use crate::pool::spawner::message::Received;
use crate::pool::spawner::message::receive;
use crate::pool::spawner::message::send;
use crate::pool::spawner::outlive_signals;
use crate::pool::spawner::warden::Wanted;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::poll;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::SendFlags;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::WaitOptions;
use rustix::process::getpid;
use rustix::process::pidfd_open;
use rustix::process::set_child_subreaper;
use rustix::process::waitpid;
use std::io;
use std::path::Path;

/// The longest request; it says nothing but that a spawner is wanted.
const BYTES_MAX: usize = 64;

struct Warden {
    socket: OwnedFd,
    spawners: Vec<(Pid, OwnedFd)>,
}

/// Serves the server at the other end of `socket` until it goes away, then kills all that is below.
///
/// # Errors
/// What kept the warden from starting or going on. Everything below is killed also then.
pub(crate) fn run(socket: OwnedFd) -> io::Result<()> {
    outlive_signals()?;
    set_child_subreaper(Some(getpid()))?;
    let mut warden = Warden { socket, spawners: Vec::new() };
    let served = warden.serve();
    family::kill_all();
    for (pid, _) in warden.spawners {
        cgroup::remove(pid);
    }
    served.map_err(io::Error::from)
}

impl Warden {
    fn serve(&mut self) -> Result<(), Errno> {
        loop {
            let mut fds = vec![PollFd::new(&self.socket, PollFlags::IN)];
            fds.extend(self.spawners.iter().map(|(_, pidfd)| PollFd::new(pidfd, PollFlags::IN)));
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error),
            }
            let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
            // Backwards, because swap_remove moves the last one into the gap.
            for index in (0..self.spawners.len()).rev().filter(|index| ready[index + 1]) {
                let (pid, _) = self.spawners.swap_remove(index);
                self.bury(pid)?;
            }
            if ready[0] && self.obey()? {
                return Ok(());
            }
        }
    }

    /// Starts all spawners that the server wants. Says whether the server is gone.
    fn obey(&mut self) -> Result<bool, Errno> {
        let mut buffer = [0; BYTES_MAX];
        loop {
            match receive::<Wanted>(self.socket.as_fd(), &mut buffer) {
                Ok(Received::Message(Wanted, sockets)) => {
                    for socket in sockets {
                        self.start(socket)?;
                    }
                }
                Ok(Received::End) | Err(Errno::CONNRESET) => return Ok(true),
                Err(Errno::AGAIN) => return Ok(false),
                // BADMSG: the socket did not arrive, for want of room among our open files. It is closed, and so the
                // server knows.
                Err(Errno::INTR | Errno::BADMSG) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Starts a spawner at the other end of `socket`. What keeps it from starting is told there.
    fn start(&mut self, socket: OwnedFd) -> Result<(), Errno> {
        if let Err(error) = self.try_start(&socket) {
            let broken = Notice::Broken { error: error.to_string() };
            match send(socket.as_fd(), &broken, &[], SendFlags::DONTWAIT) {
                Ok(()) | Err(Errno::PIPE | Errno::CONNRESET | Errno::AGAIN) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn try_start(&mut self, socket: &OwnedFd) -> io::Result<()> {
        let ourselves = getpid().as_raw_nonzero().to_string();
        let mut child = again::start(Path::new(OURSELVES), &[SPAWNER, &ourselves], socket.try_clone()?)?;
        let pid = Pid::from_child(&child);
        match pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => {
                self.spawners.push((pid, pidfd));
                Ok(())
            }
            Err(error) => {
                child.kill()?;
                child.wait()?;
                Err(error.into())
            }
        }
    }

    /// Reaps a spawner, and kills whoever it left to us.
    fn bury(&self, pid: Pid) -> Result<(), Errno> {
        // Its pidfd is readable, so this does not wait.
        waitpid(Some(pid), WaitOptions::empty())?;
        let spawners: Vec<Pid> = self.spawners.iter().map(|(spawner, _)| *spawner).collect();
        family::kill_others(&spawners);
        cgroup::remove(pid);
        Ok(())
    }
}
