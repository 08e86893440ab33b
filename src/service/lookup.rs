//! Where a job's newest state is: in the overlay of the published view or, once that let go of it, in the work tree.

use crate::engine::Handle;
use crate::engine::overlay::JobView;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::state::JobState;
use crate::service::Error;
use crate::work;
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
/// refuses to answer.
///
/// # Errors
/// [`Error::Rebuilding`] or [`Error::WorkTree`] if the work tree would have to answer and cannot.
pub(in crate::service) fn locate(engine: &Handle, id: JobId) -> Result<Option<Located>, Error> {
    match engine.view().job(id) {
        Some(view) if view.deleted => Ok(None),
        Some(view) => Ok(Some(Located::Overlay(Box::new(view)))),
        None => Ok(engine.query().find(id)?.map(Located::Tree)),
    }
}
