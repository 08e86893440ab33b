//! The command line: one file a command. Data goes to stdout, talk to stderr; `exit` holds the exit codes, `output` is
//! the only printer, and the only layer above this one is `main`.

pub mod exit;

mod advice;
mod backup;
mod bench;
mod bounds;
mod cancel;
mod changes;
mod config;
mod cursors;
mod damaged;
mod delete;
mod diff;
mod export;
mod get;
mod info;
mod inspect;
mod known;
mod lines;
mod ls;
mod memory;
mod migrate;
mod output;
mod pool;
mod python;
mod queues;
mod remote;
mod replay;
mod restore;
mod retry;
mod run;
mod salvage;
mod serve;
mod setting;
mod show;
mod signals;
mod submit;
mod tail;
mod telling;
mod verify;
mod words;
mod work;
mod workers;

use crate::cli::exit::Exit;
use clap::Parser;
use clap::Subcommand;
use std::process::ExitCode;

/// A persistent job queue: one binary, a gRPC API, a durable update log that any client can tail and resume.
#[derive(Debug, Parser)]
#[command(name = "gangline", version, arg_required_else_help = true, after_help = EXAMPLES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  seq 1000000000000 1000000000200 | gangline run -- factor
  gangline serve --data /var/lib/gangline
  gangline serve --listen 127.0.0.1:0      # prints the address it picked
  gangline work --queue thumbnails --each -- convert - -resize 200x jpg:-
  gangline config show --origin";

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run a command for each line of the input, on all cores
    Run(run::Arguments),
    /// Run the service on a data directory
    Serve(serve::Arguments),
    /// Work on jobs of a server, from any machine
    Work(work::Arguments),
    /// Submit a job, or one for each line of the input
    Submit(submit::Arguments),
    /// Follow the update log, from any place in it
    Tail(tail::Arguments),
    /// Show one job and its attempts, or print its result
    Get(get::Arguments),
    /// List jobs
    Ls(ls::Arguments),
    /// Cancel jobs, waiting or running
    Cancel(cancel::Arguments),
    /// Give dead jobs a new generation with fresh budgets
    Retry(retry::Arguments),
    /// Forget finished and dead jobs
    Delete(delete::Arguments),
    /// Look at queues, pause them, change their settings, clear them out
    Queues(queues::Arguments),
    /// Look at the cursors that the server keeps, and move them
    Cursors(cursors::Arguments),
    /// List the workers and pools: their slots, their jobs, their last sign of life
    Workers(workers::Arguments),
    /// Show what server this is and how it stands
    Info(info::Arguments),
    /// Look into a data directory without a server: log, jobs, counts, frames
    Inspect(inspect::Arguments),
    /// Check a data directory without a server, and name everything that is damaged
    Verify(verify::Arguments),
    /// Print every job of a data directory, without a server, as one JSON object a line
    Export(export::Arguments),
    /// Print the state of a data directory as it was at some place of its log
    Replay(replay::Arguments),
    /// Compare two data directories, or one at two places of its log
    Diff(diff::Arguments),
    /// Copy everything readable of a damaged data directory into a new one
    Salvage(salvage::Arguments),
    /// Bring a data directory of an older release to the format of this one
    Migrate(migrate::Arguments),
    /// Back up a running server, or a data directory, and go on with an earlier backup
    Backup(backup::Arguments),
    /// Make a data directory of a backup, and verify it
    Restore(restore::Arguments),
    /// Look at the configuration that a server would start with
    Config(config::Arguments),
    /// Measure how fast the service is on this machine and disk
    Bench(bench::Arguments),
}

impl Command {
    fn run(self) -> anyhow::Result<Exit> {
        match self {
            Command::Run(arguments) => run::run(arguments),
            Command::Serve(arguments) => serve::run(arguments),
            Command::Work(arguments) => work::run(arguments),
            Command::Submit(arguments) => submit::run(arguments),
            Command::Tail(arguments) => tail::run(arguments),
            Command::Get(arguments) => get::run(arguments),
            Command::Ls(arguments) => ls::run(arguments),
            Command::Cancel(arguments) => cancel::run(arguments),
            Command::Retry(arguments) => retry::run(arguments),
            Command::Delete(arguments) => delete::run(arguments),
            Command::Queues(arguments) => queues::run(arguments),
            Command::Cursors(arguments) => cursors::run(arguments),
            Command::Workers(arguments) => workers::run(arguments),
            Command::Info(arguments) => info::run(arguments),
            Command::Inspect(arguments) => inspect::run(arguments),
            Command::Verify(arguments) => verify::run(arguments),
            Command::Export(arguments) => export::run(arguments),
            Command::Replay(arguments) => replay::run(arguments),
            Command::Diff(arguments) => diff::run(arguments),
            Command::Salvage(arguments) => salvage::run(arguments),
            Command::Migrate(arguments) => migrate::run(arguments),
            Command::Backup(arguments) => backup::run(arguments),
            Command::Restore(arguments) => restore::run(arguments),
            Command::Config(arguments) => config::run(arguments),
            Command::Bench(arguments) => bench::run(arguments),
        }
    }
}

/// Parses the arguments, runs the command, says what went wrong, and gives the exit code. A panic is a bug and says so.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return ExitCode::from(output::usage(&error)),
    };
    let exit = match std::panic::catch_unwind(|| cli.command.run()) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            output::failure(&error, advice::advice(&error).as_deref());
            exit::of(&error)
        }
        // The panic's own message is on stderr already.
        Err(_) => Exit::BUG,
    };
    ExitCode::from(exit)
}
