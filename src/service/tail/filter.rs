//! Which updates a reader gets.

use crate::job::event::Event;
use crate::job::event::glimpse::Glimpse;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::service::tail::names::Names;
use std::collections::HashSet;

/// The most jobs whose readers wait for just those: each watch is a little work for the writer.
const WATCHED_MAX: usize = 16;

/// What an update tells of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A job was accepted.
    Submitted,
    /// An attempt began.
    Started,
    /// A running job told how far it is.
    Progress,
    /// An attempt failed and another follows.
    Retrying,
    /// A worker handed the job back.
    Released,
    /// It completed.
    Succeeded,
    /// It failed for good.
    Dead,
    /// Someone cancelled it.
    Cancelled,
    /// It was too late to start.
    Expired,
    /// An operator gave it a new generation.
    Retried,
    /// It was forgotten.
    Deleted,
}

impl Kind {
    /// The kind of an update; `None` for events that are none.
    #[must_use]
    pub fn of(event: &Event) -> Option<Kind> {
        Some(match event {
            Event::Submitted(_) => Kind::Submitted,
            Event::Started { .. } => Kind::Started,
            Event::Progress { .. } => Kind::Progress,
            Event::Retrying { .. } => Kind::Retrying,
            Event::Released { .. } => Kind::Released,
            Event::Succeeded { .. } => Kind::Succeeded,
            Event::Dead { .. } => Kind::Dead,
            Event::Cancelled { .. } => Kind::Cancelled,
            Event::Expired { .. } => Kind::Expired,
            Event::Retried { .. } => Kind::Retried,
            Event::Deleted { .. } => Kind::Deleted,
            Event::QueueMade { .. }
            | Event::QueueSet { .. }
            | Event::CursorSet { .. }
            | Event::CursorDropped { .. }
            | Event::KeyTaken { .. }
            | Event::KeysForgotten { .. }
            | Event::ProducerAdvanced { .. }
            | Event::ProducersForgotten { .. }
            | Event::Opened { .. } => return None,
        })
    }
}

/// Which updates a reader gets: those that pass each part; an empty part passes all.
#[derive(Debug, Default)]
pub struct Filter {
    queues: HashSet<QueueName>,
    jobs: HashSet<JobId>,
    kinds: HashSet<Kind>,
    /// Whether a queue passes, by number: a queue may be made long after its name was put into the filter.
    numbers: Vec<Option<bool>>,
}

impl Filter {
    /// Updates of these queues, of these jobs and of these kinds.
    #[must_use]
    pub fn new(queues: Vec<QueueName>, jobs: Vec<JobId>, kinds: Vec<Kind>) -> Filter {
        Filter {
            queues: queues.into_iter().collect(),
            jobs: jobs.into_iter().collect(),
            kinds: kinds.into_iter().collect(),
            numbers: Vec::new(),
        }
    }

    /// Whether every update passes.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.queues.is_empty() && self.jobs.is_empty() && self.kinds.is_empty()
    }

    /// The jobs that a reader of their updates should wait for; none if it should look at every frame.
    #[must_use]
    pub fn watchable(&self) -> Vec<JobId> {
        if self.jobs.len() <= WATCHED_MAX { self.jobs.iter().copied().collect() } else { Vec::new() }
    }

    /// Whether the event is an update that passes.
    pub fn admits(&mut self, event: &Event, names: &mut Names) -> bool {
        Kind::of(event).is_some_and(|kind| self.admits_update(kind, event.job(), names))
    }

    /// The same of an event that was not decoded whole.
    pub fn admits_glimpse(&mut self, event: &Glimpse, names: &mut Names) -> bool {
        let kind = match event {
            Glimpse::Submitted(..) => Kind::Submitted,
            Glimpse::Started(..) => Kind::Started,
            Glimpse::Succeeded(..) => Kind::Succeeded,
            Glimpse::Other(event) => return self.admits(event, names),
        };
        self.admits_update(kind, event.job(), names)
    }

    fn admits_update(&mut self, kind: Kind, job: Option<(JobId, QueueNo)>, names: &mut Names) -> bool {
        let Some((id, queue)) = job else { return false };
        (self.jobs.is_empty() || self.jobs.contains(&id))
            && (self.kinds.is_empty() || self.kinds.contains(&kind))
            && (self.queues.is_empty() || self.admits_queue(queue, names))
    }

    fn admits_queue(&mut self, queue: QueueNo, names: &mut Names) -> bool {
        let place = queue.0 as usize;
        if place >= self.numbers.len() {
            self.numbers.resize(place + 1, None);
        }
        *self.numbers[place].get_or_insert_with(|| self.queues.contains(names.get(queue)))
    }
}
