//! Many live readers: what the whole server uses for each reader and update, while jobs are submitted at a pace that leaves
//! it time, to one reader and to many.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::updates;
use crate::cli::bench::error::Error;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::setup::Bench;
use crate::proto::v1;
use anyhow::Context;
use std::time::Duration;
use tokio::task::JoinSet;

/// Jobs that are submitted a second.
const JOBS_PER_S: u64 = 20_000;
/// How often some of them are.
const BEAT: Duration = Duration::from_millis(5);
/// For how many seconds.
const SECONDS: u64 = 3;

pub(in crate::cli::bench) async fn measure(bench: &Bench, readers: usize) -> anyhow::Result<Figures> {
    let jobs = JOBS_PER_S * SECONDS;
    let last = bench.look().await?.head_sequence + jobs;
    let mut submitter = Submitter::open(bench, "jobs").await?;
    let mut reading = JoinSet::new();
    for _ in 0..readers {
        let request = v1::GetUpdatesRequest {
            after: Some(v1::get_updates_request::After::End(v1::LogEnd::Head.into())),
            // Both: with one of the two alone updates would not be encoded for all readers together.
            include_payload: true,
            include_result: true,
            ..v1::GetUpdatesRequest::default()
        };
        let mut stream = updates(bench, request).await?;
        stream.message().await?.context("the server ended the updates")?;
        reading.spawn(async move {
            // The cursor says how many updates there were: decoding them fifty times would take the machine from the server.
            while let Some(response) = stream.message().await? {
                if response.cursor_sequence >= last {
                    return anyhow::Ok(());
                }
            }
            anyhow::bail!("the server ended the updates")
        });
    }
    let start = bench.begin().await?;
    let mut beat = tokio::time::interval(BEAT);
    let each = JOBS_PER_S * u64::try_from(BEAT.as_millis())? / 1_000;
    while submitter.sent() < jobs {
        beat.tick().await;
        submitter.deliver(each.min(jobs - submitter.sent())).await?;
    }
    let patience = bench.arguments.patience;
    let stuck = |_late| {
        let so_far = format!("update {last} is the last one");
        Error::Stuck { waited_for: "a reader did not get every update", patience, so_far }
    };
    while let Some(read) = tokio::time::timeout(patience, reading.join_next()).await.map_err(stuck)? {
        read??;
    }
    let figures = bench.end(start, jobs, "readers").await?;
    let per_update = figures.server_cpu_us_per_job.map(|cpu| cpu / readers as f64);
    Ok(Figures { readers: Some(readers), server_cpu_us_per_reader_and_update: per_update, ..figures })
}
