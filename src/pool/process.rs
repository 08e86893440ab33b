//! One worker process with its pipes: all that a slot may be waiting for in one `step`, and the ladder by
//! which a process is ended (SIGTERM, grace, SIGKILL).

use crate::clock::Tick;
use crate::pool::Error;
use crate::pool::ExecutionNo;
use crate::pool::outcome::Why;
use crate::pool::slot::Slot;
use crate::pool::spawner::Ended;
use crate::pool::spawner::GroupSignal;
use crate::pool::spawner::Order;
use crate::pool::spawner::Pipes;
use crate::pool::spawner::Recall;
use crate::pool::spawner::SlotSpawner;
use crate::pool::spawner::Worker;
use crate::pool::tail::Tail;
use bytes::BytesMut;
use std::future::pending;
use std::io;
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Receiver;
use tokio::net::unix::pipe::Sender;

/// Room made for each read: what a pipe holds.
const READ_BYTES: usize = 64 << 10;

/// Room made for the first: most have little to say, and many processes live for one job.
const FIRST_READ_BYTES: usize = 4 << 10;

/// How long output is awaited after the process and its group are gone. Only a process that has left the
/// group can still hold the pipe then, and it must not hold us.
const DRAIN: Duration = Duration::from_millis(250);

pub(crate) struct Process {
    worker: Worker,
    stdin: Option<Sender>,
    stdout: Option<Receiver>,
    stderr: Option<Receiver>,
    stderr_read: BytesMut,
    /// What the process has not read yet.
    pub(crate) outbox: BytesMut,
    /// Whether the process may be sent more.
    input: Input,
    /// What it has written to stdout and nobody has taken.
    pub(crate) inbox: BytesMut,
    pub(crate) tail: Tail,
    ending: Option<Ending>,
}

#[derive(PartialEq, Eq)]
enum Input {
    Open,
    /// Closed once the outbox is empty.
    Closing,
}

struct Ending {
    why: Why,
    kill_at: Option<Tick>,
}

/// How hard a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Force {
    /// SIGTERM, and SIGKILL after the grace.
    Grace,
    /// SIGKILL now.
    AtOnce,
    /// End of its input, and SIGKILL after the grace.
    EndOfInput,
}

/// What a slot listens to beside its process.
#[derive(Clone, Copy)]
pub(crate) struct Listen {
    /// When [`Step::Deadline`] is due.
    pub(crate) deadline: Option<Tick>,
    /// Whether new jobs are of interest.
    pub(crate) jobs: Interest,
    /// Whether the beginning of the shutdown is news.
    pub(crate) stop: Interest,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Interest {
    Yes,
    No,
}

/// What happened.
pub(crate) enum Step {
    /// There is more in the inbox.
    Output,
    /// The process closed its stdin, and there is something that it did not read.
    InputEnd,
    /// The process closed its stdout.
    OutputEnd,
    /// The process has ended, and its group is killed.
    Ended(Ended),
    /// The process was queued and could not be started.
    NotStarted(Error),
    /// Someone cancels an execution, not necessarily one of this slot.
    Cancel(ExecutionNo),
    /// The shutdown begins.
    Stop,
    /// The deadline is over.
    Deadline,
    /// Jobs arrived.
    Jobs,
}

impl Process {
    /// Starts a process that reads `whole` and then the end; `None`: what it is sent.
    pub(crate) async fn start(
        spawner: &mut SlotSpawner,
        order: Order,
        whole: Option<&[u8]>,
    ) -> Result<Process, Error> {
        let (worker, pipes) = spawner.spawn(order, whole).await?;
        Ok(Process::of(worker, pipes, whole))
    }

    /// Has a process started that reads `whole`, as soon as the one that runs has ended.
    pub(crate) async fn queue(
        spawner: &mut SlotSpawner,
        order: Order,
        whole: &[u8],
    ) -> Result<Process, Error> {
        let (worker, pipes) = spawner.queue(order, Some(whole)).await?;
        Ok(Process::of(worker, pipes, Some(whole)))
    }

    fn of(worker: Worker, pipes: Pipes, whole: Option<&[u8]>) -> Process {
        Process {
            worker,
            // Without it the process has been sent everything.
            outbox: pipes.stdin.as_ref().and(whole).map(BytesMut::from).unwrap_or_default(),
            stdin: pipes.stdin,
            stdout: Some(pipes.stdout),
            stderr: Some(pipes.stderr),
            stderr_read: BytesMut::new(),
            input: if whole.is_some() { Input::Closing } else { Input::Open },
            inbox: BytesMut::new(),
            tail: Tail::default(),
            ending: None,
        }
    }

    /// Takes it back if it was queued and has not been started.
    pub(crate) async fn recall(&mut self) -> Recall {
        self.worker.recall().await
    }

    pub(crate) fn pid(&self) -> u32 {
        self.worker.pid()
    }

    /// Closes stdin as soon as the outbox has been read.
    pub(crate) fn close_input(&mut self) {
        self.input = Input::Closing;
    }

    /// Begins to end the process; the first reason counts.
    pub(crate) fn end(&mut self, why: Why, force: Force, now: Tick, grace: Duration) {
        if self.ending.is_some() {
            return;
        }
        let kill_at = match force {
            Force::Grace => {
                self.worker.signal(GroupSignal::Term);
                Some(now.after(grace))
            }
            Force::AtOnce => {
                self.worker.signal(GroupSignal::Kill);
                None
            }
            Force::EndOfInput => {
                self.close_input();
                Some(now.after(grace))
            }
        };
        self.ending = Some(Ending { why, kill_at });
    }

    /// Why the process is being ended, if it is.
    pub(crate) fn why(&self) -> Option<&Why> {
        self.ending.as_ref().map(|ending| &ending.why)
    }

    /// Moves bytes through the pipes until something happens that the slot has to know.
    pub(crate) async fn step(&mut self, slot: &mut Slot, listen: Listen) -> Step {
        loop {
            if self.input == Input::Closing && self.outbox.is_empty() {
                self.stdin = None;
            }
            let kill_at = self.ending.as_ref().and_then(|ending| ending.kill_at);
            let arrived = slot.backlog.arrived();
            tokio::pin!(arrived);
            if listen.jobs == Interest::Yes {
                arrived.as_mut().enable();
                if slot.backlog.has_jobs() {
                    return Step::Jobs;
                }
            }
            tokio::select! {
                ended = self.worker.ended() => return ended.map_or_else(Step::NotStarted, Step::Ended),
                read = read(&mut self.stdout, &mut self.inbox) => match read {
                    Ok(0) | Err(_) => {
                        self.stdout = None;
                        return Step::OutputEnd;
                    }
                    // What a process says that is being ended is not listened to, and must not pile up.
                    Ok(_) if self.ending.is_some() => self.inbox.clear(),
                    Ok(_) => return Step::Output,
                },
                written = write(&mut self.stdin, &mut self.outbox) => if written.is_err() {
                    self.stdin = None;
                    self.outbox.clear();
                    return Step::InputEnd;
                },
                read = read(&mut self.stderr, &mut self.stderr_read) => self.take_stderr(read),
                () = slot.alarm.wait(&slot.clock, [kill_at, listen.deadline].into_iter().flatten().min()) => {
                    match &mut self.ending {
                        Some(ending) if kill_at.is_some_and(|at| listen.deadline.is_none_or(|deadline| at <= deadline)) => {
                            ending.kill_at = None;
                            self.worker.signal(GroupSignal::Kill);
                        }
                        Some(_) | None => return Step::Deadline,
                    }
                }
                Some(execution) = slot.cancels.recv() => return Step::Cancel(execution),
                () = slot.stop.cancelled(), if listen.stop == Interest::Yes => return Step::Stop,
                () = arrived, if listen.jobs == Interest::Yes => return Step::Jobs,
            }
        }
    }

    /// Reads what the ended process left in its pipes, at most `bytes_max` bytes of output.
    pub(crate) async fn drain(&mut self, bytes_max: usize) {
        let all = async {
            while self.inbox.len() <= bytes_max && self.stdout.is_some() {
                if !matches!(read(&mut self.stdout, &mut self.inbox).await, Ok(1..)) {
                    self.stdout = None;
                }
            }
            while self.stderr.is_some() {
                let read = read(&mut self.stderr, &mut self.stderr_read).await;
                self.take_stderr(read);
            }
        };
        if tokio::time::timeout(DRAIN, all).await.is_err() {
            tracing::debug!(pid = self.pid(), "a process outside the group holds the worker's output open");
        }
    }

    /// Takes what is already in the pipe of stderr. What a worker wrote there before it answered is told with the
    /// answer; a worker that floods it cannot hold us.
    pub(crate) fn hear_stderr(&mut self) {
        if let Some(pipe) = &self.stderr {
            self.stderr_read.reserve(READ_BYTES);
            match pipe.try_read_buf(&mut self.stderr_read) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => self.take_stderr(read),
            }
        }
    }

    fn take_stderr(&mut self, read: io::Result<usize>) {
        if !matches!(read, Ok(1..)) {
            self.stderr = None;
        }
        if !self.stderr_read.is_empty() {
            self.tail.push(&self.stderr_read, self.worker.pid());
            self.stderr_read.clear();
        }
    }
}

async fn read(pipe: &mut Option<Receiver>, into: &mut BytesMut) -> io::Result<usize> {
    match pipe {
        Some(pipe) => {
            into.reserve(if into.capacity() == 0 { FIRST_READ_BYTES } else { READ_BYTES });
            pipe.read_buf(into).await
        }
        None => pending().await,
    }
}

async fn write(pipe: &mut Option<Sender>, from: &mut BytesMut) -> io::Result<usize> {
    match pipe {
        Some(pipe) if !from.is_empty() => pipe.write_buf(from).await,
        Some(_) | None => pending().await,
    }
}
