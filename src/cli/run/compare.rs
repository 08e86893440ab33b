//! What earlier runs with this directory have left, and whether the input is still the same: settled before anything
//! is executed.

use crate::cli::lines::Lines;
use crate::cli::run::Conflict;
use crate::cli::run::QUEUE;
use crate::cli::show::text;
use crate::client::Client;
use crate::job::id::JobId;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use std::collections::HashMap;

/// How much of a line an error shows.
const PREVIEW_CHARS: usize = 60;
/// Ids of one call.
const IDS_MAX: usize = 10_000;

/// What earlier runs have left.
#[derive(Clone, Debug, Default)]
pub(super) struct Past {
    /// How many lines they have submitted.
    pub(super) lines: u64,
    /// Jobs that were dead and were tried again, and how often: so many of their dead updates do not count.
    pub(super) retried: HashMap<JobId, u32>,
}

/// Compares the input with the lines of earlier runs, of which the producer has `accepted` so many, and takes these
/// lines off it.
///
/// # Errors
/// [`Conflict`] names the first line that differs.
pub(super) async fn compare(client: &Client, lines: &mut Lines, accepted: u64) -> anyhow::Result<Past> {
    let kinds = [v1::UpdateKind::Submitted, v1::UpdateKind::Retried];
    let mut updates = client.updates(v1::GetUpdatesRequest {
        after: Some(After::End(v1::LogEnd::Floor.into())),
        queues: vec![QUEUE.to_owned()],
        kinds: kinds.map(i32::from).to_vec(),
        include_payload: true,
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    });
    let mut past = Past::default();
    while let Some(batch) = updates.next().await? {
        for update in batch.updates {
            if update.kind() == v1::UpdateKind::Retried {
                *past.retried.entry(update.job_id.parse()?).or_default() += 1;
                continue;
            }
            past.lines += 1;
            if past.lines > accepted {
                return Err(Conflict::Foreign.into());
            }
            let before = update.spec.unwrap_or_default().payload;
            match lines.next().await? {
                None => {
                    return Err(Conflict::Shorter { last: lines.taken(), before: accepted }.into());
                }
                Some(now) if now == before => {}
                Some(now) => {
                    let [before, now] = [before, now].map(|line| text::preview(&line, PREVIEW_CHARS));
                    return Err(Conflict::Changed { line: past.lines, before, now }.into());
                }
            }
        }
    }
    if past.lines == accepted { Ok(past) } else { Err(Conflict::Foreign.into()) }
}

impl Past {
    /// Gives every dead line a new generation.
    pub(super) async fn retry_dead(&mut self, client: &Client) -> anyhow::Result<()> {
        let mut listing = client.list(v1::ListJobsRequest {
            queue: QUEUE.to_owned(),
            states: vec![v1::JobState::Dead.into()],
            ..v1::ListJobsRequest::default()
        });
        let mut dead: Vec<JobId> = Vec::new();
        while let Some(page) = listing.next_page(u64::MAX).await? {
            for job in page.jobs {
                dead.push(job.id.parse()?);
            }
        }
        for ids in dead.chunks(IDS_MAX) {
            for result in client.retry(ids).await? {
                if result.outcome() == v1::JobOutcome::Done {
                    *self.retried.entry(result.job_id.parse()?).or_default() += 1;
                }
            }
        }
        Ok(())
    }
}
