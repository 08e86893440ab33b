//! Queues: looking at them, changing their settings, clearing jobs out of them.

use crate::engine::command::Backlog;
use crate::engine::command::Command;
use crate::engine::command::Purge;
use crate::engine::view::QueueView;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::spec::QueueChange;
use crate::service::Error;
use crate::service::Service;
use crate::service::control::Outcome;
use crate::service::lookup;
use crate::work::Filter;
use crate::work::State;
use crate::work::States;
use std::time::Duration;

/// How many jobs one command purges: a frame of them is written in a few milliseconds, and others come in between.
const PURGE_MAX: usize = 1_000;
/// How long a purge waits for the work tree to show everything that was finished before the call.
const FOLLOW_MAX: Duration = Duration::from_secs(5);

/// A queue as readers see it.
#[derive(Clone, Debug)]
pub struct QueueInfo {
    /// Its name, settings and counts.
    pub view: QueueView,
    /// Its waiting jobs, by the engine's clock.
    pub backlog: Backlog,
}

/// Which queues to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QueuesAfter {
    /// Those whose name comes after this one; `None`: from the first.
    pub name: Option<QueueName>,
    /// At most so many.
    pub limit: usize,
}

/// Some queues.
#[derive(Clone, Debug)]
pub struct QueuePage {
    /// In the order of their names.
    pub queues: Vec<QueueInfo>,
    /// After which name the next page begins; `None`: this was the last.
    pub next: Option<QueueName>,
}

/// What a purge takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purged {
    /// Waiting jobs: they are cancelled.
    Waiting,
    /// Dead jobs: they are deleted.
    Dead,
    /// Succeeded, cancelled and expired jobs: they are deleted.
    Finished,
}

impl Service {
    /// Lists queues in the order of their names.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn list_queues(&self, after: &QueuesAfter) -> Result<QueuePage, Error> {
        let numbered = self.engine().view().queues().into_iter().zip(0..);
        let mut found: Vec<(QueueView, QueueNo)> = numbered
            .filter(|(view, _)| after.name.as_ref().is_none_or(|name| view.name > *name))
            .map(|(view, number)| (view, QueueNo(number)))
            .collect();
        found.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let more = found.len() > after.limit;
        found.truncate(after.limit);
        let next = found.last().filter(|_| more).map(|(view, _)| view.name.clone());
        let numbers = found.iter().map(|(_, number)| *number).collect();
        let backlogs = self.backlogs(numbers).await?;
        let info = |((view, _), backlog)| QueueInfo { view, backlog };
        Ok(QueuePage { queues: found.into_iter().zip(backlogs).map(info).collect(), next })
    }

    /// One queue.
    ///
    /// # Errors
    /// [`Error::NoQueue`].
    pub async fn get_queue(&self, name: &QueueName) -> Result<QueueInfo, Error> {
        let (number, view) = self.queue(name)?;
        let backlog = self.backlogs(vec![number]).await?.first().copied().unwrap_or_default();
        Ok(QueueInfo { view, backlog })
    }

    /// Changes some settings of a queue, which is made if need be. The change is merged where all changes are decided, so
    /// that two at the same time both survive.
    ///
    /// # Errors
    /// What the engine refuses.
    pub async fn update_queue(&self, name: QueueName, change: QueueChange) -> Result<QueueInfo, Error> {
        let set = |reply| Command::SetQueue(name.clone(), change, reply);
        self.engine().call(0, set).await?;
        self.get_queue(&name).await
    }

    /// Clears the jobs out of a queue that are there as of the call; how many.
    ///
    /// # Errors
    /// [`Error::NoQueue`]; [`Error::Rebuilding`] and [`Error::WorkTree`] for finished jobs; what the engine refuses. Some
    /// may have been cleared out before it failed.
    pub async fn purge_queue(&self, name: &QueueName, what: Purged) -> Result<u64, Error> {
        let (number, view) = self.queue(name)?;
        match what {
            Purged::Waiting => self.purge_live(name, Purge::Waiting, view.counts.waiting).await,
            Purged::Dead => self.purge_live(name, Purge::Dead, view.counts.dead).await,
            Purged::Finished => self.purge_finished(number).await,
        }
    }

    /// In parts, so that no frame is large and others are served in between; no more jobs than there were.
    async fn purge_live(&self, name: &QueueName, what: Purge, most: u64) -> Result<u64, Error> {
        let mut purged = 0;
        while purged < most {
            let part = usize::try_from(most - purged).unwrap_or(usize::MAX).min(PURGE_MAX);
            let purge = |reply| Command::Purge(name.clone(), what, part, reply);
            match self.engine().call(part * 64, purge).await? {
                0 => break,
                jobs => purged += jobs,
            }
        }
        Ok(purged)
    }

    async fn purge_finished(&self, queue: QueueNo) -> Result<u64, Error> {
        let as_of = self.engine().view().seen().position;
        self.let_work_tree_show(as_of).await;
        let states = States::of(&[State::Succeeded, State::Cancelled, State::Expired]);
        let filter = Filter { queue: Some(queue), states };
        let (mut after, mut purged) = (JobId::MIN, 0);
        loop {
            let engine = self.engine().clone();
            let page = self.read(move || lookup::list(&engine, after, &filter, PURGE_MAX)).await?;
            let ended = page.records.iter().filter(|record| record.last.at.position <= as_of);
            let outcomes = self.delete(ended.map(|record| record.id).collect()).await?;
            let done = |outcome: &&Outcome| matches!(outcome, Outcome::Done { .. });
            purged += outcomes.iter().filter(done).count() as u64;
            match page.next {
                Some(next) => after = next,
                None => return Ok(purged),
            }
        }
    }

    /// Waits until the work tree shows everything up to `position`, as long as that is worth while: what it does not
    /// show by then is left.
    async fn let_work_tree_show(&self, position: Position) {
        let mut applied = self.engine().view().follow_applied();
        tokio::select! {
            _ = applied.wait_for(|applied| *applied >= position) => {}
            () = tokio::time::sleep(FOLLOW_MAX) => {}
            () = self.shutdown().token().cancelled() => {}
        }
    }

    fn queue(&self, name: &QueueName) -> Result<(QueueNo, QueueView), Error> {
        let view = self.engine().view();
        let number = view.queue_no(name).ok_or_else(|| Error::NoQueue(name.clone()))?;
        let queue = view.queue(number).ok_or_else(|| Error::NoQueue(name.clone()))?;
        Ok((number, queue))
    }

    async fn backlogs(&self, queues: Vec<QueueNo>) -> Result<Vec<Backlog>, Error> {
        Ok(self.engine().call(0, |reply| Command::Backlogs(queues, reply)).await?)
    }
}
