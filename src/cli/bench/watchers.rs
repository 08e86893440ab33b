//! Whether those who watch single jobs cost anything while nothing happens to these: the whole life of other jobs without
//! watchers, with them, and without them again, so that what a server costs more as it grows is not taken for theirs; and the
//! server's CPU while nothing happens at all.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::client;
use crate::cli::bench::drive::updates;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::lifecycle::Life;
use crate::cli::bench::lifecycle::Pace;
use crate::cli::bench::pending;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::IDLE;
use crate::proto::v1;
use anyhow::Context;
use std::time::Duration;
use tokio::task::JoinSet;

/// Watchers on one connection; a server takes 128 calls on each by default.
const A_CONNECTION: usize = 100;
/// For how long nothing happens.
const IDLE_TIME: Duration = Duration::from_secs(5);

/// Without watchers, as the mean of a run before and one after the others, and with `watchers`.
pub(in crate::cli::bench) async fn measure(bench: &Bench, watchers: usize) -> anyhow::Result<Vec<Figures>> {
    let arguments = &bench.arguments;
    let mut life = Life::begin(bench, arguments.slots).await?;
    let pace = Pace::Window(arguments.window);
    let before = life.run(arguments.jobs, pace, "watchers").await?;
    let watching = watch(bench, &jobs(bench, watchers).await?).await?;
    pending::settled(bench).await?;
    let (used, began) = (bench.server_cpu()?, bench.clock.now().tick);
    tokio::time::sleep(IDLE_TIME).await;
    let used = bench.server_cpu()?.saturating_sub(used);
    let idle = 1_000.0 * used.as_secs_f64() / bench.clock.now().tick.since(began).as_secs_f64();
    let with = life.run(arguments.jobs, pace, "watchers").await?;
    drop(watching);
    let after = life.run(arguments.jobs, pace, "watchers").await?;
    let mean = |first: Option<f64>, second: Option<f64>| Some((first? + second?) / 2.0);
    let without = Figures {
        server_cpu_us_per_job: mean(before.server_cpu_us_per_job, after.server_cpu_us_per_job),
        cpu_us_per_job: mean(before.cpu_us_per_job, after.cpu_us_per_job),
        jobs_per_s: mean(before.jobs_per_s, after.jobs_per_s),
        ..before
    };
    Ok(vec![
        Figures { watchers: Some(0), ..without },
        Figures { watchers: Some(watchers), idle_cpu_ms_per_s: Some(idle), ..with },
    ])
}

/// The ids of so many jobs that wait, in a queue that nobody works on.
async fn jobs(bench: &Bench, count: usize) -> anyhow::Result<Vec<String>> {
    let mut submitter = Submitter::open_to(bench, "watched", vec![IDLE.to_owned()]).await?;
    submitter.send_all(count as u64, bench.arguments.batch as u64, bench.arguments.window).await?;
    let request = v1::GetUpdatesRequest {
        queues: vec![IDLE.to_owned()],
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let mut stream = updates(bench, request).await?;
    let mut ids = Vec::with_capacity(count);
    while let Some(response) = stream.message().await? {
        ids.extend(response.updates()?.into_iter().map(|update| update.job_id));
    }
    Ok(ids)
}

/// A stream for each job; all end when the set is dropped.
async fn watch(bench: &Bench, jobs: &[String]) -> anyhow::Result<JoinSet<()>> {
    let mut watching = JoinSet::new();
    for jobs in jobs.chunks(A_CONNECTION) {
        let mut client = client(bench.connect().await?);
        for job in jobs {
            let request = v1::GetUpdatesRequest {
                job_ids: vec![job.clone()],
                after: Some(v1::get_updates_request::After::End(v1::LogEnd::Head.into())),
                ..v1::GetUpdatesRequest::default()
            };
            let mut stream = client.get_updates(request).await?.into_inner();
            stream.message().await?.context("the server ended the updates")?;
            watching.spawn(async move { while let Ok(Some(_)) = stream.message().await {} });
        }
    }
    Ok(watching)
}
