//! `gangline inspect job`: one job's whole life as the log tells it, or its payload or its result.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::inspect::event;
use crate::cli::output;
use crate::cli::show::names;
use crate::cli::show::text;
use crate::cli::show::update::Show;
use crate::cli::show::update::UpdateJson;
use crate::grpc::convert::time::to_timestamp;
use crate::grpc::convert::update::Parts;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::offline::DataDirectory;
use crate::offline::Life;
use crate::offline::life::Moment;
use crate::proto::v1;
use serde::Serialize;
use std::path::PathBuf;

/// How much of a payload or result is shown to people.
const PREVIEW_CHARS: usize = 200;

/// What `inspect job` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory, or a copy of it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// The job
    #[arg(value_name = "ID")]
    id: JobId,
    /// Print only the payload, byte for byte
    #[arg(long, conflicts_with_all = ["result", "json"])]
    payload: bool,
    /// Print only the result, byte for byte
    #[arg(long, conflicts_with = "json")]
    result: bool,
    /// One JSON object, with payload and result
    #[arg(long)]
    json: bool,
}

/// A job's life as JSON has it.
#[derive(Debug, Serialize)]
struct LifeJson<'a> {
    id: String,
    queue: Option<&'a str>,
    state: &'static str,
    /// Whether the log tells of its submission.
    from_the_beginning: bool,
    #[serde(skip_serializing_if = "is_zero")]
    progress_left_out: u64,
    updates: Vec<UpdateJson<'a>>,
}

/// Runs `inspect job`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { directory, id, payload, result, json } = arguments;
    let directory = DataDirectory::open(&directory)?;
    let life = Life::of(&directory, id)?;
    let mut damage = Damage::of(&directory);
    damage.tell_all(&life.faults);
    let ends = damage.end(&life.tail);
    if life.moments.is_empty() {
        let trimmed = directory.floor().is_none_or(|floor| floor.position.0 > 1);
        let hint = if trimmed { "; older updates were trimmed" } else { "" };
        output::note(format_args!("the log tells nothing of job {id}{hint}"));
        return Ok(if ends == Exit::OK { Exit::NOT_FOUND } else { ends });
    }
    if payload || result {
        let found =
            if payload { life.moments.iter().find_map(payload_of) } else { newest_result(&life.moments) };
        let Some(bytes) = found else {
            let what = if payload { "the payload" } else { "a result" };
            output::note(format_args!("the log does not tell {what} of job {id}: it is {}", state(&life)));
            return Ok(if ends == Exit::OK { Exit::NOT_FOUND } else { ends });
        };
        output::bytes(bytes)?;
        return Ok(ends);
    }
    let updates = updates(&life);
    if json {
        output::json([life_json(&life, &updates)])?;
    } else {
        output::lines(tell(&life, &updates).into_iter())?;
    }
    Ok(ends)
}

/// The life's moments as updates.
fn updates(life: &Life) -> Vec<v1::Update> {
    let parts = Parts { payload: true, result: true };
    let Some(queue) = &life.queue else { return Vec::new() };
    let update =
        |moment: &Moment| event::update_of(moment.sequence, moment.time, queue, &moment.event, parts);
    life.moments.iter().filter_map(update).collect()
}

fn life_json<'a>(life: &'a Life, updates: &'a [v1::Update]) -> LifeJson<'a> {
    LifeJson {
        id: life.id.to_string(),
        queue: life.queue.as_ref().map(|queue| queue.as_str()),
        state: state(life),
        from_the_beginning: life.moments.iter().any(|moment| payload_of(moment).is_some()),
        progress_left_out: life.progress_left_out,
        updates: updates.iter().map(|update| UpdateJson::of(update, Show::Yes, Show::Yes)).collect(),
    }
}

fn tell(life: &Life, updates: &[v1::Update]) -> Vec<String> {
    let mut lines = vec![
        format!("id         {}", life.id),
        format!("state      {}", state(life)),
        format!("queue      {}", life.queue.as_ref().map_or("?", |queue| queue.as_str())),
    ];
    let shown = |name: &str, bytes: &[u8]| {
        let preview = text::preview(bytes, PREVIEW_CHARS);
        format!("{name}{} bytes  {preview}", bytes.len()).trim_end().to_owned()
    };
    lines.extend(life.moments.iter().find_map(payload_of).map(|payload| shown("payload    ", payload)));
    lines.extend(newest_result(&life.moments).map(|result| shown("result     ", result)));
    lines.push("timeline".to_owned());
    for (moment, update) in life.moments.iter().zip(updates) {
        let time = moment.time.map_or_else(String::new, |time| text::time(&to_timestamp(time)));
        let sequence = moment.sequence.map_or_else(|| "trimmed".to_owned(), |sequence| sequence.to_string());
        let told = update_words(update);
        lines.push(format!("  {sequence:>8}  {time:24}  {told}").trim_end().to_owned());
    }
    if life.progress_left_out > 0 {
        lines.push(format!("  {} older updates of kind progress are left out", life.progress_left_out));
    }
    lines
}

/// The kind of an update and its details, without what all lines of a job share.
fn update_words(update: &v1::Update) -> String {
    let line = event::line(update, Parts::default());
    let shared = format!("{}  {}", update.job_id, update.queue);
    let kind = names::kind(update.kind());
    let details = line.split_once(&shared).map_or("", |(_, details)| details);
    format!("{kind}{details}")
}

/// The state that the last update but deletion led to.
fn state(life: &Life) -> &'static str {
    let Some(last) = life.moments.last() else { return "unknown" };
    match &last.event {
        Event::Submitted(_) | Event::Retrying { .. } | Event::Released { .. } | Event::Retried { .. } => {
            "waiting"
        }
        Event::Started { .. } | Event::Progress { .. } => "running",
        Event::Succeeded { .. } => "succeeded",
        Event::Dead { .. } => "dead",
        Event::Cancelled { .. } => "cancelled",
        Event::Expired { .. } => "expired",
        Event::Deleted { .. } => "deleted",
        Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => "unknown",
    }
}

fn payload_of(moment: &Moment) -> Option<&[u8]> {
    if let Event::Submitted(submitted) = &moment.event { Some(&submitted.payload.0) } else { None }
}

fn newest_result(moments: &[Moment]) -> Option<&[u8]> {
    moments.iter().rev().find_map(|moment| {
        if let Event::Succeeded { result, .. } = &moment.event { Some(result.0.as_ref()) } else { None }
    })
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
