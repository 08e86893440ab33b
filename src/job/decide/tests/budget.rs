//! Attempts are bounded by four budgets, each ending exactly at its bound. [RETRY-1]

use crate::clock::Timestamp;
use crate::job::decide::control::retry;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::journal::Journal;
use crate::job::journal::fail;
use crate::job::journal::release;
use crate::job::retry::Retryable;
use crate::job::spec::Policy;
use std::time::Duration;

const KINDS: [FailureKind; 4] =
    [FailureKind::Failed, FailureKind::Crashed, FailureKind::TimedOut, FailureKind::Lost];

fn policy() -> Policy {
    Policy { max_attempts: 4, crashed_max: 3, timed_out_max: Some(2), lost_max: 5, ..Policy::default() }
}

/// How many attempts of `kind` it takes until the job is dead.
fn attempts_until_dead(journal: &mut Journal, id: JobId, kind: FailureKind) -> u32 {
    (1..100).find(|_| journal.attempt(id, kind, Retryable::Yes)).expect("every budget ends")
}

#[test]
fn each_kind_of_failure_ends_exactly_at_its_own_bound() {
    for (kind, bound) in KINDS.into_iter().zip([4, 3, 2, 5]) {
        let mut journal = Journal::new();
        let id = journal.one(policy());
        assert_eq!(attempts_until_dead(&mut journal, id, kind), bound, "{kind:?}");
        assert_eq!(
            journal.state.carried(journal.state.find(id, None).unwrap().1).count(),
            1 + bound as usize,
            "all kept"
        );
    }
}

#[test]
fn one_budget_does_not_use_another() {
    let mut journal = Journal::new();
    let id = journal.one(policy());
    for (kind, bound) in KINDS.into_iter().zip([4, 3, 2, 5]) {
        for _ in 1..bound {
            assert!(!journal.attempt(id, kind, Retryable::Yes), "{kind:?}");
        }
    }
    assert!(journal.attempt(id, FailureKind::TimedOut, Retryable::Yes));
    assert_eq!(journal.state.find(id, None).unwrap().1.attempt, 3 + 2 + 1 + 4 + 1);
}

#[test]
fn a_time_out_counts_as_failed_unless_it_has_a_budget() {
    let mut journal = Journal::new();
    let id = journal.one(Policy { timed_out_max: None, ..policy() });
    assert!(!journal.attempt(id, FailureKind::TimedOut, Retryable::Yes));
    assert!(!journal.attempt(id, FailureKind::Failed, Retryable::Yes));
    assert!(!journal.attempt(id, FailureKind::TimedOut, Retryable::Yes));
    assert!(journal.attempt(id, FailureKind::TimedOut, Retryable::Yes));
}

#[test]
fn a_job_without_a_policy_has_the_default_budgets() {
    for (kind, bound) in KINDS.into_iter().zip([5, 3, 5, 20]) {
        let mut journal = Journal::new();
        let new = crate::job::journal::job("q");
        let origin = crate::job::decide::submit::Origin::Anonymous;
        let id = journal.submit(vec![new], origin).unwrap().ranges[0].first;
        assert_eq!(attempts_until_dead(&mut journal, id, kind), bound, "{kind:?}");
    }
}

#[test]
fn handing_a_job_back_uses_no_budget() {
    let mut journal = Journal::new();
    let id = journal.one(policy());
    for _ in 0..50 {
        let token = journal.claim(id);
        journal.finish(id, token, release()).unwrap();
    }
    assert_eq!(attempts_until_dead(&mut journal, id, FailureKind::Failed), 4);
    assert_eq!(journal.state.find(id, None).unwrap().1.attempt, 54, "attempts are counted all the same");
}

#[test]
fn what_cannot_be_retried_dies_at_once_whatever_its_kind() {
    for kind in KINDS {
        let mut journal = Journal::new();
        let id = journal.one(policy());
        assert!(journal.attempt(id, kind, Retryable::No), "{kind:?}");
    }
}

#[test]
fn an_operators_retry_opens_a_generation_with_fresh_budgets() {
    let mut journal = Journal::new();
    let id = journal.one(Policy { expires: Some(Timestamp(1_500_000)), ..policy() });
    for generation in 1..4 {
        for kind in KINDS {
            assert!(!journal.attempt(id, kind, Retryable::Yes), "{kind:?}");
        }
        assert_eq!(attempts_until_dead(&mut journal, id, FailureKind::Crashed), 2);
        let revived = retry(&journal.state, id).unwrap();
        assert!(matches!(revived, Event::Retried { generation: found, .. } if found == generation));
        journal.append(&[revived]);
        journal.now = Timestamp(2_000_000);
        let job = journal.state.find(id, None).unwrap().1;
        let rare = journal.state.rare(job);
        assert_eq!(
            (rare.failed, rare.crashed, rare.timed_out, rare.lost, rare.generation),
            (0, 0, 0, 0, generation)
        );
        assert_eq!(journal.state.policy(job).expires, None, "it was started in time once");
        assert_eq!(job.attempt, 6 * u32::from(generation), "attempts are counted over all generations");
    }
}

#[test]
fn a_failed_attempt_waits_longer_each_time_and_a_lost_one_not_at_all() {
    let mut journal = Journal::new();
    let id = journal.one(policy());
    let mut wait = |kind| {
        let token = journal.claim(id);
        let events = journal.finish(id, token, fail(kind, Retryable::Yes)).unwrap();
        let [Event::Retrying { due, .. }] = events[..] else { panic!("{events:?}") };
        (due != Timestamp(0)).then(|| due.since(journal.now))
    };
    assert_eq!(wait(FailureKind::Failed), Some(Duration::from_secs(1)));
    assert_eq!(wait(FailureKind::Lost), None);
    assert_eq!(wait(FailureKind::Crashed), Some(Duration::from_secs(2)));
    assert_eq!(wait(FailureKind::TimedOut), Some(Duration::from_secs(4)));
    assert_eq!(wait(FailureKind::Failed), Some(Duration::from_secs(8)));
}
