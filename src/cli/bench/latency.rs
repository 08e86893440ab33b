//! One job at a time: from its submit to its result in the updates. Sync and echo are measured between the jobs, because
//! they move with the machine's mood as the jobs do.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::finished;
use crate::cli::bench::drive::results;
use crate::cli::bench::error::Error;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::limit::Echo;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;
use crate::cli::bench::worker::Worker;
use crate::proto::v1;
use anyhow::Context;
use std::time::Duration;
use tonic::Streaming;

/// Jobs before the measured ones: connections, caches and the first segment settle.
const WARM_UP: u64 = 50;

pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut submitter = Submitter::open(bench, "jobs").await?;
    let worker = Worker::start(bench, "one", 1, vec![QUEUE.to_owned()]).await?;
    let mut updates = results(bench).await?;
    let patience = arguments.patience;
    let (mut disk, mut echo) = (bench.disk()?, Echo::open(bench).await?);
    let (mut times, mut syncs, mut echoes) = (Vec::new(), Vec::new(), Vec::new());
    let start = bench.begin().await?;
    for number in 0..WARM_UP + arguments.latency_jobs {
        let took = tokio::time::timeout(patience, life(bench, &mut submitter, &mut updates)).await;
        let stuck = |_late| {
            let so_far = format!("{number} of {} jobs have", WARM_UP + arguments.latency_jobs);
            Error::Stuck { waited_for: "no job finished", patience, so_far }
        };
        let took = took.map_err(stuck)??;
        if number >= WARM_UP {
            times.push(took);
        }
        syncs.push(disk.sync()?);
        echoes.push(echo.once(bench).await?);
    }
    let figures = bench.end(start, WARM_UP + arguments.latency_jobs, "latency").await?;
    drop(worker);
    Ok(Figures {
        p50_ms: percentile(&times, 50),
        p99_ms: percentile(&times, 99),
        sync_p50_ms: percentile(&syncs, 50),
        sync_p99_ms: percentile(&syncs, 99),
        echo_p50_ms: percentile(&echoes, 50),
        connections: Some(3),
        slots: Some(1),
        window: Some(1),
        ..figures
    })
}

/// How long one job took, from its submit to its result in the updates.
async fn life(
    bench: &Bench,
    submitter: &mut Submitter,
    updates: &mut Streaming<v1::GetUpdatesResponse>,
) -> anyhow::Result<Duration> {
    let sent = bench.clock.now().tick;
    submitter.send(1).await?;
    let mut seen = 0;
    while seen == 0 {
        seen = finished(&updates.message().await?.context("the server ended the updates")?)?;
    }
    let took = bench.clock.now().tick.since(sent);
    while submitter.accepted() < submitter.sent() {
        submitter.hear().await?;
    }
    Ok(took)
}
