//! `gangline verify`: whether everything in a data directory is what was written, and what is lost if not.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::show::text;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Lost;
use crate::offline::Verified;
use crate::offline::verify::Compared;
use crate::offline::work_tree::Checked;
use crate::offline::work_tree::Copied;
use anyhow::Context;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;
use tempfile::TempDir;

/// What `verify` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Also compare the work tree with the log, on a private copy; no server may run on the directory
    #[arg(long)]
    work: bool,
    /// Where the copy of the work tree goes for a while
    #[arg(long, value_name = "DIR", requires = "work")]
    scratch: Option<PathBuf>,
    /// One JSON object for each fault, and one at the end that sums up
    #[arg(long)]
    json: bool,
}

/// A fault as JSON has it.
#[derive(Debug, Serialize)]
pub(in crate::cli) struct FaultJson<'a> {
    fault: &'static str,
    file: String,
    offset: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    job_id: Option<String>,
    lost_frames: u64,
    lost_updates: u64,
    what: &'a str,
}

impl<'a> FaultJson<'a> {
    /// The JSON of a fault.
    pub(in crate::cli) fn of(fault: &'a Fault) -> FaultJson<'a> {
        FaultJson {
            fault: fault.kind.name(),
            file: fault.file.display().to_string(),
            offset: fault.offset,
            position: fault.position.map(|position| position.0),
            sequence: fault.sequence.map(|sequence| sequence.0),
            job_id: fault.job.map(|job| job.to_string()),
            lost_frames: fault.lost.frames,
            lost_updates: fault.lost.updates,
            what: &fault.what,
        }
    }
}

/// Runs `verify`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { directory, work, scratch, json } = arguments;
    let directory = DataDirectory::open(&directory)?;
    let scratch = work.then(|| temporary(scratch)).transpose()?;
    let copied = scratch.as_ref().map(|scratch| Copied::take(&directory, scratch.path())).transpose()?;
    let mut printed = Ok(Reader::There);
    let mut see = |fault: Fault| {
        if let Ok(Reader::There) = printed {
            printed = if json {
                output::json([FaultJson::of(&fault)])
            } else {
                output::line(&fault).map_err(anyhow::Error::from)
            };
        }
    };
    let mut verified = Verified::of(&directory, &mut see)?;
    let work = match copied {
        Some(copied) if verified.faults == 0 => Some(copied.check(&directory, &verified.tail, &mut see)?),
        // Of a damaged log no tree can be built to compare it with.
        Some(_) | None => None,
    };
    if let Some(Checked::Differs(jobs)) = work {
        verified.faults += jobs;
    }
    if printed? == Reader::There {
        if json {
            output::json([to_json(&verified, work.as_ref())])?;
        } else {
            output::lines(tell(&directory, &verified, work.as_ref()).into_iter())?;
        }
    }
    Ok(if verified.faults == 0 { Exit::OK } else { Exit::DAMAGED })
}

/// A directory that goes with this process.
fn temporary(scratch: Option<PathBuf>) -> anyhow::Result<TempDir> {
    let parent = scratch.unwrap_or_else(std::env::temp_dir);
    tempfile::tempdir_in(&parent).with_context(|| format!("cannot make a directory in {}", parent.display()))
}

fn to_json(verified: &Verified, work: Option<&Checked>) -> Value {
    let work = work.map(|work| match work {
        Checked::Same(jobs) => json!({"compared": "same", "jobs": jobs}),
        Checked::Differs(jobs) => json!({"compared": "differs", "jobs": jobs}),
        Checked::Rebuilt(why) => json!({"compared": "rebuilt at the next start", "why": why}),
    });
    let checkpoints = verified.checkpoints.iter().map(|(at, compared)| {
        let compared = match compared {
            Compared::Same => "same",
            Compared::Base => "base",
            Compared::NotCompared => "not compared",
            Compared::Bad => "bad",
        };
        json!({"position": at.0, "compared": compared})
    });
    json!({
        "faults": verified.faults,
        "lost_frames": verified.lost.frames,
        "lost_updates": verified.lost.updates,
        "frames": verified.frames,
        "updates": verified.updates,
        "bytes": verified.bytes,
        "last_position": verified.tail.position.0,
        "last_sequence": verified.tail.sequence.0,
        "live_jobs": verified.live,
        "checkpoints": checkpoints.collect::<Vec<Value>>(),
        "carried_events": verified.carried,
        "unexplained_updates": verified.unexplained,
        "unvouched_updates": verified.tail.unvouched_updates,
        "torn_bytes": verified.tail.torn_bytes,
        "work_tree": work,
    })
}

fn tell(directory: &DataDirectory, verified: &Verified, work: Option<&Checked>) -> Vec<String> {
    let Verified { frames, updates, bytes, carried, live, unexplained, faults, lost, tail, .. } = verified;
    let mut lines = vec![format!(
        "{frames} frames with {updates} updates in {bytes} bytes, up to frame {} and update {}",
        tail.position, tail.sequence
    )];
    lines.push(format!("{live} live jobs; {carried} carried events"));
    for (at, compared) in &verified.checkpoints {
        lines.push(format!("checkpoint at frame {at}: {}", words(*compared)));
    }
    lines.extend(work.map(|work| match work {
        Checked::Same(jobs) => format!("work tree: it says what the log says of {jobs} jobs"),
        Checked::Differs(jobs) => {
            format!("work tree: {jobs} jobs differ; delete `work` and it is built anew")
        }
        Checked::Rebuilt(why) => format!("work tree: the next start builds a new one, because {why}"),
    }));
    if *unexplained > 0 {
        let noun = if *unexplained == 1 { "update" } else { "updates" };
        lines.push(format!("not checked: {unexplained} {noun} of jobs whose beginning is not there"));
    }
    if tail.unvouched_updates > 0 {
        let updates = tail.unvouched_updates;
        lines.push(format!("at the end: {updates} updates that nothing vouches for yet; they are whole"));
    }
    if tail.torn_bytes > 0 {
        let torn = tail.torn_bytes;
        lines.push(format!("at the end: {torn} bytes in flight or torn, never acknowledged; no fault"));
    }
    if *faults == 0 {
        lines.push("no fault".to_owned());
    } else {
        let faults = if *faults == 1 { "1 fault".to_owned() } else { format!("{faults} faults") };
        let nothing = *lost == Lost::default();
        lines.push(if nothing {
            format!("{faults}; nothing is lost")
        } else {
            format!("{faults}; {lost} lost")
        });
        let root = text::shell(directory.path());
        lines.push(format!(
            "to do: `gangline salvage {root} OUT` copies what can be read into a new directory"
        ));
    }
    lines
}

fn words(compared: Compared) -> &'static str {
    match compared {
        Compared::Same => "it is what the log leads to",
        Compared::Base => "it is whole; the log before it is not there to compare it with",
        Compared::NotCompared => "it is whole; it was not compared",
        Compared::Bad => "it is not what it should be",
    }
}
