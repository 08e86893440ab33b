//! What workers say of leases: finishes, progress, leases they hold.

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::failure;
use crate::grpc::convert::names;
use crate::grpc::convert::spec;
use crate::grpc::convert::time;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::id::LeaseToken;
use crate::job::retry::Retryable;
use crate::job::spec::Payload;
use crate::job::table::Slot;
use crate::proto::v1;
use crate::proto::v1::finish::Outcome;
use bytes::Bytes;
use std::time::Duration;

/// Who finishes and how. A violation is of this one finish, not of the
/// message it came in: answer it with [`to_ack`].
///
/// # Errors
/// The refusal that names every violation.
pub fn from_finish(finish: v1::Finish, sizes: &Sizes) -> Result<(Holder, Finish), Refusal> {
    let mut checks = Checks::new();
    let holder = holder(&finish.job_id, finish.token, finish.handle, &mut checks);
    let outcome = match finish.outcome {
        Some(Outcome::Complete(complete)) => from_complete(complete, sizes, &mut checks),
        Some(Outcome::Fail(fail)) => from_fail(fail, &mut checks),
        Some(Outcome::Release(release)) => from_release(&release, &mut checks),
        None => {
            checks.field("outcome", "must be given: complete, fail or release");
            None
        }
    };
    checks.pass(holder.zip(outcome)).map(|both| both.expect("without a violation there is a value"))
}

fn from_complete(complete: v1::Complete, sizes: &Sizes, checks: &mut Checks) -> Option<Finish> {
    let at = At::Field("complete");
    let most = sizes.result_bytes_max;
    if complete.result.len() > most {
        let text = format_args!("has {} bytes, at most {most} are allowed", complete.result.len());
        checks.note(Reason::PayloadTooLarge, at.dot("result"), text);
    }
    Some(Finish::Complete {
        // A copy, as of a payload: a slice would keep the whole message in memory. [MEM-1]
        result: Payload(Bytes::copy_from_slice(&complete.result)),
        content_type: spec::content_type(&complete.content_type, at.dot("content_type"), checks)?,
        usage: failure::from_usage(complete.usage, at.dot("usage"), checks)?,
    })
}

fn from_fail(fail: v1::Fail, checks: &mut Checks) -> Option<Finish> {
    let at = At::Field("fail");
    let failure = match fail.failure {
        Some(failure) => failure::from_failure(failure, at.dot("failure"), checks)?,
        None => Failure { kind: FailureKind::Failed, message: "".into(), process: None },
    };
    let retryable = match v1::Retryable::try_from(fail.retryable) {
        Ok(v1::Retryable::Unspecified | v1::Retryable::Yes) => Retryable::Yes,
        Ok(v1::Retryable::No) => Retryable::No,
        Err(_) => {
            checks.field(at.dot("retryable"), format_args!("is {}, which is none", fail.retryable));
            return None;
        }
    };
    Some(Finish::Fail { failure, retryable })
}

fn from_release(release: &v1::Release, checks: &mut Checks) -> Option<Finish> {
    let at = At::Field("release");
    let delay = match release.delay {
        None => Duration::ZERO,
        Some(delay) => time::duration(delay, Duration::ZERO, at.dot("delay"), checks)?,
    };
    let reason = names::words(&release.reason, names::REASON_BYTES_MAX, at.dot("reason"), checks)?;
    Some(Finish::Release { delay, reason })
}

/// Who tells how far a job is, and how far.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_progress_report(report: v1::ProgressReport) -> Result<(Holder, Progress), Refusal> {
    let mut checks = Checks::new();
    let holder = holder(&report.job_id, report.token, report.handle, &mut checks);
    let at = At::Request.dot("progress");
    let progress = failure::from_progress(report.progress.unwrap_or_default(), at, &mut checks);
    checks.pass(holder.zip(progress)).map(|both| both.expect("without a violation there is a value"))
}

/// A lease that a worker says it holds.
pub fn from_held_lease(held: &v1::HeldLease, checks: &mut Checks) -> Option<Holder> {
    holder(&held.job_id, held.token, held.handle, checks)
}

fn holder(job_id: &str, token: u64, handle: u32, checks: &mut Checks) -> Option<Holder> {
    let id = names::job_id(job_id, "job_id", checks)?;
    Some(Holder { id, token: LeaseToken(token), hint: handle.checked_sub(1).map(Slot) })
}

/// A lease as the API names it.
#[must_use]
pub fn to_held_lease(holder: &Holder) -> v1::HeldLease {
    v1::HeldLease {
        job_id: holder.id.to_string(),
        token: holder.token.0,
        handle: holder.hint.map_or(0, to_handle),
    }
}

/// The end of an attempt as its worker tells it.
#[must_use]
pub fn to_finish(holder: &Holder, finish: Finish) -> v1::Finish {
    let outcome = match finish {
        Finish::Complete { result, content_type, usage } => Outcome::Complete(v1::Complete {
            result: result.0,
            content_type: content_type.as_ref().to_owned(),
            usage: usage.map(failure::to_usage),
        }),
        Finish::Fail { failure, retryable } => {
            let retryable = match retryable {
                Retryable::Yes => v1::Retryable::Yes,
                Retryable::No => v1::Retryable::No,
            };
            let failure = Some(failure::to_failure(&failure));
            Outcome::Fail(v1::Fail { failure, retryable: retryable.into() })
        }
        Finish::Release { delay, reason } => Outcome::Release(v1::Release {
            delay: (!delay.is_zero()).then(|| time::to_duration(time::whole_millis(delay))),
            reason: reason.as_ref().to_owned(),
        }),
    };
    let v1::HeldLease { job_id, token, handle } = to_held_lease(holder);
    v1::Finish { job_id, token, handle, outcome: Some(outcome) }
}

/// How far a running job is, as its worker tells it.
#[must_use]
pub fn to_progress_report(holder: &Holder, progress: &Progress) -> v1::ProgressReport {
    let v1::HeldLease { job_id, token, handle } = to_held_lease(holder);
    v1::ProgressReport { job_id, token, handle, progress: Some(failure::to_progress(progress)) }
}

/// A slot as workers carry it: 0 is none, so that leaving it out is harmless.
#[must_use]
pub fn to_handle(slot: Slot) -> u32 {
    slot.0.wrapping_add(1)
}

/// What became of one finish.
#[must_use]
pub fn to_ack(token: LeaseToken, refused: Option<&Refusal>) -> v1::FinishAck {
    let outcome = match refused.map(Refusal::reason) {
        None => v1::FinishOutcome::Accepted,
        Some(Reason::StaleLease | Reason::NotRunning) => v1::FinishOutcome::StaleLease,
        Some(Reason::JobNotFound) => v1::FinishOutcome::JobNotFound,
        Some(Reason::DiskFull) => v1::FinishOutcome::RetryLater,
        Some(_) => v1::FinishOutcome::Invalid,
    };
    let message = refused.map(ToString::to_string).unwrap_or_default();
    v1::FinishAck { token: token.0, outcome: outcome.into(), message }
}
