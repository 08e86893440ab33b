//! The reading side: Get and List, from any thread, while the applier works.
//!
//! Readers take no part in locking the tree. What they take first are the changes in memory, then the slices; of two
//! facts about a job the later one wins, so it does not matter whether a fold passes in between.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::work::Error;
use crate::work::buffer::Walk;
use crate::work::record::Change;
use crate::work::record::Record;
use crate::work::record::States;
use crate::work::slice;
use crate::work::view::Shared;
use crate::work::view::View;
use std::ops::Bound;
use std::ops::ControlFlow;
use std::sync::Arc;

/// Which jobs a list shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only of this queue; `None`: of all.
    pub queue: Option<QueueNo>,
    /// Only in these states.
    pub states: States,
}

impl Filter {
    /// Every job.
    pub const ALL: Filter = Filter { queue: None, states: States::ALL };

    pub(crate) fn admits(&self, record: &Record) -> bool {
        self.states.contains(record.state) && self.queue.is_none_or(|queue| queue == record.queue)
    }
}

/// Part of a list, in order of id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// The jobs; there may be none although more pages follow.
    pub records: Vec<Record>,
    /// What the next page goes on after; `None`: this is the last one.
    pub next: Option<JobId>,
    /// Every change up to this frame is in the page, and no job that was submitted later; of later changes to the others
    /// some may be.
    pub as_of: Position,
}

/// A handle for readers; cheap to clone.
#[derive(Clone, Debug)]
pub struct Query(pub(crate) Arc<Shared>);

impl Query {
    /// The frame up to which everything can be found here; 0 while no tree is open. It goes back when a tree is
    /// rebuilt.
    #[must_use]
    pub fn applied(&self) -> Position {
        self.0.view().map_or(Position(0), |view| view.applied())
    }

    /// One job; `None` if there is none, or none any more.
    ///
    /// While the tree catches up with the log what is found may be out of date: it is as of some frame at or after
    /// [`Query::applied`].
    ///
    /// # Errors
    /// [`Error::Rebuilding`] instead of `None` as long as the history is not complete; [`Error::Closed`];
    /// [`Error::Broken`], of which the applier hears too.
    pub fn get(&self, id: JobId) -> Result<Option<Record>, Error> {
        let view = self.0.view()?;
        let complete = view.complete();
        match self.look_up(&view, id)? {
            Some(record) => Ok(Some(record)),
            None => complete.map(|()| None),
        }
    }

    /// As [`Query::get`], but what is found is never out of date: it shows everything up to the frame that was applied
    /// when the call began.
    ///
    /// # Errors
    /// [`Error::Rebuilding`] as long as the history is not complete; [`Error::Closed`]; [`Error::Broken`].
    pub fn find(&self, id: JobId) -> Result<Option<Record>, Error> {
        let view = self.0.view()?;
        view.complete()?;
        self.look_up(&view, id)
    }

    fn look_up(&self, view: &View, id: JobId) -> Result<Option<Record>, Error> {
        let change = view.runs().find(id);
        let stored = view.read(|tree| {
            tree.slice_of(id, |key, bytes| slice::find(key, bytes, id))
                .and_then(|found| found.unwrap_or(Ok(None)))
        })?;
        let record = match (stored, change) {
            (Some(record), Some(change)) => change.apply_to(record),
            (Some(record), None) => Some(record),
            (None, Some(change)) => change.orphan(),
            (None, None) => None,
        };
        Ok(record.filter(|record| !record.is_forgotten(self.0.floor())))
    }

    /// Up to `limit` jobs after `after`, in order of id. It looks at `Options::slices_a_page` slices at most, so a
    /// page may be short, even empty, while more follow. Jobs submitted while pages are read show up at the end.
    ///
    /// # Errors
    /// [`Error::Rebuilding`] as long as the history is not complete; [`Error::Closed`]; [`Error::Broken`].
    pub fn list(&self, after: JobId, filter: &Filter, limit: usize) -> Result<Page, Error> {
        let view = self.0.view()?;
        view.complete()?;
        let as_of = view.applied();
        let runs = view.runs();
        let mut listing = Listing {
            filter: *filter,
            limit,
            floor: self.0.floor(),
            as_of,
            past: false,
            last: after,
            waiting: runs.walk(after),
            records: Vec::with_capacity(limit.min(1_024)),
        };
        let ended = view.read(|tree| {
            let from = tree.slice_of(after, |key, _| key)?.unwrap_or(JobId::MIN);
            let mut looked_at = 0;
            let mut result = Ok(Ended::AtTheEnd);
            tree.scan(from, |key, bytes| {
                if looked_at == self.0.slices_a_page {
                    result = Ok(Ended::Early);
                    return ControlFlow::Break(());
                }
                looked_at += 1;
                match slice::decode(key, bytes).map(|records| listing.show(key, &records)) {
                    Ok(flow) if flow.is_continue() => ControlFlow::Continue(()),
                    stop => {
                        result = stop.map(|_| Ended::Early);
                        ControlFlow::Break(())
                    }
                }
            })?;
            result
        })?;
        let rest = match ended {
            Ended::AtTheEnd => listing.show_waiting(Bound::Unbounded),
            Ended::Early => ControlFlow::Break(()),
        };
        let next = (rest.is_break() && !listing.past).then_some(listing.last);
        Ok(Page { records: listing.records, next, as_of })
    }
}

/// Why the walk over the slices ended.
enum Ended {
    AtTheEnd,
    Early,
}

/// A page that is being filled.
struct Listing<'a> {
    filter: Filter,
    limit: usize,
    floor: Position,
    as_of: Position,
    /// A job was met that was submitted after `as_of`. Of those the walk may have passed some before they were written,
    /// so none of them is shown.
    past: bool,
    /// The last job that was looked at.
    last: JobId,
    waiting: Walk<'a>,
    records: Vec<Record>,
}

impl Listing<'_> {
    /// Looks at a slice; breaks off when the page is full.
    fn show(&mut self, key: JobId, slice: &[Record]) -> ControlFlow<()> {
        self.show_waiting(Bound::Excluded(key))?;
        let changes = slice.last().map_or(Vec::new(), |last| self.waiting.take_to(Bound::Included(last.id)));
        // A slice that was split since may show records again.
        let fresh = slice.partition_point(|record| record.id <= self.last);
        self.look_at(&slice[fresh..], &changes)
    }

    /// Looks at jobs that no slice has yet.
    fn show_waiting(&mut self, bound: Bound<JobId>) -> ControlFlow<()> {
        let changes = self.waiting.take_to(bound);
        self.look_at(&[], &changes)
    }

    fn look_at(&mut self, records: &[Record], changes: &[Change]) -> ControlFlow<()> {
        for record in slice::merge(records, changes) {
            if self.records.len() == self.limit {
                return ControlFlow::Break(());
            }
            if record.submitted_position() > self.as_of {
                self.past = true;
                return ControlFlow::Break(());
            }
            self.last = record.id;
            if self.filter.admits(&record) && !record.is_forgotten(self.floor) {
                self.records.push(record);
            }
        }
        if let Some(last) = records.last() {
            self.last = self.last.max(last.id);
        }
        ControlFlow::Continue(())
    }
}
