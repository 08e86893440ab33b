//! What readers see: pages and filters, while the applier folds, and below the floor.

use crate::clock::Tick;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::work::Error;
use crate::work::Filter;
use crate::work::Options;
use crate::work::Record;
use crate::work::State;
use crate::work::States;
use crate::work::buffer::RUNS_MAX;
use crate::work::slice;
use crate::work::tests::rig::Rig;
use crate::work::tests::rig::SMALL;
use crate::work::tests::rig::dead;
use crate::work::tests::rig::succeeded;
use std::ops::ControlFlow;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// 700 jobs of three queues: every second one succeeded, every seventh of the others is dead.
fn rig(options: Options) -> Rig {
    let mut rig = Rig::new(options);
    for _ in 0..7 {
        let jobs = rig.submit(100);
        let ends = jobs.iter().enumerate().filter_map(|(at, job)| {
            let (id, queue) = job.job()?;
            match (at % 2, at % 7) {
                (0, _) => Some(succeeded(id, queue, 1)),
                (_, 0) => Some(dead(id, queue, 5)),
                _ => None,
            }
        });
        let ends: Vec<Event> = ends.collect();
        rig.append(jobs);
        rig.append(ends);
    }
    rig
}

#[test]
fn pages_of_any_size_and_filter_hold_each_job_once_and_in_order() {
    let mut rig = rig(SMALL);
    rig.apply(1).unwrap();
    let model = rig.model(rig.head());
    let sets =
        [States::ALL, States::of(&[State::Dead]), States::of(&[State::Live, State::Dead]), States::of(&[])];
    for states in sets {
        for queue in [None, Some(QueueNo(0)), Some(QueueNo(2)), Some(QueueNo(9))] {
            let filter = Filter { queue, states };
            let expected: Vec<Record> = model
                .values()
                .filter(|job| states.contains(job.state) && queue.is_none_or(|queue| queue == job.queue))
                .copied()
                .collect();
            for limit in [1, 46, 1_000] {
                assert_eq!(rig.list(&filter, limit), expected, "{filter:?}, {limit} a page");
            }
        }
    }
}

#[test]
fn a_page_ends_at_its_bound_of_work_and_says_where_to_go_on() {
    let mut rig = rig(SMALL);
    rig.apply(1).unwrap();
    let nothing = Filter { queue: Some(QueueNo(9)), states: States::ALL };
    let page = rig.query.list(JobId::MIN, &nothing, 10).unwrap();
    assert!(page.records.is_empty());
    assert_eq!(page.as_of, rig.head());
    let looked_at = rig.model(rig.head()).range(..=page.next.expect("there is more")).count();
    assert_eq!(looked_at, SMALL.slices_a_page * 46);
}

#[test]
fn a_reader_never_misses_what_was_applied_while_slices_are_folded_and_split() {
    let mut rig = rig(Options { fold_at: 20, ..SMALL });
    let model = rig.model(rig.head());
    let query = rig.query.clone();
    let head = rig.head();
    let checks = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for reader in 0..2 {
            let (query, model, checks) = (query.clone(), &model, &checks);
            scope.spawn(move || {
                let mut at = reader;
                while query.applied() < head {
                    let applied = query.applied();
                    at = (at * 31 + 7) % model.len();
                    let expected = model.values().nth(at).unwrap();
                    let submitted = expected.submitted.unwrap().at.position;
                    let got = match query.get(expected.id) {
                        Ok(got) => got,
                        Err(Error::Rebuilding { .. }) => None,
                        Err(other) => panic!("{other}"),
                    };
                    if applied >= expected.last.at.position {
                        assert_eq!(got.as_ref(), Some(expected));
                    } else if applied >= submitted {
                        assert_eq!(got.unwrap().submitted, expected.submitted);
                    }
                    checks.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        while rig.next <= head {
            rig.apply_one(1).unwrap();
            let seen = checks.load(Ordering::Relaxed);
            while checks.load(Ordering::Relaxed) < seen + 20 && rig.next <= head {
                std::thread::yield_now();
            }
        }
    });
    rig.check(30);
}

#[test]
fn jobs_below_the_floor_are_gone_at_once_and_their_slices_soon_but_dead_ones_stay() {
    let mut rig = rig(SMALL);
    // The first frames' jobs all end; the dead ones among them stay.
    let live = rig.model(rig.head()).into_values().filter(|job| job.state == State::Live);
    let ends = live.map(|job| succeeded(job.id, job.queue, 1)).collect();
    rig.append(ends);
    rig.append(Vec::new());
    rig.apply(1).unwrap();
    rig.floor = rig.head();
    rig.tree.forget_below(rig.floor);
    rig.check(100);
    let all = rig.list(&Filter::ALL, 1_000);
    assert!(!all.is_empty() && all.iter().all(|job| job.state == State::Dead));
    while rig.applier().tend(Tick(0)).unwrap() == crate::work::Tended::More {}
    let stored = stored(&mut rig);
    assert!(stored <= all.len() + 46, "{stored} records are stored; only the last slice is left as it is");
    rig.check(100);
    assert_eq!(folded(&rig), rig.head(), "the log may let go of what a restart would replay");
}

#[test]
fn finished_jobs_below_the_floor_leave_no_slices() {
    let mut rig = Rig::new(SMALL);
    for _ in 0..5 {
        let jobs = rig.submit(60);
        let ends =
            jobs.iter().filter_map(|job| job.job()).map(|(id, queue)| succeeded(id, queue, 1)).collect();
        rig.append(jobs);
        rig.append(ends);
    }
    rig.append(Vec::new());
    rig.apply(2).unwrap();
    rig.floor = rig.head();
    rig.tree.forget_below(rig.floor);
    while rig.applier().tend(Tick(0)).unwrap() == crate::work::Tended::More {}
    assert!(stored(&mut rig) <= 46, "only the last slice, which is still in use");
    rig.check(100);
    let jobs = rig.submit(60);
    rig.append(jobs);
    rig.apply(1).unwrap();
    rig.check(100);
}

/// [MEM-1]
#[test]
fn what_waits_in_memory_is_bounded_and_is_folded_in_time() {
    let options = Options { fold_every: Duration::from_secs(60), ..SMALL };
    let mut rig = rig(options);
    while rig.next <= rig.head() {
        rig.apply_one(1).unwrap();
        let buffer = &rig.applier().buffer;
        assert!(buffer.waiting() <= options.fold_at_max + 64, "{} wait", buffer.waiting());
        assert!(buffer.fresh_runs() <= RUNS_MAX);
    }
    let jobs = rig.model(rig.head());
    let job = jobs.values().find(|job| job.state == State::Live).unwrap();
    rig.append(vec![succeeded(job.id, job.queue, 1)]);
    rig.apply(1).unwrap();
    assert!(folded(&rig) < rig.head());
    rig.now = rig.now.after(options.fold_every);
    rig.tend();
    rig.tend();
    assert_eq!(folded(&rig), rig.head());
    assert!(rig.applier().buffer.is_empty());
    rig.check(100);
}

#[test]
fn a_closed_tree_says_so() {
    let mut rig = rig(SMALL);
    rig.apply(3).unwrap();
    rig.close();
    assert!(matches!(rig.query.get(JobId::MIN), Err(Error::Closed)));
    assert!(matches!(rig.query.list(JobId::MIN, &Filter::ALL, 1), Err(Error::Closed)));
    rig.kill();
    assert!(matches!(rig.query.get(JobId::MIN), Err(Error::Closed)));
    assert_eq!(rig.query.applied(), Position(0));
}

fn folded(rig: &Rig) -> Position {
    rig.applier.as_ref().expect("the tree is open").folded
}

/// How many records the slices hold.
fn stored(rig: &mut Rig) -> usize {
    let mut count = 0;
    let tree = &rig.applier().tree;
    tree.scan(JobId::MIN, |key, bytes| {
        count += slice::decode(key, bytes).unwrap().len();
        ControlFlow::Continue(())
    })
    .unwrap();
    count
}
