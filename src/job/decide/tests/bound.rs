//! How much may be kept: waiting jobs of a queue, live jobs, queues, dead jobs, cursors. [MEM-1] [DEAD-1]

use crate::job::decide::Refused;
use crate::job::decide::control::commit_cursor;
use crate::job::decide::control::drop_cursor;
use crate::job::decide::control::set_queue;
use crate::job::decide::submit::Origin;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::Sequence;
use crate::job::journal::Journal;
use crate::job::journal::job;
use crate::job::journal::picture;
use crate::job::journal::queue;
use crate::job::retry::Retryable;
use crate::job::spec::NewJob;
use crate::job::spec::Policy;
use crate::job::spec::QueueSettings;

fn set(journal: &mut Journal, name: &str, settings: QueueSettings) -> Result<(), Refused> {
    let mut events = Vec::new();
    set_queue(&journal.state, &queue(name), settings, &journal.limits, &mut events)?;
    journal.append(&events);
    Ok(())
}

fn jobs(names: &[&str]) -> Vec<NewJob> {
    names.iter().map(|name| job(name)).collect()
}

fn kill(journal: &mut Journal) -> JobId {
    let id = journal.one(Policy::default());
    assert!(journal.attempt(id, FailureKind::Failed, Retryable::No));
    id
}

fn dead(journal: &Journal) -> Vec<JobId> {
    let dead = &journal.state.queues().iter().next().unwrap().1.dead;
    dead.iter().map(|(_, slot)| journal.state.jobs().at(*slot).id).collect()
}

#[test]
fn a_queue_takes_jobs_up_to_its_bound_and_a_batch_goes_in_whole_or_not_at_all() {
    let mut journal = Journal::new();
    set(&mut journal, "q", QueueSettings { max_pending: Some(3), ..QueueSettings::default() }).unwrap();
    journal.submit(jobs(&["q", "q"]), Origin::Anonymous).unwrap();
    let before = picture(&journal.state);
    let full = journal.submit(jobs(&["other", "q", "other", "q"]), Origin::Anonymous);
    assert_eq!(full, Err(Refused::QueueFull { queue: queue("q"), waiting: 2, max_pending: 3 }));
    assert_eq!(picture(&journal.state), before);
    journal.submit(jobs(&["other", "q", "other"]), Origin::Anonymous).unwrap();
    assert!(journal.submit(jobs(&["q"]), Origin::Anonymous).is_err());

    let running = journal.state.jobs().in_id_order().next().unwrap().1.id;
    journal.claim(running);
    journal.submit(jobs(&["q"]), Origin::Anonymous).expect("a running job does not wait");
}

#[test]
fn a_refused_key_or_ordinal_is_not_used_up() {
    let mut journal = Journal::new();
    set(&mut journal, "q", QueueSettings { max_pending: Some(0), ..QueueSettings::default() }).unwrap();
    let key = Origin::Key { key: "k".into(), fingerprint: 1 };
    let producer = Origin::Producer { producer: "p".into(), ordinal: 1 };
    for origin in [key, producer] {
        assert!(matches!(journal.submit(jobs(&["q"]), origin), Err(Refused::QueueFull { .. })));
    }
    assert!(journal.state.keys().is_empty());
    assert!(journal.state.producers().is_empty());
}

#[test]
fn the_service_keeps_at_most_live_max_jobs_the_dead_included() {
    let mut journal = Journal::new();
    journal.limits.live_max = 3;
    kill(&mut journal);
    journal.submit(jobs(&["q"]), Origin::Anonymous).unwrap();
    let full = journal.submit(jobs(&["q", "q"]), Origin::Anonymous);
    assert_eq!(full, Err(Refused::ServiceFull { live: 2, live_max: 3 }));
    journal.submit(jobs(&["q"]), Origin::Anonymous).unwrap();
}

#[test]
fn at_most_queues_max_queues_are_made_and_known_ones_are_still_used() {
    let mut journal = Journal::new();
    journal.limits.queues_max = 2;
    let full = journal.submit(jobs(&["a", "b", "c"]), Origin::Anonymous);
    assert_eq!(full, Err(Refused::QueuesFull { queue: queue("c"), queues_max: 2 }));
    assert!(journal.state.queues().is_empty());
    journal.submit(jobs(&["a", "b", "a"]), Origin::Anonymous).unwrap();
    assert!(matches!(set(&mut journal, "c", QueueSettings::default()), Err(Refused::QueuesFull { .. })));
    set(&mut journal, "b", QueueSettings { paused: true, ..QueueSettings::default() }).unwrap();
    let names: Vec<_> = journal.state.queues().iter().map(|(_, queue)| queue.name.to_string()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(journal.state.queues().iter().next().unwrap().1.counts.waiting, 2);
}

#[test]
fn one_more_death_than_the_queue_keeps_deletes_the_oldest() {
    let mut journal = Journal::new();
    set(&mut journal, "q", QueueSettings { dead_max: 2, ..QueueSettings::default() }).unwrap();
    let died = [0; 4].map(|_| kill(&mut journal));
    assert_eq!(dead(&journal), died[2..]);
    assert_eq!(journal.state.find(died[0], None).map(|(slot, _)| slot), None);
}

#[test]
fn a_lowered_bound_is_reached_with_the_next_deaths_and_zero_keeps_none() {
    let mut journal = Journal::new();
    let died = [0; 4].map(|_| kill(&mut journal));
    set(&mut journal, "q", QueueSettings { dead_max: 2, ..QueueSettings::default() }).unwrap();
    assert_eq!(dead(&journal), died, "settings delete nothing by themselves");
    let fifth = kill(&mut journal);
    assert_eq!(dead(&journal), [died[2], died[3], fifth]);
    let sixth = kill(&mut journal);
    assert_eq!(dead(&journal), [fifth, sixth]);

    set(&mut journal, "q", QueueSettings { dead_max: 0, ..QueueSettings::default() }).unwrap();
    for left in [1, 0, 0] {
        kill(&mut journal);
        assert_eq!(dead(&journal).len(), left);
    }
    assert!(journal.state.jobs().is_empty());
}

#[test]
fn cursors_are_bounded_and_never_ahead_of_the_log() {
    let mut journal = Journal::new();
    journal.limits.cursors_max = 1;
    let newest = journal.state.sequence();
    let mut commit = |name: &str, sequence| {
        let event = commit_cursor(&journal.state, &name.into(), sequence, &journal.limits)?;
        journal.append(&[event]);
        Ok(())
    };
    let ahead = Refused::CursorAhead { wanted: Sequence(1), newest };
    assert_eq!(commit("a", Sequence(1)), Err(ahead));
    assert_eq!(commit("a", Sequence(0)), Ok(()));
    assert_eq!(commit("b", Sequence(0)), Err(Refused::CursorsFull(1)));
    assert_eq!(commit("a", Sequence(0)), Ok(()), "a known cursor moves in a full table");
    assert_eq!(drop_cursor(&journal.state, &"b".into()), Err(Refused::NoCursor("b".into())));
    journal.append(&[drop_cursor(&journal.state, &"a".into()).unwrap()]);
    assert!(journal.state.cursors().is_empty());
}
