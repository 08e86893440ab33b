//! The pruner: finished jobs that their queue keeps no longer are looked for in the work tree and proposed to the writer,
//! which decides by its own time and settings. Started by the server; nobody calls it.
//!
//! It keeps nothing in memory but a page, and nothing on disk: what was forgotten has left the tree, so a restart sweeps
//! what is left. It waits while the tree is being built and while the disk is full.

use crate::clock::Timestamp;
use crate::engine::Handle;
use crate::engine::command;
use crate::engine::command::Command;
use crate::engine::view::Health;
use crate::job::decide::prune::Finished;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::service::Error;
use crate::service::Service;
use crate::service::lookup;
use crate::work::Filter;
use crate::work::Record;
use crate::work::State;
use crate::work::States;
use std::collections::BTreeMap;
use std::time::Duration;

/// How many jobs a page of the tree has at most. [MEM-1]
const PAGE_JOBS: usize = 4_096;
/// How many jobs one command proposes: it is decided in about a millisecond, and others come in between.
const COMMAND_JOBS: usize = 1_024;
/// What a deletion takes in the log.
const EVENT_BYTES: usize = 64;
/// After a page of the tree it rests so many times as long as that took: a sweep never takes more than a tenth of a core.
const REST_FACTOR: u32 = 9;
/// How long deletions wait for the tree to show them, so that readers' memory holds a page of them at most. [MEM-1]
const FOLLOW_MAX: Duration = Duration::from_secs(5);
/// How long after a sweep that failed the next one begins.
const TRY_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// How often it looks at most whether there is something to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it sleeps at most while something will be due: wall time may jump.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// Between two sweeps there is a sixteenth of the shortest retention, and no more than this.
const PAUSE_MAX: Duration = Duration::from_secs(300);
const PAUSE_SHARE: u32 = 16;

/// How long each queue keeps finished jobs, in milliseconds; a queue that keeps them as long as the log is not here.
type Retentions = BTreeMap<QueueNo, u64>;

/// Begins to look for jobs whose time is over; ends when the service's shutdown begins.
pub fn start(service: &Service) {
    let pruner = service.clone();
    service.shutdown().spawn(async move {
        let stopped = pruner.shutdown().token().clone();
        tokio::select! {
            () = stopped.cancelled() => {}
            () = prune_for_ever(&pruner) => {}
        }
    });
}

async fn prune_for_ever(service: &Service) {
    loop {
        if waits(service.engine()) {
            tokio::time::sleep(TRY_AGAIN_AFTER).await;
            continue;
        }
        match sweep(service).await {
            Ok(outlook) => rest(service, &outlook).await,
            Err(error) => {
                tracing::debug!(%error, "finished jobs are looked through again shortly");
                tokio::time::sleep(TRY_AGAIN_AFTER).await;
            }
        }
    }
}

/// Whether the disk is full, or so nearly that the tree waits: the writer would refuse, and the log would have to be read
/// from its beginning for each job. [ACK-2]
fn waits(engine: &Handle) -> bool {
    engine.view().health() != Health::Serving || engine.view().tree_waits()
}

/// What a sweep says about the time after it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Outlook {
    retentions: Retentions,
    /// Log time when it began.
    began: Timestamp,
    /// It has seen every job that had finished by this frame.
    as_of: Position,
    /// When the next of the jobs it has left may be due; `None`: it has left none.
    due: Option<Timestamp>,
}

impl Outlook {
    fn shortest(&self) -> Option<Duration> {
        self.retentions.values().min().map(|retention_ms| Duration::from_millis(*retention_ms))
    }

    /// How long the next sweep waits at least.
    fn pause(&self) -> Duration {
        let share = self.shortest().unwrap_or_default() / PAUSE_SHARE;
        share.clamp(LOOK_EVERY, PAUSE_MAX)
    }

    /// When the next sweep is due, given the newest frame; `None`: not before something happens.
    fn next(&self, newest: Position) -> Option<Timestamp> {
        // What has finished since is not due before the shortest retention is over.
        let since =
            self.shortest().filter(|_| newest > self.as_of).map(|shortest| self.began.after(shortest));
        [self.due, since].into_iter().flatten().min()
    }

    /// The jobs of a page that are due. Of the others it is noted when they are.
    fn sort(&mut self, records: &[Record]) -> Vec<Finished> {
        let mut due = Vec::new();
        for record in records {
            let Some(retention_ms) = self.retentions.get(&record.queue) else { continue };
            let until = record.since.after(Duration::from_millis(*retention_ms));
            if until <= self.began {
                due.push(Finished { id: record.id, queue: record.queue, ended: record.since });
            } else {
                self.stays(until);
            }
        }
        due
    }

    fn stays(&mut self, until: Timestamp) {
        self.due = Some(self.due.map_or(until, |due| due.min(until)));
    }
}

/// Looks through the tree once.
async fn sweep(service: &Service) -> Result<Outlook, Error> {
    let engine = service.engine();
    let (retentions, as_of) = (engine.view().retentions(), engine.applied());
    let mut outlook = Outlook { retentions, began: log_time(service), as_of, due: None };
    let Some(shortest) = outlook.shortest() else { return Ok(outlook) };
    let states = States::of(&[State::Succeeded, State::Cancelled, State::Expired]);
    let mut queues = outlook.retentions.keys();
    let only = queues.next().filter(|_| queues.next().is_none());
    let filter = Filter { queue: only.copied(), states };
    let (mut after, mut forgotten) = (JobId::MIN, 0);
    loop {
        let begun = engine.clock().now().tick;
        let query = engine.query().clone();
        let page = service.read(move || Ok(query.list(after, &filter, PAGE_JOBS)?)).await?;
        let took = engine.clock().now().tick.since(begun);
        forgotten += propose(service, outlook.sort(&page.records)).await?;
        let Some(next) = page.next else { break };
        // A job ends after it was submitted, so the rest cannot be due yet.
        let earliest = next.time().after(shortest);
        if earliest > outlook.began {
            outlook.stays(earliest);
            break;
        }
        after = next;
        tokio::time::sleep(took * REST_FACTOR).await;
    }
    if forgotten > 0 {
        tracing::debug!(jobs = forgotten, "finished jobs were forgotten: their queues keep them no longer");
    }
    Ok(outlook)
}

/// Proposes these jobs to the writer, but for those that somebody has deleted meanwhile; how many it forgot.
async fn propose(service: &Service, jobs: Vec<Finished>) -> Result<u64, Error> {
    let mut forgotten = 0;
    for part in jobs.chunks(COMMAND_JOBS) {
        let (engine, part) = (service.engine().clone(), part.to_vec());
        let _one_at_a_time = service.deleting.lock().await;
        let there = service.read(move || still_there(&engine, part)).await?;
        if !there.is_empty() {
            let prune = |bytes, jobs| service.engine().call(bytes, |reply| Command::Prune(jobs, reply));
            forgotten += prune(there.len() * EVENT_BYTES, there).await?;
        }
    }
    if forgotten > 0 {
        service.engine().wait_for_work_tree(FOLLOW_MAX).await;
    }
    Ok(forgotten)
}

fn still_there(engine: &Handle, jobs: Vec<Finished>) -> Result<Vec<Finished>, Error> {
    let mut there = Vec::with_capacity(jobs.len());
    for job in jobs {
        if waits(engine) {
            return Err(Error::Command(command::Error::DiskFull));
        }
        if lookup::locate(engine, job.id)?.is_some() {
            there.push(job);
        }
    }
    Ok(there)
}

/// Waits until another sweep may find something, and for its pause; new settings end both. An idle service sleeps until
/// something happens.
async fn rest(service: &Service, outlook: &Outlook) {
    let view = service.engine().view();
    let clock = service.engine().clock();
    let mut seen = view.follow();
    let not_before = clock.now().tick.after(outlook.pause());
    tokio::time::sleep(LOOK_EVERY).await;
    loop {
        let next = outlook.next(seen.borrow_and_update().position);
        let pause = not_before.since(clock.now().tick);
        let patience = next.map(|next| next.since(log_time(service)).max(pause));
        if patience.is_some_and(|patience| patience.is_zero()) || view.retentions() != outlook.retentions {
            return;
        }
        tokio::select! {
            // The view lives as long as the service, so the sender is there.
            _ = seen.changed() => tokio::time::sleep(LOOK_EVERY).await,
            () = sleep(patience.map(|patience| patience.min(SLEEP_MAX))) => {}
        }
    }
}

async fn sleep(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}

fn log_time(service: &Service) -> Timestamp {
    let engine = service.engine();
    engine.clock().now().wall.max(engine.view().seen().time)
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::decide::prune::Finished;
    use crate::job::id::JobId;
    use crate::job::id::Pointer;
    use crate::job::id::Position;
    use crate::job::id::QueueNo;
    use crate::job::id::Sequence;
    use crate::service::pruner::Outlook;
    use crate::work::Mark;
    use crate::work::Record;
    use crate::work::State;
    use std::time::Duration;

    fn outlook(retentions: &[(u32, u64)]) -> Outlook {
        Outlook {
            retentions: retentions.iter().map(|(queue, ms)| (QueueNo(*queue), *ms)).collect(),
            began: Timestamp(1_000_000),
            as_of: Position(10),
            due: None,
        }
    }

    fn record(number: u128, queue: u32, since: u64) -> Record {
        let last = Mark { at: Pointer { position: Position(5), index: 0 }, sequence: Sequence(9) };
        Record {
            id: JobId::from_u128(number),
            queue: QueueNo(queue),
            state: State::Succeeded,
            attempts: 1,
            generation: 0,
            payload_bytes: 0,
            submitted: Some(last),
            last,
            since: Timestamp(since),
        }
    }

    #[test]
    fn what_is_due_is_proposed_and_of_the_rest_the_first_is_waited_for() {
        let mut outlook = outlook(&[(1, 1_000), (2, 500_000)]);
        let records = [
            record(1, 1, 999_000),
            record(2, 1, 999_001),
            record(3, 2, 500_000),
            record(4, 2, 500_700),
            record(5, 3, 1),
        ];
        let due: Vec<Finished> = outlook.sort(&records);
        assert_eq!(due.iter().map(|job| job.id.as_u128()).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(due[1].ended, Timestamp(500_000));
        assert_eq!(outlook.due, Some(Timestamp(1_000_001)));
    }

    #[test]
    fn the_next_sweep_waits_for_what_was_left_and_for_what_may_have_finished_since() {
        let mut none = outlook(&[]);
        assert_eq!((none.next(Position(99)), none.pause()), (None, Duration::from_secs(1)));
        none.retentions.insert(QueueNo(1), 60_000);
        assert_eq!(none.next(Position(10)), None, "nothing is left and nothing has happened");
        assert_eq!(none.next(Position(11)), Some(Timestamp(1_060_000)));
        none.stays(Timestamp(1_030_000));
        none.stays(Timestamp(1_070_000));
        assert_eq!(none.next(Position(10)), Some(Timestamp(1_030_000)));
        assert_eq!(none.next(Position(11)), Some(Timestamp(1_030_000)));
        assert_eq!(none.pause(), Duration::from_millis(3_750));
        none.retentions.insert(QueueNo(1), 30 * 24 * 3_600_000);
        assert_eq!(none.pause(), Duration::from_secs(300));
    }
}
