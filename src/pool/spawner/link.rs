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
use crate::pool::spawner::message::Start;
use crate::pool::spawner::message::Turn;
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
use tokio::io::unix::AsyncFd;
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
    /// Watched for reading only: else the system would wake us for every message that the spawner takes.
    socket: AsyncFd<OwnedFd>,
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
    /// Told the process id once it runs, if anybody waits for that.
    started: Option<oneshot::Sender<u32>>,
    fate: oneshot::Sender<Fate>,
    pid: Option<u32>,
}

/// What became of a worker process.
enum Fate {
    Exited(Exit, Option<u32>),
    NotStarted(Error),
    Recalled,
    /// Its spawner died, and there is no word of it.
    Lost,
}

/// What became of a wish to take back a process that was next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Recall {
    /// It was not started and will not be.
    Back,
    /// It was started, or could not be.
    Late,
}

/// A running worker process. Dropping it before it has ended kills its group.
pub(crate) struct Worker {
    link: Arc<Link>,
    ticket: u64,
    /// 0 as long as we have not heard it.
    pid: u32,
    fate: oneshot::Receiver<Fate>,
    /// What `recall` heard of it.
    heard: Option<Fate>,
    over: bool,
}

impl Link {
    /// Listens to the spawner at the other end of `socket`.
    ///
    /// # Errors
    /// The runtime's, if it cannot watch one more socket.
    pub(crate) fn start(
        socket: OwnedFd,
        charge: Charge,
        end: &Shutdown,
        dropped: &CancellationToken,
    ) -> io::Result<Arc<Link>> {
        let socket = watched(socket, Interest::READABLE)?;
        let link = Arc::new(Link { socket, table: Mutex::new(Table::default()), unsent: Notify::new() });
        end.spawn(follow(Arc::clone(&link), charge, dropped.clone(), end.token().clone()));
        Ok(link)
    }

    pub(crate) fn is_open(&self) -> bool {
        !self.table().closed
    }

    /// Starts a process and returns when it runs. One that still runs is killed.
    pub(crate) async fn spawn(
        self: &Arc<Link>,
        ticket: u64,
        order: Order,
        pipes: &[OwnedFd],
    ) -> Result<Worker, Error> {
        let (started, has_started) = oneshot::channel();
        let mut worker = self.ask(ticket, order, pipes, Some(started)).await?;
        // Of a spawner that is gone we read first what it, or the warden, has said of why.
        if let Ok(pid) = has_started.await {
            worker.pid = pid;
            return Ok(worker);
        }
        worker.over = true;
        match worker.fate.try_recv() {
            Ok(Fate::NotStarted(error)) => Err(error),
            Ok(Fate::Exited(..) | Fate::Recalled | Fate::Lost) | Err(_) => Err(self.table().why()),
        }
    }

    /// Has a process started when the one that runs has ended. That it could not be started is its end.
    pub(crate) async fn queue(
        self: &Arc<Link>,
        ticket: u64,
        order: Order,
        pipes: &[OwnedFd],
    ) -> Result<Worker, Error> {
        self.ask(ticket, order, pipes, None).await
    }

    async fn ask(
        self: &Arc<Link>,
        ticket: u64,
        order: Order,
        pipes: &[OwnedFd],
        started: Option<oneshot::Sender<u32>>,
    ) -> Result<Worker, Error> {
        let turn = if started.is_some() { Turn::Now } else { Turn::Next };
        let (fate, has_fate) = oneshot::channel();
        {
            let mut table = self.table();
            if table.closed {
                return Err(table.why());
            }
            table.workers.insert(ticket, Entry { started, fate, pid: None });
        }
        // From here on dropping the worker, also when this call is cancelled, kills the process.
        let mut worker =
            Worker { link: Arc::clone(self), ticket, pid: 0, fate: has_fate, heard: None, over: false };
        let request = Request::Spawn { ticket, order: Box::new(order), turn };
        if let Err(error) = self.send(&request, pipes).await
            && error.kind() != io::ErrorKind::BrokenPipe
        {
            worker.over = true;
            self.table().workers.remove(&ticket);
            return Err(Error::Spawner(error));
        }
        Ok(worker)
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no holder of the table panics")
    }

    async fn send(&self, request: &Request, pipes: &[OwnedFd]) -> io::Result<()> {
        loop {
            match self.try_send(request, pipes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.wait_for_room().await?,
                sent => return sent,
            }
        }
    }

    fn try_send(&self, request: &Request, pipes: &[OwnedFd]) -> io::Result<()> {
        send(self.socket.as_fd(), request, pipes, SendFlags::DONTWAIT).map_err(io::Error::from)
    }

    async fn wait_for_room(&self) -> io::Result<()> {
        let full = watched(self.socket.get_ref().try_clone()?, Interest::WRITABLE)?;
        full.writable().await.map(|_room| ())
    }

    /// Signals without waiting; if the socket is full, the listening task sends it.
    fn signal(&self, ticket: u64, signal: GroupSignal) {
        let request = Request::Signal { ticket, signal };
        // Any other error means that the spawner is gone; whoever listens to it ends the group.
        if self.try_send(&request, &[]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock) {
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
            Notice::Started(start) => table.start(start),
            Notice::Recalled { ticket } => table.settle(ticket, |_| Fate::Recalled),
            Notice::Exited { ticket, exit, next } => {
                table.settle(ticket, |pid| Fate::Exited(exit, pid));
                next.into_iter().for_each(|start| table.start(start));
            }
        }
    }

    /// Lets go of all workers. Those of a dead spawner are killed from here: their numbers may already have
    /// passed to strangers, so one is only believed if it still leads a group.
    fn close(&self) {
        let mut table = self.table();
        table.closed = true;
        for (_, entry) in std::mem::take(&mut table.workers) {
            if entry.pid.is_none() {
                entry.fate.send(Fate::NotStarted(table.why())).ok();
                continue;
            }
            let group = entry.pid.and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw);
            if let Some(group) = group.filter(|group| getpgid(Some(*group)) == Ok(*group)) {
                kill_process_group(group, Signal::KILL).ok();
            }
        }
    }
}

impl Table {
    /// Why there is no spawner any more.
    fn why(&self) -> Error {
        self.broken.clone().map_or(Error::SpawnerDied, Error::NoSpawner)
    }

    fn start(&mut self, Start { ticket, pid }: Start) {
        match pid {
            Ok(pid) => {
                if let Some(entry) = self.workers.get_mut(&ticket) {
                    entry.pid = Some(pid);
                    // A spawn that nobody waits for any more has a dropped worker, whose kill is on its way.
                    if let Some(started) = entry.started.take() {
                        started.send(pid).ok();
                    }
                }
            }
            Err(error) => self.settle(ticket, |_| Fate::NotStarted(Error::Refused(error))),
        }
    }

    /// Lets go of a worker whose process id was this, if we have heard it.
    fn settle(&mut self, ticket: u64, fate: impl FnOnce(Option<u32>) -> Fate) {
        if let Some(Entry { started, fate: told, pid }) = self.workers.remove(&ticket) {
            // Before the other end of `started` is closed: whoever waits there looks for the fate then.
            told.send(fate(pid)).ok();
            drop(started);
        }
    }
}

impl Worker {
    /// Its process id, which is the number of its group too.
    pub(crate) fn pid(&self) -> u32 {
        if self.pid > 0 {
            return self.pid;
        }
        self.link.table().workers.get(&self.ticket).and_then(|entry| entry.pid).unwrap_or(0)
    }

    /// Sends a signal to the whole group.
    pub(crate) fn signal(&self, signal: GroupSignal) {
        if !self.over {
            self.link.signal(self.ticket, signal);
        }
    }

    /// Waits until the process has ended; the rest of its group has then been killed. May be cancelled and
    /// called again, but not after it has answered.
    ///
    /// # Errors
    /// Why a process that was next could not be started.
    pub(crate) async fn ended(&mut self) -> Result<Ended, Error> {
        let fate = match self.heard.take() {
            Some(fate) => fate,
            None => (&mut self.fate).await.unwrap_or(Fate::Lost),
        };
        self.over = true;
        match fate {
            Fate::Exited(exit, pid) => {
                self.pid = pid.unwrap_or(self.pid);
                Ok(Ended::Exit(exit))
            }
            Fate::NotStarted(error) => Err(error),
            Fate::Recalled | Fate::Lost => Ok(Ended::SpawnerDied),
        }
    }

    /// Takes back a process that was next, unless it has been started by now.
    pub(crate) async fn recall(&mut self) -> Recall {
        let (started, has_started) = oneshot::channel();
        match self.link.table().workers.get_mut(&self.ticket) {
            Some(Entry { pid: Some(_), .. }) => return Recall::Late,
            Some(entry) => entry.started = Some(started),
            None => drop(started),
        }
        // Of a spawner that is gone the listening task hears.
        self.link.send(&Request::Recall { ticket: self.ticket }, &[]).await.ok();
        if has_started.await.is_ok() {
            return Recall::Late;
        }
        if self.heard.is_none() {
            self.heard = Some(self.fate.try_recv().unwrap_or(Fate::Lost));
        }
        if matches!(self.heard, Some(Fate::Recalled)) {
            self.over = true;
            Recall::Back
        } else {
            Recall::Late
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.signal(GroupSignal::Kill);
    }
}

#[allow(deprecated, reason = "the successor is unsafe, for what could close its descriptor; ours owns it")]
fn watched(socket: OwnedFd, interest: Interest) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(socket, interest)
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
            received = link.socket.async_io(Interest::READABLE, |socket| {
                receive(socket.as_fd(), &mut buffer).map_err(io::Error::from)
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
    shutdown(link.socket.get_ref(), Direction::Both).ok();
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
