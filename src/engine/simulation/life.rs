//! One job as the durable frames tell it: what each update may follow on, and whose word it takes.

use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Submitted;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Policy;
use std::sync::Arc;

/// When the frame was made, as far as the engine could know.
#[derive(Clone, Copy, Debug)]
pub(in crate::engine::simulation) struct Moment {
    pub(in crate::engine::simulation) tick: Tick,
    /// Log time of the engine: what was due by then may run.
    pub(in crate::engine::simulation) log_time: Timestamp,
    pub(in crate::engine::simulation) progress_ns: u64,
    pub(in crate::engine::simulation) dedupe_ms: u64,
    /// Log time of the frame.
    pub(in crate::engine::simulation) time: Timestamp,
    /// When the lease of the job's worker may lapse at the earliest. [LEASE-2]
    pub(in crate::engine::simulation) earliest: Tick,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine::simulation) enum Life {
    Waiting(Timestamp),
    Running(LeaseToken),
    Succeeded,
    Dead,
    Cancelled,
    Expired,
    Deleted,
}

impl Life {
    pub(in crate::engine::simulation) fn is_over(self) -> bool {
        !matches!(self, Life::Waiting(_) | Life::Running(_))
    }

    fn token(self) -> Option<LeaseToken> {
        if let Life::Running(token) = self { Some(token) } else { None }
    }
}

#[derive(Clone, Debug)]
pub(in crate::engine::simulation) struct Known {
    pub(in crate::engine::simulation) queue: QueueNo,
    pub(in crate::engine::simulation) life: Life,
    pub(in crate::engine::simulation) attempt: u32,
    pub(in crate::engine::simulation) generation: u16,
    pub(in crate::engine::simulation) priority: i8,
    pub(in crate::engine::simulation) last: Sequence,
    pub(in crate::engine::simulation) worker: Arc<str>,
    pub(in crate::engine::simulation) submitted_at: Pointer,
    pub(in crate::engine::simulation) policy: Policy,
    used: [u16; 4],
    /// When its first generation ended.
    pub(in crate::engine::simulation) ended: Option<Timestamp>,
    /// When it came to where it is in its life, if that was an end.
    pub(in crate::engine::simulation) over: Option<Timestamp>,
}

impl Known {
    pub(in crate::engine::simulation) fn new(
        submitted: &Submitted,
        sequence: Sequence,
        at: Pointer,
    ) -> Known {
        Known {
            queue: submitted.queue,
            life: Life::Waiting(submitted.due),
            attempt: 0,
            generation: 0,
            priority: submitted.priority,
            last: sequence,
            worker: "".into(),
            submitted_at: at,
            policy: submitted.policy.as_deref().cloned().unwrap_or_default(),
            used: [0; 4],
            ended: None,
            over: None,
        }
    }

    /// Follows an update of the job; a start was looked at by the caller.
    pub(in crate::engine::simulation) fn follow(
        &mut self,
        event: &Event,
        sequence: Sequence,
        moment: Moment,
    ) {
        self.last = sequence;
        self.life = self.next(event, sequence, moment);
        self.over = self.life.is_over().then_some(moment.time);
        self.ended = self.ended.or(self.over);
    }

    fn next(&mut self, event: &Event, sequence: Sequence, moment: Moment) -> Life {
        let before = self.life;
        match event {
            Event::Started { .. } => Life::Running(LeaseToken(sequence.0)),
            Event::Progress { progress, .. } => {
                self.check_word(&progress.message);
                before
            }
            Event::Retrying { failure, due, attempt, .. } => {
                let used_up = self.fails(*attempt, failure, moment);
                assert!(!used_up, "the budget was used up [RETRY-1] {self:?}");
                Life::Waiting(*due)
            }
            Event::Dead { failure, attempt, .. } => {
                let used_up = self.fails(*attempt, failure, moment);
                assert!(used_up || failure.message.ends_with('!'), "budget was left [RETRY-1] {self:?}");
                Life::Dead
            }
            Event::Released { due, reason, attempt, .. } => {
                assert_eq!(*attempt, self.attempt);
                self.check_word(reason);
                Life::Waiting(*due)
            }
            Event::Succeeded { result, attempt, .. } => {
                assert_eq!(*attempt, self.attempt);
                let token = self.life.token().expect("only running jobs succeed [JOB-1] [LEASE-1]");
                assert_eq!(result.0[..], token.0.to_le_bytes(), "another lease's result [LEASE-1]");
                Life::Succeeded
            }
            Event::Cancelled { attempt, .. } => {
                assert_eq!(*attempt, self.attempt);
                assert!(!before.is_over(), "one terminal update [JOB-1]");
                Life::Cancelled
            }
            Event::Expired { .. } => {
                assert!(matches!(before, Life::Waiting(_)) && self.attempt == 0, "[JOB-1]");
                let passed = |expires| expires <= moment.log_time.max(moment.time);
                assert!(self.policy.expires.is_some_and(passed), "expired too early {self:?}");
                Life::Expired
            }
            Event::Retried { generation, .. } => {
                assert_eq!(before, Life::Dead, "only dead jobs get a new life");
                self.generation += 1;
                assert_eq!(*generation, self.generation);
                self.used = [0; 4];
                self.policy.expires = None;
                Life::Waiting(Timestamp(0))
            }
            Event::Deleted { .. } => {
                assert!(before.is_over(), "only ended jobs are deleted");
                Life::Deleted
            }
            Event::Submitted(_)
            | Event::QueueMade { .. }
            | Event::QueueSet { .. }
            | Event::CursorSet { .. }
            | Event::CursorDropped { .. }
            | Event::KeyTaken { .. }
            | Event::KeysForgotten { .. }
            | Event::ProducerAdvanced { .. }
            | Event::ProducersForgotten { .. }
            | Event::Opened { .. } => unreachable!("the caller deals with these"),
        }
    }

    /// Only a running job says something, and only by the mouth of its holder. [LEASE-1]
    fn check_word(&self, text: &str) {
        let token =
            self.life.token().expect("only running jobs have an attempt to tell of [JOB-1] [LEASE-1]");
        assert!(token_in(text).is_none_or(|told| told == token), "[LEASE-1] {self:?}");
    }

    /// An attempt failed; says whether that was the last one its budget allows. [RETRY-1]
    fn fails(&mut self, attempt: u32, failure: &Failure, moment: Moment) -> bool {
        assert_eq!(attempt, self.attempt);
        self.check_word(&failure.message);
        if failure.message.contains("lapsed") {
            assert!(moment.tick >= moment.earliest, "lapsed too early [LEASE-2] {self:?}");
        }
        let policy = &self.policy;
        let (place, budget) = match (failure.kind, policy.timed_out_max) {
            (FailureKind::TimedOut, Some(own)) => (2, own),
            (FailureKind::Failed | FailureKind::TimedOut, _) => (0, policy.max_attempts),
            (FailureKind::Crashed, _) => (1, policy.crashed_max),
            (FailureKind::Lost, _) => (3, policy.lost_max),
        };
        self.used[place] += 1;
        self.used[place] >= budget
    }
}

/// Workers put their token into all they say, so that the log itself tells whose word was taken.
pub(in crate::engine::simulation) fn token_in(text: &str) -> Option<LeaseToken> {
    text.strip_prefix('t')?.trim_end_matches('!').parse().ok().map(LeaseToken)
}
