//! Reading the log: a million updates, with payloads, from the start to one reader.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::drive::updates;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::setup::Bench;
use crate::proto::v1;
use anyhow::bail;

pub(in crate::cli::bench) async fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let arguments = &bench.arguments;
    let wanted = arguments.updates;
    let mut submitter = Submitter::open(bench, "bench").await?;
    submitter.send_all(wanted, arguments.batch as u64, arguments.window).await?;
    let request = v1::GetUpdatesRequest {
        include_payload: true,
        include_result: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let start = bench.begin().await?;
    let mut stream = updates(bench, request).await?;
    let mut last = 0;
    while let Some(response) = stream.message().await? {
        // The reader checks the order and looks at every update, as a real one would.
        for update in response.updates()? {
            if update.sequence != last + 1 {
                bail!("update {} came after {last}", update.sequence);
            }
            last = update.sequence;
        }
    }
    if last < wanted {
        bail!("the log ended at update {last} of {wanted}");
    }
    let figures = bench.end(start, last, "tail").await?;
    Ok(Figures {
        updates_per_s: figures.jobs_per_s,
        jobs_per_s: None,
        jobs_per_frame: None,
        connections: Some(1),
        ..figures
    })
}
