//! `gangline replay`: the state of a data directory as it was at some place of its log.

mod print;

use crate::cli::exit::Exit;
use crate::cli::show::names;
use crate::cli::words;
use crate::job::id::QueueName;
use crate::offline::DataDirectory;
use crate::offline::Until;
use std::path::PathBuf;

/// What `replay` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// As of this update, or this time of the log; without it, as of the end
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = words::until)]
    until: Option<Until>,
    /// Only jobs of this queue; may be repeated
    #[arg(long, short, value_name = "NAME")]
    queue: Vec<QueueName>,
    /// Only jobs in one of these states
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    state: Vec<names::State>,
    /// How many jobs are shown at most
    #[arg(long, short = 'n', value_name = "JOBS", default_value_t = 100, conflicts_with_all = ["all", "json"])]
    limit: u64,
    /// Every job, however many
    #[arg(long)]
    all: bool,
    /// One JSON object a line: each live job, then the state
    #[arg(long)]
    json: bool,
}

/// Runs `replay`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    print::state(&directory, &arguments)
}
