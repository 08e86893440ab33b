//! The warden as the server sees it: a socket on which spawners are asked for. The process is `warden/process.rs`.

pub(crate) mod process;

use crate::pool::spawner::WARDEN;
use crate::pool::spawner::again;
use crate::pool::spawner::message::send;
use crate::shutdown::Shutdown;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::fs::OFlags;
use rustix::fs::fcntl_setfl;
use rustix::net::AddressFamily;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::Shutdown as Direction;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::recv;
use rustix::net::shutdown;
use rustix::net::socketpair;
use serde::Deserialize;
use serde::Serialize;
use std::io;
use std::path::Path;
use std::process::Child;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// How long a warden that was told to end may take to kill all that is below it before we stop waiting for it.
const END_GRACE: Duration = Duration::from_secs(5);

/// How often we look whether it has ended.
const END_POLL: Duration = Duration::from_millis(2);

/// A spawner is wanted; its end of the socket comes with the message.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Wanted;

pub(crate) struct Warden {
    /// In truth of the sequenced-packet kind, which has an end; only `async_io` is used.
    socket: UnixDatagram,
    pid: u32,
    closed: CancellationToken,
    /// How many spawners the server listens to. The warden is let go after the last one.
    spawners: watch::Sender<usize>,
}

/// One spawner under the warden, for as long as the server listens to it.
pub(crate) struct Charge(Arc<Warden>);

impl Drop for Charge {
    fn drop(&mut self) {
        self.0.spawners.send_modify(|count| *count -= 1);
    }
}

impl Warden {
    /// Starts a warden process and the task that waits for its end.
    pub(crate) fn start(
        program: &Path,
        end: &Shutdown,
        dropped: &CancellationToken,
    ) -> io::Result<Arc<Warden>> {
        let (ours, theirs) = pair()?;
        let ours = UnixDatagram::from_std(ours.into())?;
        let child = again::start(program, &[WARDEN], theirs)?;
        let warden = Arc::new(Warden {
            socket: ours,
            pid: child.id(),
            closed: CancellationToken::new(),
            spawners: watch::Sender::new(0),
        });
        end.spawn(follow(Arc::clone(&warden), child, dropped.clone(), end.token().clone()));
        Ok(warden)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.closed.is_cancelled()
    }

    /// Has a spawner started, and returns our end of its socket.
    pub(crate) async fn ask(self: &Arc<Warden>) -> io::Result<(OwnedFd, Charge)> {
        self.spawners.send_modify(|count| *count += 1);
        let charge = Charge(Arc::clone(self));
        let (ours, theirs) = pair()?;
        let theirs = [theirs];
        let ask =
            || send(self.socket.as_fd(), &Wanted, &theirs, SendFlags::DONTWAIT).map_err(io::Error::from);
        match self.socket.async_io(Interest::WRITABLE, ask).await {
            Ok(()) => Ok((ours, charge)),
            Err(error) => {
                self.closed.cancel();
                Err(error)
            }
        }
    }

    /// Waits for the end of the socket; the warden says nothing.
    async fn end(&self) -> io::Result<()> {
        let end = || recv(self.socket.as_fd(), &mut [0; 1], RecvFlags::DONTWAIT).map_err(io::Error::from);
        self.socket.async_io(Interest::READABLE, end).await.map(|_nothing| ())
    }
}

/// Our end, for the runtime, and theirs.
fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    fcntl_setfl(&ours, OFlags::NONBLOCK)?;
    Ok((ours, theirs))
}

/// Waits until the warden dies, nobody needs it any more, or the server stops and no spawner is left.
async fn follow(warden: Arc<Warden>, child: Child, dropped: CancellationToken, stop: CancellationToken) {
    let mut spawners = warden.spawners.subscribe();
    let idle = async {
        stop.cancelled().await;
        // It cannot fail: we hold the sender.
        spawners.wait_for(|count| *count == 0).await.ok();
    };
    tokio::select! {
        ended = warden.end() => {
            tracing::error!(
                pid = warden.pid, error = ?ended.err(),
                "the warden died, and all spawners with it; the jobs that ran under them count as crashed"
            );
        }
        () = warden.closed.cancelled() => {}
        () = dropped.cancelled() => {}
        () = idle => {}
    }
    warden.closed.cancel();
    // It reads the end of the socket, kills everything below it and ends.
    shutdown(&warden.socket, Direction::Both).ok();
    reap(child).await;
}

/// Waits for the warden process, which is ending.
async fn reap(mut child: Child) {
    let ended = async {
        while child.try_wait()?.is_none() {
            tokio::time::sleep(END_POLL).await;
        }
        Ok::<(), io::Error>(())
    };
    match tokio::time::timeout(END_GRACE, ended).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::warn!(%error, "the warden could not be reaped"),
        Err(_elapsed) => tracing::warn!("the warden does not end: a worker cannot be killed"),
    }
}
