//! One job at a time: from its submit to its result in the updates. Sync and echo are measured between the jobs, because
//! they move with the machine's mood as the jobs do.

use crate::cli::bench::drive::PATIENCE;
use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::results;
use crate::cli::bench::drive::updates;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::limit::Echo;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;
use crate::cli::bench::worker::Worker;
use anyhow::Context;

/// Jobs before the measured ones: connections, caches and the first segment settle.
const WARM_UP: u64 = 50;

pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut submitter = Submitter::open(bench, "bench").await?;
    let worker = Worker::start(bench, "bench-a", 1, vec![QUEUE.to_owned()]).await?;
    let mut updates = updates(bench, results()).await?;
    updates.message().await?;
    let (mut disk, mut echo) = (bench.disk()?, Echo::open(bench).await?);
    let (mut times, mut syncs, mut echoes) = (Vec::new(), Vec::new(), Vec::new());
    let start = bench.begin().await?;
    for number in 0..WARM_UP + arguments.latency_jobs {
        let sent = bench.clock.now().tick;
        submitter.send(1).await?;
        let mut seen = 0;
        while seen == 0 {
            let update = tokio::time::timeout(PATIENCE, updates.message()).await;
            let update =
                update.context("no result came for a minute")??.context("the server ended the updates")?;
            seen = update.updates()?.len();
        }
        if number >= WARM_UP {
            times.push(bench.clock.now().tick.since(sent));
        }
        while submitter.accepted() < submitter.sent() {
            submitter.hear().await?;
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
