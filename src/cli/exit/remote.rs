//! Exit codes of what a server, or the way to it, refuses.

use crate::cli::exit::Exit;
use crate::client::Error;
use crate::grpc::status::Reason;
use tonic::Code;

/// The exit code that a client's error stands for.
pub(super) fn of_client(error: &Error) -> Exit {
    match error {
        Error::Address { .. } | Error::TooLarge { .. } => Exit::USAGE,
        // A message over a limit on the way: the same one again would be refused again.
        Error::Link { source, .. } if matches!(source.code(), Code::OutOfRange | Code::ResourceExhausted) => {
            Exit::USAGE
        }
        Error::Unreachable { .. } | Error::Link { .. } => Exit::UNAVAILABLE,
        Error::Refused { reason, .. } => of_reason(*reason),
        Error::Answer { .. } => Exit::BUG,
        Error::Forgotten { .. } => Exit::CONFLICT,
        Error::NoChance(_) => Exit::DISK,
    }
}

fn of_reason(reason: Reason) -> Exit {
    match reason {
        Reason::InvalidField
        | Reason::InvalidQueueName
        | Reason::InvalidJobId
        | Reason::InvalidPageToken
        | Reason::UnexpectedMessage
        | Reason::PayloadTooLarge => Exit::USAGE,
        Reason::JobNotFound | Reason::QueueNotFound | Reason::CursorNotFound | Reason::CursorBelowFloor => {
            Exit::NOT_FOUND
        }
        Reason::WrongState
        | Reason::NotRunning
        | Reason::StaleLease
        | Reason::KeyReused
        | Reason::OrdinalGap
        | Reason::ProducerReplaced
        | Reason::WorkerReplaced
        | Reason::ReaderReplaced
        | Reason::CursorFromFuture
        | Reason::CursorOfOtherStore
        | Reason::QueuesFull
        | Reason::CursorsFull
        | Reason::ReadOnly => Exit::CONFLICT,
        Reason::QueueFull
        | Reason::ServiceFull
        | Reason::DedupeFull
        | Reason::DiskFull
        | Reason::Busy
        | Reason::BackupStalled
        | Reason::WorkTreeRebuilding
        | Reason::ShuttingDown
        | Reason::OutcomeUnknown => Exit::UNAVAILABLE,
        Reason::Damaged => Exit::DAMAGED,
        Reason::Internal => Exit::BUG,
    }
}
