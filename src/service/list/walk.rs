//! The jobs that a list looks at, with their newest states, in the order of their ids.
//!
//! Three sources make one order. The work tree has every job submitted up to its applied frame P, and none after it in
//! its page. Jobs submitted after P come from the frames after P, so that none is missed and none comes twice, however
//! far the tree is behind. The overlay has the newest state of each job that changed since. Running and dead jobs are all
//! in the overlay, so a list of only those asks nobody else.

use crate::engine::Handle;
use crate::engine::view::Published;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::state::JobState;
use crate::service::Error;
use crate::service::list::Wanted;
use crate::service::lookup;
use crate::service::lookup::Located;
use crate::service::tail::read_back;
use crate::work;
use crate::work::Filter;
use crate::work::Record;
use crate::work::States;
use std::sync::Arc;

/// How many jobs are fetched at once.
const JOBS_MAX: usize = 1_024;
/// How many frames are taken from memory at once, and how many bytes of them from the log.
const FRAMES_MAX: usize = 64;
const FRAME_BYTES_MAX: usize = 1_024 * 1_024;

/// Some of the jobs.
#[derive(Debug)]
pub(in crate::service::list) struct Candidates {
    /// Jobs with their newest states, not all of which are wanted.
    pub(in crate::service::list) jobs: Vec<(JobId, Located)>,
    /// What to go on after; `None`: there are no more.
    pub(in crate::service::list) next: Option<JobId>,
}

/// A walk over the jobs.
#[derive(Debug)]
pub(in crate::service::list) struct Walk<'a> {
    engine: &'a Handle,
    after: JobId,
    source: Source,
}

#[derive(Debug)]
enum Source {
    /// All that is wanted was in the overlay when the walk began: these.
    Overlay(Vec<JobId>),
    /// The work tree and the frames after it.
    Tree(Filter),
}

impl<'a> Walk<'a> {
    pub(in crate::service::list) fn begin(
        engine: &'a Handle,
        wanted: &Wanted,
        queue: Option<QueueNo>,
    ) -> Walk<'a> {
        let (states, after) = (&wanted.states, wanted.after);
        let in_overlay = |state: &JobState| matches!(state, JobState::Running | JobState::Dead);
        let source = if !states.is_empty() && states.iter().all(in_overlay) {
            Source::Overlay(engine.view().picked(|job| {
                job.id > after
                    && !job.deleted
                    && states.contains(&job.state)
                    && queue.is_none_or(|queue| queue == job.queue)
            }))
        } else {
            Source::Tree(Filter { queue, states: told_by_tree(states) })
        };
        Walk { engine, after, source }
    }

    /// The next jobs.
    pub(in crate::service::list) fn next(&mut self) -> Result<Candidates, Error> {
        let candidates = match &self.source {
            Source::Overlay(ids) => self.of_overlay(ids),
            Source::Tree(filter) => self.of_tree(filter)?,
        };
        self.after = candidates.next.unwrap_or(JobId::MAX);
        Ok(candidates)
    }

    fn of_overlay(&self, ids: &[JobId]) -> Candidates {
        let rest = &ids[ids.partition_point(|id| *id <= self.after)..];
        let part = &rest[..rest.len().min(JOBS_MAX)];
        let views = self.engine.view().jobs(part.iter().copied());
        // One that is gone has finished since.
        let located =
            |(id, view): (&JobId, Option<_>)| view.map(|view| (*id, Located::Overlay(Box::new(view))));
        let jobs = part.iter().zip(views).filter_map(located).filter(is_there).collect();
        let next = if rest.len() > part.len() { part.last().copied() } else { None };
        Candidates { jobs, next }
    }

    fn of_tree(&self, filter: &Filter) -> Result<Candidates, Error> {
        let page = lookup::list(self.engine, self.after, filter, JOBS_MAX)?;
        let mut found: Vec<(JobId, Option<Record>)> =
            page.records.into_iter().map(|record| (record.id, Some(record))).collect();
        let next = match page.next {
            Some(next) => Some(next),
            None => self.submitted_after(page.as_of, filter.queue, &mut found)?,
        };
        Ok(Candidates { jobs: self.newest(found, page.as_of)?, next })
    }

    /// Adds jobs that were submitted in frames after `tree_at`. Gives what to go on after if there may be more.
    fn submitted_after(
        &self,
        tree_at: Position,
        queue: Option<QueueNo>,
        found: &mut Vec<(JobId, Option<Record>)>,
    ) -> Result<Option<JobId>, Error> {
        let mut from = tree_at.next();
        loop {
            let frames = self.frames(from)?;
            let Some(last) = frames.last() else { return Ok(None) };
            from = last.position.next();
            for event in frames.iter().flat_map(|frame| &frame.events) {
                let Event::Submitted(job) = event else { continue };
                if job.id <= self.after || queue.is_some_and(|queue| queue != job.queue) {
                    continue;
                }
                if found.len() >= JOBS_MAX {
                    return Ok(found.last().map(|(id, _)| *id));
                }
                found.push((job.id, None));
            }
        }
    }

    /// Published frames from `from` on: from memory, or from the log.
    fn frames(&self, from: Position) -> Result<Vec<Arc<Published>>, Error> {
        if let Some(frames) = self.engine.view().frames(from, FRAMES_MAX) {
            return Ok(frames);
        }
        let (view, history) = (self.engine.view(), self.engine.history());
        read_back::frames(history.as_ref(), view, from, None, FRAME_BYTES_MAX).map_err(Error::Log)
    }

    /// The newest states of what was found. `tree_at` is where the tree was when it told the records.
    fn newest(
        &self,
        found: Vec<(JobId, Option<Record>)>,
        tree_at: Position,
    ) -> Result<Vec<(JobId, Located)>, Error> {
        let views = self.engine.view().jobs(found.iter().map(|(id, _)| *id));
        // The overlay may have let go of a change that the record does not show yet, but only if the tree went on
        // meanwhile. Then the tree is asked again, after the overlay: see `locate`.
        let still = self.engine.view().let_go() <= tree_at;
        let mut jobs = Vec::with_capacity(found.len());
        for ((id, record), view) in found.into_iter().zip(views) {
            let located = match (view, record) {
                (Some(view), _) => Some(Located::Overlay(Box::new(view))),
                (None, Some(record)) if still => Some(Located::Tree(record)),
                (None, _) => lookup::locate(self.engine, id)?,
            };
            jobs.extend(located.map(|located| (id, located)).filter(is_there));
        }
        Ok(jobs)
    }
}

fn is_there((_, located): &(JobId, Located)) -> bool {
    match located {
        Located::Overlay(view) => !view.deleted,
        Located::Tree(_) => true,
    }
}

/// In which states of the tree the jobs may be that are in one of `states` now: for the tree a job goes on living, or
/// being dead, until it hears of its change.
fn told_by_tree(states: &[JobState]) -> States {
    if states.is_empty() {
        return States::ALL;
    }
    let told = states.iter().map(|state| match state {
        JobState::Waiting | JobState::Running => work::State::Live,
        JobState::Succeeded => work::State::Succeeded,
        JobState::Dead => work::State::Dead,
        JobState::Cancelled => work::State::Cancelled,
        JobState::Expired => work::State::Expired,
    });
    let told: Vec<work::State> = told.chain([work::State::Live, work::State::Dead]).collect();
    States::of(&told)
}
