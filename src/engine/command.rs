//! What the writer is asked to do, and how it answers. Every answer leaves after the sync of the frame it rests
//! on. [ACK-1]

use crate::clock::Timestamp;
use crate::engine::overlay::JobView;
use crate::engine::workers::Attach;
use crate::engine::workers::Session;
use crate::engine::workers::WorkerView;
use crate::job::decide::Refused;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::prune::Finished;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::event::Progress;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Extra;
use crate::job::spec::NewJob;
use crate::job::spec::QueueChange;
use crate::job::table::Slot;
use std::sync::Arc;
use tokio::sync::mpsc;
use tokio::sync::oneshot;

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The state does not allow it; nothing happened.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The disk has no prepared space for it; nothing happened, and it will work again once there is space. [ACK-2]
    #[error("the disk is full: free space on it; running jobs finish, new ones are refused until then")]
    DiskFull,
    /// Its events are over what one frame may hold; nothing happened.
    #[error("the call needs {bytes} bytes of log, and one frame holds {bytes_max}: split it")]
    TooLarge {
        /// Bytes that the command would add.
        bytes: usize,
        /// The limit of a frame.
        bytes_max: usize,
    },
    /// The writer stopped before it could tell what became of the command: repeat it with the same key. [ACK-2]
    #[error("the outcome is unknown: the service stopped before the call was on disk")]
    OutcomeUnknown,
    /// The service drains and takes no new work; nothing happened.
    #[error("the service is shutting down")]
    ShuttingDown,
    /// There is no writer: the service only reads; nothing happened.
    #[error("this server is read-only: it serves what is in a data directory and changes nothing")]
    ReadOnly,
}

/// Where an answer goes: to one waiting call, or into the channel of a stream, tagged.
#[derive(Debug)]
pub enum Reply<T> {
    /// One call waits.
    Once(oneshot::Sender<Result<T, Error>>),
    /// A stream collects its answers in order.
    Stream(mpsc::UnboundedSender<(u64, Result<T, Error>)>, u64),
    /// Nobody waits.
    Nobody,
}

impl<T> Reply<T> {
    /// Answers. A caller that went away does not care.
    pub fn send(self, answer: Result<T, Error>) {
        match self {
            Reply::Once(sender) => drop(sender.send(answer)),
            Reply::Stream(sender, tag) => drop(sender.send((tag, answer))),
            Reply::Nobody => {}
        }
    }

    /// A reply and the end at which to wait for it.
    #[must_use]
    pub fn once() -> (Reply<T>, oneshot::Receiver<Result<T, Error>>) {
        let (sender, receiver) = oneshot::channel();
        (Reply::Once(sender), receiver)
    }
}

/// The lease of one job, as the worker gets it. The payload is behind `submitted_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The job.
    pub id: JobId,
    /// The lease. [LEASE-1]
    pub token: LeaseToken,
    /// Where the job lies; handed back with the finish, it saves a look-up.
    pub slot: Slot,
    /// Its queue.
    pub queue: QueueNo,
    /// Which execution this is, from 1.
    pub attempt: u32,
    /// Where its `submitted` event is.
    pub submitted_at: Pointer,
    /// How long the attempt may run, in milliseconds.
    pub timeout_ms: Option<u64>,
}

/// What became of one finish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ack {
    /// The job.
    pub id: JobId,
    /// The lease that was presented.
    pub token: LeaseToken,
    /// Whether it was accepted.
    pub outcome: Result<(), Error>,
}

/// The end of one attempt, as the worker tells it.
#[derive(Clone, Debug)]
pub struct FinishRequest {
    /// Which lease.
    pub holder: Holder,
    /// How it ended.
    pub finish: Finish,
}

/// What one message of a worker's session says.
#[derive(Debug, Default)]
pub struct WorkerMessage {
    /// Attempts that ended.
    pub finishes: Vec<FinishRequest>,
    /// How far running jobs are; never acknowledged.
    pub progress: Vec<(Holder, Progress)>,
    /// How many further leases the worker takes.
    pub free: u32,
}

/// What a purge takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purge {
    /// Waiting jobs are cancelled.
    Waiting,
    /// Dead jobs are deleted.
    Dead,
}

/// The waiting jobs of a queue, as of a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backlog {
    /// Jobs that are due.
    pub ready: u64,
    /// Jobs that are not due yet.
    pub scheduled: u64,
    /// When the oldest ready job became due.
    pub oldest_due: Option<Timestamp>,
}

/// A request to the writer.
#[derive(Debug)]
pub enum Command {
    /// Accept jobs, all or none.
    Submit(Batch, Reply<Accepted>),
    /// Tell the highest ordinal accepted from a producer, 0 if it is not known. Submits that were sent before it count. [ID-1]
    LastOrdinal(Arc<str>, Reply<u64>),
    /// Cancel waiting or running jobs; an answer for each.
    Cancel(Vec<JobId>, Arc<str>, Reply<Vec<Result<Sequence, Error>>>),
    /// Give dead jobs a new generation; an answer for each.
    Retry(Vec<JobId>, Reply<Vec<Result<Sequence, Error>>>),
    /// Forget ended jobs; those that left the live jobs come with their queue. An answer for each.
    Delete(Vec<(JobId, Option<QueueNo>)>, Reply<Vec<Result<Sequence, Error>>>),
    /// Cancel or delete at most `limit` jobs of a queue; answers how many it was.
    Purge(QueueName, Purge, usize, Reply<u64>),
    /// Forget those of these finished jobs that their queues keep no longer; answers how many it was.
    Prune(Vec<Finished>, Reply<u64>),
    /// Change some settings of a queue, making the queue if need be. Changes of different settings all survive.
    SetQueue(QueueName, QueueChange, Reply<QueueNo>),
    /// Tell of the waiting jobs of queues, as of now.
    Backlogs(Vec<QueueNo>, Reply<Vec<Backlog>>),
    /// Tell of a job that lives or is dead, as of now; `None` if it is neither. For readers while the work tree cannot tell.
    Look(JobId, Reply<Option<Box<JobView>>>),
    /// Commit a named cursor.
    CommitCursor(Arc<str>, Sequence, Reply<()>),
    /// Delete a named cursor.
    DropCursor(Arc<str>, Reply<()>),
    /// Begin, replace or resume a worker's session.
    Attach(Attach, Reply<Welcome>),
    /// A message of a session; an empty one is a sign of life. Its answers go to the session's outlet.
    Work(Session, WorkerMessage),
    /// Ends attempts of a worker without a session, by its name; one answer for each. A sign of life.
    Finish(Arc<str>, WorkerMessage, Reply<Vec<Ack>>),
    /// Asks which of these leases the worker of that name still holds. A sign of life.
    Extend(Arc<str>, Vec<(JobId, LeaseToken)>, WorkerMessage, Reply<Vec<(JobId, LeaseToken)>>),
    /// The session's link closed; with `Bye::Said` its leases are released, otherwise they wait for its return.
    Detach(Session, Bye),
    /// The session takes no more leases; it keeps those it has, and all of them are in its outlet when this is answered.
    StopLeases(Session, Reply<()>),
    /// List workers.
    ListWorkers(Reply<Vec<WorkerView>>),
    /// Take no new submits and give no new leases from now on. [ACK-1]
    Drain(Reply<()>),
}

/// How a worker's link ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bye {
    /// The worker said that it will not come back.
    Said,
    /// The link closed without a word.
    Unsaid,
    /// A unary call ended; the worker makes another one within the lease period.
    CallEnded,
}

/// The answer to [`Attach`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The session; a later attach of the same worker ends it.
    pub session: Session,
    /// Leases that the worker said it holds and does.
    pub held: Vec<(JobId, LeaseToken)>,
    /// Log time of the service.
    pub time: Timestamp,
}

/// About how many bytes of log a message needs, on the high side.
#[must_use]
pub fn weight_of_message(message: &WorkerMessage) -> usize {
    let finishes: usize = message.finishes.iter().map(weight_of_finish).sum();
    finishes + message.progress.iter().map(|(_, progress)| weight_of_progress(progress)).sum::<usize>()
}

/// At most how many bytes of log the end of an attempt needs, with the dead jobs that may go for one more.
#[must_use]
pub fn weight_of_finish(request: &FinishRequest) -> usize {
    let texts = match &request.finish {
        Finish::Complete { result, content_type, .. } => result.0.len() + content_type.len(),
        Finish::Fail { failure, .. } => {
            let stderr = failure.process.as_ref().map_or(0, |process| process.stderr.len());
            failure.message.len() + stderr
        }
        Finish::Release { reason, .. } => reason.len(),
    };
    END_BYTES + texts
}

/// At most how many bytes of log a progress report needs.
#[must_use]
pub fn weight_of_progress(progress: &Progress) -> usize {
    64 + progress.message.len()
}

/// At most how many bytes of log the end of an attempt needs, besides its texts.
pub(in crate::engine) const END_BYTES: usize = 256;

/// About how many bytes of log a batch needs, on the high side.
#[must_use]
pub fn weight(batch: &Batch) -> usize {
    let origin = match &batch.origin {
        Origin::Anonymous => 0,
        Origin::Key { key, .. } => key.len() + 64,
        Origin::Producer { producer, .. } => producer.len() + 64,
    };
    origin + batch.jobs.iter().map(weight_of_job).sum::<usize>()
}

fn weight_of_job(job: &NewJob) -> usize {
    let of_extra = |extra: &Extra| {
        let labels: usize = extra.labels.iter().map(|(name, value)| name.len() + value.len() + 8).sum();
        labels + extra.content_type.len() + extra.traceparent.len() + extra.tracestate.len() + 16
    };
    let extra = job.extra.as_deref().map_or(0, of_extra);
    64 + job.queue.as_str().len() + 64 * usize::from(job.policy.is_some()) + extra + job.payload.0.len()
}
