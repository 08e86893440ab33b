//! The engine: one writer that owns all state changes, what it publishes to everyone else, and the threads that
//! follow behind it (work tree, checkpoints).
//!
//! [`Engine::start`] recovers the state, takes over the log and starts the threads. [`Handle`] is all that others hold:
//! commands go to the writer, reads to the published view, then the work tree, then the log.

mod applier;
mod bell;
pub mod chance;
pub mod checkpoint;
mod checkpointer;
pub mod command;
pub mod core;
pub mod history;
pub mod ids;
mod inbox;
pub mod index;
pub mod overlay;
pub mod recover;
pub mod retention;
pub mod retrace;
pub mod seeds;
#[cfg(test)]
mod simulation;
pub mod spectator;
mod touches;
pub mod view;
pub mod workers;
mod writer;

pub use crate::engine::retention::Keeping;

use crate::clock::Clock;
use crate::engine::applier::Driving;
use crate::engine::chance::Chance;
use crate::engine::checkpointer::Checkpointing;
use crate::engine::command::Command;
use crate::engine::command::Reply;
use crate::engine::core::Core;
use crate::engine::core::Options;
use crate::engine::history::History;
use crate::engine::inbox::Inbox;
use crate::engine::recover::Recovered;
use crate::engine::retrace::Turns;
use crate::engine::spectator::Moment;
use crate::engine::view::Health;
use crate::engine::view::View;
use crate::job::id::Position;
use crate::log;
use crate::log::Log;
use crate::log::causes::in_one_line;
use crate::work;
use crate::work::WorkTree;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How far the work tree may be behind before submits wait for it. [MEM-1]
const LAG_BYTES_MAX: u64 = 64 << 20;
/// What the checkpointer adds to the nice value of its thread: beside busy threads it gets about a tenth of what they get.
const NICE: i32 = 10;

/// Why the engine could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state could not be recovered.
    #[error(transparent)]
    Recover(#[from] recover::Error),
    /// The log could not be taken over.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// A thread could not be started, or the system has no random numbers to give.
    #[error("the operating system refused what the engine needs to start")]
    System(#[from] std::io::Error),
}

/// What an engine is made of, besides its log.
#[derive(Debug)]
pub struct Parts {
    /// The work tree, not yet opened.
    pub tree: WorkTree,
    /// What the deciding side is told.
    pub options: Options,
    /// Checkpoints and retention.
    pub keeping: Keeping,
    /// The clock.
    pub clock: Clock,
}

/// A running engine. Dropping it without [`Engine::stop`] is a crash, which it survives.
#[derive(Debug)]
pub struct Engine {
    handle: Handle,
    writer: JoinHandle<Result<(), log::Error>>,
    followers: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Recovers the state of `log`, begins a new epoch in it, and starts the threads. When this returns everything that was
    /// ever acknowledged is there to be read, but for jobs that only the work tree knows: it may still be building. On a full
    /// disk the log stands in for it, see [`Handle::retrace`].
    ///
    /// # Errors
    /// [`Error`].
    pub fn start<L: Log>(log: L, parts: Parts) -> Result<Engine, Error>
    where
        L::Archive: std::fmt::Debug,
    {
        let Parts { tree, options, keeping, clock } = parts;
        let archive = log.archive();
        let recovered = recover::recover(&archive)?;
        report(&recovered);
        let behind_bytes = recovered.bytes;
        let mut core = Core::open(log, recovered.state, options, Chance::from_system()?, clock.now());
        // Nothing is answered before the frame that opens the epoch is on disk.
        core.step([], clock.now())?;
        let (view, inbox, tree) = (core.view(), Arc::new(Inbox::new()), Arc::new(tree));
        let bell = Arc::clone(view.bell());
        let handle = Handle {
            inbox: Arc::clone(&inbox),
            view: Arc::clone(&view),
            query: tree.query(),
            history: Arc::new(archive.clone()),
            turns: Arc::default(),
            clock: clock.clone(),
            moment: None,
        };
        let driving = Driving {
            view: Arc::clone(&view),
            archive: archive.clone(),
            tree: Arc::clone(&tree),
            bell: Arc::clone(&bell),
            clock: clock.clone(),
        };
        let checkpointing = Checkpointing {
            view: Arc::clone(&view),
            archive,
            tree,
            bell,
            keeping,
            behind_bytes,
            clock: clock.clone(),
        };
        let writer = thread("writer", move || write(core, &inbox, &clock, &view))?;
        let followers = vec![
            thread("work-tree", move || driving.supervise())?,
            thread("checkpointer", move || {
                give_way();
                checkpointing.run();
            })?,
        ];
        Ok(Engine { handle, writer, followers })
    }

    /// The way to this engine.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The clean stop: what is on its way is carried out, everything is vouched for, the work tree is closed so that the
    /// next start keeps it.
    ///
    /// # Errors
    /// What the writer failed with, if it did.
    pub fn stop(self) -> Result<(), log::Error> {
        self.handle.inbox.close();
        let written = self.writer.join().unwrap_or(Err(log::Error::Poisoned));
        self.handle.view.bell().stop();
        for follower in self.followers {
            if follower.join().is_err() {
                tracing::error!("a thread behind the writer panicked; the next start rebuilds what it kept");
            }
        }
        written
    }
}

fn thread<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, std::io::Error> {
    std::thread::Builder::new().name(name.to_owned()).spawn(run)
}

/// Lets the calling thread give way to those that callers wait for. A checkpoint takes a core for as long as it is made, and
/// nobody waits for it.
fn give_way() {
    // Elsewhere it would be the whole process.
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::nice(NICE) {
        tracing::debug!(%error, "the checkpointer competes with the threads that answer callers");
    }
}

/// Runs the writer; if it fails or panics, nothing is acknowledged any more and health says so. [ACK-2]
fn write<L: Log>(core: Core<L>, inbox: &Arc<Inbox>, clock: &Clock, view: &View) -> Result<(), log::Error> {
    let run = std::panic::AssertUnwindSafe(|| writer::run(core, inbox, clock));
    let result = std::panic::catch_unwind(run).unwrap_or(Err(log::Error::Poisoned));
    if let Err(error) = &result {
        inbox.abandon();
        view.set_health(Health::Poisoned);
        tracing::error!(
            error = in_one_line(error),
            "the log failed: nothing more is acknowledged; restart to recover what is durable"
        );
    }
    result
}

fn report(recovered: &Recovered) {
    for damaged in &recovered.damaged {
        tracing::warn!(%damaged, "a checkpoint cannot be used; an older one and the log replace it");
    }
    tracing::info!(
        checkpoint = recovered.checkpoint.0,
        frames = recovered.frames,
        jobs = recovered.state.jobs().len(),
        sequence = recovered.state.sequence().0,
        "recovered"
    );
}

/// The way to a running engine; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    inbox: Arc<Inbox>,
    view: Arc<View>,
    query: work::Query,
    history: Arc<dyn History>,
    turns: Arc<Turns>,
    clock: Clock,
    /// Instead of a writer, where nothing is written.
    moment: Option<Arc<Moment>>,
}

impl Handle {
    /// Sends a command of about `bytes` and waits for its answer, which leaves after the sync. [ACK-1]
    ///
    /// # Errors
    /// What the engine answers; [`command::Error::OutcomeUnknown`] if it stopped before it could.
    pub async fn call<T>(
        &self,
        bytes: usize,
        command: impl FnOnce(Reply<T>) -> Command,
    ) -> Result<T, command::Error> {
        let (reply, answer) = Reply::once();
        match &self.moment {
            None => self.inbox.send(command(reply), bytes).await?,
            Some(moment) => moment.answer(command(reply), &self.clock)?,
        }
        answer.await.unwrap_or(Err(command::Error::OutcomeUnknown))
    }

    /// Sends a command of about `bytes` whose answers go elsewhere.
    ///
    /// # Errors
    /// [`command::Error::ShuttingDown`] if the writer takes nothing more.
    pub async fn send(&self, bytes: usize, command: Command) -> Result<(), command::Error> {
        match &self.moment {
            None => self.inbox.send(command, bytes).await,
            Some(moment) => moment.answer(command, &self.clock),
        }
    }

    /// Waits while the work tree is too far behind: submits call this first, nobody else. [MEM-1]
    pub async fn let_work_tree_follow(&self) {
        let mut applied = self.view.follow_applied();
        while self.view.lag_bytes() > LAG_BYTES_MAX && applied.changed().await.is_ok() {}
    }

    /// Waits until the work tree shows everything there is by now, at most for `patience`.
    pub async fn wait_for_work_tree(&self, patience: Duration) {
        let head = self.view.seen().position;
        let mut applied = self.view.follow_applied();
        // It is only a courtesy: a tree that takes longer is waited for by nobody.
        let _ = tokio::time::timeout(patience, applied.wait_for(|at| *at >= head)).await;
    }

    /// What readers see.
    #[must_use]
    pub fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// The work tree.
    #[must_use]
    pub fn query(&self) -> &work::Query {
        &self.query
    }

    /// The log.
    #[must_use]
    pub fn history(&self) -> &Arc<dyn History> {
        &self.history
    }

    /// The clock.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.clock
    }

    /// How far the work tree is.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.query.applied()
    }
}

#[cfg(test)]
mod tests;
