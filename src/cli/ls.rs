//! `gangline ls`: list jobs in the order of their submission.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::job;
use crate::cli::show::job::JobJson;
use crate::cli::show::names::State;
use crate::cli::show::table::Table;
use crate::cli::show::update::Show;
use crate::cli::words::Label;
use crate::clock::Clock;
use crate::job::id::QueueName;
use crate::proto::v1;

/// What `ls` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only jobs of this queue
    #[arg(long, short, value_name = "NAME")]
    queue: Option<QueueName>,
    /// Only jobs in one of these states
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    state: Vec<State>,
    /// Only jobs that have all of these labels
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<Label>,
    /// How many jobs at most
    #[arg(long, short = 'n', value_name = "JOBS", default_value_t = 100, conflicts_with = "all")]
    limit: u64,
    /// Every job, however many
    #[arg(long)]
    all: bool,
    /// Only the ids, for `xargs gangline retry` and the like
    #[arg(long, conflicts_with = "json")]
    ids: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `ls`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let filter = v1::ListJobsRequest {
        queue: arguments.queue.as_ref().map(QueueName::to_string).unwrap_or_default(),
        states: arguments.state.iter().map(|&state| v1::JobState::from(state).into()).collect(),
        labels: arguments.label.iter().map(Label::pair).collect(),
        ..v1::ListJobsRequest::default()
    };
    let mut left = if arguments.all { u64::MAX } else { arguments.limit };
    arguments.remote.run(Outage::Brief, async |client| {
        let now = Clock::system().now().wall;
        let mut listing = client.list(filter);
        let mut header = Header::Due;
        while left > 0
            && let Some(page) = listing.next_page(left).await?
        {
            left = left.saturating_sub(page.jobs.len() as u64);
            let reader = if arguments.json {
                output::json(page.jobs.iter().map(|job| JobJson::of(job, Show::No)))?
            } else if arguments.ids {
                output::lines(page.jobs.into_iter().map(|job| job.id))?
            } else {
                let mut table = Table::new(job::HEADER);
                for job in &page.jobs {
                    table.row(job::row(job, now));
                }
                output::lines(table.lines().skip(header.lines()))?
            };
            header = Header::Printed;
            if reader == Reader::Gone {
                return Ok(Exit::OK);
            }
        }
        if left == 0 && listing.has_more() {
            output::note(format_args!("only the first {}; --all or --limit shows more", arguments.limit));
        }
        Ok(Exit::OK)
    })
}

/// Whether the table's header has been printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Header {
    Due,
    Printed,
}

impl Header {
    /// How many lines of the next table have been printed before.
    fn lines(self) -> usize {
        match self {
            Header::Due => 0,
            Header::Printed => 1,
        }
    }
}
