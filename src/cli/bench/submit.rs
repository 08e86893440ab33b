//! Streamed submits: how many jobs a second are on disk and acknowledged.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::setup::Bench;
use tokio::task::JoinSet;

pub(in crate::cli::bench) async fn measure(bench: &Bench, connections: usize) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let (batch, window) = (arguments.batch as u64, arguments.window);
    let each = (arguments.jobs / connections as u64).max(1);
    let mut submitters = Vec::new();
    for number in 0..connections {
        submitters.push(Submitter::open(bench, &number.to_string()).await?);
    }
    let start = bench.begin().await?;
    let mut running = JoinSet::new();
    for mut submitter in submitters {
        running.spawn(async move { submitter.send_all(each, batch, window).await });
    }
    while let Some(ended) = running.join_next().await {
        ended??;
    }
    let figures = bench.end(start, each * connections as u64, "submit").await?;
    Ok(Figures { connections: Some(connections), window: Some(window), ..figures })
}
