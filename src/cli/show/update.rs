//! An update of the log, as JSON and as a line for people.

use crate::cli::show::names;
use crate::cli::show::text;
use crate::cli::show::text::Blob;
use crate::proto::v1;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;

/// How much of a payload or result a line shows.
const PREVIEW_CHARS: usize = 60;

/// An update as JSON has it. What a kind does not have is left out.
#[derive(Debug, Serialize)]
pub(crate) struct UpdateJson<'a> {
    sequence: u64,
    kind: &'static str,
    job_id: &'a str,
    queue: &'a str,
    time: Option<String>,
    #[serde(skip_serializing_if = "is_zero")]
    attempt: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    spec: Option<SpecJson<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    worker_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    failure: Option<FailureJson<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    result_content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageJson>,
    #[serde(skip_serializing_if = "is_zero")]
    generation: u32,
}

impl<'a> UpdateJson<'a> {
    /// The JSON of an update, with the payload and result if the reader asked for them.
    pub(crate) fn of(update: &'a v1::Update, payload: Show, result: Show) -> UpdateJson<'a> {
        let succeeded = update.kind() == v1::UpdateKind::Succeeded;
        UpdateJson {
            sequence: update.sequence,
            kind: names::kind(update.kind()),
            job_id: &update.job_id,
            queue: &update.queue,
            time: update.time.as_ref().map(text::time),
            attempt: update.attempt,
            spec: update.spec.as_ref().map(|spec| SpecJson::of(spec, payload)),
            worker_id: &update.worker_id,
            progress: update.progress.as_ref().map(ProgressJson::of),
            failure: update.failure.as_ref().map(FailureJson::of),
            due: update.due.as_ref().map(text::time),
            reason: &update.reason,
            result: (succeeded && result == Show::Yes).then_some(Blob(&update.result)),
            result_content_type: &update.result_content_type,
            usage: update.usage.as_ref().map(UsageJson::of),
            generation: update.generation,
        }
    }
}

/// Whether something that may be large is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Show {
    /// It was asked for.
    Yes,
    /// It was not, so that the answer does not have it.
    No,
}

impl From<bool> for Show {
    fn from(asked: bool) -> Show {
        if asked { Show::Yes } else { Show::No }
    }
}

/// What a submitter said of a job.
#[derive(Debug, Serialize)]
pub(crate) struct SpecJson<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    content_type: &'a str,
    priority: i32,
    #[serde(skip_serializing_if = "Option::is_none")]
    run_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timeout_ms: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    labels: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "str::is_empty")]
    traceparent: &'a str,
}

impl<'a> SpecJson<'a> {
    pub(crate) fn of(spec: &'a v1::JobSpec, payload: Show) -> SpecJson<'a> {
        SpecJson {
            payload: (payload == Show::Yes).then_some(Blob(&spec.payload)),
            content_type: &spec.content_type,
            priority: spec.priority,
            run_at: spec.run_at.as_ref().map(text::time),
            max_attempts: spec.retry_policy.and_then(|policy| policy.max_attempts),
            timeout_ms: spec.timeout.as_ref().map(text::whole_ms),
            expires_at: spec.expires_at.as_ref().map(text::time),
            labels: &spec.labels,
            traceparent: &spec.traceparent,
        }
    }
}

/// How far a job is.
#[derive(Debug, Serialize)]
pub(crate) struct ProgressJson<'a> {
    /// From 0 to 1.
    done: Option<f64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

impl ProgressJson<'_> {
    pub(crate) fn of(progress: &v1::Progress) -> ProgressJson<'_> {
        ProgressJson {
            done: progress.done.map(|parts| f64::from(parts) / 10_000.0),
            message: &progress.message,
        }
    }
}

/// How an attempt failed.
#[derive(Debug, Serialize)]
pub(crate) struct FailureJson<'a> {
    kind: &'static str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signal: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stderr: Option<&'a str>,
}

impl<'a> FailureJson<'a> {
    /// An end that no process and no worker has a part in.
    pub(crate) fn plain(kind: &'static str, message: &'a str) -> FailureJson<'a> {
        FailureJson { kind, message, exit_code: None, signal: None, stderr: None }
    }

    pub(crate) fn of(failure: &'a v1::Failure) -> FailureJson<'a> {
        let process = failure.process.as_ref();
        FailureJson {
            kind: names::failure_kind(failure.kind()),
            message: &failure.message,
            exit_code: process.and_then(|process| process.exit_code),
            signal: process.and_then(|process| process.signal),
            stderr: process.map(|process| process.stderr.as_str()).filter(|stderr| !stderr.is_empty()),
        }
    }
}

/// What an attempt used of the machine.
#[derive(Debug, Serialize)]
pub(crate) struct UsageJson {
    cpu_ms: u64,
    rss_kib: u64,
}

impl UsageJson {
    pub(crate) fn of(usage: &v1::Usage) -> UsageJson {
        UsageJson { cpu_ms: usage.cpu.as_ref().map_or(0, text::whole_ms), rss_kib: usage.rss_kib }
    }
}

impl fmt::Display for UsageJson {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms of CPU, {} KiB of memory", self.cpu_ms, self.rss_kib)
    }
}

/// An update on one line, for people.
pub(crate) fn line(update: &v1::Update, payload: Show, result: Show) -> String {
    let time = update.time.as_ref().map(text::time).unwrap_or_default();
    let kind = names::kind(update.kind());
    let mut line = format!("{:>8}  {time}  {kind:9}  {}  {}", update.sequence, update.job_id, update.queue);
    if update.attempt > 0 {
        write!(line, "  attempt {}", update.attempt).expect("a string takes every text");
    }
    for detail in details(update, payload, result) {
        line.push_str("  ");
        line.push_str(&detail);
    }
    line
}

fn details(update: &v1::Update, payload: Show, result: Show) -> Vec<String> {
    let mut details = Vec::new();
    if let (Some(spec), Show::Yes) = (&update.spec, payload) {
        details.push(text::preview(&spec.payload, PREVIEW_CHARS));
    }
    if !update.worker_id.is_empty() {
        details.push(format!("by {}", text::preview(update.worker_id.as_bytes(), PREVIEW_CHARS)));
    }
    if let Some(progress) = &update.progress {
        let share = progress.done.map(|parts| format!("{} %", f64::from(parts) / 100.0));
        details.extend(share);
        details.push(text::preview(progress.message.as_bytes(), PREVIEW_CHARS));
    }
    if let Some(failure) = &update.failure {
        details.push(failure_text(failure));
    }
    if let Some(due) = &update.due {
        details.push(format!("due {}", text::time(due)));
    }
    if !update.reason.is_empty() {
        details.push(text::preview(update.reason.as_bytes(), PREVIEW_CHARS));
    }
    if update.kind() == v1::UpdateKind::Succeeded && result == Show::Yes {
        details.push(text::preview(&update.result, PREVIEW_CHARS));
    }
    details.retain(|detail| !detail.is_empty());
    details
}

/// How an attempt failed, on one line.
pub(crate) fn failure_text(failure: &v1::Failure) -> String {
    let kind = names::failure_kind(failure.kind());
    let message = text::preview(failure.message.as_bytes(), 200);
    let mut shown = if message.is_empty() { kind.to_owned() } else { format!("{kind}: {message}") };
    let stderr = failure.process.as_ref().map_or("", |process| process.stderr.trim_end());
    if let Some(last) = stderr.lines().next_back() {
        write!(shown, " ({})", text::preview(last.as_bytes(), 200)).expect("a string takes every text");
    }
    shown
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
