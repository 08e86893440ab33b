//! The one owner of the tree: takes durable frames in order and makes slices of them.

use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::work::Error;
use crate::work::buffer::Buffer;
use crate::work::fact::Fact;
use crate::work::fact::facts;
use crate::work::fold::Density;
use crate::work::fold::FOLD_PIECE;
use crate::work::keeper::Options;
use crate::work::place::Home;
use crate::work::prune::PRUNE_PIECE;
use crate::work::prune::Pruning;
use crate::work::record::Change;
use crate::work::record::Record;
use crate::work::tail::Tail;
use crate::work::tree::Positions;
use crate::work::tree::Tree;
use crate::work::view::Pulse;
use crate::work::view::Shared;
use crate::work::view::View;
use std::sync::Arc;

/// Jobs that [`Applier::seed`] writes at once.
const SEEDS_A_WRITE: usize = 4_096;

/// A durable frame, as the applier takes it.
#[derive(Clone, Copy, Debug)]
pub struct AppliedFrame<'a> {
    /// Its position.
    pub position: Position,
    /// Its log time.
    pub time: Timestamp,
    /// The sequence of its first update.
    pub first_sequence: Sequence,
    /// All its events, in order.
    pub events: &'a [Event],
}

/// Whether [`Applier::tend`] left work for another call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tended {
    /// Nothing waits: call again in a second, or with the next frames.
    Done,
    /// More of the same waits: call again when there are no frames to apply.
    More,
}

/// The writing side of the work tree, owned by one thread.
///
/// After an error it is done for: drop it and call [`crate::work::WorkTree::rebuild`].
#[derive(Debug)]
pub struct Applier {
    pub(crate) view: Arc<View>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) tree: Tree,
    pub(crate) home: Home,
    pub(crate) options: Options,
    pub(crate) buffer: Buffer,
    pub(crate) tail: Tail,
    /// The newest frame that was applied or replayed.
    pub(crate) newest: Position,
    /// Submits up to this frame are in slices; ahead of `newest` while a kept tree is replayed.
    pub(crate) submitted: Position,
    pub(crate) folded: Position,
    pub(crate) last_id: JobId,
    pub(crate) density: Density,
    pub(crate) pruning: Pruning,
    pub(crate) stored: Option<Positions>,
    pub(crate) flushed_at: Option<Tick>,
    pub(crate) folded_at: Option<Tick>,
}

impl Applier {
    /// The sign of life for whoever watches the thread that drives this applier.
    #[must_use]
    pub fn pulse(&self) -> Pulse {
        self.view.pulse.clone()
    }

    /// Whether [`Applier::seed`] has to be called before the first [`Applier::apply`].
    #[must_use]
    pub fn wants_seed(&self) -> bool {
        !self.view.is_seeded()
    }

    /// Tells a rebuilt tree of the jobs that live now, or are dead, in order of id. Those submitted in the frames
    /// still to come are passed over: the log tells of them. To be called once, also without any job.
    ///
    /// # Errors
    /// [`Error::Disorder`] if ids do not ascend or the tree wants no seed; [`Error::Broken`], [`Error::Abandoned`].
    pub fn seed(&mut self, jobs: impl IntoIterator<Item = Record>) -> Result<(), Error> {
        self.at_work(|applier| {
            if !applier.wants_seed() {
                return Err(Error::Disorder("a tree is seeded once, when it is new".to_owned()));
            }
            let newest = applier.newest;
            let old = jobs.into_iter().filter(|job| job.submitted_position() <= newest);
            for (count, job) in old.enumerate() {
                applier.push(job)?;
                if count % SEEDS_A_WRITE == SEEDS_A_WRITE - 1 {
                    applier.tail.write(&applier.tree)?;
                }
            }
            applier.tail.write(&applier.tree)?;
            applier.tail.close();
            applier.view.set_seeded();
            applier.store_positions()
        })
    }

    /// Applies a batch of durable frames, which follow each other and the ones before.
    ///
    /// When this returns readers find every change of the batch. It also goes on with folding, pruning and flushing.
    /// Good batches are whatever is there, every 50 to 500 ms, up to 65,536 jobs or 8 MiB of log.
    ///
    /// # Errors
    /// [`Error::Disorder`] if a frame or a job's id is out of order; [`Error::Broken`] if sled failed here or under
    /// a reader; [`Error::Abandoned`].
    pub fn apply(&mut self, frames: &[AppliedFrame<'_>], now: Tick) -> Result<(), Error> {
        self.at_work(|applier| {
            if applier.wants_seed() {
                return Err(Error::Disorder("a new tree is seeded before the first frame".to_owned()));
            }
            let mut changes = Vec::new();
            for frame in frames {
                applier.take(frame, &mut changes)?;
            }
            applier.submitted = applier.submitted.max(applier.newest);
            let slices = applier.tail.write(&applier.tree)?;
            let pieces = (FOLD_PIECE.max(2 * changes.len()), PRUNE_PIECE.max(2 * slices));
            if !changes.is_empty() {
                applier.buffer.add(changes);
                applier.view.publish(applier.buffer.runs());
            }
            applier.advance(pieces, now)?;
            applier.view.advance(applier.newest);
            Ok(())
        })
    }

    /// Goes on with folding, pruning and flushing while there is nothing to apply.
    ///
    /// # Errors
    /// [`Error::Broken`], also if a reader found the tree broken; [`Error::Abandoned`].
    pub fn tend(&mut self, now: Tick) -> Result<Tended, Error> {
        self.at_work(|applier| {
            applier.home.remove_others();
            applier.advance((FOLD_PIECE, PRUNE_PIECE), now)?;
            let more = applier.buffer.is_folding() || applier.pruning.is_under_way();
            Ok(if more { Tended::More } else { Tended::Done })
        })
    }

    /// The clean stop: folds everything, closes sled, makes its files durable and leaves the mark that lets the next
    /// start keep this tree. Readers get [`Error::Closed`] from then on.
    ///
    /// # Errors
    /// [`Error::Broken`], [`Error::Abandoned`], [`Error::Io`]; then there is no mark.
    pub fn close(mut self) -> Result<(), Error> {
        self.at_work(|applier| {
            // A new tree that was never seeded has nothing worth a mark.
            if !applier.wants_seed() {
                applier.fold_all()?;
                applier.store_positions()?;
            }
            applier.tree.flush()
        })?;
        let Applier { view, tree, home, stored, .. } = self;
        let handle = view.close();
        tree.close()?;
        handle.map_or(Ok(()), Tree::close)?;
        home.sync()?;
        stored.map_or(Ok(()), |positions| home.mark_clean(positions))
    }

    fn at_work<R>(&mut self, work: impl FnOnce(&mut Applier) -> Result<R, Error>) -> Result<R, Error> {
        self.view.check()?;
        self.view.pulse.set_busy(true);
        let result = work(self);
        self.view.pulse.set_busy(false);
        if result.is_err() {
            self.view.abandon();
        }
        result
    }

    fn advance(&mut self, (changes, slices): (usize, usize), now: Tick) -> Result<(), Error> {
        self.fold(changes, now)?;
        self.prune(slices)?;
        self.store_positions()?;
        let flushed_at = *self.flushed_at.get_or_insert(now);
        if now.since(flushed_at) >= self.options.flush_every {
            self.tree.flush()?;
            self.flushed_at = Some(now);
        }
        Ok(())
    }

    /// Stores the positions if they moved. Everything they speak of has been written before.
    fn store_positions(&mut self) -> Result<(), Error> {
        if self.buffer.is_empty() {
            self.folded = self.newest;
        }
        let positions = Positions { applied: self.submitted, folded: self.folded };
        if self.stored != Some(positions) {
            self.tree.put_positions(positions)?;
            self.stored = Some(positions);
        }
        Ok(())
    }

    fn take(&mut self, frame: &AppliedFrame<'_>, changes: &mut Vec<Change>) -> Result<(), Error> {
        if frame.position != self.newest.next() {
            let (found, newest) = (frame.position, self.newest);
            return Err(Error::Disorder(format!("frame {found} came after frame {newest}")));
        }
        self.newest = frame.position;
        for fact in facts(frame) {
            match fact {
                // What a kept tree has already is not submitted again when its tail end is replayed.
                Fact::Submitted(record) if frame.position > self.submitted => self.push(record)?,
                Fact::Submitted(_) => {}
                Fact::Changed(change) => {
                    if !self.tail.change(&change) {
                        changes.push(change);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds a job. The search by key finds it only if ids ascend like positions, so that is checked.
    fn push(&mut self, record: Record) -> Result<(), Error> {
        if record.id <= self.last_id {
            let (id, last) = (record.id, self.last_id);
            return Err(Error::Disorder(format!("job {id} came after job {last}")));
        }
        self.last_id = record.id;
        self.tail.push(record);
        Ok(())
    }
}
