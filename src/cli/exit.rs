//! Exit codes: named here, explained in `docs/cli.md`, which a test holds against this table.

mod remote;

use crate::cli;
use crate::cli::bench;
use crate::cli::diff::TooManyPlaces;
use crate::cli::known;
use crate::cli::lines;
use crate::cli::run;
use crate::client;
use crate::config;
use crate::engine;
use crate::engine::recover;
use crate::grpc::listener;
use crate::job::id::InvalidId;
use crate::log;
use crate::log::directory::migrate;
use crate::pool;
use crate::server;
use std::io;

/// How a command ended, for scripts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit(u8);

impl Exit {
    /// It did what it was asked.
    pub const OK: Exit = Exit(0);
    /// A job that was waited for did not succeed, or the service did not reach what was asked of it.
    pub const JOB_FAILED: Exit = Exit(1);
    /// Arguments or configuration are wrong; nothing was opened.
    pub const USAGE: Exit = Exit(2);
    /// What was named does not exist.
    pub const NOT_FOUND: Exit = Exit(3);
    /// Something that is there already forbids it.
    pub const CONFLICT: Exit = Exit(4);
    /// The server cannot be reached, or did not answer in time.
    pub const UNAVAILABLE: Exit = Exit(5);
    /// The data directory cannot be used by this program: a newer format, another owner, not a data directory.
    pub const UNUSABLE: Exit = Exit(6);
    /// Stored bytes are damaged.
    pub const DAMAGED: Exit = Exit(7);
    /// Another process owns the data directory.
    pub const IN_USE: Exit = Exit(8);
    /// Reading, writing or syncing failed, or the disk is full.
    pub const DISK: Exit = Exit(9);
    /// What was compared is not the same.
    pub const DIFFERENT: Exit = Exit(10);
    /// A bug in Gangline.
    pub const BUG: Exit = Exit(70);
    /// Stopped at once by a signal.
    pub const INTERRUPTED: Exit = Exit(130);

    /// Every code with what it says, for the documentation's test.
    pub const ALL: [(Exit, &'static str); 13] = [
        (Exit::OK, "ok"),
        (Exit::JOB_FAILED, "job failed"),
        (Exit::USAGE, "usage"),
        (Exit::NOT_FOUND, "not found"),
        (Exit::CONFLICT, "conflict"),
        (Exit::UNAVAILABLE, "unavailable"),
        (Exit::UNUSABLE, "unusable data directory"),
        (Exit::DAMAGED, "damaged"),
        (Exit::IN_USE, "data directory in use"),
        (Exit::DISK, "disk"),
        (Exit::DIFFERENT, "different"),
        (Exit::BUG, "bug"),
        (Exit::INTERRUPTED, "interrupted"),
    ];

    /// The number that the operating system is given.
    #[must_use]
    pub const fn code(self) -> u8 {
        self.0
    }
}

impl From<Exit> for std::process::ExitCode {
    fn from(exit: Exit) -> std::process::ExitCode {
        std::process::ExitCode::from(exit.0)
    }
}

/// The exit code that an error stands for: the first cause that is known decides.
#[must_use]
pub fn of(error: &anyhow::Error) -> Exit {
    error.chain().find_map(of_cause).unwrap_or(Exit::BUG)
}

/// The same of an error and its causes.
#[must_use]
pub fn of_error(error: &(dyn std::error::Error + 'static)) -> Exit {
    anyhow::Chain::new(error).find_map(of_cause).unwrap_or(Exit::BUG)
}

fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Exit> {
    if let Some(error) = cause.downcast_ref::<server::Error>() {
        return Some(of_server(error));
    }
    if let Some(error) = cause.downcast_ref::<log::Error>() {
        return Some(of_log(error));
    }
    if let Some(error) = cause.downcast_ref::<migrate::Error>() {
        return Some(of_migration(error));
    }
    if let Some(error) = cause.downcast_ref::<client::Error>() {
        return Some(remote::of_client(error));
    }
    if let Some(error) = cause.downcast_ref::<lines::Error>() {
        return Some(of_lines(error));
    }
    if cause.is::<config::Error>()
        || cause.is::<InvalidId>()
        || cause.is::<cli::pool::Error>()
        || cause.is::<cli::python::Error>()
        || cause.is::<TooManyPlaces>()
    {
        return Some(Exit::USAGE);
    }
    if let Some(error) = cause.downcast_ref::<known::Unknown>() {
        return Some(of_unknown(error));
    }
    if cause.is::<run::Conflict>() {
        return Some(Exit::CONFLICT);
    }
    if let Some(error) = cause.downcast_ref::<bench::Error>() {
        return Some(of_bench(error));
    }
    if let Some(error) = cause.downcast_ref::<pool::Error>() {
        return Some(of_pool(error));
    }
    cause.downcast_ref::<io::Error>().map(of_io)
}

fn of_unknown(error: &known::Unknown) -> Exit {
    match error {
        known::Unknown::Nameless(_) => Exit::DAMAGED,
        known::Unknown::Ahead { .. } | known::Unknown::Trimmed { .. } => Exit::NOT_FOUND,
    }
}

fn of_bench(error: &bench::Error) -> Exit {
    match error {
        bench::Error::OwnServer(_) => Exit::USAGE,
        bench::Error::Stuck { .. } => Exit::UNAVAILABLE,
        bench::Error::InUse { .. } | bench::Error::KnownProducer(_) => Exit::CONFLICT,
    }
}

fn of_lines(error: &lines::Error) -> Exit {
    match error {
        lines::Error::TooLong { .. } => Exit::USAGE,
        lines::Error::Read { source, .. } => of_io(source),
    }
}

fn of_pool(error: &pool::Error) -> Exit {
    match error {
        pool::Error::NoCommand
        | pool::Error::NoSuchCommand { .. }
        | pool::Error::NoDirectory(_)
        | pool::Error::Directory(_)
        | pool::Error::LongCommand { .. } => Exit::USAGE,
        pool::Error::Spawner(_)
        | pool::Error::NoSpawner(_)
        | pool::Error::SpawnerDied
        | pool::Error::Refused(_)
        | pool::Error::Pipe(_)
        | pool::Error::Stopped => Exit::DISK,
    }
}

fn of_io(error: &io::Error) -> Exit {
    if error.kind() == io::ErrorKind::NotFound { Exit::NOT_FOUND } else { Exit::DISK }
}

/// The exit code of a server that does not start.
fn of_server(error: &server::Error) -> Exit {
    match error {
        server::Error::Log(error) | server::Error::Engine(engine::Error::Log(error)) => of_log(error),
        server::Error::Engine(engine::Error::Recover(error)) => of_recovery(error),
        server::Error::Engine(engine::Error::System(_)) | server::Error::Boot(_) => Exit::DISK,
        server::Error::Listen(listener::Error::Remote(_)) => Exit::USAGE,
        server::Error::Listen(listener::Error::Bind { .. }) => Exit::CONFLICT,
        server::Error::Pool { .. } => Exit::USAGE,
        server::Error::Interrupted => Exit::BUG,
    }
}

fn of_recovery(error: &recover::Error) -> Exit {
    match error {
        recover::Error::Log(error) => of_log(error),
        recover::Error::Frame { .. }
        | recover::Error::Inconsistent { .. }
        | recover::Error::Broken { .. }
        | recover::Error::Gap { .. } => Exit::DAMAGED,
    }
}

fn of_migration(error: &migrate::Error) -> Exit {
    match error {
        migrate::Error::Log(error) => of_log(error),
        migrate::Error::NoWay { .. } => Exit::UNUSABLE,
        migrate::Error::NoRoom { .. } => Exit::DISK,
        migrate::Error::Unreadable { .. } => Exit::DAMAGED,
    }
}

fn of_log(error: &log::Error) -> Exit {
    match error {
        log::Error::InUse { .. } => Exit::IN_USE,
        log::Error::NewerFormat { .. }
        | log::Error::OlderFormat { .. }
        | log::Error::Migrating { .. }
        | log::Error::Unusable { .. }
        | log::Error::NoBackup { .. } => Exit::UNUSABLE,
        log::Error::Damaged { .. } => Exit::DAMAGED,
        log::Error::Poisoned | log::Error::Full { .. } | log::Error::Io { .. } => Exit::DISK,
        log::Error::BelowFloor { .. } | log::Error::Forgotten { .. } => Exit::NOT_FOUND,
        log::Error::Conflict { .. } | log::Error::TooLarge { .. } => Exit::BUG,
    }
}
