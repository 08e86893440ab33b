//! The state as of a place: what a server had, and after damage what the rest tells.

use crate::clock::Timestamp;
use crate::engine::recover;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::state::State;
use crate::log::Log;
use crate::offline::AsOf;
use crate::offline::Kind;
use crate::offline::Life;
use crate::offline::Stats;
use crate::offline::Until;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::flip;

fn states(state: &State) -> (u64, u64, u64) {
    let counts = state.queues().iter().next().unwrap().1.counts;
    (counts.waiting, counts.running, counts.succeeded_total)
}

/// A directory with two checkpoints and log after them, and the state that a server recovers from it.
fn with_checkpoints() -> (Rig, u128) {
    let mut rig = Rig::with_jobs(10);
    rig.open();
    rig.checkpoint();
    for _ in 0..3 {
        let first = rig.submit(2, 300);
        rig.append(&[rig.started(first)]);
    }
    rig.checkpoint();
    rig.submit(4, 300);
    rig.vouch();
    let digest = recover::recover(&rig.log.as_ref().unwrap().archive()).unwrap().state.digest();
    rig.log = None;
    (rig, digest)
}

#[test]
fn the_state_at_the_end_is_what_a_server_recovers_whatever_checkpoint_is_left() {
    let (rig, digest) = with_checkpoints();
    let copy = rig.copy();
    let newest = AsOf::of(&copy.directory(), Until::End).unwrap();
    assert_eq!(newest.base, copy.directory().checkpoints().unwrap()[0]);
    assert_eq!((newest.state.digest(), newest.faults.count(), newest.partial), (digest, 0, false));
    for at in copy.directory().checkpoints().unwrap() {
        flip(&copy.root().join(format!("checkpoints/{:020}.ckpt", at.0)), 40);
        let as_of = AsOf::of(&copy.directory(), Until::End).unwrap();
        assert_eq!(as_of.state.digest(), digest);
        assert_eq!(as_of.faults.kept()[0].kind, Kind::Checkpoint);
        assert!(as_of.base < at);
    }
}

#[test]
fn the_state_as_of_an_update_or_a_time_leaves_out_what_came_later() {
    let rig = Rig::with_jobs(2);
    let copy = rig.copy();
    let directory = copy.directory();
    let at = |sequence| states(&AsOf::of(&directory, Until::Sequence(Sequence(sequence))).unwrap().state);
    // Each pair: two submitted, two started, one succeeded.
    let expected = [(0, 0, 0), (1, 0, 0), (2, 0, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1), (1, 1, 1), (2, 1, 1)];
    for (sequence, expected) in (1..).zip(&expected[1..]) {
        assert_eq!(at(sequence), *expected, "as of {sequence}");
    }
    for frame in &rig.frames[1..] {
        let by_time = AsOf::of(&directory, Until::Time(frame.time)).unwrap().state;
        assert_eq!(by_time.position(), frame.position);
        assert_eq!(by_time.sequence().0, frame.next_sequence().0 - 1);
    }
    let before = AsOf::of(&directory, Until::Time(Timestamp(5))).unwrap();
    assert_eq!((before.state.position(), before.faults.count()), (Position(0), 0));
}

/// Whatever comes later, a vouch frame or a checkpoint there, and whatever checkpoint is left before it.
#[test]
fn the_state_as_of_an_update_is_the_same_for_ever() {
    let mut rig = Rig::with_jobs(3);
    let digest = |rig: &Rig, sequence| {
        let as_of = AsOf::of(&rig.copy().directory(), Until::Sequence(Sequence(sequence))).unwrap();
        assert_eq!((as_of.state.sequence(), as_of.partial), (Sequence(sequence), false));
        as_of.state.digest()
    };
    let last = AsOf::of(&rig.copy().directory(), Until::End).unwrap().state.sequence().0;
    let before: Vec<u128> = (1..=last).map(|sequence| digest(&rig, sequence)).collect();
    rig.open();
    rig.vouch();
    rig.checkpoint();
    rig.submit(2, 300);
    rig.vouch();
    rig.log = None;
    let after: Vec<u128> = (1..=last).map(|sequence| digest(&rig, sequence)).collect();
    assert_eq!(before, after);
    let mut all = before;
    all.dedup();
    assert_eq!(all.len() as u64, last, "each update makes another state");
}

#[test]
fn a_state_from_before_the_oldest_checkpoint_of_a_trimmed_log_is_not_known() {
    let rig = Rig::trimmed();
    let copy = rig.copy();
    let directory = copy.directory();
    let (position, sequence) = AsOf::oldest(&directory).unwrap().unwrap();
    assert_eq!(position, *directory.checkpoints().unwrap().last().unwrap());
    let at = |sequence| AsOf::of(&directory, Until::Sequence(sequence)).unwrap();
    assert!(at(Sequence(1)).is_too_old(&directory) && at(sequence).is_too_old(&directory));
    let known = at(sequence.plus(1));
    assert!(!known.is_too_old(&directory) && !known.partial);
    assert_eq!((known.base, known.state.sequence()), (position, sequence.plus(1)));
    for at in directory.checkpoints().unwrap() {
        flip(&copy.root().join(format!("checkpoints/{:020}.ckpt", at.0)), 40);
    }
    let rest = AsOf::of(&copy.directory(), Until::End).unwrap();
    assert!(rest.partial && !rest.is_too_old(&directory), "that is damage");
}

#[test]
fn after_damage_the_state_is_what_the_rest_tells_until_a_checkpoint_knows_more() {
    let (rig, digest) = with_checkpoints();
    let copy = rig.copy();
    // A frame that starts two jobs: they are known, and never seen to run.
    let place = copy.walked().frames[2].clone();
    flip(&copy.segment(place.segment), place.offset + 85);
    let whole = AsOf::of(&copy.directory(), Until::End).unwrap();
    assert_eq!(whole.state.digest(), digest, "the checkpoint lies behind the damage");
    for at in copy.directory().checkpoints().unwrap() {
        std::fs::remove_file(copy.root().join(format!("checkpoints/{:020}.ckpt", at.0))).unwrap();
    }
    let partial = AsOf::of(&copy.directory(), Until::End).unwrap();
    assert!(partial.partial);
    assert_eq!(partial.faults.count(), 1, "{:#?}", partial.faults);
    assert_eq!(partial.unexplained, 1, "a job that never started cannot succeed");
    assert_eq!(
        partial.state.sequence(),
        AsOf::of(&rig.copy().directory(), Until::End).unwrap().state.sequence()
    );
}

#[test]
fn a_jobs_life_and_the_counts_are_what_was_written() {
    let (rig, _) = with_checkpoints();
    let copy = rig.copy();
    let directory = copy.directory();
    let life = Life::of(&directory, Rig::id(0)).unwrap();
    let kinds: Vec<&str> = life.moments.iter().map(|moment| moment.event.kind_name()).collect();
    assert_eq!(kinds, ["submitted", "started", "succeeded"]);
    assert_eq!(life.queue, Some("q".parse().unwrap()));
    assert_eq!(life.moments[1].sequence, Some(Sequence(3)));
    let nobody = Life::of(&directory, Rig::id(1_000)).unwrap();
    assert!(nobody.moments.is_empty() && nobody.queue.is_none());

    let stats = Stats::of(&directory).unwrap();
    assert_eq!(stats.live, 20);
    assert_eq!(stats.kinds["submitted"], 30);
    assert_eq!(stats.segments.iter().map(|segment| segment.frames).sum::<u64>(), rig.frames.len() as u64);
    assert_eq!(stats.rates.spans().map(|(_, span)| span.submitted).sum::<u64>(), 30);
    let oldest: Vec<_> = stats.oldest.iter().map(|oldest| oldest.id).collect();
    assert_eq!(oldest, [Rig::id(21), Rig::id(1)]);
}
