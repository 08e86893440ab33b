//! Why a call failed, for programs: the reasons of `google.rpc.ErrorInfo`. `docs/errors.md` tells each to users.

use tonic::Code;

/// What a failed call has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Nothing happened: the same call may be made again, or left.
    Nothing,
    /// It may or may not have happened: repeat it with the same key, ordinal or lease token, which is harmless.
    Unknown,
}

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $code:ident, $effect:ident;)+) => {
        /// Why a call failed. The text never changes once released; programs compare it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[non_exhaustive]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// Every reason.
            pub const ALL: &[Reason] = &[$(Reason::$name,)+];

            /// The reason as `ErrorInfo.reason` has it.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Reason::$name => $text,)+ }
            }

            /// The gRPC code that goes with it.
            #[must_use]
            pub const fn code(self) -> Code {
                match self { $(Reason::$name => Code::$code,)+ }
            }

            /// What the failed call has changed.
            #[must_use]
            pub const fn effect(self) -> Effect {
                match self { $(Reason::$name => Effect::$effect,)+ }
            }
        }
    };
}

reasons! {
    /// A field has a value that is not allowed; the violations say which.
    InvalidField = "INVALID_FIELD", InvalidArgument, Nothing;
    /// A queue name is not one.
    InvalidQueueName = "INVALID_QUEUE_NAME", InvalidArgument, Nothing;
    /// A job id is not a UUID.
    InvalidJobId = "INVALID_JOB_ID", InvalidArgument, Nothing;
    /// A page token is not one that this call gave.
    InvalidPageToken = "INVALID_PAGE_TOKEN", InvalidArgument, Nothing;
    /// A message of a stream came out of turn, such as a second hello.
    UnexpectedMessage = "UNEXPECTED_MESSAGE", InvalidArgument, Nothing;
    /// A payload or result is over the server's limit.
    PayloadTooLarge = "PAYLOAD_TOO_LARGE", InvalidArgument, Nothing;
    /// There is no such job, or it has been forgotten.
    JobNotFound = "JOB_NOT_FOUND", NotFound, Nothing;
    /// There is no such queue.
    QueueNotFound = "QUEUE_NOT_FOUND", NotFound, Nothing;
    /// There is no such named cursor.
    CursorNotFound = "CURSOR_NOT_FOUND", NotFound, Nothing;
    /// The job's state does not allow it.
    WrongState = "WRONG_STATE", FailedPrecondition, Nothing;
    /// The job is not running, so it has no lease.
    NotRunning = "NOT_RUNNING", FailedPrecondition, Nothing;
    /// Another lease holds the job, or none. [LEASE-1]
    StaleLease = "STALE_LEASE", FailedPrecondition, Nothing;
    /// The submit key was used before, for other jobs. [ID-1]
    KeyReused = "KEY_REUSED", AlreadyExists, Nothing;
    /// A producer left out an ordinal.
    OrdinalGap = "ORDINAL_GAP", FailedPrecondition, Nothing;
    /// A newer stream of the same producer goes on.
    ProducerReplaced = "PRODUCER_REPLACED", Aborted, Unknown;
    /// A newer stream of the same worker goes on.
    WorkerReplaced = "WORKER_REPLACED", Aborted, Unknown;
    /// A newer reader of the same named cursor goes on.
    ReaderReplaced = "READER_REPLACED", Aborted, Nothing;
    /// The caller of a backup took nothing of it for too long.
    BackupStalled = "BACKUP_STALLED", Aborted, Nothing;
    /// The cursor is below the oldest update that is kept. [LOG-2]
    CursorBelowFloor = "CURSOR_BELOW_FLOOR", OutOfRange, Nothing;
    /// The cursor is past the newest update. [LOG-2]
    CursorFromFuture = "CURSOR_FROM_FUTURE", FailedPrecondition, Nothing;
    /// The cursor belongs to another store. [LOG-2]
    CursorOfOtherStore = "CURSOR_OF_OTHER_STORE", FailedPrecondition, Nothing;
    /// The queue holds as many waiting jobs as it may.
    QueueFull = "QUEUE_FULL", ResourceExhausted, Nothing;
    /// The service holds as many live jobs as it may.
    ServiceFull = "SERVICE_FULL", ResourceExhausted, Nothing;
    /// No further queue may be made.
    QueuesFull = "QUEUES_FULL", ResourceExhausted, Nothing;
    /// No further submit key or producer can be remembered. [ID-1]
    DedupeFull = "DEDUPE_FULL", ResourceExhausted, Nothing;
    /// No further named cursor may be kept.
    CursorsFull = "CURSORS_FULL", ResourceExhausted, Nothing;
    /// There is no prepared space for it in the log. [ACK-2]
    DiskFull = "DISK_FULL", ResourceExhausted, Nothing;
    /// Too many calls of this kind wait already.
    Busy = "BUSY", ResourceExhausted, Nothing;
    /// Old jobs are being indexed again after a restart; such reads come back by themselves.
    WorkTreeRebuilding = "WORK_TREE_REBUILDING", Unavailable, Nothing;
    /// The server only reads.
    ReadOnly = "READ_ONLY", FailedPrecondition, Nothing;
    /// The server is stopping and did not begin with it.
    ShuttingDown = "SHUTTING_DOWN", Unavailable, Nothing;
    /// The log failed under the call. [ACK-2]
    OutcomeUnknown = "OUTCOME_UNKNOWN", Unavailable, Unknown;
    /// Stored bytes are not what was written.
    Damaged = "DAMAGED", DataLoss, Nothing;
    /// A bug of the server.
    Internal = "INTERNAL", Internal, Unknown;
}

impl Reason {
    /// The reason with this text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Reason> {
        Reason::ALL.iter().copied().find(|reason| reason.text() == text)
    }
}
