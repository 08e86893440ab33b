//! Where a job's newest state is: in the overlay of the published view or, once that let go of it, in the work tree.

use crate::engine::Handle;
use crate::engine::overlay::JobView;
use crate::engine::retrace;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::state::JobState;
use crate::log;
use crate::service::Error;
use crate::work;
use crate::work::Filter;
use crate::work::Record;

/// A job's newest state.
#[derive(Clone, Debug)]
pub(in crate::service) enum Located {
    /// The overlay answers: it is live and changed since its submission, or the work tree is not so far yet.
    Overlay(Box<JobView>),
    /// The work tree answers: it has finished, or waits untouched.
    Tree(Record),
}

impl Located {
    pub(in crate::service) fn state(&self) -> JobState {
        match self {
            Located::Overlay(view) => view.state,
            Located::Tree(record) => match record.state {
                // Whatever was ever started or retried and lives is in the overlay.
                work::State::Live => JobState::Waiting,
                work::State::Succeeded => JobState::Succeeded,
                work::State::Dead => JobState::Dead,
                work::State::Cancelled => JobState::Cancelled,
                work::State::Expired => JobState::Expired,
            },
        }
    }

    pub(in crate::service) fn queue(&self) -> QueueNo {
        match self {
            Located::Overlay(view) => view.queue,
            Located::Tree(record) => record.queue,
        }
    }
}

/// The job `id` as of now; `None` if there is none, or none any more. It may read the disk: call it where that may
/// block.
///
/// The overlay is asked first and the tree after it. The overlay lets go of a job only after the tree has taken in all
/// that the overlay knew of it, so a tree that is asked after the overlay had nothing knows at least as much. The other
/// order would miss a job that moves between the two questions. A tree that is still being rebuilt may know less and
/// refuses to answer; while it waits for space the log answers in its place, to its end. [ACK-2]
///
/// # Errors
/// [`Error::Rebuilding`] or [`Error::WorkTree`] if the work tree would have to answer and cannot.
pub(in crate::service) fn locate(engine: &Handle, id: JobId) -> Result<Option<Located>, Error> {
    match engine.view().job(id) {
        Some(view) if view.deleted => Ok(None),
        Some(view) => Ok(Some(Located::Overlay(Box::new(view)))),
        None => {
            let found = engine.query().find(id);
            let record = found.or_else(|error| stand_in(engine, error, || engine.retrace(id)))?;
            Ok(record.map(Located::Tree))
        }
    }
}

/// A page of what the tree knows, from the log while the tree waits for space.
///
/// # Errors
/// As of [`locate`].
pub(in crate::service) fn list(
    engine: &Handle,
    after: JobId,
    filter: &Filter,
    limit: usize,
) -> Result<work::Page, Error> {
    let page = engine.query().list(after, filter, limit);
    page.or_else(|error| stand_in(engine, error, || engine.retrace_list(after, filter, limit)))
}

/// What the log says where the tree answers with `error`.
fn stand_in<T>(
    engine: &Handle,
    error: work::Error,
    retrace: impl FnOnce() -> Result<T, retrace::Error>,
) -> Result<T, Error> {
    if !engine.view().tree_waits() {
        return Err(error.into());
    }
    retrace().map_err(|failed| match failed {
        // Both pass: the same call has an answer a little later.
        retrace::Error::Busy | retrace::Error::Log(log::Error::BelowFloor { .. }) => error.into(),
        retrace::Error::Log(failed) => Error::Log(failed),
    })
}
