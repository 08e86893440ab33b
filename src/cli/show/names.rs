//! The words of states, kinds and outcomes, as they are shown and as they are typed.

use crate::cli::show::text;
use crate::clock::Timestamp;
use crate::grpc::convert::names::to_state;
use crate::job::state::JobState;
use crate::proto::v1;
use clap::ValueEnum;

/// States as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum State {
    Waiting,
    Running,
    Succeeded,
    Dead,
    Cancelled,
    Expired,
}

impl From<State> for v1::JobState {
    fn from(state: State) -> v1::JobState {
        match state {
            State::Waiting => v1::JobState::Waiting,
            State::Running => v1::JobState::Running,
            State::Succeeded => v1::JobState::Succeeded,
            State::Dead => v1::JobState::Dead,
            State::Cancelled => v1::JobState::Cancelled,
            State::Expired => v1::JobState::Expired,
        }
    }
}

impl From<State> for JobState {
    fn from(state: State) -> JobState {
        match state {
            State::Waiting => JobState::Waiting,
            State::Running => JobState::Running,
            State::Succeeded => JobState::Succeeded,
            State::Dead => JobState::Dead,
            State::Cancelled => JobState::Cancelled,
            State::Expired => JobState::Expired,
        }
    }
}

/// Kinds of updates as they are typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Kind {
    Submitted,
    Started,
    Progress,
    Retrying,
    Released,
    Succeeded,
    Dead,
    Cancelled,
    Expired,
    Retried,
    Deleted,
}

impl From<Kind> for v1::UpdateKind {
    fn from(kind: Kind) -> v1::UpdateKind {
        match kind {
            Kind::Submitted => v1::UpdateKind::Submitted,
            Kind::Started => v1::UpdateKind::Started,
            Kind::Progress => v1::UpdateKind::Progress,
            Kind::Retrying => v1::UpdateKind::Retrying,
            Kind::Released => v1::UpdateKind::Released,
            Kind::Succeeded => v1::UpdateKind::Succeeded,
            Kind::Dead => v1::UpdateKind::Dead,
            Kind::Cancelled => v1::UpdateKind::Cancelled,
            Kind::Expired => v1::UpdateKind::Expired,
            Kind::Retried => v1::UpdateKind::Retried,
            Kind::Deleted => v1::UpdateKind::Deleted,
        }
    }
}

/// A state in one word.
pub(crate) fn state(state: v1::JobState) -> &'static str {
    match state {
        v1::JobState::Unspecified => "unknown",
        v1::JobState::Waiting => "waiting",
        v1::JobState::Running => "running",
        v1::JobState::Succeeded => "succeeded",
        v1::JobState::Dead => "dead",
        v1::JobState::Cancelled => "cancelled",
        v1::JobState::Expired => "expired",
    }
}

/// A state of the log in one word.
pub(crate) fn job_state(log_state: JobState) -> &'static str {
    state(to_state(log_state))
}

/// A kind of update in one word.
pub(crate) fn kind(kind: v1::UpdateKind) -> &'static str {
    match kind {
        v1::UpdateKind::Unspecified => "unknown",
        v1::UpdateKind::Submitted => "submitted",
        v1::UpdateKind::Started => "started",
        v1::UpdateKind::Progress => "progress",
        v1::UpdateKind::Retrying => "retrying",
        v1::UpdateKind::Released => "released",
        v1::UpdateKind::Succeeded => "succeeded",
        v1::UpdateKind::Dead => "dead",
        v1::UpdateKind::Cancelled => "cancelled",
        v1::UpdateKind::Expired => "expired",
        v1::UpdateKind::Retried => "retried",
        v1::UpdateKind::Deleted => "deleted",
    }
}

/// How an attempt failed, in words.
pub(crate) fn failure_kind(kind: v1::FailureKind) -> &'static str {
    match kind {
        v1::FailureKind::Unspecified | v1::FailureKind::Failed => "failed",
        v1::FailureKind::Crashed => "crashed",
        v1::FailureKind::TimedOut => "timed out",
        v1::FailureKind::Lost => "lost",
    }
}

/// What became of a job of a call, in words.
pub(crate) fn outcome(outcome: v1::JobOutcome) -> &'static str {
    match outcome {
        v1::JobOutcome::Unspecified => "unknown",
        v1::JobOutcome::Done => "done",
        v1::JobOutcome::NotFound => "not found",
        v1::JobOutcome::WrongState => "wrong state",
    }
}

/// `scheduled` or `ready` instead of waiting, by the reader's clock.
pub(crate) fn shown_state(job: &v1::Job, now: Timestamp) -> &'static str {
    let due = job.due.as_ref().and_then(text::millis);
    match (job.state(), due) {
        (v1::JobState::Waiting, Some(due)) if due > now => "scheduled",
        (v1::JobState::Waiting, _) => "ready",
        (other, _) => state(other),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::show::names::Kind;
    use crate::cli::show::names::State;
    use crate::cli::show::names::kind;
    use crate::cli::show::names::state;
    use clap::ValueEnum;

    /// What is shown can be typed into a filter.
    #[test]
    fn words_are_typed_as_they_are_shown() {
        for &typed in State::value_variants() {
            assert_eq!(typed.to_possible_value().unwrap().get_name(), state(typed.into()));
        }
        for &typed in Kind::value_variants() {
            assert_eq!(typed.to_possible_value().unwrap().get_name(), kind(typed.into()));
        }
    }
}
