//! Printing what differs: history, queues, cursors, keys, jobs.

use crate::cli::output;
use crate::cli::output::Objects;
use crate::cli::output::Reader;
use crate::cli::show::counts;
use crate::cli::show::live;
use crate::cli::show::live::LiveJson;
use crate::cli::show::names;
use crate::cli::show::text;
use crate::clock::Timestamp;
use crate::job::id::QueueName;
use crate::job::queue::Counts;
use crate::job::spec::QueueSettings;
use crate::offline::Diff;
use crate::offline::LiveJob;
use crate::offline::Located;
use crate::offline::diff::Both;
use crate::offline::diff::Fork;
use crate::offline::diff::Histories;
use crate::offline::diff::JobChange;
use crate::offline::diff::Side;
use serde_json::Value;
use serde_json::json;
use std::time::Duration;

/// Lines of jobs that are printed in one piece.
const PIECE_LINES: usize = 1_000;

/// Prints every difference as an object, and at the end what was compared.
pub(super) fn objects(diff: &Diff) -> anyhow::Result<()> {
    let mut objects = Objects::default();
    if let Histories::Forked(fork) = &diff.histories {
        objects.add(&json!({
            "difference": "history",
            "position": fork.a.frame.position.0,
            "is_first": fork.is_first,
            "a": frame_json(&fork.a),
            "b": frame_json(&fork.b),
        }))?;
    }
    for (name, (a, b)) in diff.queues() {
        let (a, b) = (a.map(queue_json), b.map(queue_json));
        objects.add(&json!({"difference": "queue", "queue": name.as_str(), "a": a, "b": b}))?;
    }
    for (name, (a, b)) in diff.cursors() {
        let (a, b) = (a.map(|cursor| cursor.sequence.0), b.map(|cursor| cursor.sequence.0));
        objects.add(&json!({"difference": "cursor", "cursor": name.as_ref(), "a": a, "b": b}))?;
    }
    for (what, [a, b, changed]) in [("submit keys", diff.keys()), ("producers", diff.producers())] {
        if a + b + changed > 0 {
            objects.add(&json!({"difference": what, "only_a": a, "only_b": b, "changed": changed}))?;
        }
    }
    let mut printed = Ok(Reader::There);
    let mut jobs = [0_u64; 3];
    diff.each_job(&mut |change| {
        count(&mut jobs, &change);
        if let Ok(Reader::There) = printed {
            printed = objects.add(&job_json(&change));
        }
    });
    if printed? == Reader::There {
        objects.add(&summary(diff, jobs))?;
        objects.print()?;
    }
    Ok(())
}

fn summary(diff: &Diff, [only_a, only_b, changed]: [u64; 3]) -> Value {
    let [a, b] = diff.sides().map(|side| live::state_json(&side.directory, &side.as_of));
    let histories = match diff.histories {
        Histories::Same => "same",
        Histories::Apart => "apart",
        Histories::Forked(_) => "forked",
    };
    json!({
        "same": diff.is_same(),
        "histories": histories,
        "jobs_only_a": only_a,
        "jobs_only_b": only_b,
        "jobs_changed": changed,
        "a": a,
        "b": b,
    })
}

/// Prints the same for people.
pub(super) fn lines(diff: &Diff) -> anyhow::Result<()> {
    let mut lines: Vec<String> = Vec::new();
    for (name, side) in ["A", "B"].into_iter().zip(diff.sides()) {
        lines.push(side_line(name, side));
    }
    lines.push(histories(diff));
    if let Histories::Forked(fork) = &diff.histories {
        lines.extend([frame_line("A", &fork.a), frame_line("B", &fork.b)]);
    }
    lines.extend(diff.queues().iter().map(|(name, both)| queue_line(name, both)));
    for (name, (a, b)) in diff.cursors() {
        let [a, b] =
            [a, b].map(|cursor| cursor.map_or("none".to_owned(), |cursor| cursor.sequence.to_string()));
        let name = text::preview(name.as_bytes(), 128);
        lines.push(format!("cursor {name}: {a} -> {b}"));
    }
    for (what, [a, b, changed]) in [("submit keys", diff.keys()), ("producers", diff.producers())] {
        if a + b + changed > 0 {
            lines.push(format!("{what}: {a} only in A, {b} only in B, {changed} changed"));
        }
    }
    let (mut jobs, mut printed) = ([0_u64; 3], Ok(Reader::There));
    diff.each_job(&mut |change| {
        count(&mut jobs, &change);
        lines.push(job_line(&change));
        if lines.len() >= PIECE_LINES
            && let Ok(Reader::There) = printed
        {
            printed = output::lines(lines.drain(..));
        }
    });
    if printed? == Reader::There {
        let [only_a, only_b, changed] = jobs;
        lines.push(format!("live jobs: {only_a} only in A, {only_b} only in B, {changed} changed"));
        lines.push(if diff.is_same() { "they are the same" } else { "they differ" }.to_owned());
        output::lines(lines.into_iter())?;
    }
    Ok(())
}

fn side_line(name: &str, side: &Side) -> String {
    let state = &side.as_of.state;
    let store = side.directory.store_id().map_or_else(|| "unknown".to_owned(), |store| store.to_string());
    format!(
        "{name}  {}  store {store}  frame {}  update {}  state {:032x}",
        side.directory.path().display(),
        state.position(),
        state.sequence(),
        state.digest()
    )
}

fn histories(diff: &Diff) -> String {
    let [a, b] = diff.sides().map(|side| side.as_of.state.position());
    match &diff.histories {
        Histories::Same if a == b => format!("history: one, up to frame {a}"),
        Histories::Same if a < b => format!("history: one; B goes on from frame {a} to {b}"),
        Histories::Same => format!("history: one; A goes on from frame {b} to {a}"),
        Histories::Apart => {
            "history: no frame is in both logs, so it cannot be told whether it is one".to_owned()
        }
        Histories::Forked(fork) => told(fork),
    }
}

fn told(fork: &Fork) -> String {
    let (position, sequence) = (fork.a.frame.position, fork.a.frame.first_sequence);
    if fork.is_first {
        format!("history: it forks at frame {position}, update {sequence}")
    } else {
        format!("history: it has forked at frame {position}, update {sequence}, or before")
    }
}

fn frame_line(name: &str, located: &Located) -> String {
    let frame = &located.frame;
    format!(
        "  in {name}  {} at byte {}  epoch {}  {} updates  {}  hash {}",
        located.file.display(),
        located.offset,
        frame.epoch,
        frame.updates,
        text::at(frame.time),
        located.hash
    )
}

fn frame_json(located: &Located) -> Value {
    let frame = &located.frame;
    json!({
        "file": located.file.display().to_string(),
        "offset": located.offset,
        "first_sequence": frame.first_sequence.0,
        "updates": frame.updates,
        "epoch": frame.epoch.0,
        "time": text::at(frame.time),
        "hash": located.hash.to_string(),
    })
}

fn queue_json((settings, counts): (QueueSettings, Counts)) -> Value {
    json!({
        "paused": settings.paused,
        "max_pending": settings.max_pending,
        "dead_max": settings.dead_max,
        "retention_ms": settings.retention_ms,
        "counts": counts::to_json(&counts),
    })
}

fn queue_line(name: &QueueName, both: &Both<(QueueSettings, Counts)>) -> String {
    match both {
        (Some((a, a_counts)), Some((b, b_counts))) => {
            let mut changes = changes(&settings(a), &settings(b));
            changes.extend(self::changes(&numbers(a_counts), &numbers(b_counts)));
            format!("queue {name}: {}", changes.join(", "))
        }
        (Some(_), None) => format!("queue {name}: only in A"),
        (None, _) => format!("queue {name}: only in B"),
    }
}

type Fields = Vec<(&'static str, String)>;

fn settings(settings: &QueueSettings) -> Fields {
    let QueueSettings { paused, max_pending, dead_max, retention_ms } = settings;
    let retention = retention_ms.map(|ms| humantime::format_duration(Duration::from_millis(ms)).to_string());
    vec![
        ("paused", if *paused { "yes" } else { "no" }.to_owned()),
        ("max pending", max_pending.map_or("none".to_owned(), |most| most.to_string())),
        ("dead max", dead_max.to_string()),
        ("retention", retention.unwrap_or_else(|| "that of the log".to_owned())),
    ]
}

fn numbers(counts: &Counts) -> Fields {
    vec![
        ("waiting", counts.waiting.to_string()),
        ("running", counts.running.to_string()),
        ("dead", counts.dead.to_string()),
        ("submitted", counts.submitted_total.to_string()),
        ("started", counts.started_total.to_string()),
        ("succeeded", counts.succeeded_total.to_string()),
        ("died", counts.dead_total.to_string()),
        ("cancelled", counts.cancelled_total.to_string()),
        ("expired", counts.expired_total.to_string()),
    ]
}

/// What is not the same in both, which have the same fields.
fn changes(a: &Fields, b: &Fields) -> Vec<String> {
    let both = a.iter().zip(b).filter(|(a, b)| a != b);
    both.map(|((name, a), (_, b))| format!("{name} {a} -> {b}")).collect()
}

fn count([only_a, only_b, changed]: &mut [u64; 3], change: &JobChange) {
    match change.jobs {
        (Some(_), None) => *only_a += 1,
        (None, _) => *only_b += 1,
        (Some(_), Some(_)) => *changed += 1,
    }
}

fn job_json(change: &JobChange) -> Value {
    let (a, b) = &change.jobs;
    let id = a.as_ref().or(b.as_ref()).map(|job| job.id.to_string());
    json!({
        "difference": "job",
        "job_id": id,
        "a": a.as_ref().map(LiveJson::of),
        "b": b.as_ref().map(LiveJson::of),
        "ended": change.ended.map(names::job_state),
    })
}

/// `-` is gone in B, `+` is new in B, `~` is not the same.
fn job_line(change: &JobChange) -> String {
    let of = |job: &LiveJob| format!("{}  {}  {}", job.id, names::job_state(job.state), job.queue);
    let ended = |there: &str| {
        change.ended.map(|state| format!("  {} in {there}", names::job_state(state))).unwrap_or_default()
    };
    match &change.jobs {
        (Some(a), None) => format!("- {}{}", of(a), ended("B")),
        (Some(a), Some(b)) => {
            format!("~ {}  {}  {}", a.id, b.queue, changes(&fields(a), &fields(b)).join(", "))
        }
        (None, Some(b)) => format!("+ {}{}", of(b), ended("A")),
        (None, None) => String::new(),
    }
}

fn due(due: Timestamp) -> String {
    if due == Timestamp(0) { "at once".to_owned() } else { text::at(due) }
}

fn fields(job: &LiveJob) -> Fields {
    let text = |number: u64| number.to_string();
    vec![
        ("queue", job.queue.to_string()),
        ("state", names::job_state(job.state).to_owned()),
        ("attempts", job.attempts.to_string()),
        ("generation", job.generation.to_string()),
        ("due", job.due.map_or("none".to_owned(), due)),
        (
            "worker",
            job.worker.as_deref().map_or("none".to_owned(), |name| text::preview(name.as_bytes(), 128)),
        ),
        ("priority", job.priority.to_string()),
        ("failures", job.failures.len().to_string()),
        ("budgets used", job.used.map(|used| used.to_string()).join("/")),
        ("payload bytes", job.payload_bytes.to_string()),
        ("submitted", text(job.submitted.0)),
        ("newest", text(job.newest.0)),
        ("submission at", format!("{}.{}", job.submitted_at.position, job.submitted_at.index)),
        ("policy", format!("{:?}", job.policy)),
    ]
}
