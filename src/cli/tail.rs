//! `gangline tail`: follow the update log, from any place in it.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::names::Kind;
use crate::cli::show::update;
use crate::cli::show::update::Show;
use crate::cli::show::update::UpdateJson;
use crate::cli::words::Place;
use crate::client::Batch;
use crate::client::Client;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use anyhow::Context;
use std::time::Duration;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::time::MissedTickBehavior;

/// How often the named cursor is committed while updates come.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// What `tail` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Begin after this update, with the oldest that is kept, or with what comes from now on
    #[arg(long, value_name = "SEQUENCE|start|end", default_value = "start", conflicts_with = "cursor")]
    after: Place,
    /// Go on after the named cursor, and commit to it what was printed
    #[arg(long, value_name = "NAME")]
    cursor: Option<String>,
    /// Only updates of this queue; may be repeated
    #[arg(long, short, value_name = "NAME")]
    queue: Vec<QueueName>,
    /// Only updates of this job; may be repeated
    #[arg(long, short, value_name = "ID")]
    job: Vec<JobId>,
    /// Only updates of this kind; may be repeated
    #[arg(long, short, value_name = "KIND", value_delimiter = ',')]
    kind: Vec<Kind>,
    /// With the payloads of submitted jobs
    #[arg(long)]
    payload: bool,
    /// With the results of succeeded jobs
    #[arg(long)]
    result: bool,
    /// Stop at the newest update instead of waiting for more
    #[arg(long)]
    no_follow: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `tail`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let request = request(&arguments);
    let Arguments { cursor, payload, result, no_follow, json, remote, .. } = arguments;
    let outage = if no_follow { Outage::Brief } else { Outage::Any };
    let print = Print { payload: payload.into(), result: result.into(), json };
    remote.run(outage, async |client| tail(&client, request, cursor.as_deref(), print).await)
}

fn request(arguments: &Arguments) -> v1::GetUpdatesRequest {
    let after = match (&arguments.cursor, arguments.after) {
        (Some(name), _) => After::NamedCursor(name.clone()),
        (None, Place::Start) => After::End(v1::LogEnd::Floor.into()),
        (None, Place::End) => After::End(v1::LogEnd::Head.into()),
        (None, Place::After(sequence)) => After::Cursor(v1::Cursor { store_id: String::new(), sequence }),
    };
    let follow = if arguments.no_follow { v1::FollowMode::StopAtHead } else { v1::FollowMode::Follow };
    v1::GetUpdatesRequest {
        after: Some(after),
        queues: arguments.queue.iter().map(QueueName::to_string).collect(),
        job_ids: arguments.job.iter().map(JobId::to_string).collect(),
        kinds: arguments.kind.iter().map(|&kind| v1::UpdateKind::from(kind).into()).collect(),
        include_payload: arguments.payload,
        include_result: arguments.result,
        follow: follow.into(),
    }
}

/// Prints updates; what was printed is committed, so that an interrupted tail repeats a little and skips nothing.
async fn tail(
    client: &Client,
    request: v1::GetUpdatesRequest,
    cursor: Option<&str>,
    print: Print,
) -> anyhow::Result<Exit> {
    let mut interrupts = signal(SignalKind::interrupt()).context("cannot listen for signals")?;
    let mut updates = client.updates(request);
    let mut kept = Kept { client, name: cursor, uncommitted: None };
    let mut commits = tokio::time::interval(COMMIT_EVERY);
    commits.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let exit = loop {
        tokio::select! {
            biased;
            _ = interrupts.recv() => break Exit::INTERRUPTED,
            _ = commits.tick(), if kept.uncommitted.is_some() => kept.commit().await?,
            batch = updates.next() => {
                let Some(batch) = batch? else { break Exit::OK };
                if print.batch(&batch)? == Reader::Gone {
                    break Exit::OK;
                }
                kept.uncommitted = Some(batch.cursor);
            }
        }
    };
    kept.commit().await?;
    Ok(exit)
}

/// The named cursor, if there is one, and what it should be at.
struct Kept<'a> {
    client: &'a Client,
    name: Option<&'a str>,
    uncommitted: Option<v1::Cursor>,
}

impl Kept<'_> {
    async fn commit(&mut self) -> anyhow::Result<()> {
        if let (Some(name), Some(cursor)) = (self.name, self.uncommitted.take()) {
            self.client.commit_cursor(name, cursor).await.with_context(|| {
                format!("cannot commit cursor {name:?}; what was printed since its last commit comes again")
            })?;
        }
        Ok(())
    }
}

/// How updates are printed.
#[derive(Clone, Copy, Debug)]
struct Print {
    payload: Show,
    result: Show,
    json: bool,
}

impl Print {
    fn batch(self, batch: &Batch) -> anyhow::Result<Reader> {
        let Print { payload, result, json } = self;
        if json {
            output::json(batch.updates.iter().map(|update| UpdateJson::of(update, payload, result)))
        } else {
            let lines = batch.updates.iter().map(|update| update::line(update, payload, result));
            Ok(output::lines(lines)?)
        }
    }
}
