//! The log of a server that only reads says the same as the log of one that writes, up to the first damage.

use crate::clock::Clock;
use crate::engine::history::History;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::log::Error;
use crate::log::Log;
use crate::offline::Snapshot;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::flip;
use std::sync::Arc;

#[test]
fn it_reads_what_a_writers_archive_reads() {
    let mut rig = Rig::trimmed();
    let copy = rig.copy();
    let scene = Snapshot::scene(&copy.root(), Clock::system()).unwrap();
    assert!(scene.damaged.is_none());
    rig.open();
    let log = rig.log.as_ref().unwrap();
    let (archive, head) = (log.archive(), log.head());
    let (own, its): (&dyn History, &dyn History) = (&*scene.history, &archive);
    assert_eq!((scene.seen.position, scene.seen.sequence), (head.position, head.sequence));
    assert_eq!((own.store_id(), own.floor()), (its.store_id(), its.floor()));
    assert!(own.floor().position > Position(1), "something was trimmed");
    for position in (own.floor().position.0..=head.position.0 + 1).map(Position) {
        for bytes in [0, 2_000, 1 << 20] {
            assert_eq!(own.read(position, bytes).unwrap(), its.read(position, bytes).unwrap(), "{position}");
        }
    }
    assert!(matches!(own.read(Position(1), 0), Err(Error::BelowFloor { .. })));
    for sequence in (own.floor().sequence.0..=head.sequence.0 + 1).map(Sequence) {
        assert_eq!(own.position_of(sequence).unwrap(), its.position_of(sequence).unwrap(), "{sequence}");
    }
    assert!(matches!(own.position_of(Sequence(1)), Err(Error::BelowFloor { .. })));
    let (mut carried, floor) = (0, own.floor().position);
    for position in (1..=head.position.0 + 1).map(Position) {
        for at in (0..4).map(|index| Pointer { position, index }) {
            match (own.event(at), its.event(at)) {
                (Ok(own), Ok(its)) => {
                    assert_eq!(own, its, "{at:?}");
                    carried += u32::from(position < floor);
                }
                (Err(own), Err(its)) => assert_eq!(own.to_string(), its.to_string(), "{at:?}"),
                (own, its) => panic!("{at:?}: {own:?}, {its:?}"),
            }
        }
    }
    assert!(carried > 0);
    let seeds = |history: &dyn History| {
        let mut seeds = Vec::new();
        history.seeds(history.floor().position, &mut |record| seeds.push(record)).unwrap();
        seeds
    };
    assert_eq!(seeds(own), seeds(its));
}

#[test]
fn behind_the_first_damage_it_has_nothing() {
    let rig = Rig::with_jobs(10);
    let copy = rig.copy();
    let place = copy.walked().frames[6].clone();
    flip(&copy.segment(place.segment), place.offset + 85);
    let scene = Snapshot::scene(&copy.root(), Clock::system()).unwrap();
    let before = Position(place.frame.position.0 - 1);
    let damaged = scene.damaged.unwrap();
    assert_eq!((scene.seen.position, damaged.position), (before, place.frame.position));
    assert_eq!(damaged.sequence, place.frame.first_sequence);
    assert_eq!(scene.state.position(), before);
    let history: Arc<dyn History> = scene.history;
    assert_eq!(history.read(place.frame.position, 1 << 20).unwrap(), []);
    assert_eq!(history.read(Position(1), 1 << 20).unwrap().len() as u64, before.0);
    assert_eq!(history.position_of(damaged.sequence).unwrap(), place.frame.position);
    let at = Pointer { position: place.frame.position, index: 0 };
    assert!(matches!(history.event(at), Err(Error::Forgotten { .. })));
}
