use crate::engine::command::Bye;
use crate::engine::command::Command;
use crate::engine::command::WorkerMessage;
use crate::engine::core::EVENTS_OF_TIME_MAX;
use crate::engine::core::leases::GRANTS_MAX;
use crate::engine::core::tests::Hand;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::completed;
use crate::engine::core::tests::job;
use crate::engine::core::tests::with;
use crate::engine::overlay::JobView;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::spec::Policy;
use crate::job::spec::QueueChange;
use crate::job::state::JobState;
use crate::log::Archive;

impl Rig {
    fn view_of(&self, id: JobId) -> JobView {
        self.core.view().job(id).unwrap()
    }

    fn is_running(&self, id: JobId) -> bool {
        self.view_of(id).state == JobState::Running
    }
}

/// [LEASE-2]
#[test]
fn a_silent_worker_loses_its_leases_after_the_period_and_not_before() {
    let mut rig = Rig::new();
    let id = rig.one();
    let mut hand = rig.attach("w", &["q"], 1);
    let token = hand.hear().grants[0].token;
    rig.live(14_999);
    assert!(rig.is_running(id));
    rig.live(2);
    assert!(!rig.is_running(id));
    assert_eq!(hand.hear().cancels, [(id, token)], "it is told before its session ends");
    assert!(hand.outputs.is_closed());
}

/// [LEASE-2]
#[test]
fn an_engine_that_was_away_blames_no_worker() {
    let mut rig = Rig::new();
    let id = rig.one();
    let hand = rig.attach("w", &["q"], 1);
    rig.live(10_000);
    assert!(rig.core.next_step().is_some());
    rig.pass(60_000);
    rig.step(Vec::new());
    assert!(rig.is_running(id), "the engine was stopped, not the worker");
    rig.live(4_000);
    assert!(rig.is_running(id), "it has the rest of its period");
    rig.work(&hand, WorkerMessage::default());
    rig.live(14_000);
    assert!(rig.is_running(id));
    rig.live(2_000);
    assert!(!rig.is_running(id));
}

/// [LEASE-2]
#[test]
fn what_was_received_is_decided_before_any_lapse() {
    let mut rig = Rig::new();
    let id = rig.one();
    let mut hand = rig.attach("w", &["q"], 1);
    let grants = hand.hear().grants;
    rig.live(14_600);
    rig.pass(900);
    rig.work(&hand, completed(&grants));
    assert_eq!(rig.view_of(id).state, JobState::Succeeded);
    assert!(hand.hear().acks[0].outcome.is_ok());
}

/// [JOB-3] [LEASE-2]
#[test]
fn a_restart_ends_the_servers_own_leases_at_once_and_gives_the_others_a_full_period() {
    let mut rig = Rig::new();
    let (local, remote) = (rig.one(), rig.one());
    let _pool = rig.attach("@pool", &["q"], 1);
    let _worker = rig.attach("w", &["q"], 1);
    assert!(rig.is_running(local) && rig.is_running(remote));
    rig.live(14_000);
    let from = rig.next_position();
    rig.restart();
    assert_eq!(rig.kinds_since(from), ["opened", "retrying"]);
    let lost = rig.events_since(from).pop().unwrap();
    assert!(
        matches!(lost, Event::Retrying { id, failure, .. } if id == local && failure.kind == FailureKind::Lost)
    );
    rig.live(14_999);
    assert!(rig.is_running(remote), "late, never early");
    rig.live(2);
    assert!(!rig.is_running(remote));
}

/// [RETRY-1]
#[test]
fn an_attempt_that_nobody_ends_is_ended_after_its_timeout_and_slack() {
    let mut rig = Rig::new();
    let policy = Policy { timeout_ms: Some(5_000), max_attempts: 1, ..Policy::default() };
    let id = rig.submit(vec![with(policy)]).unwrap().ranges[0].first;
    let mut hand = rig.attach("@pool", &["q"], 1);
    let token = hand.hear().grants[0].token;
    rig.live(19_999);
    assert!(rig.is_running(id));
    let from = rig.next_position();
    rig.live(1);
    assert_eq!(rig.kinds_since(from), ["dead"]);
    assert_eq!(hand.hear().cancels, [(id, token)]);
}

#[test]
fn a_worker_that_asks_for_one_job_at_a_time_comes_to_all_of_its_queues() {
    let mut rig = Rig::new();
    rig.submit([vec![job("a"); 20], vec![job("b"); 20]].concat()).unwrap();
    let mut hand = rig.attach("w", &["a", "b"], 1);
    let mut queues = Vec::new();
    for _ in 0..10 {
        let grants = hand.hear().grants;
        queues.extend(grants.iter().map(|grant| grant.queue.0));
        rig.work(&hand, WorkerMessage { free: 1, ..completed(&grants) });
    }
    assert_eq!(queues.iter().filter(|queue| **queue == 0).count(), 5, "{queues:?}");
}

#[test]
fn the_queues_of_a_worker_take_turns_and_those_that_are_empty_closed_or_not_its_own_are_passed_over() {
    let mut rig = Rig::new();
    rig.submit("abcdef".chars().flat_map(|queue| vec![job(&queue.to_string()); 3]).collect()).unwrap();
    let paused = QueueChange { paused: Some(true), ..QueueChange::default() };
    rig.call(|reply| Command::SetQueue("d".parse().unwrap(), paused, reply)).unwrap();
    let mut hand = rig.attach("w", &["late", "e", "d", "b", "a", "never"], 4);
    let queues =
        |hand: &mut Hand| -> Vec<u32> { hand.hear().grants.iter().map(|grant| grant.queue.0).collect() };
    assert_eq!(queues(&mut hand), [0, 1, 4, 0]);
    rig.work(&hand, WorkerMessage { free: 7, ..WorkerMessage::default() });
    assert_eq!(queues(&mut hand), [1, 4, 0, 1, 4], "nine in all, and nothing of the paused one");
    rig.submit(vec![job("late"); 3]).unwrap();
    assert_eq!(queues(&mut hand), [6, 6], "a queue that began to exist after the worker came");
    rig.work(&hand, WorkerMessage { free: 1, ..WorkerMessage::default() });
    assert_eq!(queues(&mut hand), [6], "its worker knows it");
}

#[test]
fn workers_of_a_queue_take_turns() {
    let mut rig = Rig::new();
    let mut hands = [rig.attach("w0", &["q"], 50), rig.attach("w1", &["q"], 50)];
    for _ in 0..20 {
        rig.one();
    }
    let counts = hands.each_mut().map(|hand| hand.hear().grants.len());
    assert_eq!(counts, [10, 10]);
}

#[test]
fn what_a_worker_finished_before_its_bye_is_acknowledged() {
    let mut rig = Rig::new();
    let id = rig.one();
    let mut hand = rig.attach("w", &["q"], 1);
    let grants = hand.hear().grants;
    let last = Command::Work(hand.session, completed(&grants));
    rig.step(vec![last, Command::Detach(hand.session, Bye::Said)]);
    assert_eq!(hand.hear().acks.len(), 1);
    assert_eq!(rig.view_of(id).state, JobState::Succeeded);
}

/// A frame is bounded, whatever ends together. [MEM-1]
#[test]
fn jobs_that_expire_or_lapse_by_the_thousand_do_so_in_several_frames() {
    let mut rig = Rig::new();
    let expires = rig.now.wall.after(std::time::Duration::from_secs(1));
    let late = with(Policy { expires: Some(expires), ..Policy::default() });
    for _ in 0..3 {
        rig.submit(vec![late.clone(); 8_000]).unwrap();
        rig.submit(vec![job("other"); 2_000]).unwrap();
    }
    let names = ["w0", "w1", "w2"];
    let mut hands = names.map(|name| rig.attach(name, &["other"], 2_000));
    assert_eq!(hands.each_mut().map(|hand| hand.hear().grants.len()), [2_000; 3]);
    rig.pass(900);
    rig.step(Vec::new());
    rig.pass(200);
    let _taker = rig.attach("w3", &["q"], 10);
    let from = rig.next_position();
    rig.live(20_000);
    let frames = rig.core.archive().read(from, usize::MAX).unwrap();
    let largest = frames.iter().map(|frame| frame.updates as usize).max().unwrap();
    assert!(largest <= GRANTS_MAX + EVENTS_OF_TIME_MAX, "{largest} updates in a frame");
    let queues = rig.core.view().queues();
    assert_eq!((queues[0].counts.expired_total, queues[1].counts.running), (24_000, 0));
}
