//! The whole life of a job: submitted on one connection, worked on by two no-op workers on theirs, its result seen by a
//! reader of the updates on a fourth. Either as fast as it goes, with a window that bounds the jobs that are unfinished as
//! the reader sees it; or at a pace, where a job's time begins when it was due to be sent, so that a stall is not hidden by
//! the jobs that it kept from being sent.

use crate::cli::bench::disk::Disk;
use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::finished;
use crate::cli::bench::drive::results;
use crate::cli::bench::error::Error;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;
use crate::cli::bench::worker::Worker;
use crate::clock::Tick;
use crate::proto::v1;
use anyhow::Context;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Interval;
use tonic::Streaming;

/// How often a sync of the disk is measured beside the run.
const PROBE_EVERY: Duration = Duration::from_millis(100);
/// How often jobs are sent that are due at a pace.
const BEAT: Duration = Duration::from_millis(1);
/// For how long jobs are sent at a pace.
const PACED_S: f64 = 4.0;

/// When jobs are sent.
#[derive(Clone, Copy, Debug)]
pub(in crate::cli::bench) enum Pace {
    /// As soon as fewer than this are unfinished.
    Window(u64),
    /// So many a second.
    PerSecond(f64),
}

/// Streams of workers.
const STREAMS: usize = 2;

/// A submitter, workers and a reader.
pub(in crate::cli::bench) struct Life<'a> {
    bench: &'a Bench,
    submitter: Submitter,
    workers: Vec<Worker>,
    updates: Streaming<v1::GetUpdatesResponse>,
    disk: Disk,
    syncs: Vec<Duration>,
    slots: u32,
}

impl<'a> Life<'a> {
    /// In one queue, with two streams of workers.
    pub(in crate::cli::bench) async fn begin(bench: &'a Bench, slots: u32) -> anyhow::Result<Life<'a>> {
        Life::on(bench, vec![QUEUE.to_owned()], STREAMS, slots).await
    }

    /// With jobs that go to `queues` in turn. Each of the `streams` has a share of the queues; the only one, if it is one.
    pub(in crate::cli::bench) async fn on(
        bench: &'a Bench,
        queues: Vec<String>,
        streams: usize,
        slots: u32,
    ) -> anyhow::Result<Life<'a>> {
        let mut workers = Vec::new();
        let shares: Vec<&[String]> = queues.chunks(queues.len().div_ceil(streams)).collect();
        for (number, share) in shares.iter().cycle().take(streams).enumerate() {
            workers.push(Worker::start(bench, &number.to_string(), slots, share.to_vec()).await?);
        }
        let submitter = Submitter::open_to(bench, "jobs", queues).await?;
        let updates = results(bench).await?;
        Ok(Life { bench, submitter, workers, updates, disk: bench.disk()?, syncs: Vec::new(), slots })
    }

    /// Lets `jobs` jobs live.
    pub(in crate::cli::bench) async fn run(
        &mut self,
        jobs: u64,
        pace: Pace,
        name: &'static str,
    ) -> anyhow::Result<Figures> {
        let bench = self.bench;
        let start = bench.begin().await?;
        let mut run = Run::new(jobs, pace, bench.clock.now().tick);
        let mut probe = tokio::time::interval(PROBE_EVERY);
        let mut beat = tokio::time::interval(BEAT);
        while run.finished < jobs {
            // Counted from the last job that finished: whatever else happens is no progress.
            let patience = bench.arguments.patience;
            let left = patience.saturating_sub(bench.clock.now().tick.since(run.progressed));
            match tokio::time::timeout(left, self.step(&mut run, &mut probe, &mut beat)).await {
                Ok(stepped) => stepped?,
                Err(_late) => return Err(run.stuck(patience).into()),
            }
        }
        let figures = bench.end(start, jobs, name).await?;
        Ok(Figures {
            p50_ms: percentile(&run.times, 50),
            p99_ms: percentile(&run.times, 99),
            max_ms: percentile(&run.times, 100),
            sync_p50_ms: percentile(&self.syncs, 50),
            sync_p99_ms: percentile(&self.syncs, 99),
            connections: Some(2 + self.workers.len()),
            slots: Some(self.slots),
            window: match pace {
                Pace::Window(window) => Some(window),
                Pace::PerSecond(_) => None,
            },
            ..figures
        })
    }

    /// Sends what may be sent, and waits for whatever happens next.
    async fn step(&mut self, run: &mut Run, probe: &mut Interval, beat: &mut Interval) -> anyhow::Result<()> {
        run.send(self.bench, &mut self.submitter).await?;
        tokio::select! {
            heard = self.submitter.hear() => heard?,
            update = self.updates.message() => {
                let update = update?.context("the server ended the updates")?;
                run.see(finished(&update)?, self.bench.clock.now().tick);
            }
            _ = beat.tick(), if run.is_paced() => {}
            // A sync holds this thread up, which is no matter only where the next job waits for the one before.
            _ = probe.tick(), if !run.is_paced() => self.syncs.push(self.disk.sync()?),
        }
        Ok(())
    }
}

/// As fast as it goes.
pub(in crate::cli::bench) async fn measure(bench: &Bench, slots: u32) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut life = Life::begin(bench, slots).await?;
    let figures = life.run(arguments.jobs, Pace::Window(arguments.window), "lifecycle").await?;
    Ok(Figures {
        log_bytes_per_job: bench.log_bytes()?.map(|bytes| bytes as f64 / arguments.jobs as f64),
        ..figures
    })
}

/// At half the pace that it reached just before, as fast as it went.
pub(in crate::cli::bench) async fn paced(bench: &Bench) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut life = Life::begin(bench, arguments.slots).await?;
    let most = life.run(arguments.jobs, Pace::Window(arguments.window), "lifecycle").await?;
    let pace = most.jobs_per_s.unwrap_or_default() / 2.0;
    let jobs = (pace * PACED_S).ceil() as u64;
    life.syncs.clear();
    life.run(jobs.max(1), Pace::PerSecond(pace), "paced").await
}

struct Run {
    jobs: u64,
    sent: u64,
    finished: u64,
    pace: Pace,
    began: Tick,
    /// When a job finished last, or the run began.
    progressed: Tick,
    /// When messages were sent, or were due to be: how many jobs, and when. Jobs finish in about that order.
    sent_at: VecDeque<(u64, Tick)>,
    times: Vec<Duration>,
}

impl Run {
    fn new(jobs: u64, pace: Pace, began: Tick) -> Run {
        Run {
            jobs,
            sent: 0,
            finished: 0,
            pace,
            began,
            progressed: began,
            sent_at: VecDeque::new(),
            times: Vec::new(),
        }
    }

    fn is_paced(&self) -> bool {
        matches!(self.pace, Pace::PerSecond(_))
    }

    /// Sends as many jobs as the window allows, or as are due.
    async fn send(&mut self, bench: &Bench, submitter: &mut Submitter) -> anyhow::Result<()> {
        let batch = bench.arguments.batch as u64;
        while self.sent < self.jobs {
            let now = bench.clock.now().tick;
            let left = batch.min(self.jobs - self.sent);
            let (count, at) = match self.pace {
                Pace::Window(window) if self.sent - self.finished + batch <= window.max(batch) => (left, now),
                Pace::Window(_) => return Ok(()),
                Pace::PerSecond(pace) => {
                    let due = (now.since(self.began).as_secs_f64() * pace) as u64;
                    let at = self.began.after(Duration::from_secs_f64(self.sent as f64 / pace));
                    (left.min(due.saturating_sub(self.sent)), at)
                }
            };
            if count == 0 {
                return Ok(());
            }
            self.sent_at.push_back((count, at));
            submitter.send(count).await?;
            self.sent += count;
        }
        Ok(())
    }

    fn stuck(&self, patience: Duration) -> Error {
        let so_far = format!("{} of {} jobs have, {} were sent", self.finished, self.jobs, self.sent);
        Error::Stuck { waited_for: "no job finished", patience, so_far }
    }

    fn see(&mut self, mut results: u64, now: Tick) {
        if results > 0 {
            self.progressed = now;
        }
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
