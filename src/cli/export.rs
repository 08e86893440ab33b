//! `gangline export`: every job of a data directory as one JSON object a line, as `gangline get --json` prints it.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::output::Objects;
use crate::cli::output::Reader;
use crate::cli::show::job::JobJson;
use crate::cli::show::names;
use crate::cli::show::update::Show;
use crate::grpc::convert::job::to_job;
use crate::grpc::convert::update::Parts;
use crate::job::id::QueueName;
use crate::offline::DataDirectory;
use crate::offline::export;
use crate::offline::export::Exported;
use crate::offline::export::Filter;
use crate::offline::export::Go;
use crate::service::shown::Failed;
use crate::service::shown::Shown;
use clap::ValueEnum;
use std::path::PathBuf;

/// What is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a line.
    Jsonl,
}

/// What `export` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// What to print
    #[arg(long, value_enum, default_value = "jsonl")]
    format: Format,
    /// Only jobs of this queue; may be repeated
    #[arg(long, short, value_name = "NAME")]
    queue: Vec<QueueName>,
    /// Only jobs in one of these states
    #[arg(long, short, value_name = "STATE", value_delimiter = ',')]
    state: Vec<names::State>,
    /// Without payloads and results
    #[arg(long)]
    without_payload: bool,
}

/// Runs `export`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Format::Jsonl = arguments.format;
    let directory = DataDirectory::open(&arguments.directory)?;
    let states = arguments.state.into_iter().map(names::State::into).collect();
    let filter = Filter { queues: arguments.queue, states };
    let whole = Show::from(!arguments.without_payload);
    let mut printing = Printing { objects: Objects::default(), printed: Ok(Reader::There) };
    let ended = export::jobs(&directory, &filter, &mut |job| printing.job(job, whole))?;
    let Printing { mut objects, printed } = printing;
    if printed? == Reader::There {
        objects.print()?;
    }
    let mut damage = Damage::of(&directory);
    damage.tell_all(&ended.faults);
    Ok(damage.end(&ended.tail))
}

/// Printing, and whether it has come to its end.
struct Printing {
    objects: Objects,
    printed: anyhow::Result<Reader>,
}

impl Printing {
    fn job(&mut self, job: Exported, whole: Show) -> Go {
        let with = whole == Show::Yes;
        let job = to_job(shown(job), Parts { payload: with, result: with });
        self.printed = self.objects.add(&JobJson::of(&job, whole));
        if let Ok(Reader::There) = self.printed { Go::On } else { Go::Stop }
    }
}

/// The job as a server would show it.
fn shown(job: Exported) -> Shown {
    let payload_bytes = job.spec.as_ref().map_or(0, |spec| spec.payload.0.len() as u64);
    let failed = |(attempt, time, failure)| Failed { attempt, time, failure };
    Shown {
        id: job.id,
        queue: job.queue,
        state: job.state,
        spec: job.spec,
        payload_bytes,
        attempts: job.attempts,
        generation: job.generation,
        due: job.due,
        started: job.started,
        finished: job.finished,
        submitted: job.submitted,
        last: job.last,
        worker: job.worker,
        progress: None,
        failures: job.failures.into_iter().map(failed).collect(),
        result_bytes: job.result.0.len() as u64,
        result: job.result,
        result_content_type: job.result_content_type,
        usage: job.usage,
        cancel_reason: job.cancel_reason,
    }
}
