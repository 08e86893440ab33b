//! Submitting jobs of a directory again, one after another in their old order, each under a key made of the old store and
//! the old job: however often the command is run, or stopped half-way, a job is submitted once. [ID-1]

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::known;
use crate::cli::known::Unknown;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::replay::Arguments;
use crate::cli::show::names;
use crate::cli::show::text;
use crate::client;
use crate::client::Client;
use crate::grpc::convert::spec::to_spec;
use crate::job::id::JobId;
use crate::job::id::StoreId;
use crate::offline::DataDirectory;
use crate::offline::Slice;
use crate::offline::Tail;
use crate::offline::export::Go;
use crate::offline::slice::Chosen;
use crate::proto::v1;
use anyhow::Context;
use serde_json::json;
use std::collections::HashSet;
use tokio::sync::mpsc;

/// Jobs that are read ahead of those that are submitted.
const AHEAD_MAX: usize = 16;
/// Jobs without a submission that are named to people.
const LOST_SHOWN: usize = 20;

/// Submits the jobs that were asked for, or says what it would submit.
pub(super) fn submit(directory: DataDirectory, arguments: &Arguments, server: &str) -> anyhow::Result<Exit> {
    let store =
        directory.store_id().ok_or_else(|| Unknown::Nameless(directory.path().display().to_string()))?;
    known::reaches(&directory, arguments.until())?;
    let slice = Slice::of(&directory, &arguments.wanted(), arguments.until())?;
    let mut damage = Damage::of(&directory);
    damage.tell_all(&slice.faults);
    let again = Again {
        store,
        json: arguments.json,
        dry: !arguments.yes,
        jobs: slice.jobs.len() as u64,
        submitted: 0,
        repeated: 0,
        refused: 0,
    };
    let Exit::OK = Remote::at(server.to_owned())
        .run(Outage::Brief, async move |client| again.run(client, directory, slice).await)?
    else {
        return Ok(Exit::CONFLICT);
    };
    Ok(damage.end(&Tail::default()))
}

/// How far it is.
struct Again {
    store: StoreId,
    json: bool,
    /// Whether it only says what it would do.
    dry: bool,
    jobs: u64,
    submitted: u64,
    repeated: u64,
    refused: u64,
}

impl Again {
    async fn run(mut self, client: Client, directory: DataDirectory, slice: Slice) -> anyhow::Result<Exit> {
        let to = client.info().await?.store_id;
        self.tell_queues(&client, &slice).await?;
        let (sender, mut read) = mpsc::channel(AHEAD_MAX);
        let reading = tokio::task::spawn_blocking(move || {
            slice.submissions(&directory, &mut |job| match sender.blocking_send(job) {
                Ok(()) => Go::On,
                Err(_gone) => Go::Stop,
            })
        });
        while let Some(job) = read.recv().await {
            let done = self.submitted + self.repeated + self.refused;
            let told = self.job(&client, job).await.with_context(|| {
                format!(
                    "stopped after {done} of {} jobs; run the same command again: what was submitted is not submitted twice",
                    self.jobs
                )
            })?;
            if told == Reader::Gone && self.dry {
                return Ok(Exit::OK);
            }
        }
        let lost = reading.await.context("reading the directory was cut off")??;
        self.end(&to, &lost)
    }

    /// Queues that the server does not have are made by the first job.
    async fn tell_queues(&self, client: &Client, slice: &Slice) -> anyhow::Result<()> {
        let there: HashSet<String> = client.queues().await?.into_iter().map(|queue| queue.name).collect();
        for (queue, jobs) in slice.queues.iter().filter(|(_, jobs)| **jobs > 0) {
            if !there.contains(queue.as_str()) {
                output::note(format_args!(
                    "the server has no queue {queue}: the first of its {jobs} jobs makes it, with default settings"
                ));
            }
        }
        Ok(())
    }

    async fn job(&mut self, client: &Client, job: Chosen) -> anyhow::Result<Reader> {
        let id = job.submitted.id;
        if self.dry {
            return self.tell(&job, "would submit", None);
        }
        let key = format!("replay:{}:{id}", self.store);
        match client.submit(vec![spec(&job)], Some(&key)).await {
            Ok(answer) => {
                let (count, what) = if answer.repeat {
                    (&mut self.repeated, "submitted before")
                } else {
                    (&mut self.submitted, "submitted")
                };
                *count += 1;
                self.tell(&job, what, answer.ids.first().copied())
            }
            // Nothing changes that by itself, and the others may be taken.
            Err(error) if matches!(error, client::Error::Refused { .. }) && !error.passes() => {
                output::note(format_args!("job {id} was refused: {error}"));
                self.refused += 1;
                self.tell(&job, "refused", None)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn tell(&self, job: &Chosen, what: &str, new: Option<JobId>) -> anyhow::Result<Reader> {
        let (id, state) = (job.submitted.id, names::job_state(job.state));
        let bytes = job.submitted.payload.0.len();
        if self.json {
            return output::json([json!({
                "outcome": what,
                "job_id": id.to_string(),
                "new_job_id": new.map(|new| new.to_string()),
                "queue": job.queue.as_str(),
                "state": state,
                "submitted_at": text::at(id.time()),
                "payload_bytes": bytes,
            })]);
        }
        let new = new.map(|new| format!("  as {new}")).unwrap_or_default();
        Ok(output::line(format_args!("{what}  {id}  {state}  {}  {bytes} bytes{new}", job.queue))?)
    }

    fn end(self, to: &str, lost: &[JobId]) -> anyhow::Result<Exit> {
        let Again { store, jobs, submitted, repeated, refused, dry, .. } = &self;
        for id in lost.iter().take(LOST_SHOWN) {
            output::note(format_args!(
                "the log does not tell what was submitted as job {id}: it is left out"
            ));
        }
        if self.json {
            output::json([json!({
                "dry_run": dry,
                "from_store_id": store.to_string(),
                "to_store_id": to,
                "jobs": jobs,
                "submitted": submitted,
                "submitted_before": repeated,
                "refused": refused,
                "without_submission": lost.len(),
            })])?;
        } else if *dry {
            let left = jobs - lost.len() as u64;
            output::note(format_args!("{left} jobs would be submitted; nothing was: --yes submits them"));
        } else {
            let lost = lost.len();
            output::note(format_args!(
                "{submitted} submitted, {repeated} submitted before, {refused} refused, {lost} without a submission"
            ));
        }
        Ok(if self.refused > 0 { Exit::CONFLICT } else { Exit::OK })
    }
}

/// The job as it was submitted, so that a repeat is known as one: without its expiry, which is over in most cases, and which
/// whoever submits it again does not mean.
fn spec(job: &Chosen) -> v1::JobSpec {
    let payload = job.submitted.payload.0.clone();
    v1::JobSpec { expires_at: None, ..to_spec(&job.submitted, &job.queue, payload) }
}
