//! What the applier shares with readers and with its supervisor.
//!
//! A view belongs to one tree. When a tree is abandoned readers get the view of the next one, and the old applier,
//! should it ever wake up, still holds only its own: it cannot touch what readers see.

use crate::job::id::Position;
use crate::work::Error;
use crate::work::buffer::Runs;
use crate::work::tree::Tree;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// What outlives single trees: the current view and the log's floor.
#[derive(Debug)]
pub(crate) struct Shared {
    view: RwLock<Option<Arc<View>>>,
    floor: AtomicU64,
    pub(crate) slices_a_page: usize,
}

impl Shared {
    pub(crate) fn new(slices_a_page: usize) -> Shared {
        Shared { view: RwLock::default(), floor: AtomicU64::new(0), slices_a_page }
    }

    /// The current view.
    pub(crate) fn view(&self) -> Result<Arc<View>, Error> {
        self.view.read().unwrap_or_else(PoisonError::into_inner).clone().ok_or(Error::Closed)
    }

    /// Makes `view` the current one and gives back the one before.
    pub(crate) fn switch(&self, view: Option<Arc<View>>) -> Option<Arc<View>> {
        std::mem::replace(&mut *self.view.write().unwrap_or_else(PoisonError::into_inner), view)
    }

    pub(crate) fn floor(&self) -> Position {
        Position(self.floor.load(Ordering::Acquire))
    }

    pub(crate) fn raise_floor(&self, floor: Position) {
        self.floor.fetch_max(floor.0, Ordering::AcqRel);
    }
}

/// One tree as readers see it.
#[derive(Debug)]
pub(crate) struct View {
    tree: RwLock<Option<Tree>>,
    runs: RwLock<Arc<Runs>>,
    applied: AtomicU64,
    complete_at: Position,
    seeded: AtomicBool,
    abandoned: AtomicBool,
    broken: OnceLock<String>,
    pub(crate) pulse: Pulse,
}

/// How the new view of a tree begins.
pub(crate) struct Beginning {
    /// The frame up to which readers see everything.
    pub(crate) applied: Position,
    /// The frame from which on nothing of the history is missing.
    pub(crate) complete_at: Position,
    /// Whether the tree still needs to be told of the jobs that the log no longer tells.
    pub(crate) seeded: bool,
}

impl View {
    pub(crate) fn new(tree: Tree, pulse: Pulse, beginning: &Beginning) -> View {
        View {
            tree: RwLock::new(Some(tree)),
            runs: RwLock::default(),
            applied: AtomicU64::new(beginning.applied.0),
            complete_at: beginning.complete_at,
            seeded: AtomicBool::new(beginning.seeded),
            abandoned: AtomicBool::new(false),
            broken: OnceLock::new(),
            pulse,
        }
    }

    /// Reads the tree. A breakage is also kept for the applier, which may never touch the damaged part itself.
    pub(crate) fn read<R>(&self, read: impl FnOnce(&Tree) -> Result<R, Error>) -> Result<R, Error> {
        let tree = self.tree.read().unwrap_or_else(PoisonError::into_inner);
        let result = read(tree.as_ref().ok_or(Error::Closed)?);
        if let Err(Error::Broken(what)) = &result {
            self.broken.get_or_init(|| what.clone());
        }
        result
    }

    /// What is not in slices. Take it before reading a slice: see [`crate::work::buffer`].
    pub(crate) fn runs(&self) -> Arc<Runs> {
        Arc::clone(&self.runs.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn publish(&self, runs: Runs) {
        *self.runs.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(runs);
    }

    pub(crate) fn applied(&self) -> Position {
        Position(self.applied.load(Ordering::Acquire))
    }

    pub(crate) fn advance(&self, applied: Position) {
        self.applied.store(applied.0, Ordering::Release);
    }

    /// What to answer where a job is not found: nothing, if the history is complete.
    pub(crate) fn complete(&self) -> Result<(), Error> {
        let applied = self.applied();
        if applied >= self.complete_at && self.is_seeded() {
            return Ok(());
        }
        Err(Error::Rebuilding { applied, head: self.complete_at })
    }

    pub(crate) fn is_seeded(&self) -> bool {
        self.seeded.load(Ordering::Acquire)
    }

    pub(crate) fn set_seeded(&self) {
        self.seeded.store(true, Ordering::Release);
    }

    /// Tells whoever works on this view to stop.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Whether the applier may go on.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.abandoned.load(Ordering::Acquire) {
            return Err(Error::Abandoned);
        }
        match self.broken.get() {
            Some(what) => Err(Error::Broken(what.clone())),
            None => Ok(()),
        }
    }

    /// Takes the tree away from readers, after those that are reading now.
    pub(crate) fn close(&self) -> Option<Tree> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// The sign of life of one tree: it beats at every call of sled.
///
/// A supervisor that reads twice, some seconds apart, and finds the same busy beat, looks at a hang.
#[derive(Clone, Debug, Default)]
pub struct Pulse(Arc<Vitals>);

#[derive(Debug, Default)]
struct Vitals {
    beats: AtomicU64,
    busy: AtomicBool,
    #[cfg(test)]
    provocation: Provocation,
}

/// What a pulse shows at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reading {
    /// How many calls of sled began so far.
    pub beats: u64,
    /// Whether the applier is at work; an idle one does not beat.
    pub busy: bool,
}

impl Pulse {
    /// What it shows now.
    #[must_use]
    pub fn reading(&self) -> Reading {
        Reading { beats: self.0.beats.load(Ordering::Relaxed), busy: self.0.busy.load(Ordering::Relaxed) }
    }

    pub(crate) fn beat(&self) {
        self.0.beats.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn set_busy(&self, busy: bool) {
        self.0.busy.store(busy, Ordering::Relaxed);
    }
}

/// What a test does to every call of sled: see [`Pulse::set_provocation`].
#[cfg(test)]
pub(crate) type Provoke = dyn Fn(&str) -> Result<(), Error> + Send + Sync;

#[cfg(test)]
#[derive(Default)]
struct Provocation(RwLock<Option<Arc<Provoke>>>);

#[cfg(test)]
impl std::fmt::Debug for Provocation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Provocation")
    }
}

#[cfg(test)]
impl Pulse {
    /// Puts `provoke` before every call of sled: it may fail, panic or never return.
    pub(crate) fn set_provocation(&self, provoke: Arc<Provoke>) {
        *self.0.provocation.0.write().unwrap() = Some(provoke);
    }

    pub(crate) fn provoke(&self, action: &str) -> Result<(), Error> {
        let provoke = self.0.provocation.0.read().unwrap().clone();
        provoke.map_or(Ok(()), |provoke| provoke(action))
    }
}
