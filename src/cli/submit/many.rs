//! A job for each line, over one stream that mends itself.

use crate::cli::exit::Exit;
use crate::cli::lines::Lines;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::submit::Spec;
use crate::client;
use crate::client::Accepted;
use crate::client::Client;
use crate::clock::Clock;
use serde::Serialize;

#[derive(Debug, Serialize)]
struct AcceptedJson {
    line: u64,
    job_id: Option<String>,
}

/// Submits the lines and prints their ids in the order of the lines. With a key it goes on after the last line that was
/// accepted under it. [ID-1]
pub(super) async fn run(
    client: &Client,
    mut lines: Lines,
    spec: &Spec,
    key: Option<String>,
    json: bool,
) -> anyhow::Result<Exit> {
    let producer_id = key.map_or_else(client::unique_name, Ok)?;
    let mut submitter = client.submitter(&producer_id).await?;
    let before = submitter.last_ordinal();
    while lines.taken() < before {
        if lines.next().await?.is_none() {
            output::note(format_args!("all {} lines were submitted before, under this key", lines.taken()));
            return Ok(Exit::OK);
        }
    }
    if before > 0 {
        output::note(format_args!("lines 1 to {before} were submitted before, under this key"));
    }
    let clock = Clock::system();
    let (mut input, mut reader) = (Input::There, Reader::There);
    while input == Input::There || submitter.unanswered() > 0 {
        tokio::select! {
            line = lines.next(), if input == Input::There && submitter.has_room() => match line? {
                None => input = Input::Ended,
                Some(line) => {
                    let now = clock.now().wall;
                    submitter.push(spec.job(line, now));
                    while submitter.has_room() && let Some(line) = lines.at_hand() {
                        submitter.push(spec.job(line, now));
                    }
                }
            },
            accepted = submitter.accepted(), if submitter.unanswered() > 0 => {
                // That nobody reads the ids any more does not stop the submitting.
                for range in accepted? {
                    if reader == Reader::There {
                        reader = print(&range, json)?;
                    }
                }
            }
        }
    }
    Ok(Exit::OK)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Input {
    There,
    Ended,
}

fn print(range: &Accepted, json: bool) -> anyhow::Result<Reader> {
    let jobs = (0..range.count).map(|step| AcceptedJson {
        line: range.first_ordinal + step,
        job_id: range.first_id.map(|first| first.plus(step).to_string()),
    });
    if json {
        return output::json(jobs);
    }
    if range.first_id.is_none() {
        let last = range.first_ordinal + range.count - 1;
        output::note(format_args!(
            "lines {} to {last} are submitted, but their ids were lost with the link; `gangline ls` shows them",
            range.first_ordinal
        ));
    }
    Ok(output::lines(jobs.filter_map(|job| job.job_id))?)
}
