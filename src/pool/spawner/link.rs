//! One spawner process as the server sees it: the socket, the worker process under it, and the task that
//! reads what it tells.

use crate::pool::Error;
use crate::pool::spawner::message::BYTES_MAX;
use crate::pool::spawner::message::Exit;
use crate::pool::spawner::message::GroupSignal;
use crate::pool::spawner::message::Notice;
use crate::pool::spawner::message::Order;
use crate::pool::spawner::message::Received;
use crate::pool::spawner::message::Request;
use crate::pool::spawner::message::receive;
use crate::pool::spawner::message::send;
use crate::pool::spawner::warden::Charge;
use crate::shutdown::Shutdown;
use rustix::fd::AsFd;
use rustix::fd::OwnedFd;
use rustix::net::SendFlags;
use rustix::net::Shutdown as Direction;
use rustix::net::shutdown;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::getpgid;
use rustix::process::kill_process_group;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use tokio::io::Interest;
use tokio::net::UnixDatagram;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// How a worker process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It exited or was killed.
    Exit(Exit),
    /// Its spawner died, and the process was killed for it.
    SpawnerDied,
}

pub(crate) struct Link {
    /// In truth of the sequenced-packet kind, which has an end; only `async_io` and `try_io` are used.
    socket: UnixDatagram,
    table: Mutex<Table>,
    /// Woken when there are signals that did not fit in the socket.
    unsent: Notify,
}

#[derive(Default)]
struct Table {
    closed: bool,
    /// Why there is no spawner at all.
    broken: Option<String>,
    workers: HashMap<u64, Entry>,
    /// At most one for each worker and kind: see `signal`.
    unsent: Vec<(u64, GroupSignal)>,
}

struct Entry {
    started: Option<oneshot::Sender<Result<u32, String>>>,
    ended: oneshot::Sender<Exit>,
    pid: Option<u32>,
}

/// A running worker process. Dropping it before it has ended kills its group.
pub(crate) struct Worker {
    link: Arc<Link>,
    ticket: u64,
    pid: u32,
    ended: oneshot::Receiver<Exit>,
    over: bool,
}

impl Link {
    /// Listens to the spawner at the other end of `socket`.
    pub(crate) fn start(
        socket: UnixDatagram,
        charge: Charge,
        end: &Shutdown,
        dropped: &CancellationToken,
    ) -> Arc<Link> {
        let link = Arc::new(Link { socket, table: Mutex::new(Table::default()), unsent: Notify::new() });
        end.spawn(follow(Arc::clone(&link), charge, dropped.clone(), end.token().clone()));
        link
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.table().closed
    }

    pub(crate) async fn spawn(
        self: &Arc<Link>,
        ticket: u64,
        order: Order,
        pipes: &[OwnedFd],
    ) -> Result<Worker, Error> {
        let (started, has_started) = oneshot::channel();
        let (ended, has_ended) = oneshot::channel();
        {
            let mut table = self.table();
            if table.closed {
                drop(table);
                return Err(self.why_it_died());
            }
            table.workers.insert(ticket, Entry { started: Some(started), ended, pid: None });
        }
        // From here on dropping the worker, also when this call is cancelled, kills the process.
        let mut worker = Worker { link: Arc::clone(self), ticket, pid: 0, ended: has_ended, over: false };
        let request = Request::Spawn { ticket, order: Box::new(order) };
        if let Err(error) = self.send(&request, pipes).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            worker.over = true;
            self.table().workers.remove(&ticket);
            return Err(Error::Spawner(error));
        }
        // Of a spawner that is gone we read first what it, or the warden, has said of why.
        match has_started.await {
            Ok(Ok(pid)) => {
                worker.pid = pid;
                Ok(worker)
            }
            Ok(Err(error)) => {
                worker.over = true;
                Err(Error::Refused(error))
            }
            Err(_closed) => Err(self.why_it_died()),
        }
    }

    fn why_it_died(&self) -> Error {
        self.table().broken.clone().map_or(Error::SpawnerDied, Error::NoSpawner)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of the table panics")
    }

    async fn send(&self, request: &Request, pipes: &[OwnedFd]) -> io::Result<()> {
        let send = || send(self.socket.as_fd(), request, pipes, SendFlags::DONTWAIT).map_err(io::Error::from);
        self.socket.async_io(Interest::WRITABLE, send).await
    }

    /// Signals without waiting; if the socket is full, the listening task sends it.
    fn signal(&self, ticket: u64, signal: GroupSignal) {
        let request = Request::Signal { ticket, signal };
        let sent = self.socket.try_io(Interest::WRITABLE, || {
            send(self.socket.as_fd(), &request, &[], SendFlags::DONTWAIT).map_err(io::Error::from)
        });
        // Any other error means that the spawner is gone; whoever listens to it ends the group.
        if sent.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
            let mut table = self.table();
            if !table.unsent.contains(&(ticket, signal)) {
                table.unsent.push((ticket, signal));
            }
            self.unsent.notify_one();
        }
    }

    async fn send_unsent(&self) -> io::Result<()> {
        let unsent = std::mem::take(&mut self.table().unsent);
        for (ticket, signal) in unsent {
            self.send(&Request::Signal { ticket, signal }, &[]).await?;
        }
        Ok(())
    }

    fn heed(&self, notice: Notice) {
        let mut table = self.table();
        match notice {
            Notice::Hello { pid } => tracing::debug!(pid, "a spawner is there"),
            Notice::Broken { error } => table.broken = Some(error),
            Notice::Spawned { ticket, pid } => {
                if let Some(entry) = table.workers.get_mut(&ticket) {
                    entry.pid = Some(pid);
                    // A spawn that nobody waits for any more has a dropped worker, whose kill is on its way.
                    if let Some(started) = entry.started.take() {
                        started.send(Ok(pid)).ok();
                    }
                }
            }
            Notice::Refused { ticket, error } => {
                if let Some(Entry { started: Some(started), .. }) = table.workers.remove(&ticket) {
                    started.send(Err(error)).ok();
                }
            }
            Notice::Exited { ticket, exit } => {
                if let Some(entry) = table.workers.remove(&ticket) {
                    entry.ended.send(exit).ok();
                }
            }
        }
    }

    /// Lets go of all workers. Those of a dead spawner are killed from here: their numbers may already have
    /// passed to strangers, so one is only believed if it still leads a group.
    fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        for (_, entry) in table.workers.drain() {
            let group = entry.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            if let Some(group) = group.filter(|group| getpgid(Some(*group)) == Ok(*group)) {
                kill_process_group(group, Signal::KILL).ok();
            }
        }
    }
}

impl Worker {
    /// Its process id, which is the number of its group too.
    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: GroupSignal) {
        if !self.over {
            self.link.signal(self.ticket, signal);
        }
    }

    /// Waits until the process has ended; the rest of its group has then been killed. May be cancelled and
    /// called again, but not after it has answered.
    pub(crate) async fn ended(&mut self) -> Ended {
        let exit = (&mut self.ended).await;
        self.over = true;
        exit.map_or(Ended::SpawnerDied, Ended::Exit)
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.signal(GroupSignal::Kill);
    }
}

/// Listens to a spawner until it dies, nobody needs it any more, or the server stops and nothing runs under it.
async fn follow(link: Arc<Link>, charge: Charge, dropped: CancellationToken, stop: CancellationToken) {
    let mut buffer = vec![0; BYTES_MAX];
    let mut stopping = false;
    let fault = loop {
        if stopping && link.close_if_idle() {
            break None;
        }
        tokio::select! {
            received = link.socket.async_io(Interest::READABLE, || {
                receive(link.socket.as_fd(), &mut buffer).map_err(io::Error::from)
            }) => match received {
                Ok(Received::Message(notice, _)) => link.heed(notice),
                Ok(Received::End) => break Some(io::Error::from(io::ErrorKind::UnexpectedEof)),
                // It is gone and has not read all that we sent. The system says so once, before what it, or the warden, sent
                // last: why it is gone.
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
                Err(error) => break Some(error),
            },
            () = link.unsent.notified() => if let Err(error) = link.send_unsent().await {
                break Some(error);
            },
            () = dropped.cancelled() => break None,
            () = stop.cancelled(), if !stopping => stopping = true,
        }
    };
    if let Some(error) = fault {
        tracing::error!(%error, "a spawner died; the job that ran under it counts as crashed");
    }
    // A living spawner reads the end of the socket, kills all that it started and ends.
    shutdown(&link.socket, Direction::Both).ok();
    link.close();
    drop(charge);
}

impl Link {
    fn close_if_idle(&self) -> bool {
        let mut table = self.table();
        table.closed |= table.workers.is_empty();
        table.closed
    }
}
