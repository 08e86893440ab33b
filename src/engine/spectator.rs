//! The engine without a writer: a state as of one moment, its log, and refusals of everything that would change them.
//!
//! No work tree is opened: the log answers for it, see [`Handle::retrace`]. Nothing is written anywhere.

use crate::clock::Clock;
use crate::engine::Handle;
use crate::engine::command::Backlog;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::history::History;
use crate::engine::inbox::Inbox;
use crate::engine::overlay::JobView;
use crate::engine::view::Health;
use crate::engine::view::Seen;
use crate::engine::view::View;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::work::WorkTree;
use std::fmt;
use std::sync::Arc;

/// Where a log ends because what follows is damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DamagedEnd {
    /// The first frame that cannot be read.
    pub position: Position,
    /// About the first update that cannot be read.
    pub sequence: Sequence,
    /// Where and what it is, and what can be done.
    pub what: String,
}

impl fmt::Display for DamagedEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

/// What a spectator sees.
#[derive(Debug)]
pub struct Scene {
    /// The log.
    pub history: Arc<dyn History>,
    /// The state at its end.
    pub state: State,
    /// Its end.
    pub seen: Seen,
    /// Whether there was more.
    pub damaged: Option<DamagedEnd>,
    /// A work tree that is never opened.
    pub tree: WorkTree,
    /// The clock.
    pub clock: Clock,
}

/// The moment that a spectator looks at.
#[derive(Debug)]
pub(in crate::engine) struct Moment {
    state: State,
    damaged: Option<DamagedEnd>,
}

impl Handle {
    /// The way to what `scene` shows.
    #[must_use]
    pub fn of_scene(scene: Scene) -> Handle {
        let Scene { history, state, seen, damaged, tree, clock } = scene;
        let view = Arc::new(View::new(seen));
        view.fill(&state);
        view.set_tree_waits(true);
        view.set_health(Health::ReadOnly);
        Handle {
            inbox: Arc::new(Inbox::new()),
            view,
            query: tree.query(),
            history,
            turns: Arc::default(),
            clock,
            moment: Some(Arc::new(Moment { state, damaged })),
        }
    }

    /// Whether nothing can be changed.
    #[must_use]
    pub fn is_read_only(&self) -> bool {
        self.moment.is_some()
    }

    /// That the log ends in damage, of a service that only reads.
    #[must_use]
    pub fn damaged_end(&self) -> Option<&DamagedEnd> {
        self.moment.as_ref()?.damaged.as_ref()
    }
}

impl Moment {
    /// Answers the commands that only ask.
    ///
    /// # Errors
    /// [`Error::ReadOnly`] for all others.
    pub(in crate::engine) fn answer(&self, command: Command, clock: &Clock) -> Result<(), Error> {
        match command {
            Command::Backlogs(queues, reply) => reply.send(Ok(self.backlogs(&queues, clock))),
            Command::Look(id, reply) => reply.send(Ok(JobView::live(&self.state, id))),
            Command::ListWorkers(reply) => reply.send(Ok(Vec::new())),
            Command::Submit(..)
            | Command::LastOrdinal(..)
            | Command::Cancel(..)
            | Command::Retry(..)
            | Command::Delete(..)
            | Command::Purge(..)
            | Command::Prune(..)
            | Command::SetQueue(..)
            | Command::CommitCursor(..)
            | Command::DropCursor(..)
            | Command::Attach(..)
            | Command::Work(..)
            | Command::Finish(..)
            | Command::Extend(..)
            | Command::Detach(..)
            | Command::StopLeases(..)
            | Command::Drain(..) => return Err(Error::ReadOnly),
        }
        Ok(())
    }

    fn backlogs(&self, queues: &[QueueNo], clock: &Clock) -> Vec<Backlog> {
        let now = clock.now().wall;
        let mut backlogs = vec![Backlog::default(); queues.len()];
        for (_, job) in self.state.jobs().iter() {
            let Some(place) = queues.iter().position(|queue| *queue == job.queue) else { continue };
            let Stage::Waiting { due } = job.stage() else { continue };
            let backlog = &mut backlogs[place];
            if due > now {
                backlog.scheduled += 1;
            } else {
                // A job that may start at once is due since its submission.
                let due = due.max(job.id.time());
                backlog.ready += 1;
                backlog.oldest_due = Some(backlog.oldest_due.map_or(due, |oldest| oldest.min(due)));
            }
        }
        backlogs
    }
}
