//! Listing jobs in the order of their ids, a page at a time.

mod walk;

use crate::engine::Handle;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::JobState;
use crate::service::Error;
use crate::service::Service;
use crate::service::list::walk::Candidates;
use crate::service::list::walk::Walk;
use crate::service::lookup::Located;
use crate::service::shown;
use crate::service::shown::Detail;
use crate::service::shown::Shown;
use std::sync::Arc;
use std::time::Duration;

/// How long a list waits for an update that was asked for: what was acknowledged is there already.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// How many times candidates are fetched for one page; about 5 ms each. What follows is on the next page.
const ROUNDS_MAX: usize = 16;
/// How many jobs are read from the log for one page.
const READS_MAX: usize = 10_000;
/// What the jobs of a page weigh at most together: labels may be long. A message may have 4 MiB.
const PAGE_BYTES_MAX: usize = 2 * 1_024 * 1_024;

/// Which jobs, and from where on.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Only of this queue.
    pub queue: Option<QueueName>,
    /// Only in these states; none: in any.
    pub states: Vec<JobState>,
    /// Only with all of these labels.
    pub labels: Vec<(Arc<str>, Arc<str>)>,
    /// Only after this job.
    pub after: JobId,
    /// How many at most.
    pub limit: usize,
    /// Not before this update shows.
    pub at_least: Sequence,
}

/// A page of jobs.
#[derive(Clone, Debug)]
pub struct Page {
    /// The jobs in the order of their ids; there may be none although more pages follow.
    pub jobs: Vec<Shown>,
    /// What the next page goes on after; `None`: this was the last.
    pub next: Option<JobId>,
    /// Every update up to this one shows.
    pub as_of: Sequence,
}

impl Service {
    /// A page of jobs. Pages may be short: each looks at a bounded number of jobs.
    ///
    /// # Errors
    /// [`Error::AheadOfLog`] if the update to wait for does not come; [`Error::Rebuilding`], [`Error::WorkTree`],
    /// [`Error::Log`]; [`Error::ShuttingDown`].
    pub async fn list(&self, wanted: Wanted) -> Result<Page, Error> {
        self.wait_for(wanted.at_least).await?;
        let engine = self.engine.clone();
        self.read(move || page(&engine, &wanted)).await
    }

    async fn wait_for(&self, wanted: Sequence) -> Result<(), Error> {
        let mut seen = self.engine.view().follow();
        let there = seen.wait_for(|seen| seen.sequence >= wanted);
        tokio::select! {
            biased;
            there = there => there.map(|_| ()).map_err(|_closed| Error::ShuttingDown),
            () = tokio::time::sleep(WAIT_MAX) => {
                Err(Error::AheadOfLog { wanted, head: self.engine.view().seen().sequence })
            }
            () = self.shutdown.token().cancelled() => Err(Error::ShuttingDown),
        }
    }
}

fn page(engine: &Handle, wanted: &Wanted) -> Result<Page, Error> {
    // Taken before anything is read: what comes later may show, what came before does.
    let as_of = engine.view().seen().sequence;
    let mut page = Page { jobs: Vec::new(), next: None, as_of };
    let queue = match &wanted.queue {
        None => None,
        Some(name) => match engine.view().queue_no(name) {
            Some(queue) => Some(queue),
            None => return Ok(page),
        },
    };
    let mut filling = Filling { engine, wanted, queue, page: &mut page, reads: 0, bytes: 0 };
    let mut walk = Walk::begin(engine, wanted, queue);
    for _ in 0..ROUNDS_MAX {
        let candidates = walk.next()?;
        let end = candidates.next;
        if filling.take(candidates)? == Taken::Full {
            return Ok(page);
        }
        filling.page.next = end;
        if end.is_none() {
            break;
        }
    }
    Ok(page)
}

/// Whether a page takes more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Taken {
    All,
    Full,
}

struct Filling<'a> {
    engine: &'a Handle,
    wanted: &'a Wanted,
    queue: Option<QueueNo>,
    page: &'a mut Page,
    reads: usize,
    bytes: usize,
}

impl Filling<'_> {
    fn take(&mut self, candidates: Candidates) -> Result<Taken, Error> {
        let more = candidates.next.is_some();
        let mut jobs = candidates.jobs.into_iter().peekable();
        while let Some((id, located)) = jobs.next() {
            self.look_at(id, &located)?;
            let full = self.page.jobs.len() >= self.wanted.limit
                || self.bytes >= PAGE_BYTES_MAX
                || self.reads >= READS_MAX;
            if full {
                self.page.next = (more || jobs.peek().is_some()).then_some(id);
                return Ok(Taken::Full);
            }
        }
        Ok(Taken::All)
    }

    fn look_at(&mut self, id: JobId, located: &Located) -> Result<(), Error> {
        let Wanted { states, labels, .. } = self.wanted;
        let admitted = (states.is_empty() || states.contains(&located.state()))
            && self.queue.is_none_or(|queue| queue == located.queue());
        if !admitted {
            return Ok(());
        }
        self.reads += 1;
        if let Some(job) = shown::show(self.engine, id, located, Detail::Listed)?
            && has_labels(&job, labels)
        {
            self.bytes += weight(&job);
            self.page.jobs.push(job);
        }
        Ok(())
    }
}

fn labels_of(job: &Shown) -> &[(Arc<str>, Arc<str>)] {
    job.spec.as_ref().and_then(|spec| spec.extra.as_deref()).map_or(&[], |extra| &extra.labels)
}

fn has_labels(job: &Shown, wanted: &[(Arc<str>, Arc<str>)]) -> bool {
    wanted.iter().all(|label| labels_of(job).contains(label))
}

/// About how many bytes the job takes in a message, on the high side.
fn weight(job: &Shown) -> usize {
    let labels: usize = labels_of(job).iter().map(|(name, value)| name.len() + value.len() + 8).sum();
    let progress = job.progress.as_ref().map_or(0, |progress| progress.message.len());
    2_048 + labels + progress + job.cancel_reason.len()
}
