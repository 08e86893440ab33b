//! Some jobs by the log alone: the same fold as the tree's, in memory, for readers who cannot wait for a tree because
//! the disk has no space for one. Whoever feeds it reads the log from where the first of the jobs was submitted to its
//! end. That is slow, and needs nothing but the log. [ACK-2]

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::applier::AppliedFrame;
use crate::work::fact::Fact;
use crate::work::fact::facts;
use crate::work::query::Filter;
use crate::work::query::Page;
use crate::work::record::Record;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::ops::RangeBounds;

/// The jobs that are remembered at once: about 10 MiB. [MEM-1]
const JOBS_MAX: usize = 65_536;

/// The jobs that are looked for, as far as the log was read.
#[derive(Debug)]
pub struct Trace {
    range: (Bound<JobId>, Bound<JobId>),
    filter: Filter,
    jobs_max: usize,
    /// `None`: it was deleted; its id still says how far the trace reaches.
    jobs: BTreeMap<JobId, Option<Record>>,
    /// There are more jobs after the last one.
    cut: bool,
}

impl Trace {
    /// Looks for one job.
    #[must_use]
    pub fn of(id: JobId) -> Trace {
        Trace::new((Bound::Included(id), Bound::Included(id)), Filter::ALL)
    }

    /// Looks for the first jobs after `after`.
    #[must_use]
    pub fn after(after: JobId, filter: &Filter) -> Trace {
        Trace::new((Bound::Excluded(after), Bound::Unbounded), *filter)
    }

    fn new(range: (Bound<JobId>, Bound<JobId>), filter: Filter) -> Trace {
        Trace { range, filter, jobs_max: JOBS_MAX, jobs: BTreeMap::new(), cut: false }
    }

    /// The same with another bound.
    #[cfg(test)]
    pub(crate) fn with_jobs_max(self, jobs_max: usize) -> Trace {
        Trace { jobs_max, ..self }
    }

    /// Tells of a job that was submitted before the log begins and lived then or was dead. Before the first frame.
    pub fn seed(&mut self, job: Record) {
        self.enter(job);
    }

    /// Takes the next frame.
    pub fn take(&mut self, frame: &AppliedFrame<'_>) {
        for fact in facts(frame) {
            match fact {
                Fact::Submitted(record) => self.enter(record),
                Fact::Changed(change) => match self.jobs.get_mut(&change.id()) {
                    Some(job) => *job = job.and_then(|record| change.apply_to(record)),
                    // It was submitted before the log begins, and had ended by the last checkpoint.
                    None => change.orphan().into_iter().for_each(|record| self.enter(record)),
                },
            }
        }
    }

    fn enter(&mut self, record: Record) {
        let of_queue = self.filter.queue.is_none_or(|queue| queue == record.queue);
        if !of_queue || !self.range.contains(&record.id) {
            return;
        }
        self.jobs.insert(record.id, Some(record));
        if self.jobs.len() > self.jobs_max {
            self.cut = true;
            self.jobs.pop_last();
            let last = self.jobs.last_key_value().map_or(JobId::MIN, |(id, _)| *id);
            self.range.1 = Bound::Included(last);
        }
    }

    /// The job that was looked for; `None` if there is none, or none any more now that the log begins at `floor`.
    #[must_use]
    pub fn found(self, floor: Position) -> Option<Record> {
        let (_, job) = self.jobs.into_iter().next()?;
        job.filter(|record| !record.is_forgotten(floor))
    }

    /// The first `limit` jobs of those that the filter admits, after every frame up to `as_of` was taken.
    #[must_use]
    pub fn page(self, limit: usize, floor: Position, as_of: Position) -> Page {
        let mut page = Page { records: Vec::new(), next: None, as_of };
        for (id, job) in self.jobs {
            if page.records.len() == limit {
                return page;
            }
            page.next = Some(id);
            let shown = |record: &Record| self.filter.admits(record) && !record.is_forgotten(floor);
            page.records.extend(job.filter(shown));
        }
        page.next = page.next.filter(|_| self.cut);
        page
    }
}
