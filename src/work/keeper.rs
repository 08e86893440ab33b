//! The supervisor's side: opening, abandoning, rebuilding. When in doubt a tree is rebuilt: that is cheaper than
//! anything clever, 5 million jobs in about a second plus the reading of the log.

use crate::job::id::Position;
use crate::work::Error;
use crate::work::applier::Applier;
use crate::work::buffer::Buffer;
use crate::work::fold::Density;
use crate::work::place;
use crate::work::place::Home;
use crate::work::place::Place;
use crate::work::prune::Pruning;
use crate::work::query::Query;
use crate::work::tail::Tail;
use crate::work::tree::Positions;
use crate::work::tree::Tree;
use crate::work::view::Beginning;
use crate::work::view::Pulse;
use crate::work::view::Shared;
use crate::work::view::View;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// How the work tree uses memory and time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// sled's page cache in bytes. sled may use some ten times as much.
    pub cache_bytes: u64,
    /// How many changes wait in memory before they are folded into slices, 56 bytes each.
    pub fold_at: usize,
    /// How many, while jobs finish in so random an order that a fold finds few changes a slice.
    pub fold_at_max: usize,
    /// How long changes wait at most; it bounds how much of the log a restart replays.
    pub fold_every: Duration,
    /// How often everything is handed to the operating system, so that a killed process finds it again.
    pub flush_every: Duration,
    /// How many slices one page of a list looks at, of up to 46 jobs each.
    pub slices_a_page: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            cache_bytes: 16 << 20,
            fold_at: 262_144,
            fold_at_max: 1 << 20,
            fold_every: Duration::from_secs(60),
            flush_every: Duration::from_secs(5),
            slices_a_page: 3_000,
        }
    }
}

/// What the log holds when a tree is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    /// Its newest durable frame.
    pub head: Position,
    /// Its oldest retained frame.
    pub floor: Position,
}

/// An open tree, ready for its applier's thread.
#[derive(Debug)]
pub struct Opened {
    /// The writing side.
    pub applier: Applier,
    /// The first frame that the applier wants.
    pub resume_from: Position,
    /// Why the tree is new; `None` if the one that was there is kept. A new tree wants [`Applier::seed`] first.
    pub rebuilt: Option<String>,
}

/// The work tree of one data directory, whichever of its directories is the current one.
#[derive(Debug)]
pub struct WorkTree {
    place: Place,
    options: Options,
    shared: Arc<Shared>,
    home: Mutex<Option<Home>>,
    /// The highest number of a directory that this process used.
    used: AtomicU32,
}

impl WorkTree {
    /// A work tree that is not open yet; nothing is read or written.
    #[must_use]
    pub fn new(place: Place, options: Options) -> WorkTree {
        let shared = Arc::new(Shared::new(options.slices_a_page));
        WorkTree { place, options, shared, home: Mutex::default(), used: AtomicU32::new(0) }
    }

    /// The reading side, also across rebuilds.
    #[must_use]
    pub fn query(&self) -> Query {
        Query(Arc::clone(&self.shared))
    }

    /// Bytes that the file system of the tree has left; `None` where it does not tell.
    #[must_use]
    pub fn free_bytes(&self) -> Option<u64> {
        // Before the first start it is not there yet.
        let mut places = std::iter::once(&*self.place.dir).chain(self.place.dir.parent());
        let space = places.find_map(|place| rustix::fs::statvfs(place).ok())?;
        Some(space.f_bavail.saturating_mul(space.f_frsize))
    }

    /// Tells that the log's floor rose: readers no longer see jobs that ended below it, but for dead ones, and the
    /// applier gives their space back. From any thread.
    pub fn forget_below(&self, floor: Position) {
        self.shared.raise_floor(floor);
    }

    /// Opens the tree that is there, or begins a new one if there is any doubt about it.
    ///
    /// # Errors
    /// [`Error::Io`] or [`Error::Broken`] if not even a new tree can be made.
    pub fn open(&self, span: Span) -> Result<Opened, Error> {
        self.forget_below(span.floor);
        match self.place.newest()? {
            None => self.begin(span, "there was none".to_owned()),
            Some(home) => match self.keep(home, span) {
                Ok(opened) => Ok(opened),
                Err(reason) => self.begin(span, reason),
            },
        }
    }

    /// Abandons the tree, whatever its applier is doing or stuck in, and gives its space back. Readers get
    /// [`Error::Closed`] until there is another one.
    ///
    /// # Errors
    /// [`Error::Io`]; then this has to be tried again.
    pub fn abandon(&self) -> Result<(), Error> {
        if let Some(old) = self.shared.switch(None) {
            old.abandon();
            dispose(old);
        }
        let mut home = self.home.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(home) = &*home {
            // Without this a crash before the next tree is made could bring the abandoned one back.
            home.disown()?;
            home.remove();
        }
        *home = None;
        Ok(())
    }

    /// Abandons the tree and begins a new one. Readers switch at once, and get [`Error::Rebuilding`] for what is not
    /// there yet.
    ///
    /// # Errors
    /// As [`WorkTree::open`]; then readers get [`Error::Closed`], and this may be tried again.
    pub fn rebuild(&self, span: Span, reason: &str) -> Result<Opened, Error> {
        self.abandon()?;
        self.forget_below(span.floor);
        self.begin(span, reason.to_owned())
    }

    fn keep(&self, home: Home, span: Span) -> Result<Opened, String> {
        let clean = self.place.examine(&home)?;
        self.take_over(&home).map_err(|error| error.to_string())?;
        let pulse = Pulse::default();
        let tree =
            Tree::open(&home.tree(), self.options.cache_bytes, &pulse).map_err(|error| error.to_string())?;
        let positions = tree.positions().map_err(|error| error.to_string())?;
        let positions = positions.ok_or("it holds no positions")?;
        if clean.is_some_and(|mark| mark != place::describe(positions)) {
            return Err("it is not what was closed".to_owned());
        }
        let Positions { applied, folded } = positions;
        if applied > span.head {
            return Err(format!("it is at frame {applied}, and the log ends at {}", span.head));
        }
        if folded.next() < span.floor {
            return Err(format!("it needs frame {}, and the log begins at {}", folded.next(), span.floor));
        }
        let (tail, last_id) = Tail::recover(&tree, applied).map_err(|error| error.to_string())?;
        let mut applier = self.start(home, tree, pulse, span, positions, true);
        (applier.tail, applier.last_id) = (tail, last_id);
        Ok(Opened { applier, resume_from: folded.next(), rebuilt: None })
    }

    fn take_over(&self, home: &Home) -> Result<(), Error> {
        home.remove_snapshots()?;
        // In this order: the mark vouches for the files until the boot does.
        self.place.claim(home)?;
        home.unmark()
    }

    fn begin(&self, span: Span, reason: String) -> Result<Opened, Error> {
        // A number is not used twice: a stuck applier, should it wake up, may still write into its directory.
        let home = self.place.create(self.used.load(Ordering::Relaxed))?;
        self.used.store(home.number(), Ordering::Relaxed);
        let pulse = Pulse::default();
        let tree = Tree::open(&home.tree(), self.options.cache_bytes, &pulse);
        let tree = tree.and_then(|tree| home.sync().map(|()| tree)).inspect_err(|_| home.remove())?;
        let before = Position(span.floor.0.saturating_sub(1));
        let positions = Positions { applied: before, folded: before };
        let applier = self.start(home, tree, pulse, span, positions, false);
        Ok(Opened { applier, resume_from: before.next(), rebuilt: Some(reason) })
    }

    fn start(
        &self,
        home: Home,
        tree: Tree,
        pulse: Pulse,
        span: Span,
        positions: Positions,
        seeded: bool,
    ) -> Applier {
        let beginning = Beginning { applied: positions.folded, complete_at: span.head, seeded };
        let view = Arc::new(View::new(tree.clone(), pulse, &beginning));
        self.shared.switch(Some(Arc::clone(&view)));
        self.used.store(home.number(), Ordering::Relaxed);
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = Some(home.clone());
        Applier {
            view,
            shared: Arc::clone(&self.shared),
            tree,
            home,
            options: self.options,
            buffer: Buffer::default(),
            tail: Tail::default(),
            newest: positions.folded,
            submitted: positions.applied,
            folded: positions.folded,
            last_id: crate::job::id::JobId::MIN,
            density: Density::new(self.options.fold_at),
            pruning: Pruning::default(),
            stored: seeded.then_some(positions),
            flushed_at: None,
            folded_at: None,
        }
    }
}

/// Lets go of an abandoned tree where it harms nobody: closing a sled that hangs may hang, too.
fn dispose(old: Arc<View>) {
    let disposal = std::thread::Builder::new().name("work-dispose".to_owned());
    if let Err(error) = disposal.spawn(move || drop(old)) {
        tracing::warn!(%error, "an abandoned work tree was closed in place");
    }
}
