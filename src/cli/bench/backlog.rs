//! Whether a job costs more when many wait: the whole life of jobs in one queue, beside a backlog in another that nobody
//! works on. Measured in the second of two runs: what a log costs that has come into its stride is not taken for the backlog's.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::lifecycle::Life;
use crate::cli::bench::lifecycle::Pace;
use crate::cli::bench::pending;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::IDLE;

pub(in crate::cli::bench) async fn measure(bench: &Bench, waiting: u64) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let mut submitter = Submitter::open_to(bench, "backlog", vec![IDLE.to_owned()]).await?;
    submitter.send_all(waiting, arguments.batch as u64, arguments.window).await?;
    // What the load left to do is not the run's: the work tree catches up, and a checkpoint that was begun is made.
    pending::settled(bench).await?;
    let mut life = Life::begin(bench, arguments.slots).await?;
    let pace = Pace::Window(arguments.window);
    // The first run of a fresh server finds segments made ahead and makes no checkpoint; a server with a backlog is not fresh.
    life.run(arguments.jobs, pace, "backlog").await?;
    let figures = life.run(arguments.jobs, pace, "backlog").await?;
    Ok(Figures { pending: Some(waiting), ..figures })
}
