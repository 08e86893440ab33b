use crate::engine::command::Grant;
use crate::engine::command::WorkerMessage;
use crate::engine::core::tests::Hand;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::completed;
use crate::engine::core::tests::holder;
use crate::job::event::Event;
use crate::job::event::Progress;
use crate::job::id::Position;

impl Rig {
    fn tell(&mut self, hand: &Hand, grant: &Grant, done: u16) {
        let progress = Progress { done: Some(done), message: "".into() };
        self.work(
            hand,
            WorkerMessage { progress: vec![(holder(grant), progress)], ..WorkerMessage::default() },
        );
    }

    fn told_since(&self, from: Position) -> Vec<u16> {
        let done = |event: &Event| {
            let Event::Progress { progress, .. } = event else { panic!("{event:?}") };
            progress.done
        };
        self.events_since(from).iter().filter_map(done).collect()
    }
}

/// [MEM-1]
#[test]
fn progress_is_told_at_most_twice_a_second_the_newest_wins_and_the_last_is_told_late() {
    let mut rig = Rig::new();
    let id = rig.one();
    let mut hand = rig.attach("w", &["q"], 1);
    let grant = hand.hear().grants[0];
    let from = rig.next_position();
    for done in 0..100 {
        rig.tell(&hand, &grant, done);
        rig.live(8);
    }
    rig.live(499);
    assert_eq!(rig.told_since(from), [0, 62, 99]);
    let seen = rig.core.view().job(id).unwrap().progress.unwrap();
    assert_eq!(seen.done, Some(99));
    rig.live(2_000);
    assert_eq!(rig.told_since(from), [0, 62, 99], "nothing is told twice");
    assert!(hand.hear().acks.is_empty(), "nobody is answered");
}

#[test]
fn late_progress_of_an_ended_attempt_is_never_told_of_the_next_one() {
    let mut rig = Rig::new();
    rig.one();
    let mut hand = rig.attach("w", &["q"], 1);
    let grant = hand.hear().grants[0];
    rig.tell(&hand, &grant, 1);
    rig.tell(&hand, &grant, 2);
    rig.work(&hand, completed(&[grant]));
    // The next job lies where the first one lay.
    rig.one();
    rig.work(&hand, WorkerMessage { free: 1, ..WorkerMessage::default() });
    let next = hand.hear().grants[0];
    assert_eq!(next.slot, grant.slot);
    let from = rig.next_position();
    rig.live(1_000);
    assert!(rig.told_since(from).is_empty());
    rig.tell(&hand, &next, 3);
    rig.tell(&hand, &grant, 4);
    rig.live(1_000);
    assert_eq!(rig.told_since(from), [3], "the first job's lease has no say [LEASE-1]");
}
