//! `gangline workers`: who works.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::table::Table;
use crate::cli::show::text;
use crate::clock::Clock;
use crate::proto::v1;
use serde::Serialize;

/// What `workers` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

#[derive(Debug, Serialize)]
struct WorkerJson<'a> {
    worker_id: &'a str,
    queues: &'a [String],
    slots: Option<u32>,
    leases: u32,
    free_slots: u32,
    description: &'a str,
    connected_at: Option<String>,
    last_heard_at: Option<String>,
    job_ids: &'a [String],
}

/// Runs `workers`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    arguments.remote.run(Outage::Brief, async |client| {
        let workers = client.workers().await?;
        if arguments.json {
            output::json(workers.iter().map(json))?;
        } else {
            let now = Clock::system().now().wall;
            let mut table = Table::new(["WORKER", "QUEUES", "SLOTS", "JOBS", "FREE", "HEARD", "DESCRIPTION"]);
            for worker in &workers {
                table.row([
                    text::preview(worker.worker_id.as_bytes(), 128),
                    worker.queues.join(","),
                    slots(worker).map_or_else(String::new, |slots| slots.to_string()),
                    worker.leases.to_string(),
                    worker.free_slots.to_string(),
                    text::age(worker.last_heard_at.as_ref(), now),
                    text::preview(worker.description.as_bytes(), 60),
                ]);
            }
            output::lines(table.lines())?;
        }
        Ok(Exit::OK)
    })
}

/// How many jobs it works on at a time, if it says so.
fn slots(worker: &v1::Worker) -> Option<u32> {
    (worker.slots > 0).then_some(worker.slots)
}

fn json(worker: &v1::Worker) -> WorkerJson<'_> {
    WorkerJson {
        worker_id: &worker.worker_id,
        queues: &worker.queues,
        slots: slots(worker),
        leases: worker.leases,
        free_slots: worker.free_slots,
        description: &worker.description,
        connected_at: worker.connected_at.as_ref().map(text::time),
        last_heard_at: worker.last_heard_at.as_ref().map(text::time),
        job_ids: &worker.job_ids,
    }
}
