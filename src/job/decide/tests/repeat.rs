//! Repeating a submit never makes a second job: keys and producers. [ID-1]

use crate::job::decide::Refused;
use crate::job::decide::control;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Origin;
use crate::job::dedupe::PRODUCER_MEMORY_JOBS;
use crate::job::dedupe::Range;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::Sequence;
use crate::job::journal::Journal;
use crate::job::journal::job;
use crate::job::retry::Retryable;
use std::time::Duration;

fn under(key: &str, fingerprint: u64) -> Origin {
    Origin::Key { key: key.into(), fingerprint }
}

fn keyed(journal: &mut Journal, key: &str, jobs: usize) -> Result<Accepted, Refused> {
    journal.submit(vec![job("q"); jobs], under(key, 1))
}

fn produce(journal: &mut Journal, ordinal: u64, jobs: u64) -> Result<Accepted, Refused> {
    let jobs = (0..jobs).map(|_| job("q")).collect();
    journal.submit(jobs, Origin::Producer { producer: "p".into(), ordinal })
}

fn range(ordinal: u64, first: u128, first_sequence: u64, jobs: u64) -> Range {
    let (first, first_sequence) = (JobId::from_u128(first), Sequence(first_sequence));
    Range { ordinal, first, first_sequence, jobs }
}

#[test]
fn a_repeated_key_gives_the_same_jobs_even_when_some_have_ended() {
    let mut journal = Journal::new();
    keyed(&mut journal, "other", 2).unwrap();
    let first = keyed(&mut journal, "k", 3).unwrap();
    assert_eq!(first, Accepted { ranges: vec![range(0, 3, 3, 3)], repeated: 0 });
    for _ in 0..4 {
        let again = keyed(&mut journal, "k", 3).unwrap();
        assert_eq!(again, Accepted { ranges: first.ranges.clone(), repeated: 3 });
        let last = journal.state.jobs().in_id_order().last();
        if let Some(id) = last.map(|(_, job)| job.id) {
            journal.work_off(id);
        }
    }
    assert_eq!(journal.state.queues().iter().next().unwrap().1.counts.submitted_total, 5);
}

#[test]
fn a_key_with_another_fingerprint_is_refused_and_a_full_table_forgets_nothing() {
    let mut journal = Journal::new();
    journal.limits.keys_max = 2;
    keyed(&mut journal, "a", 1).unwrap();
    keyed(&mut journal, "b", 1).unwrap();
    let reused = journal.submit(vec![job("q")], under("b", 2));
    assert_eq!(reused, Err(Refused::KeyReused { first: JobId::from_u128(2) }));
    assert_eq!(keyed(&mut journal, "c", 1), Err(Refused::DedupeFull { keys: 2 }));
    assert_eq!(keyed(&mut journal, "a", 1).unwrap().repeated, 1, "repeats are answered in a full table");
    journal.submit(vec![job("q")], Origin::Anonymous).expect("only keyed submits need the table");
}

#[test]
fn a_batch_of_no_jobs_takes_no_key() {
    let mut journal = Journal::new();
    assert_eq!(keyed(&mut journal, "k", 0), Ok(Accepted { ranges: vec![], repeated: 0 }));
    assert!(journal.state.keys().is_empty());
}

#[test]
fn a_key_is_forgotten_only_by_the_time_its_last_job_ended() {
    let mut journal = Journal::new();
    let ids: Vec<JobId> = keyed(&mut journal, "k", 3)
        .map(|batch| (0..3).map(|step| batch.ranges[0].first.plus(step)).collect())
        .unwrap();
    journal.work_off(ids[1]);
    journal.advance(Duration::from_secs(1));
    assert!(journal.attempt(ids[0], FailureKind::Failed, Retryable::No), "a death ends the job for its key");
    let after = |journal: &mut Journal| {
        let ended_before = journal.now.after(Duration::from_millis(1));
        journal.append(&[Event::KeysForgotten { ended_before }]);
        journal.state.keys().len()
    };
    assert_eq!(after(&mut journal), 1, "one job is live");
    assert_eq!(journal.state.keys().oldest_end(), None);

    journal.advance(Duration::from_secs(1));
    journal.work_off(ids[2]);
    let ended = journal.now;
    assert_eq!(journal.state.keys().oldest_end(), Some(ended));
    journal.append(&[Event::KeysForgotten { ended_before: ended }]);
    assert_eq!(journal.state.keys().len(), 1, "not before that time");
    assert_eq!(after(&mut journal), 0);
    assert_eq!(keyed(&mut journal, "k", 1).unwrap().repeated, 0);
}

#[test]
fn an_anonymous_job_after_a_keyed_batch_does_not_belong_to_its_key() {
    let mut journal = Journal::new();
    keyed(&mut journal, "k", 1).unwrap();
    journal.submit(vec![job("q")], Origin::Anonymous).unwrap();
    let with_key: Vec<bool> =
        journal.state.jobs().in_id_order().map(|(_, job)| journal.state.key(job).is_some()).collect();
    assert_eq!(with_key, [true, false]);
}

#[test]
fn a_forgotten_keys_place_is_used_again_for_another() {
    let mut journal = Journal::new();
    for turn in 0..5 {
        let id = keyed(&mut journal, &format!("k{turn}"), 1).unwrap().ranges[0].first;
        journal.work_off(id);
        journal.advance(Duration::from_secs(1));
        journal.append(&[Event::KeysForgotten { ended_before: journal.now }]);
        assert!(journal.state.keys().is_empty());
        let live = keyed(&mut journal, &format!("live{turn}"), 1).unwrap().ranges[0].first;
        let key = journal.state.key(journal.state.find(live, None).unwrap().1).unwrap();
        assert_eq!(journal.state.keys().digest_of(key), crate::job::dedupe::digest(&format!("live{turn}")));
        journal.work_off(live);
        journal.append(&[Event::KeysForgotten { ended_before: journal.now.after(Duration::from_secs(1)) }]);
    }
}

#[test]
fn a_producer_leaves_out_no_ordinal() {
    let mut journal = Journal::new();
    for (ordinal, expected) in [(0, 1), (2, 1)] {
        assert_eq!(produce(&mut journal, ordinal, 1), Err(Refused::OrdinalGap { expected, found: ordinal }));
    }
    produce(&mut journal, 1, 5).unwrap();
    assert_eq!(produce(&mut journal, 7, 1), Err(Refused::OrdinalGap { expected: 6, found: 7 }));
    assert_eq!(produce(&mut journal, 6, 0), Ok(Accepted { ranges: vec![], repeated: 0 }));
    journal.limits.producers_max = 1;
    let origin = Origin::Producer { producer: "new".into(), ordinal: 1 };
    assert_eq!(journal.submit(vec![job("q")], origin), Err(Refused::DedupeFull { keys: 1 }));
}

#[test]
fn a_batch_that_overlaps_gets_the_known_ranges_and_makes_only_the_rest() {
    let mut journal = Journal::new();
    let first = produce(&mut journal, 1, 4).unwrap();
    assert_eq!(first.ranges, [range(1, 1, 1, 4)]);
    journal.submit(vec![job("q")], Origin::Anonymous).unwrap();
    let overlapping = produce(&mut journal, 3, 4).unwrap();
    let expected = Accepted { ranges: vec![range(3, 3, 3, 2), range(5, 6, 6, 2)], repeated: 2 };
    assert_eq!(overlapping, expected);
    let whole = produce(&mut journal, 2, 4).unwrap();
    assert_eq!(whole, Accepted { ranges: vec![range(2, 2, 2, 3), range(5, 6, 6, 1)], repeated: 4 });
    assert_eq!(journal.state.jobs().len(), 7);
    assert_eq!(produce(&mut journal, 7, 1).unwrap().ranges, [range(7, 8, 8, 1)]);
}

#[test]
fn ranges_that_follow_each_other_are_joined() {
    let mut journal = Journal::new();
    for ordinal in 0..10 {
        produce(&mut journal, ordinal * 3 + 1, 3).unwrap();
    }
    assert_eq!(journal.state.producers()["p"].recent, [range(1, 1, 1, 30)]);
    journal.claim(JobId::from_u128(1));
    produce(&mut journal, 31, 1).unwrap();
    assert_eq!(journal.state.producers()["p"].recent, [range(1, 1, 1, 30), range(31, 31, 32, 1)]);
}

#[test]
fn a_producers_memory_is_bounded_and_covers_what_it_promises() {
    // Ranges of 129 jobs could leave one job too few: 127 of them are 16,383.
    for batch in [129, 512] {
        let mut journal = Journal::new();
        let mut ordinal = 1;
        while ordinal <= 3 * PRODUCER_MEMORY_JOBS {
            produce(&mut journal, ordinal, batch).unwrap();
            ordinal += batch;
            journal.submit(vec![job("q")], Origin::Anonymous).unwrap();
            let producer = &journal.state.producers()["p"];
            let remembered: u64 = producer.recent.iter().map(|range| range.jobs).sum();
            assert!(remembered >= PRODUCER_MEMORY_JOBS.min(producer.last_ordinal));
            assert!(remembered < PRODUCER_MEMORY_JOBS + batch);
        }
        let known = produce(&mut journal, ordinal - PRODUCER_MEMORY_JOBS, PRODUCER_MEMORY_JOBS).unwrap();
        assert_eq!(known.repeated, PRODUCER_MEMORY_JOBS);
        assert_eq!(known.ranges.iter().map(|range| range.jobs).sum::<u64>(), PRODUCER_MEMORY_JOBS);
        let old = produce(&mut journal, 1, 10).unwrap();
        assert_eq!(old, Accepted { ranges: vec![], repeated: 10 }, "too old to tell, yet never made twice");
    }
}

#[test]
fn an_idle_producer_is_forgotten_and_a_busy_one_is_not() {
    let mut journal = Journal::new();
    produce(&mut journal, 1, 1).unwrap();
    journal.advance(Duration::from_secs(1));
    let origin = Origin::Producer { producer: "busy".into(), ordinal: 1 };
    journal.submit(vec![job("q")], origin).unwrap();
    let idle = control::idle_producers(&journal.state, journal.now, 10);
    assert!(idle.is_empty(), "its job is still live: repeating it must not double it");
    let first = journal.state.producers()["p"].recent[0].first;
    journal.append(&[control::cancel(&journal.state, first, "done".into()).unwrap()]);
    let idle = control::idle_producers(&journal.state, journal.now, 10);
    journal.append(&[Event::ProducersForgotten { producers: idle }]);
    assert_eq!(journal.state.producers().keys().map(|name| &**name).collect::<Vec<_>>(), ["busy"]);
}
