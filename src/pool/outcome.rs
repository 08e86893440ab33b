//! How an execution ended, in the words of the job's vocabulary.

use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::ProcessEnd;
use crate::job::event::Usage;
use crate::job::retry::Retryable;
use crate::pool::spawner::Ended;
use crate::pool::spawner::Exit;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;

/// Exit status of an `each` worker that says: this job will never succeed, do not retry it.
pub const EXIT_NO_RETRY: i32 = 100;

/// How an execution ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// The worker completed the job.
    Completed {
        /// Its result.
        result: Bytes,
        /// Media type of the result; empty if the worker named none.
        content_type: Arc<str>,
        /// What the execution used; `None` where no process worked on it.
        usage: Option<Usage>,
    },
    /// The worker failed, died or took too long.
    Failed {
        /// How.
        failure: Failure,
        /// Whether the worker thinks that another attempt makes sense.
        retry: Retryable,
    },
    /// The pool hands the job back; that is nobody's failure and uses no budget.
    Released {
        /// Why.
        reason: Arc<str>,
    },
    /// The execution was stopped because someone cancelled it.
    Cancelled,
}

/// Why the pool itself ends a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The job ran longer than this.
    TimedOut(Duration),
    /// The job was cancelled.
    Cancelled,
    /// The server stops and the grace is over.
    PoolStopped,
    /// The result is longer than this many bytes.
    ResultOverLimit(usize),
    /// A line of a `serve` worker is longer than this many bytes, which no result in bounds needs.
    LineOverLimit(usize),
    /// The process did not keep to the protocol, in this way.
    Misbehaved(String),
    /// It has served long enough, or is not needed any more.
    Retired,
}

impl Why {
    /// Whether a process that is well is ended for it, too.
    pub(crate) fn is_ours(&self) -> bool {
        match self {
            Why::TimedOut(_) | Why::Cancelled | Why::PoolStopped | Why::Retired => true,
            Why::ResultOverLimit(_) | Why::LineOverLimit(_) | Why::Misbehaved(_) => false,
        }
    }
}

impl Outcome {
    pub(crate) fn released(reason: impl Into<Arc<str>>) -> Outcome {
        Outcome::Released { reason: reason.into() }
    }

    pub(crate) fn failed(kind: FailureKind, message: &str, process: Option<Box<ProcessEnd>>) -> Outcome {
        let message = keep_start(message, Failure::MESSAGE_BYTES_MAX).into();
        Outcome::Failed { failure: Failure { kind, message, process }, retry: Retryable::Yes }
    }

    /// The same outcome with the worker's own opinion on trying again.
    pub(crate) fn with_retry(self, opinion: Retryable) -> Outcome {
        match self {
            Outcome::Failed { failure, .. } => Outcome::Failed { failure, retry: opinion },
            Outcome::Completed { .. } | Outcome::Released { .. } | Outcome::Cancelled => self,
        }
    }

    /// The outcome of the job in a process that the pool ended because of `why`.
    pub(crate) fn stopped(why: &Why, ended: Ended, stderr: &str) -> Outcome {
        let process = process_end(ended, stderr);
        match why {
            Why::TimedOut(timeout) => {
                let message =
                    format!("ran longer than its time-out of {}", humantime::format_duration(*timeout));
                Outcome::failed(FailureKind::TimedOut, &message, process)
            }
            Why::Cancelled => Outcome::Cancelled,
            Why::PoolStopped => Outcome::released("the pool stopped"),
            Why::Retired => Outcome::released("the worker process was replaced"),
            Why::ResultOverLimit(bytes_max) => {
                Outcome::failed(FailureKind::Failed, &over_limit(*bytes_max), process)
            }
            Why::LineOverLimit(bytes_max) => {
                let message = format!(
                    "result over limit: a line of more than {bytes_max} bytes; store it elsewhere and return a reference"
                );
                Outcome::failed(FailureKind::Failed, &message, process)
            }
            Why::Misbehaved(how) => {
                Outcome::failed(FailureKind::Crashed, &format!("the worker process {how}"), process)
            }
        }
    }

    /// The outcome of the job in a process that ended by itself without completing it.
    pub(crate) fn died(ended: Ended, stderr: &str) -> Outcome {
        let message = match ended {
            Ended::Exit(Exit { over: Some(over), .. }) => format!("the worker process {over}"),
            Ended::Exit(Exit { signal: Some(signal), .. }) => {
                format!("the worker process was killed by {}{}", signal_name(signal), hint(signal))
            }
            Ended::Exit(Exit { code, .. }) => {
                format!("the worker process exited with status {} under the job", code.unwrap_or(-1))
            }
            Ended::SpawnerDied => "the spawner died, and the worker process with it".to_owned(),
        };
        Outcome::failed(FailureKind::Crashed, &message, process_end(ended, stderr))
    }
}

/// What a result that is too long is told.
pub(crate) fn over_limit(bytes_max: usize) -> String {
    format!("result over limit: more than {bytes_max} bytes; store it elsewhere and return a reference")
}

pub(crate) fn usage(exit: Exit) -> Usage {
    Usage { cpu_ms: exit.cpu_ms, rss_kib: exit.rss_kib }
}

pub(crate) fn process_end(ended: Ended, stderr: &str) -> Option<Box<ProcessEnd>> {
    let (exit_code, signal, usage) = match ended {
        Ended::Exit(exit) => (exit.code, exit.signal, Some(usage(exit))),
        Ended::SpawnerDied => (None, None, None),
    };
    Some(Box::new(ProcessEnd { exit_code, signal, stderr: stderr.into(), usage }))
}

/// What was seen of a process that failed a job and lives on.
pub(crate) fn process_goes_on(stderr: &str, usage: Usage) -> Box<ProcessEnd> {
    Box::new(ProcessEnd { exit_code: None, signal: None, stderr: stderr.into(), usage: Some(usage) })
}

/// `text` without what is beyond its first `bytes_max` bytes.
pub(crate) fn keep_start(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn signal_name(signal: i32) -> String {
    signal_hook::low_level::signal_name(signal).map_or_else(|| format!("signal {signal}"), str::to_owned)
}

/// What most often is behind a signal that says little by itself.
fn hint(signal: i32) -> &'static str {
    match signal {
        signal_hook::consts::SIGKILL => " (by the kernel, if memory was short)",
        _ => "",
    }
}
