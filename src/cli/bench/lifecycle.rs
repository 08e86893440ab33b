//! The whole life of a job: submitted on one connection, worked on by two no-op workers on theirs, its result seen by a
//! reader of the updates on a fourth. The window bounds the jobs that are unfinished as the reader sees it.

use crate::cli::bench::drive::PATIENCE;
use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::results;
use crate::cli::bench::drive::updates;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::worker::Worker;
use crate::clock::Tick;
use anyhow::Context;
use std::collections::VecDeque;
use std::time::Duration;

/// How often a sync of the disk is measured beside the run.
const PROBE_EVERY: Duration = Duration::from_millis(100);

pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut submitter = Submitter::open(bench, "bench").await?;
    let workers = (
        Worker::start(bench, "bench-a", arguments.slots).await?,
        Worker::start(bench, "bench-b", arguments.slots).await?,
    );
    let mut updates = updates(bench, results()).await?;
    updates.message().await?;
    let start = bench.begin().await?;
    let mut run = Run { finished: 0, sent_at: VecDeque::new(), times: Vec::new() };
    let mut disk = bench.disk()?;
    let mut syncs = Vec::new();
    let mut probe = tokio::time::interval(PROBE_EVERY);
    while run.finished < arguments.jobs {
        run.send(bench, &mut submitter).await?;
        tokio::select! {
            heard = submitter.hear() => heard?,
            update = tokio::time::timeout(PATIENCE, updates.message()) => {
                let update = update.context("no result came for a minute")??;
                let update = update.context("the server ended the updates")?;
                run.see(update.updates()?.len() as u64, bench.clock.now().tick);
            }
            _ = probe.tick() => syncs.push(disk.sync()?),
        }
    }
    let figures = bench.end(start, arguments.jobs, "lifecycle").await?;
    drop(workers);
    Ok(Figures {
        p50_ms: percentile(&run.times, 50),
        p99_ms: percentile(&run.times, 99),
        sync_p50_ms: percentile(&syncs, 50),
        sync_p99_ms: percentile(&syncs, 99),
        connections: Some(4),
        slots: Some(arguments.slots),
        window: Some(arguments.window),
        ..figures
    })
}

struct Run {
    finished: u64,
    /// When messages were sent: how many jobs, and when. Jobs finish in about that order.
    sent_at: VecDeque<(u64, Tick)>,
    times: Vec<Duration>,
}

impl Run {
    /// Sends as many jobs as the window allows.
    async fn send(&mut self, bench: &Bench, submitter: &mut Submitter) -> anyhow::Result<()> {
        let arguments = &bench.arguments;
        let batch = arguments.batch as u64;
        while submitter.sent() < arguments.jobs
            && submitter.sent() - self.finished + batch <= arguments.window.max(batch)
        {
            let count = batch.min(arguments.jobs - submitter.sent());
            self.sent_at.push_back((count, bench.clock.now().tick));
            submitter.send(count).await?;
        }
        Ok(())
    }

    fn see(&mut self, mut results: u64, now: Tick) {
        self.finished += results;
        while results > 0
            && let Some((count, sent)) = self.sent_at.front_mut()
        {
            let seen = results.min(*count);
            self.times.push(now.since(*sent));
            results -= seen;
            *count -= seen;
            if *count == 0 {
                self.sent_at.pop_front();
            }
        }
    }
}
