//! `gangline salvage`: everything readable of a damaged data directory into a new one, and what is missing there.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::show::text;
use crate::cli::verify::FaultJson;
use crate::log;
use crate::offline::DataDirectory;
use crate::offline::salvage::Gap;
use crate::offline::salvage::Report;
use crate::offline::salvage::salvage;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// How many jobs are named to people; `--json` names all.
const JOBS_SHOWN: usize = 20;

/// What `salvage` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The damaged data directory, or a copy of it; it is only read
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Where the new one is made: it does not exist, or is empty
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// One JSON object a line: each fault, each job of which something is missing, then the summary
    #[arg(long)]
    json: bool,
}

/// Runs `salvage`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    // A server that starts meanwhile would cut and trim what is being read. One that runs is left alone: it may be all there is.
    let _stopped = match directory.stopped() {
        Ok(stopped) => Some(stopped),
        Err(log::Error::InUse { place, holder }) => {
            output::note(format_args!(
                "{place} is in use by {holder}: what is written there from now on may be missing in {}",
                arguments.out.display()
            ));
            None
        }
        Err(error) => return Err(error.into()),
    };
    let report = salvage(&directory, &arguments.out)?;
    if arguments.json {
        output::json(objects(&report)?)?;
    } else {
        output::lines(lines(&report, &arguments).into_iter())?;
    }
    Ok(if report.is_complete() { Exit::OK } else { Exit::DAMAGED })
}

fn gap_name(gap: Gap) -> &'static str {
    match gap {
        Gap::Payload => "payload",
        Gap::End => "end",
        Gap::Doubt => "perhaps its end",
    }
}

fn objects(report: &Report) -> serde_json::Result<Vec<Value>> {
    let fault = |fault| serde_json::to_value(FaultJson::of(fault));
    let mut objects: Vec<Value> = report.faults.kept().iter().map(fault).collect::<Result<_, _>>()?;
    objects.extend(
        report.jobs.iter().map(|(id, gap)| json!({"job_id": id.to_string(), "missing": gap_name(*gap)})),
    );
    let [payload, end, doubt] = report.gaps;
    objects.push(json!({
        "complete": report.is_complete(),
        "old_store_id": report.old_store.map(|store| store.to_string()),
        "store_id": report.new_store.map(|store| store.to_string()),
        "faults": report.faults.count(),
        "updates": report.sequence.0,
        "updates_kept": report.updates_kept,
        "updates_added": report.updates_added,
        "events_left_out": report.left_out,
        "submit_keys_forgotten": report.keys_forgotten,
        "jobs_without_payload": payload,
        "jobs_without_end": end,
        "jobs_in_doubt": doubt,
        "waiting": report.waiting,
        "dead": report.dead,
        "torn_bytes": report.tail.torn_bytes,
    }));
    Ok(objects)
}

fn lines(report: &Report, arguments: &Arguments) -> Vec<String> {
    let mut lines: Vec<String> = report.faults.kept().iter().map(ToString::to_string).collect();
    if report.faults.count() > lines.len() as u64 {
        lines.push(format!("{} faults in all", report.faults.count()));
    }
    let [payload, end, doubt] = report.gaps;
    let texts = [
        (Gap::Payload, payload, "lost their payload and are not run"),
        (Gap::End, end, "had ended, how is lost"),
        (Gap::Doubt, doubt, "may have ended in what is lost; they wait, and are run again"),
    ];
    for (gap, count, text) in texts.into_iter().filter(|(_, count, _)| *count > 0) {
        lines.push(format!("jobs: {count} {text}"));
        let of_gap = report.jobs.iter().filter(|(_, own)| **own == gap).map(|(id, _)| format!("  {id}"));
        lines.extend(of_gap.take(JOBS_SHOWN));
        if count > JOBS_SHOWN as u64 {
            lines.push("  … --json names them all".to_owned());
        }
    }
    if report.keys_forgotten > 0 {
        lines.push(format!(
            "submit keys: {} are forgotten, a repeated submit makes a second job",
            report.keys_forgotten
        ));
    }
    if report.left_out > 0 {
        lines.push(format!("events: {} fit nothing that is known and are left out", report.left_out));
    }
    let store = report.new_store.map(|store| store.to_string()).unwrap_or_default();
    lines.push(format!(
        "saved: {} updates, {} of them written anew; {} jobs wait, {} are dead; store {store}",
        report.sequence, report.updates_added, report.waiting, report.dead
    ));
    let out = text::shell(&arguments.out);
    lines.push(if report.is_complete() {
        format!("nothing is missing; next: gangline serve --data {out}")
    } else {
        format!("something is missing, see above; next: gangline serve --data {out}")
    });
    lines
}
