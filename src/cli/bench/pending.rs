//! A backlog: what jobs that wait cost in memory, and how long a server that was killed with them takes to answer again.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::process::Memory;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;
use crate::proto::v1;
use crate::proto::v1::queue_service_client::QueueServiceClient;
use anyhow::Context;
use anyhow::bail;
use std::time::Duration;

/// Memory that has stayed the same for so long is what it will be: a checkpoint begins within a second of its log.
const STILL: Duration = Duration::from_millis(2_500);
/// How long it may take until then.
const SETTLE: Duration = Duration::from_secs(60);
/// How often memory is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(100);

pub(in crate::cli::bench) async fn measure(mut bench: Bench) -> anyhow::Result<Figures> {
    let jobs = bench.arguments.pending_jobs;
    let (batch, window) = (bench.arguments.batch as u64, bench.arguments.window);
    let before = bench.memory()?;
    let mut submitter = Submitter::open(&bench, "jobs").await?;
    let start = bench.begin().await?;
    submitter.send_all(jobs, batch, window).await?;
    let figures = bench.end(start, jobs, "pending").await?;
    let after = settled(&bench).await?;
    drop(submitter);

    let killed = bench.clock.now().tick;
    bench.restart()?;
    // The answer that counts is one that knows of all jobs: a server may not answer at all before it has them.
    let waiting = waiting(&bench).await?;
    let restart = bench.clock.now().tick.since(killed);
    if waiting != jobs {
        bail!("{waiting} of {jobs} jobs are there after the restart");
    }
    let growth = after.rss_bytes.saturating_sub(before.rss_bytes);
    Ok(Figures {
        rss_bytes: Some(after.rss_bytes),
        rss_peak_bytes: Some(after.peak_bytes),
        rss_bytes_per_job: Some(growth as f64 / jobs as f64),
        restart_ms: Some(restart.as_secs_f64() * 1_000.0),
        restarted_rss_bytes: Some(settled(&bench).await?.rss_bytes),
        connections: Some(1),
        window: Some(window),
        ..figures
    })
}

/// Memory of the server once it changes no more: a hundredth more or less is no change.
pub(in crate::cli::bench) async fn settled(bench: &Bench) -> anyhow::Result<Memory> {
    let deadline = bench.clock.now().tick.after(SETTLE);
    let (mut reference, mut since) = (bench.memory()?, bench.clock.now().tick);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let (memory, now) = (bench.memory()?, bench.clock.now().tick);
        if memory.rss_bytes.abs_diff(reference.rss_bytes) > reference.rss_bytes / 100 {
            (reference, since) = (memory, now);
        }
        if now.since(since) >= STILL {
            return Ok(memory);
        }
        if now > deadline {
            bail!("the server's memory does not come to rest: {} bytes now", memory.rss_bytes);
        }
    }
}

/// How many jobs wait, as the server says.
async fn waiting(bench: &Bench) -> anyhow::Result<u64> {
    let mut queues = QueueServiceClient::new(bench.connect().await?);
    let request = v1::GetQueueRequest { name: QUEUE.to_owned() };
    let queue = queues.get_queue(request).await?.into_inner().queue.context("a queue was asked for")?;
    Ok(queue.ready + queue.scheduled)
}
