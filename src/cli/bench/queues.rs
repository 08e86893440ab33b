//! Whether a job costs more in one of many queues: the whole life of jobs that go to all of them in turn, a few waiting in
//! each, against the same jobs in one queue. The same number of worker streams, slots and jobs that wait in both runs.

use crate::cli::bench::figures::Figures;
use crate::cli::bench::lifecycle::Life;
use crate::cli::bench::lifecycle::Pace;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;

/// Streams of workers: one may take jobs from 1,000 queues.
const STREAMS: usize = 10;
/// Slots of each: together a little more than the two streams of the lifecycle bench have.
const SLOTS: u32 = 64;
/// Jobs that may be unfinished: a few for each of ten thousand queues.
const WINDOW: u64 = 40_000;

pub(in crate::cli::bench) async fn measure(bench: &Bench, queues: usize) -> anyhow::Result<Figures> {
    let names = (0..queues).map(|number| format!("{QUEUE}-{number}")).collect();
    let mut life = Life::on(bench, names, STREAMS, SLOTS).await?;
    // Making the queues is not measured.
    life.run(WINDOW, Pace::Window(WINDOW), "queues").await?;
    let figures = life.run(bench.arguments.jobs, Pace::Window(WINDOW), "queues").await?;
    Ok(Figures { queues: Some(queues), ..figures })
}
