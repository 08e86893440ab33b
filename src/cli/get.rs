//! `gangline get`: one job, its attempts, its payload or its result.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::job;
use crate::cli::show::job::JobJson;
use crate::cli::show::names;
use crate::cli::show::update::Show;
use crate::cli::words;
use crate::client::With;
use crate::client::is_final;
use crate::clock::Clock;
use crate::job::id::JobId;
use crate::proto::v1;
use std::time::Duration;

/// What `get` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The job
    #[arg(value_name = "ID")]
    id: JobId,
    /// Wait until it has finished or died, at most for so long
    #[arg(long, value_name = "DURATION", num_args = 0..=1, default_missing_value = "3650days")]
    #[arg(require_equals = true, value_parser = words::span)]
    wait: Option<Duration>,
    /// Print only the payload, byte for byte
    #[arg(long, conflicts_with_all = ["result", "json"])]
    payload: bool,
    /// Print only the result, byte for byte
    #[arg(long, conflicts_with = "json")]
    result: bool,
    /// One JSON object, with payload and result
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `get`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { id, wait, payload, result, json, remote } = arguments;
    remote.run(Outage::Brief, async |client| {
        let with = With { payload: !result, result: !payload };
        let job = match wait {
            None => client.get(id, with).await?,
            Some(wait) => client.get_finished(id, with, wait).await?,
        };
        if payload {
            let spec = job.spec.clone().unwrap_or_default();
            output::bytes(&spec.payload)?;
        } else if result {
            return print_result(&job, wait);
        } else if json {
            output::json([JobJson::of(&job, Show::Yes)])?;
        } else {
            output::lines(job::tell(&job, Clock::system().now().wall).into_iter())?;
        }
        Ok(if wait.is_some() { exit_of(&job) } else { Exit::OK })
    })
}

fn print_result(job: &v1::Job, wait: Option<Duration>) -> anyhow::Result<Exit> {
    if job.state() == v1::JobState::Succeeded {
        output::bytes(&job.result)?;
        return Ok(Exit::OK);
    }
    let hint = if wait.is_none() && !is_final(job.state()) { "; --wait waits for it" } else { "" };
    output::note(format_args!("job {} has no result: it is {}{hint}", job.id, names::state(job.state())));
    Ok(exit_of(job))
}

/// How waiting for a job ended.
pub(crate) fn exit_of(job: &v1::Job) -> Exit {
    match job.state() {
        v1::JobState::Succeeded => Exit::OK,
        v1::JobState::Dead | v1::JobState::Cancelled | v1::JobState::Expired => Exit::JOB_FAILED,
        v1::JobState::Waiting | v1::JobState::Running | v1::JobState::Unspecified => Exit::UNAVAILABLE,
    }
}
