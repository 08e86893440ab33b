//! The changes that are not in slices yet: sorted runs in memory, at most 64, shared with readers.
//!
//! A run never changes; a list of runs is replaced as a whole. So readers hold what they began with, for as long as
//! they like, and a change is always in the list they hold or in the slice they read after taking it.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::record::Change;
use std::ops::Bound;
use std::sync::Arc;

/// More runs than this never wait for the next fold; as many may be in the current one.
pub(crate) const RUNS_MAX: usize = 32;

/// A run at least this long is left alone when runs are merged, so that a change is copied only a few times.
const LONG_RUN: usize = 32_768;

/// Changes in order of job, one a job.
pub(crate) type Run = Arc<[Change]>;

/// What readers see of the buffer.
#[derive(Debug, Default)]
pub(crate) struct Runs(Vec<Run>);

impl Runs {
    /// All that the buffer knows about one job.
    pub(crate) fn find(&self, id: JobId) -> Option<Change> {
        self.0
            .iter()
            .filter_map(|run| run.binary_search_by(|change| change.id().cmp(&id)).ok().map(|at| run[at]))
            .reduce(Change::join)
    }

    /// A walk over all changes of jobs after `after`, in order of job.
    pub(crate) fn walk(&self, after: JobId) -> Walk<'_> {
        let next = self.0.iter().map(|run| run.partition_point(|change| change.id() <= after)).collect();
        Walk { runs: &self.0, next }
    }
}

/// A walk over runs in order of job.
#[derive(Debug)]
pub(crate) struct Walk<'a> {
    runs: &'a [Run],
    next: Vec<usize>,
}

impl Walk<'_> {
    /// The changes up to `bound` that were not taken yet, one a job.
    pub(crate) fn take_to(&mut self, bound: Bound<JobId>) -> Vec<Change> {
        let mut taken = Vec::new();
        for (run, next) in self.runs.iter().zip(&mut self.next) {
            let length = run[*next..].iter().take_while(|change| within(change.id(), bound)).count();
            taken.extend_from_slice(&run[*next..*next + length]);
            *next += length;
        }
        sorted(taken)
    }
}

fn within(id: JobId, bound: Bound<JobId>) -> bool {
    match bound {
        Bound::Included(last) => id <= last,
        Bound::Excluded(end) => id < end,
        Bound::Unbounded => true,
    }
}

/// The applier's side of the buffer.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    folding: Option<Folding>,
    fresh: Vec<Run>,
}

/// The runs that are being folded; they stay visible until all of them are in slices.
#[derive(Debug)]
struct Folding {
    runs: Vec<Run>,
    next: Vec<usize>,
    through: Position,
}

impl Buffer {
    /// Adds what one batch changed, in any order.
    pub(crate) fn add(&mut self, changes: Vec<Change>) {
        if changes.is_empty() {
            return;
        }
        self.fresh.push(sorted(changes).into());
        if self.fresh.len() > RUNS_MAX {
            self.merge_short();
        }
    }

    /// How many changes wait for the next fold.
    pub(crate) fn waiting(&self) -> usize {
        self.fresh.iter().map(|run| run.len()).sum()
    }

    #[cfg(test)]
    pub(crate) fn fresh_runs(&self) -> usize {
        self.fresh.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.fresh.is_empty() && self.folding.is_none()
    }

    /// What readers may see now.
    pub(crate) fn runs(&self) -> Runs {
        let folding = self.folding.iter().flat_map(|folding| &folding.runs);
        Runs(folding.chain(&self.fresh).cloned().collect())
    }

    /// Begins to fold everything that waits; `through` is the last frame whose changes are among it.
    pub(crate) fn begin_fold(&mut self, through: Position) {
        let runs = std::mem::take(&mut self.fresh);
        self.folding = Some(Folding { next: vec![0; runs.len()], runs, through });
    }

    pub(crate) fn is_folding(&self) -> bool {
        self.folding.is_some()
    }

    /// The next changes to fold, lowest jobs first, about `count` of them; `None` once all were handed out.
    pub(crate) fn next_piece(&mut self, count: usize) -> Option<Vec<Change>> {
        let folding = self.folding.as_mut()?;
        let share = (count / folding.runs.len().max(1)).max(1);
        let ahead = folding.runs.iter().zip(&folding.next);
        let bound = ahead.filter_map(|(run, next)| run.get(next + share - 1)).map(Change::id).min();
        let mut walk = Walk { runs: &folding.runs, next: std::mem::take(&mut folding.next) };
        let piece = walk.take_to(bound.map_or(Bound::Unbounded, Bound::Included));
        folding.next = walk.next;
        (!piece.is_empty()).then_some(piece)
    }

    /// Lets go of what was folded and says through which frame everything is in slices now.
    pub(crate) fn end_fold(&mut self) -> Option<Position> {
        self.folding.take().map(|folding| folding.through)
    }

    /// Merges the short runs; if all are long, all of them.
    fn merge_short(&mut self) {
        let (mut long, mut short): (Vec<Run>, Vec<Run>) =
            std::mem::take(&mut self.fresh).into_iter().partition(|run| run.len() >= LONG_RUN);
        if short.len() < 2 {
            short.append(&mut long);
        }
        long.push(sorted(short.concat()).into());
        self.fresh = long;
    }
}

/// The changes in order of job, one a job.
fn sorted(mut changes: Vec<Change>) -> Vec<Change> {
    // Stable, because that sort uses the runs it finds.
    changes.sort_by_key(Change::order);
    changes.dedup_by(|later, kept| {
        let same = later.id() == kept.id();
        if same {
            *kept = kept.join(*later);
        }
        same
    });
    changes
}
