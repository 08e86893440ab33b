//! A job, as JSON, as a row of a table, and told at length.

use crate::cli::show::names;
use crate::cli::show::text;
use crate::cli::show::text::Blob;
use crate::cli::show::update::FailureJson;
use crate::cli::show::update::ProgressJson;
use crate::cli::show::update::Show;
use crate::cli::show::update::SpecJson;
use crate::cli::show::update::UsageJson;
use crate::cli::show::update::failure_text;
use crate::clock::Timestamp;
use crate::proto::v1;
use serde::Serialize;

/// How much of a payload or result is shown to people.
const PREVIEW_CHARS: usize = 200;

/// A job as JSON has it. What is not set is left out.
#[derive(Debug, Serialize)]
pub(crate) struct JobJson<'a> {
    id: &'a str,
    queue: &'a str,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    generation: u32,
    submitted_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    started_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    finished_at: Option<String>,
    submitted_sequence: u64,
    last_sequence: u64,
    #[serde(skip_serializing_if = "str::is_empty")]
    worker_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<ProgressJson<'a>>,
    spec: Option<SpecJson<'a>>,
    payload_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Blob<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    result_bytes: Option<u64>,
    #[serde(skip_serializing_if = "str::is_empty")]
    result_content_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<UsageJson>,
    #[serde(skip_serializing_if = "str::is_empty")]
    cancel_reason: &'a str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failures: Vec<AttemptJson<'a>>,
}

/// One failed attempt.
#[derive(Debug, Serialize)]
struct AttemptJson<'a> {
    attempt: u32,
    time: Option<String>,
    #[serde(flatten)]
    failure: Option<FailureJson<'a>>,
}

impl<'a> JobJson<'a> {
    /// The JSON of a job; `whole` says whether payload and result were read.
    pub(crate) fn of(job: &'a v1::Job, whole: Show) -> JobJson<'a> {
        let succeeded = job.state() == v1::JobState::Succeeded;
        let attempt = |failure: &'a v1::AttemptFailure| AttemptJson {
            attempt: failure.attempt,
            time: failure.time.as_ref().map(text::time),
            failure: failure.failure.as_ref().map(FailureJson::of),
        };
        JobJson {
            id: &job.id,
            queue: &job.queue,
            state: names::state(job.state()),
            attempts: job.attempts,
            generation: job.generation,
            submitted_at: job.submitted_at.as_ref().map(text::time),
            due: job.due.as_ref().map(text::time),
            started_at: job.started_at.as_ref().map(text::time),
            finished_at: job.finished_at.as_ref().map(text::time),
            submitted_sequence: job.submitted_sequence,
            last_sequence: job.last_sequence,
            worker_id: &job.worker_id,
            progress: job.progress.as_ref().map(ProgressJson::of),
            spec: job.spec.as_ref().map(|spec| SpecJson::of(spec, whole)),
            payload_bytes: job.payload_bytes,
            result: (succeeded && whole == Show::Yes).then_some(Blob(&job.result)),
            result_bytes: succeeded.then_some(job.result_bytes),
            result_content_type: &job.result_content_type,
            usage: job.usage.as_ref().map(UsageJson::of),
            cancel_reason: &job.cancel_reason,
            failures: job.failures.iter().map(attempt).collect(),
        }
    }
}

/// The header of a table of jobs.
pub(crate) const HEADER: [&str; 5] = ["ID", "STATE", "QUEUE", "ATTEMPTS", "AGE"];

/// A job in a table of jobs.
pub(crate) fn row(job: &v1::Job, now: Timestamp) -> [String; 5] {
    [
        job.id.clone(),
        names::shown_state(job, now).to_owned(),
        job.queue.clone(),
        job.attempts.to_string(),
        text::age(job.submitted_at.as_ref(), now),
    ]
}

/// A job at length, with the timeline of its attempts.
pub(crate) fn tell(job: &v1::Job, now: Timestamp) -> Vec<String> {
    let mut lines = vec![
        format!("id         {}", job.id),
        format!("state      {}", names::shown_state(job, now)),
        format!("queue      {}", job.queue),
    ];
    if let Some(spec) = &job.spec {
        tell_spec(spec, &mut lines);
        let payload = text::preview(&spec.payload, PREVIEW_CHARS);
        lines.push(format!("payload    {} bytes  {payload}", job.payload_bytes).trim_end().to_owned());
    }
    if job.state() == v1::JobState::Succeeded {
        let result = text::preview(&job.result, PREVIEW_CHARS);
        lines.push(format!("result     {} bytes  {result}", job.result_bytes).trim_end().to_owned());
    }
    if let Some(usage) = job.usage.as_ref().map(UsageJson::of) {
        lines.push(format!("used       {usage}"));
    }
    lines.push("timeline".to_owned());
    timeline(job, &mut lines);
    lines
}

fn tell_spec(spec: &v1::JobSpec, lines: &mut Vec<String>) {
    if spec.priority != 0 {
        lines.push(format!("priority   {}", spec.priority));
    }
    if let Some(timeout) = &spec.timeout {
        lines.push(format!("time-out   {}", text::duration(timeout)));
    }
    if let Some(expires) = &spec.expires_at {
        lines.push(format!("expires    {}", text::time(expires)));
    }
    for (name, value) in &spec.labels {
        lines.push(format!("label      {}={}", text::tame(name), text::tame(value)));
    }
}

fn timeline(job: &v1::Job, lines: &mut Vec<String>) {
    let mut at = |time: Option<&prost_types::Timestamp>, what: String| {
        lines.push(format!("  {:24}  {what}", time.map(text::time).unwrap_or_default()));
    };
    at(job.submitted_at.as_ref(), "submitted".to_owned());
    for failed in &job.failures {
        let how = failed.failure.as_ref().map(failure_text).unwrap_or_default();
        at(failed.time.as_ref(), format!("attempt {} {how}", failed.attempt));
    }
    let newest = job.attempts;
    match job.state() {
        v1::JobState::Waiting => at(job.due.as_ref(), format!("due: attempt {}", newest + 1)),
        v1::JobState::Running => {
            at(job.started_at.as_ref(), format!("attempt {newest} started by {}", job.worker_id));
            if let Some(progress) = &job.progress {
                let share =
                    progress.done.map_or(String::new(), |parts| format!("{} % ", f64::from(parts) / 100.0));
                at(None, format!("{share}{}", text::preview(progress.message.as_bytes(), PREVIEW_CHARS)));
            }
        }
        v1::JobState::Succeeded => {
            at(job.started_at.as_ref(), format!("attempt {newest} started"));
            at(job.finished_at.as_ref(), format!("attempt {newest} succeeded"));
        }
        v1::JobState::Dead => at(job.finished_at.as_ref(), "dead".to_owned()),
        v1::JobState::Cancelled => {
            let reason = text::preview(job.cancel_reason.as_bytes(), PREVIEW_CHARS);
            at(job.finished_at.as_ref(), format!("cancelled {reason}").trim_end().to_owned());
        }
        v1::JobState::Expired => at(job.finished_at.as_ref(), "expired".to_owned()),
        v1::JobState::Unspecified => {}
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}
