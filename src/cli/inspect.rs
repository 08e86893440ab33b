//! `gangline inspect`: look into a data directory, or a copy of it, without a server and without its lock.
//!
//! Data goes to stdout; damage that was passed over goes to stderr, and makes the exit code [`Exit::DAMAGED`].

mod event;
mod frames;
mod job;
mod log;
mod stats;

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::show::text;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Faults;
use crate::offline::Tail;
use clap::Subcommand;
use std::path::PathBuf;

/// What `inspect` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Print the update log, or a part of it
    Log(log::Arguments),
    /// Tell one job's whole life, or print its payload or result
    Job(job::Arguments),
    /// Count jobs, segments, and how fast the log grew
    Stats(stats::Arguments),
    /// List the frames of the log: what was synced together
    Frames(frames::Arguments),
}

/// Runs `inspect`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.what {
        What::Log(arguments) => log::run(arguments),
        What::Job(arguments) => job::run(arguments),
        What::Stats(arguments) => stats::run(arguments),
        What::Frames(arguments) => frames::run(arguments),
    }
}

/// What was wrong while data was printed.
#[derive(Debug)]
pub(in crate::cli) struct Damage {
    directory: PathBuf,
    faults: u64,
}

impl Damage {
    /// Nothing so far.
    pub(in crate::cli) fn of(directory: &DataDirectory) -> Damage {
        Damage { directory: directory.path().to_owned(), faults: 0 }
    }

    /// Tells of a fault.
    pub(in crate::cli) fn tell(&mut self, fault: &Fault) {
        self.faults += 1;
        if self.faults <= Faults::KEPT_MAX as u64 {
            output::note(fault);
        }
    }

    /// Tells of faults.
    pub(in crate::cli) fn tell_all(&mut self, faults: &Faults) {
        faults.kept().iter().for_each(|fault| self.tell(fault));
        self.faults = self.faults.max(faults.count());
    }

    /// How the command ends, with a last word about what was wrong.
    pub(in crate::cli) fn end(&self, tail: &Tail) -> Exit {
        if tail.torn_bytes > 0 {
            let file = tail.file.as_deref().unwrap_or_else(|| std::path::Path::new("log"));
            output::note(format_args!(
                "{} ends at byte {} in {} bytes that nothing vouches for: in flight, or torn by a crash; either way never \
                 acknowledged",
                file.display(),
                tail.offset,
                tail.torn_bytes
            ));
        }
        if self.faults == 0 {
            return Exit::OK;
        }
        let faults = if self.faults == 1 { "1 fault".to_owned() } else { format!("{} faults", self.faults) };
        let directory = text::shell(&self.directory);
        output::note(format_args!("{faults}; `gangline verify {directory}` looks at everything"));
        Exit::DAMAGED
    }
}
