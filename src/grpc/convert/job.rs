//! Jobs as readers are shown them, and what became of jobs that were named in a call.

use crate::clock::Timestamp;
use crate::grpc::convert::failure;
use crate::grpc::convert::names;
use crate::grpc::convert::spec;
use crate::grpc::convert::time;
use crate::grpc::convert::update::Parts;
use crate::job::id::JobId;
use crate::proto::v1;
use crate::service::control::Outcome;
use crate::service::shown::Failed;
use crate::service::shown::Shown;
use bytes::Bytes;
use std::sync::Arc;

/// A job as the API sends it.
#[must_use]
pub fn to_job(job: Shown, parts: Parts) -> v1::Job {
    let submitted_at = job.id.time();
    let spec = job.spec.map(|spec| {
        let payload = if parts.payload { spec.payload.0.clone() } else { Bytes::new() };
        spec::to_spec(&spec, &job.queue, payload)
    });
    v1::Job {
        id: job.id.to_string(),
        queue: job.queue.as_str().to_owned(),
        state: names::to_state(job.state).into(),
        spec,
        payload_bytes: job.payload_bytes,
        attempts: job.attempts,
        generation: job.generation.into(),
        submitted_at: Some(time::to_timestamp(submitted_at)),
        // A job that may start at once is due since its submission.
        due: job.due.map(|due: Timestamp| time::to_timestamp(due.max(submitted_at))),
        started_at: job.started.map(time::to_timestamp),
        finished_at: job.finished.map(time::to_timestamp),
        submitted_sequence: job.submitted.map_or(0, |sequence| sequence.0),
        last_sequence: job.last.0,
        worker_id: job.worker.as_deref().unwrap_or_default().to_owned(),
        progress: job.progress.as_deref().map(failure::to_progress),
        failures: job.failures.iter().map(to_attempt_failure).collect(),
        result: if parts.result { job.result.0 } else { Bytes::new() },
        result_content_type: text(&job.result_content_type),
        result_bytes: job.result_bytes,
        usage: job.usage.map(failure::to_usage),
        cancel_reason: text(&job.cancel_reason),
    }
}

fn to_attempt_failure(failed: &Failed) -> v1::AttemptFailure {
    v1::AttemptFailure {
        attempt: failed.attempt,
        time: failed.time.map(time::to_timestamp),
        failure: Some(failure::to_failure(&failed.failure)),
    }
}

/// What became of each of `ids`.
#[must_use]
pub fn to_results(ids: &[JobId], outcomes: Vec<Outcome>) -> Vec<v1::JobResult> {
    ids.iter().zip(outcomes).map(|(id, outcome)| to_result(*id, outcome)).collect()
}

fn to_result(id: JobId, outcome: Outcome) -> v1::JobResult {
    let (outcome, state, sequence) = match outcome {
        Outcome::Done { state, sequence } => (v1::JobOutcome::Done, state, sequence.0),
        Outcome::NotFound => (v1::JobOutcome::NotFound, None, 0),
        Outcome::WrongState(state) => (v1::JobOutcome::WrongState, Some(state), 0),
    };
    let state = state.map_or(v1::JobState::Unspecified, names::to_state);
    v1::JobResult { job_id: id.to_string(), outcome: outcome.into(), state: state.into(), sequence }
}

fn text(text: &Arc<str>) -> String {
    text.as_ref().to_owned()
}
