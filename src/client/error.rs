//! What a client is told when a call did not succeed.

use crate::grpc::status::Effect;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use std::time::Duration;
use tonic::Code;
use tonic::ConnectError;
use tonic::Status;
use tonic_types::StatusExt;

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address is not one.
    #[error("{address:?} is not a server address: give host:port, such as 127.0.0.1:4264")]
    Address {
        /// As it was given.
        address: String,
        /// What is wrong with it, if more is known.
        source: Option<tonic::transport::Error>,
    },
    /// Nobody listens at the address. Nothing happened.
    #[error("no server answers at {address}")]
    Unreachable {
        /// The server's address.
        address: String,
        /// What the transport said.
        source: Box<Status>,
    },
    /// The server refused, and said why.
    #[error("{text}")]
    Refused {
        /// For programs.
        reason: Reason,
        /// For people.
        text: String,
        /// When it is worth trying again, if the server said so.
        retry_after: Option<Duration>,
        /// The status as it was received.
        source: Box<Status>,
    },
    /// The link broke or something between here and the server refused: the call may or may not have happened.
    #[error("the link to {address} failed: {text}")]
    Link {
        /// The server's address.
        address: String,
        /// For people.
        text: String,
        /// The status as it was made.
        source: Box<Status>,
    },
    /// The server's answer does not keep to the API.
    #[error("the answer of {address} cannot be understood: {what}")]
    Answer {
        /// The server's address.
        address: String,
        /// What is wrong with it.
        what: &'static str,
    },
    /// The server has forgotten how far this producer was.
    #[error(
        "the server at {address} knows this producer's jobs only up to number {known}, but had accepted {accepted}: it \
         was restored from an older state, or has forgotten the producer"
    )]
    Forgotten {
        /// The server's address.
        address: String,
        /// What it knows now.
        known: u64,
        /// What it had acknowledged.
        accepted: u64,
    },
    /// A job of a producer is larger than what the server reads. It was not sent; those before it are accepted.
    #[error(
        "job {ordinal} takes a message of {bytes} bytes, and the server at {address} reads at most {bytes_max} \
         (transport.request_bytes_max): store the data elsewhere and submit where it is, or raise the server's limit"
    )]
    TooLarge {
        /// The server's address.
        address: String,
        /// The producer's number of the job.
        ordinal: u64,
        /// The message that holds nothing but this job.
        bytes: usize,
        /// The largest message that the server reads.
        bytes_max: usize,
    },
    /// The operating system has no random bytes to give.
    #[error("the operating system has no random bytes to give")]
    NoChance(#[source] std::io::Error),
}

impl Error {
    pub(crate) fn of(address: &str, status: Status) -> Error {
        let address = address.to_owned();
        let text = match status.message() {
            "" => status.code().description().to_owned(),
            text => text.to_owned(),
        };
        if let Some(reason) = reason_of(&status) {
            let retry_after = status.get_details_retry_info().and_then(|info| info.retry_delay);
            return Error::Refused { reason, text, retry_after, source: Box::new(status) };
        }
        let source = Box::new(status);
        if is_connect(&source) {
            Error::Unreachable { address, source }
        } else {
            Error::Link { address, text, source }
        }
    }

    /// The server's reason; `None` if it is not the server that refused.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match self {
            Error::Refused { reason, .. } => Some(*reason),
            Error::Address { .. }
            | Error::Unreachable { .. }
            | Error::Link { .. }
            | Error::Answer { .. }
            | Error::Forgotten { .. }
            | Error::TooLarge { .. }
            | Error::NoChance(_) => None,
        }
    }

    /// What the failed call has changed.
    #[must_use]
    pub fn effect(&self) -> Effect {
        match self {
            Error::Refused { reason, .. } => reason.effect(),
            Error::Address { .. }
            | Error::Unreachable { .. }
            | Error::TooLarge { .. }
            | Error::NoChance(_) => Effect::Nothing,
            Error::Link { source, .. } if source.code() == Code::Unimplemented => Effect::Nothing,
            Error::Link { .. } | Error::Answer { .. } | Error::Forgotten { .. } => Effect::Unknown,
        }
    }

    /// Whether the same call may succeed later, with nobody doing anything about it.
    #[must_use]
    pub fn passes(&self) -> bool {
        match self {
            Error::Refused { reason, .. } => reason_passes(*reason),
            Error::Unreachable { .. } => true,
            Error::Link { source, .. } => code_passes(source.code()),
            Error::Address { .. }
            | Error::Answer { .. }
            | Error::Forgotten { .. }
            | Error::TooLarge { .. }
            | Error::NoChance(_) => false,
        }
    }
}

fn reason_passes(reason: Reason) -> bool {
    match reason {
        Reason::QueueFull
        | Reason::ServiceFull
        | Reason::DedupeFull
        | Reason::DiskFull
        | Reason::Busy
        | Reason::BackupStalled
        | Reason::WorkTreeRebuilding
        | Reason::ShuttingDown
        | Reason::OutcomeUnknown
        | Reason::Internal => true,
        Reason::InvalidField
        | Reason::InvalidQueueName
        | Reason::InvalidJobId
        | Reason::InvalidPageToken
        | Reason::UnexpectedMessage
        | Reason::PayloadTooLarge
        | Reason::JobNotFound
        | Reason::QueueNotFound
        | Reason::CursorNotFound
        | Reason::WrongState
        | Reason::NotRunning
        | Reason::StaleLease
        | Reason::KeyReused
        | Reason::OrdinalGap
        | Reason::ProducerReplaced
        | Reason::WorkerReplaced
        | Reason::ReaderReplaced
        | Reason::CursorBelowFloor
        | Reason::CursorFromFuture
        | Reason::CursorOfOtherStore
        | Reason::QueuesFull
        | Reason::CursorsFull
        | Reason::ReadOnly
        | Reason::Damaged => false,
    }
}

/// A status without a reason comes from the transport: a broken link passes, a message over a limit does not.
fn code_passes(code: Code) -> bool {
    match code {
        Code::Unavailable
        | Code::DeadlineExceeded
        | Code::Cancelled
        | Code::Aborted
        | Code::Internal
        | Code::Unknown => true,
        Code::Ok
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

fn is_connect(status: &Status) -> bool {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if error.is::<ConnectError>() {
            return true;
        }
        next = error.source();
    }
    false
}
