//! The command line: one file a command. Data goes to stdout, talk to stderr; `exit` holds the exit codes, `output` is
//! the only printer, and the only layer above this one is `main`.

pub mod exit;

mod advice;
mod bench;
mod config;
mod output;
mod serve;
mod setting;
mod telling;

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
  gangline serve --data /var/lib/gangline
  gangline serve --listen 127.0.0.1:0      # prints the address it picked
  gangline config show --origin";

/// What to do.
#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service on a data directory
    Serve(serve::Arguments),
    /// Look at the configuration that a server would start with
    Config(config::Arguments),
    /// Measure how fast the service is on this machine and disk
    Bench(bench::Arguments),
}

impl Command {
    fn run(self) -> anyhow::Result<Exit> {
        match self {
            Command::Serve(arguments) => serve::run(arguments),
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
