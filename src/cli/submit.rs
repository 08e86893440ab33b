//! `gangline submit`: submit one job, or one for each line of the input.

mod many;

use crate::cli::exit::Exit;
use crate::cli::get;
use crate::cli::lines::Lines;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::job::JobJson;
use crate::cli::show::names;
use crate::cli::show::update::Show;
use crate::cli::show::update::failure_text;
use crate::cli::words;
use crate::cli::words::Label;
use crate::client::Client;
use crate::client::Submitted;
use crate::client::With;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::grpc::convert::time;
use crate::job::id::QueueName;
use crate::proto::v1;
use anyhow::Context;
use bytes::Bytes;
use serde::Serialize;
use std::ffi::OsString;
use std::io::IsTerminal;
use std::io::Read;
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::time::Duration;

/// For ever, as far as people wait.
const WAIT_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// What `submit` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// What is to be worked on; without it --file or stdin
    #[arg(value_name = "PAYLOAD", conflicts_with_all = ["file", "lines"])]
    payload: Option<OsString>,
    /// Read the payload from a file; - is stdin
    #[arg(long, short, value_name = "FILE")]
    file: Option<PathBuf>,
    /// One job for each line of the file or of stdin
    #[arg(long, conflicts_with = "wait")]
    lines: bool,
    #[command(flatten)]
    spec: Spec,
    /// Makes a repeat of this command harmless: with the same key nothing is submitted twice. With --lines it goes on
    /// after the last line that was accepted
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    /// Wait until the job has finished and print its result; exit with 1 if it did not succeed
    #[arg(long)]
    wait: bool,
    /// One JSON object a job
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// What is said about the job or about all of them.
#[derive(Clone, Debug, clap::Args)]
struct Spec {
    /// The queue, made on first use
    #[arg(long, short, value_name = "NAME", default_value = "default")]
    queue: QueueName,
    /// -100 to 100; of the jobs that are due the higher runs first
    #[arg(long, value_name = "NUMBER", default_value_t = 0, allow_negative_numbers = true)]
    #[arg(value_parser = clap::value_parser!(i32).range(-100..=100))]
    priority: i32,
    /// Do not start it before this time has passed, such as 90s or 1h 30m
    #[arg(long, value_name = "DURATION", value_parser = words::span, conflicts_with = "run_at")]
    delay: Option<Duration>,
    /// Do not start it before, such as 2027-01-31T08:00:00Z
    #[arg(long, value_name = "TIME", value_parser = words::time)]
    run_at: Option<Timestamp>,
    /// Let it expire if it has not started by then
    #[arg(long, value_name = "TIME", value_parser = words::time)]
    expires_at: Option<Timestamp>,
    /// How long one attempt may run
    #[arg(long, value_name = "DURATION", value_parser = words::span)]
    timeout: Option<Duration>,
    /// How many attempts may fail, the last one included; 1 never retries
    #[arg(long, value_name = "ATTEMPTS", value_parser = clap::value_parser!(u32).range(1..=65_535))]
    max_attempts: Option<u32>,
    /// A name and a value to find it by; may be repeated
    #[arg(long, value_name = "NAME=VALUE")]
    label: Vec<Label>,
    /// Media type of the payload
    #[arg(long, value_name = "TYPE", default_value = "")]
    content_type: String,
}

impl Spec {
    /// A job with this payload.
    fn job(&self, payload: Bytes, now: Timestamp) -> v1::JobSpec {
        let policy =
            |attempts| v1::RetryPolicy { max_attempts: Some(attempts), ..v1::RetryPolicy::default() };
        let run_at = self.run_at.or_else(|| self.delay.map(|delay| now.after(delay)));
        v1::JobSpec {
            queue: self.queue.to_string(),
            payload,
            content_type: self.content_type.clone(),
            priority: self.priority,
            run_at: run_at.map(time::to_timestamp),
            retry_policy: self.max_attempts.map(policy),
            timeout: self.timeout.map(|timeout| time::to_duration(time::whole_millis(timeout))),
            expires_at: self.expires_at.map(time::to_timestamp),
            labels: self.label.iter().map(Label::pair).collect(),
            ..v1::JobSpec::default()
        }
    }
}

#[derive(Debug, Serialize)]
struct SubmittedJson {
    job_id: String,
    first_sequence: u64,
    repeat: bool,
}

/// Runs `submit`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { payload, file, lines, spec, key, wait, json, remote } = arguments;
    if lines {
        let files: Vec<PathBuf> = file.into_iter().collect();
        say_if_terminal(files.is_empty());
        let lines = Lines::open(&files)?;
        return remote.run(Outage::Brief, async |client| many::run(&client, lines, &spec, key, json).await);
    }
    let payload = match (payload, file) {
        (Some(payload), _) => Bytes::from(payload.into_vec()),
        (None, Some(file)) if file.as_os_str() != "-" => std::fs::read(&file)
            .map(Bytes::from)
            .with_context(|| format!("cannot read {}", file.display()))?,
        (None, file) => {
            say_if_terminal(file.is_none());
            let mut payload = Vec::new();
            std::io::stdin().read_to_end(&mut payload).context("cannot read the payload from stdin")?;
            Bytes::from(payload)
        }
    };
    remote.run(Outage::Brief, async |client| {
        let job = spec.job(payload, Clock::system().now().wall);
        let submitted = client.submit(vec![job], key.as_deref()).await?;
        if wait { wait_for(&client, &submitted, json).await } else { tell(&submitted, json) }
    })
}

fn say_if_terminal(stdin: bool) {
    if stdin && std::io::stdin().is_terminal() {
        output::note("reading from the terminal; Ctrl-D ends the input");
    }
}

fn tell(submitted: &Submitted, json: bool) -> anyhow::Result<Exit> {
    let Submitted { ids, first_sequence, repeat } = submitted;
    if json {
        output::json(ids.iter().map(|id| SubmittedJson {
            job_id: id.to_string(),
            first_sequence: *first_sequence,
            repeat: *repeat,
        }))?;
    } else {
        output::lines(ids.iter().map(ToString::to_string))?;
    }
    Ok(Exit::OK)
}

async fn wait_for(client: &Client, submitted: &Submitted, json: bool) -> anyhow::Result<Exit> {
    let &id = submitted.ids.first().expect("as many ids as jobs were submitted");
    let with = With { payload: json, result: true };
    let job = client.get_finished(id, with, WAIT_MAX).await?;
    let exit = get::exit_of(&job);
    if json {
        output::json([JobJson::of(&job, Show::Yes)])?;
    } else if exit == Exit::OK {
        output::bytes(&job.result)?;
    }
    if exit != Exit::OK {
        let why = job.failures.last().and_then(|failed| failed.failure.as_ref()).map(failure_text);
        let why = why.map_or(String::new(), |why| format!(": {why}"));
        output::note(format_args!("job {id} is {}{why}", names::state(job.state())));
    }
    Ok(exit)
}
