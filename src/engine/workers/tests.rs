use crate::clock::Tick;
use crate::engine::workers::Output;
use crate::engine::workers::Workers;
use crate::engine::workers::rig::attaching;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::table::Slot;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::mpsc::error::TryRecvError;

const PERIOD: Duration = Duration::from_secs(15);

fn queue(name: &str) -> QueueName {
    name.parse().unwrap()
}

fn attach(workers: &mut Workers, name: &str, queues: &[&str]) -> (u32, UnboundedReceiver<Output>) {
    let (attach, outputs) = attaching(name, queues, 10);
    let session = workers.attach(attach, Tick(0));
    (workers.current(session).unwrap(), outputs)
}

#[test]
fn takers_of_a_queue_take_turns_and_those_that_left_are_passed_over() {
    let mut workers = Workers::default();
    let numbers = ["a", "b", "c"].map(|name| attach(&mut workers, name, &["q", "r"]).0);
    let turns: Vec<u32> = (0..6).filter_map(|_| workers.rotate_takers(&queue("q"))).collect();
    assert_eq!(turns, [numbers, numbers].concat());
    workers.detach(numbers[1], Tick(0));
    let turns: Vec<u32> = (0..4).filter_map(|_| workers.rotate_takers(&queue("q"))).collect();
    assert_eq!(turns, [numbers[0], numbers[2], numbers[0], numbers[2]]);
    workers.remove(numbers[0]);
    workers.remove(numbers[2]);
    assert_eq!((workers.takers(&queue("q")), workers.rotate_takers(&queue("r"))), (0, None));
}

/// The end of its stream tells a worker that its leases were handed back. [ACK-1]
#[test]
fn the_outlet_of_a_removed_worker_closes_after_the_sync() {
    let mut workers = Workers::default();
    let (number, mut outputs) = attach(&mut workers, "a", &[]);
    workers.remove(number);
    assert_eq!(outputs.try_recv(), Err(TryRecvError::Empty));
    workers.flush();
    assert_eq!(outputs.try_recv(), Err(TryRecvError::Disconnected));
}

#[test]
fn whoever_holds_a_slot_is_known_whatever_is_let_go_between() {
    let mut workers = Workers::default();
    let (first, second) = (attach(&mut workers, "a", &[]).0, attach(&mut workers, "b", &[]).0);
    let mut model: BTreeMap<u32, u32> = BTreeMap::new();
    for step in 0..2_000_u32 {
        let slot = step.wrapping_mul(2_654_435_761) % 40;
        if let Some(holder) = model.remove(&slot) {
            assert_eq!(workers.let_go(Slot(slot)), Some(holder));
        } else {
            let holder = if step % 3 == 0 { first } else { second };
            workers.hold(holder, Slot(slot));
            model.insert(slot, holder);
        }
        for slot in 0..41 {
            assert_eq!(workers.holder(Slot(slot)), model.get(&slot).copied());
        }
        for worker in [first, second] {
            let mut held: Vec<u32> = workers.held(worker).iter().map(|slot| slot.0).collect();
            held.sort_unstable();
            let expected = model.iter().filter(|(_, holder)| **holder == worker).map(|(slot, _)| *slot);
            assert_eq!(held, expected.collect::<Vec<u32>>());
        }
    }
    assert_eq!(workers.let_go(Slot(1_000)), None);
}

/// [LEASE-2]
#[test]
fn a_forgiven_gap_moves_every_deadline() {
    let mut workers = Workers::default();
    let (silent, gone) = (attach(&mut workers, "a", &[]).0, attach(&mut workers, "b", &[]).0);
    workers.detach(gone, Tick(1_000));
    assert_eq!(workers.next_deadline(PERIOD), Some(Tick(1_000)));
    workers.forgive(Duration::from_secs(60));
    let moved = Tick(1_000).after(Duration::from_secs(60));
    assert_eq!(workers.next_deadline(PERIOD), Some(moved));
    assert_eq!(workers.silent(moved, PERIOD), [gone]);
    let late = Tick(0).after(Duration::from_secs(75));
    assert_eq!(workers.silent(late, PERIOD), [silent, gone]);
    assert!(workers.silent(Tick(moved.0 - 1), PERIOD).is_empty());
}

#[test]
fn a_later_session_of_the_same_worker_ends_the_earlier_one() {
    let mut workers = Workers::default();
    let (number, mut earlier) = attach(&mut workers, "a", &["q"]);
    workers.hold(number, Slot(3));
    let (again, mut later) = attach(&mut workers, "a", &["r"]);
    assert_eq!(number, again);
    assert!(earlier.try_recv().unwrap().superseded);
    assert_eq!(workers.held(again), [Slot(3)]);
    assert_eq!((workers.takers(&queue("q")), workers.takers(&queue("r"))), (0, 1));
    workers.tell(again, |output| output.cancels.push((JobId::MIN, LeaseToken(1))));
    workers.flush();
    assert_eq!(later.try_recv().unwrap().cancels.len(), 1);
    assert!(earlier.is_closed());
}

/// [ACK-1]
#[test]
fn a_removed_worker_hears_its_last_words_with_the_flush_and_not_before() {
    let mut workers = Workers::default();
    let (number, mut outputs) = attach(&mut workers, "a", &[]);
    workers.tell(number, |output| output.cancels.push((JobId::MIN, LeaseToken(1))));
    workers.remove(number);
    // Its number may be given to another at once.
    let (other, mut others) = attach(&mut workers, "b", &[]);
    assert_eq!(number, other);
    assert!(outputs.try_recv().is_err());
    workers.flush();
    assert_eq!(outputs.try_recv().unwrap().cancels.len(), 1);
    assert!(outputs.is_closed());
    assert!(others.try_recv().is_err());
}

#[test]
fn that_somebody_has_a_free_slot_is_known_whatever_happens_to_the_workers() {
    let mut workers = Workers::default();
    let all = ["a", "b", "c"].map(|name| attach(&mut workers, name, &[]).0);
    let free = |workers: &Workers| (workers.any_free(), all.iter().any(|number| workers.free(*number) > 0));
    for slot in 0..10 {
        assert_eq!(free(&workers), (true, true));
        workers.hold(all[0], Slot(slot));
    }
    workers.clear_free(all[1]);
    assert_eq!((workers.free(all[0]), free(&workers)), (0, (true, true)));
    workers.detach(all[2], Tick(0));
    assert_eq!(free(&workers), (false, false));
    workers.hold(all[1], Slot(10));
    workers.add_free(all[1], 1);
    workers.add_free(all[1], 1);
    assert_eq!(free(&workers), (true, true));
    attach(&mut workers, "b", &[]);
    workers.remove(all[1]);
    assert!(!workers.any_free());
    workers.add_free(all[0], u32::MAX);
    assert!(workers.any_free());
}
