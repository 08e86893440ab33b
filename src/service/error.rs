//! Why a use case could not be carried out. One enum for the layer; `grpc::status` knows what clients are told of it.

use crate::engine::command;
use crate::engine::spectator::DamagedEnd;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log;
use crate::work;

/// Why a call changed nothing, found nothing, or does not know.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The engine refused it, or stopped before it could tell.
    #[error(transparent)]
    Command(#[from] command::Error),
    /// There is no such job, or it has been forgotten.
    #[error("there is no job {0}, or it has been forgotten")]
    NoJob(JobId),
    /// There is no such queue.
    #[error("there is no queue {0}")]
    NoQueue(QueueName),
    /// The cursor's updates are no longer kept. [LOG-2]
    #[error(
        "updates after {wanted} are no longer all kept; the log begins with update {floor}: list the jobs to see what has \
         become of them, and go on from there; a named cursor has to be committed anew"
    )]
    BelowFloor {
        /// What was asked for.
        wanted: Sequence,
        /// The oldest update that is kept.
        floor: Sequence,
    },
    /// The cursor is ahead of the log. [LOG-2]
    #[error("update {wanted} is ahead of the log, whose newest update is {head}")]
    AheadOfLog {
        /// What was asked for.
        wanted: Sequence,
        /// The newest update.
        head: Sequence,
    },
    /// The cursor or token belongs to another data directory. [LOG-2]
    #[error("the cursor belongs to store {wanted}; this is store {here}")]
    OtherStore {
        /// The store that was named.
        wanted: StoreId,
        /// This store.
        here: StoreId,
    },
    /// The work tree is being rebuilt, so "there is no such job" cannot be said yet.
    #[error("the history of finished jobs is still being read; try again shortly")]
    Rebuilding(#[source] work::Error),
    /// The work tree cannot answer right now; its supervisor mends it.
    #[error("finished jobs cannot be read right now; try again shortly")]
    WorkTree(#[source] work::Error),
    /// The log could not be read.
    #[error("the log cannot be read")]
    Log(#[source] log::Error),
    /// The log ends here although there was more: what follows is damaged. Only of a read-only service.
    #[error("the log that this server reads is damaged behind here: {0}")]
    Damaged(DamagedEnd),
    /// A newer stream of the same producer took this one's place.
    #[error("a newer stream of the same producer took this one's place")]
    ProducerReplaced,
    /// A newer stream of the same worker took this one's place.
    #[error("a newer stream of the same worker took this one's place")]
    WorkerReplaced,
    /// A newer reader of the same named cursor took this one's place.
    #[error("a newer reader of the same named cursor took this one's place")]
    ReaderReplaced,
    /// As many backups as there may be are being taken.
    #[error("{most} backups are being taken already; try again when one has ended")]
    BackupsFull {
        /// How many there may be.
        most: usize,
    },
    /// The caller of a backup took nothing for so long that it was given up, because it holds log back.
    #[error(
        "the backup was given up because its caller took nothing of it for too long; begin again with what has arrived"
    )]
    BackupStalled,
    /// The service is stopping; reads and streams go on elsewhere.
    #[error("the service is shutting down")]
    ShuttingDown,
}

impl From<work::Error> for Error {
    fn from(error: work::Error) -> Error {
        match error {
            work::Error::Rebuilding { .. } | work::Error::Closed | work::Error::Abandoned => {
                Error::Rebuilding(error)
            }
            work::Error::Broken(_) | work::Error::Disorder(_) | work::Error::Io { .. } => {
                Error::WorkTree(error)
            }
        }
    }
}
