//! `gangline bench`: how fast the service is here, over real gRPC, synced unless the file system cannot. Prints what bounds
//! each figure beside it: the disk's sync and the stream's echo, measured in between the run's own work.

mod asked;
mod backlog;
mod disk;
mod drive;
mod error;
mod figures;
mod fill;
mod growth;
mod latency;
mod leftovers;
mod lifecycle;
mod limit;
mod offline;
mod pending;
mod process;
mod queues;
mod readers;
mod restart;
mod setup;
mod submit;
mod tail;
mod watchers;
mod worker;

pub(in crate::cli) use crate::cli::bench::error::Error;

use crate::cli::bench::figures::Figures;
use crate::cli::bench::growth::compare;
use crate::cli::bench::setup::Bench;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::words;
use crate::clock::Clock;
use clap::Args;
use clap::ValueEnum;
use clap::builder::RangedU64ValueParser;
use clap::value_parser;
use std::path::PathBuf;
use std::time::Duration;

/// What to measure, and how.
#[derive(Clone, Debug, Args)]
pub(in crate::cli) struct Arguments {
    /// Say of each figure that is asked of the service whether it was met, and exit with 1 if one was not
    #[arg(long)]
    check: bool,
    /// Print one JSON object a line instead of a table
    #[arg(long)]
    json: bool,
    /// Measure in a temporary directory below this one
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
    /// Measure this running server instead of starting one; it should have no other work
    #[arg(long, value_name = "ADDR")]
    server: Option<String>,
    /// Measure only these; may be given several times
    #[arg(long, value_enum)]
    only: Vec<What>,
    /// Jobs of the throughput benches
    #[arg(long, default_value_t = 400_000, value_parser = value_parser!(u64).range(1..))]
    jobs: u64,
    /// Jobs of the latency bench, one at a time
    #[arg(long, default_value_t = 2_000, value_parser = value_parser!(u64).range(1..))]
    latency_jobs: u64,
    /// Updates of the tail bench
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..))]
    updates: u64,
    /// Jobs that live in the pending and restart benches, and at the most in the backlog bench
    #[arg(long, default_value_t = 1_000_000, value_parser = value_parser!(u64).range(1..))]
    pending_jobs: u64,
    /// Size of the log of the restart bench; what is asked is asked of 2GiB
    #[arg(long, value_name = "SIZE", default_value = "256MiB", value_parser = words::bytes)]
    restart_log: u64,
    /// Bytes of each payload and each result
    #[arg(long, default_value_t = 100)]
    payload: usize,
    /// Connections of the submit bench with several
    #[arg(long, default_value_t = 4, value_parser = at_least_one())]
    connections: usize,
    /// Leases that each of the two worker streams of the lifecycle bench takes, besides a run with 16
    #[arg(long, default_value_t = 256, value_parser = value_parser!(u32).range(1..))]
    slots: u32,
    /// Jobs that may be unfinished (lifecycle) or unanswered (submit, per connection) at a time
    #[arg(long, default_value_t = 5_000)]
    window: u64,
    /// Jobs in one message of a submitter
    #[arg(long, default_value_t = 64, value_parser = at_least_one())]
    batch: usize,
    /// How long nothing may finish, or be acknowledged, before the bench ends with an error
    #[arg(long, value_name = "DURATION", default_value = "1m", value_parser = words::span)]
    patience: Duration,
}

fn at_least_one() -> RangedU64ValueParser<usize> {
    RangedU64ValueParser::new().range(1..)
}

/// One bench.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// What the disk and the wire allow: a plain file with one sync per 1,000 jobs, one sync alone, one echo
    Limit,
    /// Streamed submits, on one connection and on several
    Submit,
    /// Submit, work on two connections, see the result in the updates; with `--slots`, then with 16
    Lifecycle,
    /// The same at half the pace that it reaches
    Paced,
    /// One job at a time, from submit to its result
    Latency,
    /// A million updates from the start of the log
    Tail,
    /// The same, then a reader who wants the last one only; not with --server
    Filtered,
    /// One live reader, then fifty
    Readers,
    /// The whole life of jobs beside 1,000 and beside 100,000 others that wait, and beside `--pending-jobs`; not with --server
    Backlog,
    /// The whole life of jobs in one queue, then in ten thousand
    Queues,
    /// The whole life of jobs, without watchers and beside ten thousand who each watch another job; not with --server
    Watchers,
    /// The longest sync of a log whose next segments are filled with zeros meanwhile, and of a plain file
    Fill,
    /// Jobs that wait: the server's memory, and its restart after a kill -9; not with --server
    Pending,
    /// A log of `--restart-log` bytes and `--pending-jobs` that live: the restart after a kill -9 under load, with the work
    /// tree as it was left and without it, and what reading the directory offline takes; not with --server
    Restart,
}

impl What {
    const ALL: [What; 14] = [
        What::Limit,
        What::Submit,
        What::Lifecycle,
        What::Paced,
        What::Latency,
        What::Tail,
        What::Filtered,
        What::Readers,
        What::Backlog,
        What::Queues,
        What::Watchers,
        What::Fill,
        What::Pending,
        What::Restart,
    ];

    /// The memory of another's process cannot be read, and it is not ours to kill.
    fn needs_own_server(&self) -> bool {
        matches!(self, What::Pending | What::Backlog | What::Filtered | What::Watchers | What::Restart)
    }
}

/// Slots a worker stream of the second lifecycle bench.
const FEW_SLOTS: u32 = 16;
/// Live readers of the two runs of that bench.
const READERS: [usize; 2] = [1, 50];
/// Queues of the two runs of that bench.
const QUEUES: [usize; 2] = [1, 10_000];
/// Watchers of the second run of that bench.
const WATCHERS: usize = 10_000;
/// Jobs that wait in the first runs of the backlog bench.
const BACKLOGS: [u64; 2] = [1_000, 100_000];

/// Runs the benches that were asked for, all by default.
///
/// # Errors
/// If no server can be started or reached, or it fails under the bench.
pub(in crate::cli) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let wanted = wanted(&arguments)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let measured = measure_all(&wanted, &arguments).await;
        let Some(server) = &arguments.server else { return measured };
        match leftovers::clear(server, &Clock::system(), arguments.patience).await {
            // What went wrong first is what matters; the next bench cancels what is left.
            Err(left) if measured.is_ok() => Err(left.context("jobs of the bench are left on the server")),
            Ok(()) | Err(_) => measured,
        }
    })
}

/// The benches that were asked for: by name, or all that can be measured.
///
/// # Errors
/// [`Error::OwnServer`].
fn wanted(arguments: &Arguments) -> Result<Vec<What>, Error> {
    let mut wanted = What::ALL.to_vec();
    if !arguments.only.is_empty() {
        wanted.retain(|what| arguments.only.contains(what));
        let impossible = wanted.iter().find(|what| arguments.server.is_some() && what.needs_own_server());
        if let Some(value) = impossible.and_then(What::to_possible_value) {
            return Err(Error::OwnServer(value.get_name().to_owned()));
        }
    }
    wanted.retain(|what| arguments.server.is_none() || !what.needs_own_server());
    Ok(wanted)
}

async fn measure_all(wanted: &[What], arguments: &Arguments) -> anyhow::Result<Exit> {
    let mut exit = Exit::OK;
    for what in wanted {
        let series = measure(*what, arguments).await?;
        for figures in &series {
            if figures.print(arguments.json)? == Reader::Gone {
                return Ok(exit);
            }
            let verdicts = if arguments.check { asked::verdicts(figures) } else { Vec::new() };
            for verdict in verdicts {
                if !verdict.is_met() {
                    exit = Exit::JOB_FAILED;
                }
                verdict.print(arguments.json)?;
            }
        }
        if !arguments.json && output::lines(growth::table(&series).into_iter())? == Reader::Gone {
            return Ok(exit);
        }
    }
    Ok(exit)
}

/// Each bench has a server of its own, on an empty directory, unless one was named.
async fn measure(what: What, arguments: &Arguments) -> anyhow::Result<Vec<Figures>> {
    let mut figures = Vec::new();
    match what {
        What::Limit => figures.push(limit::measure(&Bench::start(arguments).await?).await?),
        What::Submit => {
            for connections in [1, arguments.connections] {
                figures.push(submit::measure(&Bench::start(arguments).await?, connections).await?);
            }
        }
        What::Lifecycle => {
            for slots in [arguments.slots, FEW_SLOTS] {
                figures.push(lifecycle::measure(&Bench::start(arguments).await?, slots).await?);
            }
        }
        What::Paced => figures.push(lifecycle::paced(&Bench::start(arguments).await?).await?),
        What::Latency => figures.push(latency::measure(&Bench::start(arguments).await?).await?),
        What::Tail => figures.push(tail::measure(&Bench::start(arguments).await?).await?),
        What::Readers => {
            for readers in READERS {
                figures.push(readers::measure(&Bench::start(arguments).await?, readers).await?);
            }
            compare(&mut figures, |figures| figures.server_cpu_us_per_reader_and_update);
        }
        What::Backlog => {
            for waiting in BACKLOGS.into_iter().chain([arguments.pending_jobs]) {
                figures.push(backlog::measure(&Bench::start(arguments).await?, waiting).await?);
            }
            compare(&mut figures, |figures| figures.server_cpu_us_per_job);
        }
        What::Filtered => {
            figures = tail::filtered(&Bench::start(arguments).await?).await?;
            compare(&mut figures, |figures| figures.server_cpu_us_per_job);
        }
        What::Queues => {
            for queues in QUEUES {
                figures.push(queues::measure(&Bench::start(arguments).await?, queues).await?);
            }
            compare(&mut figures, |figures| figures.server_cpu_us_per_job);
        }
        What::Watchers => {
            figures = watchers::measure(&Bench::start(arguments).await?, WATCHERS).await?;
            compare(&mut figures, |figures| figures.server_cpu_us_per_job);
        }
        What::Fill => figures.push(fill::measure(&Bench::start(arguments).await?)?),
        What::Pending => figures.push(pending::measure(Bench::start(arguments).await?).await?),
        What::Restart => figures = restart::measure(Bench::start(arguments).await?).await?,
    }
    Ok(figures)
}
