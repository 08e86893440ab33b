//! `gangline replay`: the state of a data directory as it was at some place of its log; and its jobs, submitted again at a
//! server.

mod again;
mod print;

use crate::cli::exit::Exit;
use crate::cli::remote;
use crate::cli::show::names;
use crate::cli::words;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::offline::DataDirectory;
use crate::offline::Until;
use crate::offline::slice::Wanted;
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
    /// Only this job; may be repeated
    #[arg(long, short, value_name = "ID")]
    job: Vec<JobId>,
    /// Only jobs that were submitted by this update, or at this time, or later
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = words::until)]
    submitted_from: Option<Until>,
    /// Only jobs that were submitted by this update, or at this time, or earlier
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = words::until)]
    submitted_to: Option<Until>,
    /// Submit the jobs again at the server at this address; without --yes it only says what it would submit
    #[arg(long, value_name = "ADDRESS", value_parser = remote::address, conflicts_with_all = ["limit", "all"])]
    to: Option<String>,
    /// Really submit
    #[arg(long, requires = "to")]
    yes: bool,
    /// How many jobs are shown at most
    #[arg(long, short = 'n', value_name = "JOBS", default_value_t = 100, conflicts_with_all = ["all", "json"])]
    limit: u64,
    /// Every job, however many
    #[arg(long)]
    all: bool,
    /// One JSON object a line: each job, then the state, or what became of them
    #[arg(long)]
    json: bool,
}

/// Runs `replay`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    match &arguments.to {
        Some(server) => again::submit(directory, &arguments, server),
        None => print::state(&directory, &arguments),
    }
}

impl Arguments {
    fn wanted(&self) -> Wanted {
        Wanted {
            queues: self.queue.clone(),
            states: self.state.iter().map(|&state| state.into()).collect(),
            jobs: self.job.clone(),
            from: self.submitted_from,
            to: self.submitted_to,
        }
    }

    fn until(&self) -> Until {
        self.until.unwrap_or(Until::End)
    }
}
