//! `gangline inspect stats`: jobs per queue and state, segments, how fast the log grew, the oldest live jobs.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::output;
use crate::cli::show::counts;
use crate::cli::show::names;
use crate::cli::show::table::Table;
use crate::cli::show::text;
use crate::clock::Timestamp;
use crate::offline::DataDirectory;
use crate::offline::Stats;
use crate::offline::rates::Span;
use crate::offline::stats::SegmentStats;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;
use std::time::Duration;

/// What `inspect stats` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `inspect stats`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let directory = DataDirectory::open(&arguments.directory)?;
    let stats = Stats::of(&directory)?;
    let mut damage = Damage::of(&directory);
    damage.tell_all(&stats.faults);
    if arguments.json {
        output::json([to_json(&directory, &stats)])?;
    } else {
        output::lines(tell(&directory, &stats).into_iter())?;
    }
    if stats.partial {
        output::note("jobs whose submission is lost are not counted");
    }
    Ok(damage.end(&stats.tail))
}

fn to_json(directory: &DataDirectory, stats: &Stats) -> Value {
    let oldest = stats.oldest.iter().map(|oldest| {
        json!({
            "id": oldest.id.to_string(),
            "state": names::job_state(oldest.state),
            "queue": oldest.queue.as_str(),
            "submitted_at": text::at(oldest.id.time()),
            "attempts": oldest.attempts,
        })
    });
    json!({
        "store_id": directory.store_id().map(|store| store.to_string()),
        "floor_position": stats.floor.map(|floor| floor.position.0),
        "floor_sequence": stats.floor.map(|floor| floor.sequence.0),
        "position": stats.tail.position.0,
        "sequence": stats.tail.sequence.0,
        "first_time": text::known(stats.first_time),
        "last_time": text::known(stats.last_time),
        "live_jobs": stats.live,
        "counts": counts::to_json(&counts::total(&stats.queues)),
        "queues": counts::queues_json(&stats.queues),
        "oldest": oldest.collect::<Vec<Value>>(),
        "events": stats.kinds.iter().map(|(kind, count)| (kind.replace(' ', "-"), json!(count))).collect::<Map<String, Value>>(),
        "segments": segments_json(stats),
        "checkpoints": stats.checkpoints.iter().map(|at| at.0).collect::<Vec<u64>>(),
        "rates": rates_json(stats),
        "partial": stats.partial,
        "faults": stats.faults.count(),
        "torn_bytes": stats.tail.torn_bytes,
    })
}

fn segments_json(stats: &Stats) -> Vec<Value> {
    let object = |segment: &SegmentStats| {
        json!({
            "segment": segment.number,
            "bytes": segment.bytes,
            "used_bytes": segment.used_bytes,
            "frames": segment.frames,
            "updates": segment.updates,
            "first_position": segment.first.0,
            "last_time": text::known(segment.last_time),
        })
    };
    stats.segments.iter().map(object).collect()
}

fn rates_json(stats: &Stats) -> Vec<Value> {
    let object = |(begin, span): (Timestamp, &Span)| {
        json!({
            "time": text::at(begin),
            "span_ms": stats.rates.length_ms(),
            "frames": span.frames,
            "bytes": span.bytes,
            "updates": span.updates,
            "submitted": span.submitted,
            "started": span.started,
            "succeeded": span.succeeded,
            "failed": span.failed,
        })
    };
    stats.rates.spans().map(object).collect()
}

fn tell(directory: &DataDirectory, stats: &Stats) -> Vec<String> {
    let store = directory.store_id().map_or_else(|| "unknown".to_owned(), |store| store.to_string());
    let floor = |what: &str, number: Option<u64>| {
        number.map_or_else(|| format!("{what} from an unknown one"), |number| format!("{what} {number}"))
    };
    let mut lines = vec![
        format!("store      {store}"),
        format!(
            "{} to {}",
            floor("frames    ", stats.floor.map(|floor| floor.position.0)),
            stats.tail.position
        ),
        format!(
            "{} to {}",
            floor("updates   ", stats.floor.map(|floor| floor.sequence.0)),
            stats.tail.sequence
        ),
    ];
    if stats.first_time != Timestamp(0) {
        lines.push(format!("time       {} to {}", text::at(stats.first_time), text::at(stats.last_time)));
    }
    let checkpoints: Vec<String> = stats.checkpoints.iter().map(|at| format!("at frame {at}")).collect();
    lines.push(format!(
        "checkpoints  {}",
        if checkpoints.is_empty() { "none".to_owned() } else { checkpoints.join(", ") }
    ));
    lines.extend([String::new(), format!("{} live jobs", stats.live)]);
    lines.extend(counts::table(&stats.queues).lines());
    for oldest in &stats.oldest {
        lines.push(format!(
            "oldest {:9}  {}  {}  submitted {}  attempts {}",
            names::job_state(oldest.state),
            oldest.id,
            oldest.queue,
            text::at(oldest.id.time()),
            oldest.attempts
        ));
    }
    lines.push(String::new());
    lines.extend(segments(stats).lines());
    if stats.rates.spans().next().is_some() {
        let length = humantime::format_duration(Duration::from_millis(stats.rates.length_ms()));
        lines.extend([String::new(), format!("per {length}")]);
        lines.extend(rates(stats).lines());
    }
    lines
}

fn segments(stats: &Stats) -> Table<6> {
    let mut table = Table::new(["SEGMENT", "BYTES", "USED", "FRAMES", "UPDATES", "FIRST FRAME"]);
    for segment in &stats.segments {
        table.row([
            segment.number.to_string(),
            segment.bytes.to_string(),
            segment.used_bytes.to_string(),
            segment.frames.to_string(),
            segment.updates.to_string(),
            if segment.frames == 0 { "-".to_owned() } else { segment.first.to_string() },
        ]);
    }
    table
}

fn rates(stats: &Stats) -> Table<7> {
    let mut table = Table::new(["FROM", "SUBMITTED", "STARTED", "SUCCEEDED", "FAILED", "FRAMES", "BYTES"]);
    for (begin, span) in stats.rates.spans() {
        let Span { submitted, started, succeeded, failed, frames, bytes, .. } = span;
        let [submitted, started, succeeded, failed, frames, bytes] =
            [submitted, started, succeeded, failed, frames, bytes].map(u64::to_string);
        table.row([text::at(begin), submitted, started, succeeded, failed, frames, bytes]);
    }
    table
}
