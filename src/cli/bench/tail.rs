//! Reading the log: a million updates, with payloads, from the start to one reader; and passing over them.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::updates;
use crate::cli::bench::error::Error;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::pending;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::IDLE;
use crate::proto::v1;
use anyhow::bail;
use tonic::Streaming;

/// Everything, to one reader.
pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let start = fill(bench).await?;
    Ok(Figures { bench: "tail", ..read(bench, start, Vec::new()).await? })
}

/// Everything, and then only what happened in a queue that has one job, the last: what is passed over must not cost what
/// is read.
pub(in crate::cli::bench) async fn filtered(bench: &Bench) -> anyhow::Result<Vec<Figures>> {
    let start = fill(bench).await?;
    Submitter::open_to(bench, "last", vec![IDLE.to_owned()]).await?.send_all(1, 1, 1).await?;
    pending::settled(bench).await?;
    Ok(vec![read(bench, start, Vec::new()).await?, read(bench, start, vec![IDLE.to_owned()]).await?])
}

/// Makes updates, and says after which they come: a server that was running before has others.
async fn fill(bench: &Bench) -> anyhow::Result<u64> {
    let arguments = &bench.arguments;
    let start = bench.look().await?.head_sequence;
    let mut submitter = Submitter::open(bench, "jobs").await?;
    submitter.send_all(arguments.updates, arguments.batch as u64, arguments.window).await?;
    Ok(start)
}

/// Reads from after the update `from` to the head, and counts what was passed over, too.
async fn read(bench: &Bench, from: u64, queues: Vec<String>) -> anyhow::Result<Figures> {
    let is_whole = queues.is_empty();
    let after = v1::Cursor { sequence: from, ..v1::Cursor::default() };
    let request = v1::GetUpdatesRequest {
        after: Some(v1::get_updates_request::After::Cursor(after)),
        queues,
        include_payload: true,
        include_result: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let start = bench.begin().await?;
    let mut stream = updates(bench, request).await?;
    let (mut last, mut head, mut seen) = (from, from, 0_u64);
    while let Some(response) = next(bench, &mut stream, last).await? {
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
    let figures = bench.end(start, head - from, "filtered").await?;
    Ok(Figures {
        updates_per_s: figures.jobs_per_s,
        jobs_per_s: None,
        jobs_per_frame: None,
        connections: Some(1),
        ..figures
    })
}

/// The next updates, or the end of them.
async fn next(
    bench: &Bench,
    stream: &mut Streaming<v1::GetUpdatesResponse>,
    last: u64,
) -> anyhow::Result<Option<v1::GetUpdatesResponse>> {
    let patience = bench.arguments.patience;
    let stuck = |_late| {
        let so_far = format!("update {last} was the last one");
        Error::Stuck { waited_for: "no update came", patience, so_far }
    };
    Ok(tokio::time::timeout(patience, stream.message()).await.map_err(stuck)??)
}
