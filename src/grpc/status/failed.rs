//! What the use cases answer when they could not be carried out, in the words of the API.

use crate::engine::command;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::log;
use crate::log::causes::in_one_line;
use crate::service;
use std::time::Duration;
use tonic::Status;

/// When a full disk is worth another try: somebody has to free space first.
const FULL_DISK_DELAY: Duration = Duration::from_secs(10);
/// When a server that stops or failed is worth another try: it has to start again.
const RESTART_DELAY: Duration = Duration::from_secs(1);
/// When the work tree is worth another try: a rebuild takes about a second for five million jobs.
const REBUILD_DELAY: Duration = Duration::from_secs(1);
/// When another backup is worth another try: one that runs copies some hundred megabytes a second.
const BACKUP_DELAY: Duration = Duration::from_secs(10);

impl From<command::Error> for Refusal {
    fn from(error: command::Error) -> Refusal {
        match error {
            command::Error::Refused(refused) => Refusal::from(refused),
            command::Error::DiskFull => Refusal::new(Reason::DiskFull, &error).retry_after(FULL_DISK_DELAY),
            command::Error::TooLarge { bytes, bytes_max } => {
                Refusal::new(Reason::InvalidField, &error).fact("bytes", bytes).fact("bytes_max", bytes_max)
            }
            command::Error::OutcomeUnknown => {
                Refusal::new(Reason::OutcomeUnknown, &error).retry_after(RESTART_DELAY)
            }
            command::Error::ShuttingDown => stopping(&error),
            command::Error::ReadOnly => Refusal::new(Reason::ReadOnly, &error),
        }
    }
}

impl From<service::Error> for Refusal {
    fn from(error: service::Error) -> Refusal {
        match &error {
            service::Error::Command(command) => Refusal::from(command.clone()),
            service::Error::NoJob(_) => Refusal::new(Reason::JobNotFound, &error),
            service::Error::NoQueue(_) => Refusal::new(Reason::QueueNotFound, &error),
            service::Error::BelowFloor { floor, .. } => {
                Refusal::new(Reason::CursorBelowFloor, &error).fact("floor_sequence", floor)
            }
            service::Error::AheadOfLog { head, .. } => {
                Refusal::new(Reason::CursorFromFuture, &error).fact("head_sequence", head)
            }
            service::Error::OtherStore { here, .. } => {
                Refusal::new(Reason::CursorOfOtherStore, &error).fact("store_id", here)
            }
            service::Error::Rebuilding(_) | service::Error::WorkTree(_) => {
                Refusal::new(Reason::WorkTreeRebuilding, &error).retry_after(REBUILD_DELAY)
            }
            service::Error::Log(source) => unreadable(&error, source),
            service::Error::Damaged(damage) => Refusal::new(Reason::Damaged, &error)
                .fact("position", damage.position)
                .fact("sequence", damage.sequence),
            service::Error::ProducerReplaced => Refusal::new(Reason::ProducerReplaced, &error),
            service::Error::WorkerReplaced => Refusal::new(Reason::WorkerReplaced, &error),
            service::Error::ReaderReplaced => Refusal::new(Reason::ReaderReplaced, &error),
            service::Error::BackupsFull { .. } => {
                Refusal::new(Reason::Busy, &error).retry_after(BACKUP_DELAY)
            }
            service::Error::BackupStalled => Refusal::new(Reason::BackupStalled, &error),
            service::Error::ShuttingDown => stopping(&error),
        }
    }
}

/// The status of a failed call. What is wrong with the server itself also goes to its own log, where the cause is told.
impl From<service::Error> for Status {
    fn from(error: service::Error) -> Status {
        if let service::Error::Log(_) | service::Error::WorkTree(_) = error {
            tracing::error!(error = in_one_line(&error), "a read failed");
        }
        Status::from(Refusal::from(error))
    }
}

fn stopping(error: &impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::ShuttingDown, error).retry_after(RESTART_DELAY)
}

/// A client is told that stored bytes are damaged, and nothing of files and places.
fn unreadable(error: &service::Error, source: &log::Error) -> Refusal {
    let reason = match source {
        log::Error::Damaged { .. } => Reason::Damaged,
        log::Error::Poisoned => Reason::OutcomeUnknown,
        log::Error::BelowFloor { .. }
        | log::Error::Forgotten { .. }
        | log::Error::Conflict { .. }
        | log::Error::TooLarge { .. }
        | log::Error::Full { .. }
        | log::Error::InUse { .. }
        | log::Error::NewerFormat { .. }
        | log::Error::OlderFormat { .. }
        | log::Error::Migrating { .. }
        | log::Error::Unusable { .. }
        | log::Error::NoBackup { .. }
        | log::Error::Io { .. } => Reason::Internal,
    };
    Refusal::new(reason, error)
}
