//! `gangline run`: a command for each line of the input, on all cores, with nothing set up before.
//!
//! It starts the service in this process, on a directory of its own. Line n of the input is job n of one producer in one
//! queue, so the log alone says which lines were submitted, which have finished and how: with `--data` a second run goes
//! on where the first was, however that ended, and prints the results of both.

mod bar;
mod compare;
mod drive;
mod embedded;
mod fold;
mod print;

use crate::cli::bounds::Bounds;
use crate::cli::exit::Exit;
use crate::cli::lines::Lines;
use crate::cli::output;
use crate::cli::python;
use crate::cli::run::drive::Drive;
use crate::cli::run::drive::End;
use crate::cli::run::embedded::Embedded;
use crate::cli::run::print::Form;
use crate::cli::telling;
use crate::cli::words;
use crate::grpc::convert::time;
use crate::job::id::QueueName;
use crate::pool;
use crate::pool::Command;
use crate::pool::Mode;
use crate::pool::Recycle;
use crate::pool::limits::Limits;
use crate::pool::limits::NewPrivileges;
use crate::proto::v1;
use anyhow::Context;
use bytes::Bytes;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// The queue and the producer of the lines.
pub(crate) const QUEUE: &str = "run";
const PRODUCER: &str = "run";
/// Signals so soon after the first are the same one: `timeout` and others send it to the process and to its group.
const ECHO: Duration = Duration::from_millis(250);
/// Threads that serve calls: as in `serve`.
const THREADS: usize = 2;

/// What `run` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Files with one job a line; without any, stdin
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The program that does the work, and its arguments: the line is its input, what it prints is the result
    #[arg(last = true, required_unless_present = "python", value_name = "COMMAND")]
    command: Vec<OsString>,
    /// Keep everything in this directory: run again with the same input to go on where it was
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// How many processes work at the same time [default: one a core]
    #[arg(long, short = 'j', value_name = "NUMBER")]
    processes: Option<NonZeroUsize>,
    /// How long a line may take
    #[arg(long, value_name = "DURATION", value_parser = words::span)]
    timeout: Option<Duration>,
    #[command(flatten)]
    bounds: Bounds,
    /// How often a line that failed is tried again
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    #[arg(value_parser = clap::value_parser!(u32).range(0..65_535))]
    retries: u32,
    /// Try the lines that are dead from earlier runs again
    #[arg(long, requires = "data")]
    retry_dead: bool,
    /// Print the results in the order of the lines
    #[arg(long, short)]
    keep_order: bool,
    /// The command is a serve worker: it stays, reads a JSON object a line and answers with one
    #[arg(long, conflicts_with = "each")]
    serve: bool,
    /// Run a task of a Python module, in processes that stay: $GANGLINE_PYTHON or python3, -m gangline.worker MODULE
    #[arg(long, value_name = "MODULE", conflicts_with_all = ["command", "serve", "each"])]
    python: Option<String>,
    /// Which of the module's tasks, by its queue, if it has several
    #[arg(long, value_name = "QUEUE", requires = "python", conflicts_with = "command")]
    task: Option<QueueName>,
    /// What a line is: with --python, text/plain gives the task a str, application/json what the JSON says
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// A process a line, which is the default
    #[arg(long)]
    each: bool,
    /// One JSON object a line: id, line, input, state, attempts, and result or error
    #[arg(long)]
    json: bool,
}

const EXAMPLES: &str = "\
Examples:
  seq 1000000000000 1000000000200 | gangline run -- factor
  gangline run --data work --retries 3 urls.txt -- xargs curl -fsS
  gangline run --python shop.tasks --task resize < orders.txt
  gangline run --keep-order --json -- sha256sum < names.txt";

/// The input or the directory is not what an earlier run left.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Conflict {
    /// A line is another one.
    #[error(
        "line {line} of the input is {now:?}, but was {before:?} in the earlier run with this directory; nothing was \
         executed"
    )]
    Changed {
        /// Which one, from 1.
        line: u64,
        /// Its beginning in the log.
        before: String,
        /// Its beginning now.
        now: String,
    },
    /// Lines are missing.
    #[error(
        "the input ends after line {last}, but the earlier run with this directory had read {before} lines; nothing was \
         executed"
    )]
    Shorter {
        /// The last line now.
        last: u64,
        /// How many there were.
        before: u64,
    },
    /// The directory is not one of `run`.
    #[error(
        "the directory holds jobs in queue {QUEUE:?} that no earlier run has submitted; nothing was executed"
    )]
    Foreign,
}

/// Runs `run`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let config = arguments.pool()?;
    let lines = Lines::open(&arguments.files)?;
    if std::io::stdin().is_terminal() && arguments.files.is_empty() {
        output::note("reading lines from the terminal; Ctrl-D ends the input");
    }
    telling::begin_warnings();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("cannot start the threads that serve calls")?;
    let exit = runtime.block_on(arguments.execute(config, lines));
    // The thread that reads the input may wait for more of it.
    runtime.shutdown_background();
    exit
}

impl Arguments {
    /// The pool, checked as far as that is possible before anything is opened.
    fn pool(&self) -> anyhow::Result<pool::Config> {
        // It is the caller's own shell that the command is started from: it gets the caller's environment and rights.
        let inherit = std::env::vars_os().map(|(name, _)| name).collect();
        let limits = Limits { new_privileges: NewPrivileges::Allowed, ..Limits::default() };
        let limits = self.bounds.on(limits);
        let command = match &self.python {
            Some(module) => {
                let task = python::one_task(module, self.task.as_ref())?;
                python::worker(&["--task", task.as_str()], module)
            }
            None => Command::new(&self.command),
        };
        let command = Command { inherit, limits, ..command };
        command.resolve()?;
        let mode = if self.serve || self.python.is_some() {
            Mode::Serve(command, Recycle::default())
        } else {
            Mode::Each(command)
        };
        let mut config = pool::Config::new(mode);
        config.processes = self.processes.unwrap_or(config.processes);
        config.stop_grace = embedded::STOP_GRACE;
        config.kill_grace = embedded::KILL_GRACE;
        Ok(config)
    }

    fn job(&self, line: Bytes) -> v1::JobSpec {
        let policy = v1::RetryPolicy { max_attempts: Some(self.retries + 1), ..v1::RetryPolicy::default() };
        v1::JobSpec {
            queue: QUEUE.to_owned(),
            payload: line,
            content_type: self.content_type(),
            retry_policy: Some(policy),
            timeout: self.timeout.map(|timeout| time::to_duration(time::whole_millis(timeout))),
            ..v1::JobSpec::default()
        }
    }

    /// A task gets text unless something else is said; other programs are told nothing.
    fn content_type(&self) -> String {
        let default = if self.python.is_some() { "text/plain" } else { "" };
        self.content_type.as_deref().unwrap_or(default).to_owned()
    }

    fn form(&self) -> Form {
        if self.json { Form::Json } else { Form::Plain }
    }

    async fn execute(&self, config: pool::Config, mut lines: Lines) -> anyhow::Result<Exit> {
        let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
        let mut terminate = signal(SignalKind::terminate()).context("cannot listen for signals")?;
        let mut stopped = async || {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        };
        let server = tokio::select! {
            server = Embedded::start(self.data.as_deref()) => server?,
            // Recovery may be killed anywhere, so nothing has to be undone.
            () = stopped() => return Ok(Exit::INTERRUPTED),
        };
        let end = tokio::select! {
            end = self.work(&server, config, &mut lines) => end,
            () = stopped() => Ok(End::Interrupted),
            () = server.failed() => Ok(End::LogFailed),
        };
        if let Ok(End::Interrupted) = end {
            output::note("stopping; a second Ctrl-C stops at once");
        }
        let second = async {
            tokio::time::sleep(ECHO).await;
            tokio::select! {
                biased;
                () = stopped() => {}
                () = std::future::ready(()) => {}
            }
            stopped().await;
        };
        tokio::select! {
            stopped = server.stop() => stopped?,
            () = second => return Ok(Exit::INTERRUPTED),
        }
        Ok(self.farewell(&end?))
    }

    /// Everything between start and stop. Dropped where it stands when the user wants to stop: the log has it all.
    async fn work(&self, server: &Embedded, config: pool::Config, lines: &mut Lines) -> anyhow::Result<End> {
        let client = server.client();
        let submitter = client.submitter(PRODUCER).await?;
        let mut past = compare::compare(client, lines, submitter.last_ordinal()).await?;
        if self.retry_dead {
            past.retry_dead(client).await?;
        }
        server.work_on(QUEUE, config)?;
        Drive::new(self, client, submitter, past).run(lines).await
    }

    /// Says how it ended, where the exit code does not say all.
    fn farewell(&self, end: &End) -> Exit {
        match end {
            End::Finished { lines, dead: 0 } => {
                if std::io::stderr().is_terminal() {
                    output::note(format_args!("{lines} lines done"));
                }
                Exit::OK
            }
            End::Finished { lines, dead } => {
                let hint = if self.data.is_some() { "; --retry-dead tries them again" } else { "" };
                output::note(format_args!("{dead} of {lines} lines failed for good{hint}"));
                Exit::JOB_FAILED
            }
            End::ReaderGone => Exit::OK,
            End::Interrupted => {
                output::note(match &self.data {
                    Some(_) => "stopped; run the same command again to go on where it was",
                    None => "stopped; with --data DIR the next run can go on where this one was",
                });
                Exit::INTERRUPTED
            }
            End::LogFailed => {
                output::note("the data directory can no longer be written to; the lines above say why");
                Exit::DISK
            }
        }
    }
}
