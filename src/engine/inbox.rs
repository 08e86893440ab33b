//! The way to the writer: a bounded queue of commands. Callers wait while it is full; the writer takes what is
//! there, without a timer, and sleeps until its next deadline when nothing is. [MEM-1]

use crate::engine::command::Command;
use crate::engine::command::Error;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// Bytes of commands that may wait for the writer or for their answer.
const BYTES_MAX: usize = 32 * 1_024 * 1_024;
/// What every command weighs at least, so that many empty ones are bounded too.
const COMMAND_BYTES: usize = 512;
/// Bytes that one permit of the semaphore stands for.
const PERMIT_BYTES: usize = 64;

/// How long a writer without any deadline sleeps.
const SLEEP_MAX: Duration = Duration::from_secs(3_600);

/// The most bytes and commands that go into one frame, unless the first alone is larger.
const GROUP_BYTES: usize = 1_024 * 1_024;
const GROUP_COMMANDS: usize = 5_000;

/// A command on its way, with its share of the bound; the share is given back when it is dropped, answered.
#[derive(Debug)]
pub(in crate::engine) struct Item {
    command: Command,
    bytes: usize,
    share: OwnedSemaphorePermit,
}

impl Item {
    /// The command, and its share of the bound to be held until it is answered.
    pub(in crate::engine) fn split(self) -> (Command, OwnedSemaphorePermit) {
        (self.command, self.share)
    }
}

/// What the writer finds.
#[derive(Debug)]
pub(in crate::engine) enum Found {
    /// Commands, or none when the deadline came first.
    Commands(Vec<Item>),
    /// Nothing, and nothing will come any more.
    Closed,
}

#[derive(Debug, Default)]
struct Waiting {
    items: VecDeque<Item>,
    closed: bool,
    writer_sleeps: bool,
}

/// The queue.
#[derive(Debug)]
pub(in crate::engine) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    shares: Arc<Semaphore>,
}

impl Inbox {
    pub(in crate::engine) fn new() -> Inbox {
        Inbox {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            shares: Arc::new(Semaphore::new(BYTES_MAX / PERMIT_BYTES)),
        }
    }

    /// Puts a command of about `bytes` into the queue, waiting while it is full.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`] if the writer takes nothing more; the command did not reach it.
    pub(in crate::engine) async fn send(&self, command: Command, bytes: usize) -> Result<(), Error> {
        let permits = (bytes.clamp(COMMAND_BYTES, BYTES_MAX) / PERMIT_BYTES) as u32;
        let share = Arc::clone(&self.shares).acquire_many_owned(permits).await;
        let share = share.map_err(|_closed| Error::ShuttingDown)?;
        let mut waiting = self.lock();
        if waiting.closed {
            return Err(Error::ShuttingDown);
        }
        waiting.items.push_back(Item { command, bytes, share });
        let wake = std::mem::take(&mut waiting.writer_sleeps);
        drop(waiting);
        if wake {
            self.arrived.notify_one();
        }
        Ok(())
    }

    /// Takes what is there, up to one group; sleeps at most for `patience` until something is.
    pub(in crate::engine) fn take(&self, patience: Option<Duration>) -> Found {
        let mut waiting = self.lock();
        if waiting.items.is_empty() && !waiting.closed && patience != Some(Duration::ZERO) {
            waiting.writer_sleeps = true;
            let nothing = |waiting: &mut Waiting| waiting.items.is_empty() && !waiting.closed;
            let slept = self.arrived.wait_timeout_while(waiting, patience.unwrap_or(SLEEP_MAX), nothing);
            waiting = slept.unwrap_or_else(PoisonError::into_inner).0;
            waiting.writer_sleeps = false;
        }
        if waiting.items.is_empty() && waiting.closed {
            return Found::Closed;
        }
        let mut bytes = 0;
        let fits = waiting.items.iter().take(GROUP_COMMANDS).take_while(|item| {
            let first = bytes == 0;
            bytes += item.bytes.max(1);
            first || bytes <= GROUP_BYTES
        });
        let count = fits.count();
        Found::Commands(waiting.items.drain(..count).collect())
    }

    /// Nothing more is taken in; what waits is still carried out.
    pub(in crate::engine) fn close(&self) {
        self.lock().closed = true;
        self.shares.close();
        self.arrived.notify_one();
    }

    /// Nothing more is carried out: the callers of what waits are told that they do not know.
    pub(in crate::engine) fn abandon(&self) {
        self.close();
        // Dropping a command closes its reply, which its caller reads as an unknown outcome.
        self.lock().items.clear();
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
