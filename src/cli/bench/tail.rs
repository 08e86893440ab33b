//! Reading the log: a million updates, with payloads, from the start to one reader; and passing over them.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::updates;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::pending;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::IDLE;
use crate::proto::v1;
use anyhow::bail;

/// Everything, to one reader.
pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    fill(bench).await?;
    Ok(Figures { bench: "tail", ..read(bench, Vec::new()).await? })
}

/// Everything, and then only what happened in a queue that has one job, the last: what is passed over must not cost what
/// is read.
pub(in crate::cli::bench) async fn filtered(bench: &Bench) -> anyhow::Result<Vec<Figures>> {
    fill(bench).await?;
    Submitter::open_to(bench, "last", vec![IDLE.to_owned()]).await?.send_all(1, 1, 1).await?;
    pending::settled(bench).await?;
    Ok(vec![read(bench, Vec::new()).await?, read(bench, vec![IDLE.to_owned()]).await?])
}

async fn fill(bench: &Bench) -> anyhow::Result<()> {
    let arguments = &bench.arguments;
    let mut submitter = Submitter::open(bench, "bench").await?;
    submitter.send_all(arguments.updates, arguments.batch as u64, arguments.window).await
}

/// Reads to the head, and counts what was passed over, too.
async fn read(bench: &Bench, queues: Vec<String>) -> anyhow::Result<Figures> {
    let is_whole = queues.is_empty();
    let request = v1::GetUpdatesRequest {
        queues,
        include_payload: true,
        include_result: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let start = bench.begin().await?;
    let mut stream = updates(bench, request).await?;
    let (mut last, mut head, mut seen) = (0, 0, 0_u64);
    while let Some(response) = stream.message().await? {
        // The reader checks the order and looks at every update, as a real one would.
        for update in response.updates()? {
            if update.sequence <= last || is_whole && update.sequence != last + 1 {
                bail!("update {} came after {last}", update.sequence);
            }
            (last, seen) = (update.sequence, seen + 1);
        }
        head = response.head_sequence;
    }
    if last < head || seen == 0 {
        bail!("the log ended at update {last} of {head}");
    }
    let figures = bench.end(start, head, "filtered").await?;
    Ok(Figures {
        updates_per_s: figures.jobs_per_s,
        jobs_per_s: None,
        jobs_per_frame: None,
        connections: Some(1),
        ..figures
    })
}
