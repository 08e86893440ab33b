//! How attempts go: progress, failures, what a process used.

use crate::grpc::convert::Checks;
use crate::grpc::convert::Path;
use crate::grpc::convert::time;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::ProcessEnd;
use crate::job::event::Progress;
use crate::job::event::Usage;
use crate::proto::v1;
use std::sync::Arc;
use std::time::Duration;

/// A failure that a worker reports; texts that are too long are cut.
pub fn from_failure(failure: v1::Failure, path: Path, checks: &mut Checks) -> Option<Failure> {
    let kind = match v1::FailureKind::try_from(failure.kind) {
        Ok(v1::FailureKind::Unspecified | v1::FailureKind::Failed) => FailureKind::Failed,
        Ok(v1::FailureKind::Crashed) => FailureKind::Crashed,
        Ok(v1::FailureKind::TimedOut) => FailureKind::TimedOut,
        Ok(v1::FailureKind::Lost) => {
            checks.field(path, "has kind LOST, which only the server can tell: release the job instead");
            return None;
        }
        Err(_) => {
            checks.field(path, format_args!("has kind {}, which is none", failure.kind));
            return None;
        }
    };
    let message = head(&failure.message, Failure::MESSAGE_BYTES_MAX).into();
    let process = match failure.process {
        Some(process) => Some(Box::new(from_process(process, path, checks)?)),
        None => None,
    };
    Some(Failure { kind, message, process })
}

fn from_process(process: v1::ProcessEnd, path: Path, checks: &mut Checks) -> Option<ProcessEnd> {
    Some(ProcessEnd {
        exit_code: process.exit_code,
        signal: process.signal,
        stderr: tail(&process.stderr, Failure::STDERR_BYTES_MAX).into(),
        usage: from_usage(process.usage, path, checks)?,
    })
}

/// What an attempt used; the outer `None` is a violation.
pub fn from_usage(usage: Option<v1::Usage>, path: Path, checks: &mut Checks) -> Option<Option<Usage>> {
    let Some(usage) = usage else { return Some(None) };
    let cpu = time::duration(usage.cpu.unwrap_or_default(), Duration::ZERO, path, checks)?;
    Some(Some(Usage { cpu_ms: time::whole_millis(cpu), rss_kib: usage.rss_kib }))
}

/// What a running job tells; a message that is too long is cut.
pub fn from_progress(progress: v1::Progress, path: Path, checks: &mut Checks) -> Option<Progress> {
    let done = match progress.done {
        None => None,
        Some(done) => match u16::try_from(done).ok().filter(|&done| done <= 10_000) {
            Some(done) => Some(done),
            None => {
                checks.field(path, format_args!("has done = {done}, 0 to 10,000 is allowed"));
                return None;
            }
        },
    };
    Some(Progress { done, message: Arc::from(head(&progress.message, Progress::MESSAGE_BYTES_MAX)) })
}

/// A failure as the API sends it.
#[must_use]
pub fn to_failure(failure: &Failure) -> v1::Failure {
    let kind = match failure.kind {
        FailureKind::Failed => v1::FailureKind::Failed,
        FailureKind::Crashed => v1::FailureKind::Crashed,
        FailureKind::TimedOut => v1::FailureKind::TimedOut,
        FailureKind::Lost => v1::FailureKind::Lost,
    };
    let process = failure.process.as_deref().map(|process| v1::ProcessEnd {
        exit_code: process.exit_code,
        signal: process.signal,
        stderr: process.stderr.as_ref().to_owned(),
        usage: process.usage.map(to_usage),
    });
    v1::Failure { kind: kind.into(), message: failure.message.as_ref().to_owned(), process }
}

/// What an attempt used, as the API sends it.
#[must_use]
pub fn to_usage(usage: Usage) -> v1::Usage {
    v1::Usage { cpu: Some(time::to_duration(usage.cpu_ms)), rss_kib: usage.rss_kib }
}

/// Progress as the API sends it.
#[must_use]
pub fn to_progress(progress: &Progress) -> v1::Progress {
    v1::Progress { done: progress.done.map(u32::from), message: progress.message.as_ref().to_owned() }
}

/// The beginning of a text, at most `most` bytes, cut between characters.
fn head(text: &str, most: usize) -> &str {
    &text[..text.floor_char_boundary(most)]
}

/// The end of a text, at most `most` bytes, cut between characters.
fn tail(text: &str, most: usize) -> &str {
    &text[text.ceil_char_boundary(text.len().saturating_sub(most))..]
}
