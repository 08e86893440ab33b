//! `gangline queues`: look at queues and change their settings.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::table::Table;
use crate::cli::show::text;
use crate::cli::words;
use crate::clock::Clock;
use crate::grpc::convert::time;
use crate::job::id::QueueName;
use crate::proto::v1;
use clap::Subcommand;
use serde::Serialize;
use std::time::Duration;

/// What `queues` is told.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Option<Action>,
    #[command(flatten)]
    list: Look,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// List the queues (also without a verb)
    List(Look),
    /// Show one queue and its settings
    Show(Named),
    /// Stop giving out its jobs; what runs goes on
    Pause(Named),
    /// Give out its jobs again
    Resume(Named),
    /// Change its settings; it is made if it does not exist
    Set {
        #[command(flatten)]
        queue: Named,
        #[command(flatten)]
        change: Change,
    },
    /// Clear jobs out of it
    Purge {
        #[command(flatten)]
        queue: Named,
        #[command(flatten)]
        target: Target,
    },
}

#[derive(Debug, clap::Args)]
struct Look {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The queue
    #[arg(value_name = "QUEUE")]
    name: QueueName,
    #[command(flatten)]
    look: Look,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = true)]
struct Change {
    /// How many jobs may wait in it before submits are refused; 0: the service's limit only
    #[arg(long, value_name = "JOBS")]
    max_pending: Option<u64>,
    /// How many dead jobs are kept in it
    #[arg(long, value_name = "JOBS")]
    dead_max: Option<u32>,
    /// How long jobs are kept that succeeded, were cancelled or expired; 0s: as long as the log
    #[arg(long, value_name = "DURATION", value_parser = words::span)]
    retention: Option<Duration>,
}

#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct Target {
    /// Cancel every job that waits
    #[arg(long)]
    waiting: bool,
    /// Delete every dead job
    #[arg(long)]
    dead: bool,
    /// Delete every job that succeeded, was cancelled or expired
    #[arg(long)]
    finished: bool,
}

impl Target {
    fn target(&self) -> v1::PurgeTarget {
        match self {
            Target { waiting: true, .. } => v1::PurgeTarget::Waiting,
            Target { dead: true, .. } => v1::PurgeTarget::Dead,
            Target { .. } => v1::PurgeTarget::Finished,
        }
    }
}

#[derive(Debug, Serialize)]
struct QueueJson<'a> {
    name: &'a str,
    ready: u64,
    scheduled: u64,
    running: u64,
    dead: u64,
    oldest_due: Option<String>,
    paused: bool,
    max_pending: u64,
    dead_max: u32,
    retention_ms: u64,
}

#[derive(Debug, Serialize)]
struct PurgedJson {
    jobs: u64,
}

/// Runs `queues`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.action.unwrap_or(Action::List(arguments.list)) {
        Action::List(Look { json, remote }) => remote.run(Outage::Brief, async |client| {
            print(&client.queues().await?, json)?;
            Ok(Exit::OK)
        }),
        Action::Show(Named { name, look }) => look.remote.run(Outage::Brief, async |client| {
            print(&[client.queue(&name).await?], look.json)?;
            Ok(Exit::OK)
        }),
        Action::Pause(queue) => {
            set(queue, v1::QueueSettings { paused: Some(true), ..v1::QueueSettings::default() })
        }
        Action::Resume(queue) => {
            set(queue, v1::QueueSettings { paused: Some(false), ..v1::QueueSettings::default() })
        }
        Action::Set { queue, change } => {
            let retention = change.retention.map(|span| time::to_duration(time::whole_millis(span)));
            let Change { max_pending, dead_max, .. } = change;
            set(queue, v1::QueueSettings { paused: None, max_pending, dead_max, retention })
        }
        Action::Purge { queue: Named { name, look }, target } => {
            look.remote.run(Outage::Brief, async |client| {
                let jobs = client.purge(&name, target.target()).await?;
                if look.json {
                    output::json([PurgedJson { jobs }])?;
                } else {
                    output::note(format_args!("{jobs} jobs cleared out of {name}"));
                }
                Ok(Exit::OK)
            })
        }
    }
}

fn set(queue: Named, settings: v1::QueueSettings) -> anyhow::Result<Exit> {
    let Named { name, look } = queue;
    look.remote.run(Outage::Brief, async |client| {
        print(&[client.set_queue(&name, settings).await?], look.json)?;
        Ok(Exit::OK)
    })
}

fn print(queues: &[v1::Queue], json: bool) -> anyhow::Result<()> {
    if json {
        output::json(queues.iter().map(queue_json))?;
    } else {
        print_table(queues)?;
    }
    for queue in queues {
        let (dead, dead_max) = (queue.dead, u64::from(queue.settings.unwrap_or_default().dead_max()));
        // As the server's own warning.
        if dead > 0 && dead.saturating_mul(10) >= dead_max * 9 {
            output::note(format_args!(
                "{} keeps {dead} dead jobs, and {dead_max} at most: beyond that the oldest are deleted; retry or purge them, \
                 or raise --dead-max",
                queue.name
            ));
        }
    }
    Ok(())
}

fn print_table(queues: &[v1::Queue]) -> anyhow::Result<()> {
    let now = Clock::system().now().wall;
    let mut table = Table::new(["QUEUE", "READY", "SCHEDULED", "RUNNING", "DEAD", "OLDEST", "SETTINGS"]);
    for queue in queues {
        table.row([
            queue.name.clone(),
            queue.ready.to_string(),
            queue.scheduled.to_string(),
            queue.running.to_string(),
            queue.dead.to_string(),
            text::age(queue.oldest_due.as_ref(), now),
            settings_text(queue.settings.unwrap_or_default()),
        ]);
    }
    output::lines(table.lines())?;
    Ok(())
}

fn queue_json(queue: &v1::Queue) -> QueueJson<'_> {
    let settings = queue.settings.unwrap_or_default();
    QueueJson {
        name: &queue.name,
        ready: queue.ready,
        scheduled: queue.scheduled,
        running: queue.running,
        dead: queue.dead,
        oldest_due: queue.oldest_due.as_ref().map(text::time),
        paused: settings.paused(),
        max_pending: settings.max_pending(),
        dead_max: settings.dead_max(),
        retention_ms: settings.retention.as_ref().map_or(0, text::whole_ms),
    }
}

fn settings_text(settings: v1::QueueSettings) -> String {
    let mut words = Vec::new();
    if settings.paused() {
        words.push("paused".to_owned());
    }
    if settings.max_pending() > 0 {
        words.push(format!("max-pending={}", settings.max_pending()));
    }
    words.push(format!("dead-max={}", settings.dead_max()));
    if let Some(retention) = settings.retention.as_ref().filter(|retention| text::whole_ms(retention) > 0) {
        words.push(format!("retention={}", text::duration(retention).replace(' ', "")));
    }
    words.join(" ")
}
