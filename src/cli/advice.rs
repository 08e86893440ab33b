//! What to do about an error, where its own text does not say it.

use crate::cli::damaged::Damaged;
use crate::client;
use crate::engine;
use crate::engine::recover;
use crate::grpc::listener;
use crate::log;
use crate::log::directory::migrate;
use crate::server;
use std::io::ErrorKind;
use tonic::Code;

/// What to do about `error`, if its text leaves that open.
pub(crate) fn advice(error: &anyhow::Error) -> Option<String> {
    error.chain().find_map(|cause| {
        if let Some(damaged) = cause.downcast_ref::<Damaged>() {
            return Some(damaged.advice());
        }
        if let Some(error) = cause.downcast_ref::<server::Error>() {
            return of_server(error);
        }
        if let Some(error) = cause.downcast_ref::<client::Error>() {
            return of_client(error);
        }
        if let Some(error) = cause.downcast_ref::<migrate::Error>() {
            return of_migration(error);
        }
        cause.downcast_ref::<log::Error>().and_then(of_log)
    })
}

fn of_client(error: &client::Error) -> Option<String> {
    match error {
        client::Error::Unreachable { .. } => Some(
            "start one with `gangline serve`, or name where it is with --server or GANGLINE_SERVER"
                .to_owned(),
        ),
        client::Error::Refused { .. } if error.passes() => Some("try again later".to_owned()),
        client::Error::Link { source, .. } if source.code() == Code::Unimplemented => {
            Some("see whether server and client are of the same release".to_owned())
        }
        client::Error::Link { source, .. }
            if matches!(source.code(), Code::OutOfRange | Code::ResourceExhausted) =>
        {
            Some(
                "a message was over a limit on the way; the server's is transport.request_bytes_max"
                    .to_owned(),
            )
        }
        client::Error::Link { .. } => {
            Some("see whether the server still runs; what the command asked for may have happened".to_owned())
        }
        client::Error::Answer { .. } => {
            Some("see whether server and client are of the same release".to_owned())
        }
        client::Error::Address { .. }
        | client::Error::Refused { .. }
        | client::Error::Forgotten { .. }
        | client::Error::TooLarge { .. }
        | client::Error::NoChance(_) => None,
    }
}

fn of_server(error: &server::Error) -> Option<String> {
    match error {
        server::Error::Log(log::Error::InUse { .. }) => {
            Some("stop that process, or name another data directory with --data".to_owned())
        }
        server::Error::Log(error) | server::Error::Engine(engine::Error::Log(error)) => of_log(error),
        server::Error::Engine(engine::Error::Recover(error)) => of_recovery(error),
        server::Error::Listen(listener::Error::Bind { source, .. }) => {
            Some(of_address(source.kind()).to_owned())
        }
        server::Error::Listen(listener::Error::Remote(_)) => None,
        server::Error::Boot(_) => Some("Gangline needs /proc to be mounted".to_owned()),
        server::Error::Engine(engine::Error::System(_)) => {
            Some("see the cause; a limit on threads or memory may be too tight".to_owned())
        }
        server::Error::Pool { .. } => Some("correct the pool in the configuration file".to_owned()),
        server::Error::Interrupted => {
            Some("this is a bug in Gangline: the lines above say where; please report them".to_owned())
        }
    }
}

fn of_recovery(error: &recover::Error) -> Option<String> {
    match error {
        recover::Error::Log(error) => of_log(error),
        // Whoever knows the directory says what to do.
        recover::Error::Frame { .. }
        | recover::Error::Inconsistent { .. }
        | recover::Error::Broken { .. }
        | recover::Error::Gap { .. } => None,
    }
}

fn of_migration(error: &migrate::Error) -> Option<String> {
    match error {
        migrate::Error::Log(error) => of_log(error),
        migrate::Error::NoRoom { .. } => Some("free space on the disk, or migrate a copy on a larger one".to_owned()),
        migrate::Error::NoWay { .. } => None,
        migrate::Error::Unreadable { .. } => Some(
            "with the release that wrote the directory: start and stop a server on it, or `gangline salvage` it"
                .to_owned(),
        ),
    }
}

fn of_log(error: &log::Error) -> Option<String> {
    match error {
        // A directory that a command was given by its place, a backup among them.
        log::Error::InUse { .. } => Some("wait until that process has ended, or stop it".to_owned()),
        log::Error::Full { .. } => Some("free space on the disk, or make segment_bytes smaller".to_owned()),
        log::Error::Poisoned => Some("look at the disk and at the kernel's log, then start again".to_owned()),
        log::Error::Io { source, .. } => Some(of_disk(source.kind()).to_owned()),
        // These say themselves what to do.
        log::Error::NewerFormat { .. }
        | log::Error::OlderFormat { .. }
        | log::Error::Migrating { .. }
        | log::Error::Unusable { .. }
        | log::Error::NoBackup { .. }
        | log::Error::Damaged { .. } => None,
        log::Error::Conflict { .. }
        | log::Error::TooLarge { .. }
        | log::Error::BelowFloor { .. }
        | log::Error::Forgotten { .. } => None,
    }
}

fn of_address(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::AddrInUse {
        "another program listens there: stop it, or choose another address with --listen (port 0 picks a free one)"
    } else if kind == ErrorKind::AddrNotAvailable {
        "this machine has no such address: choose one it has with --listen"
    } else if kind == ErrorKind::PermissionDenied {
        "ports below 1024 need a right to them: choose a higher one with --listen"
    } else {
        "choose another address with --listen"
    }
}

fn of_disk(kind: ErrorKind) -> &'static str {
    if kind == ErrorKind::PermissionDenied {
        "run as a user who may read and write there, or name another place"
    } else if matches!(kind, ErrorKind::StorageFull | ErrorKind::QuotaExceeded) {
        "free space on the disk"
    } else if kind == ErrorKind::ReadOnlyFilesystem {
        "name a place that can be written to"
    } else {
        "look at the disk and at the kernel's log, then start again"
    }
}
