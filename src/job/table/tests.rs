//! The slab and its index: across chunks, with slots used again, and with hints that are wrong.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::Job;
use crate::job::table::CHUNK;
use crate::job::table::Slot;
use crate::job::table::Table;
use proptest::prelude::*;
use std::collections::BTreeMap;

fn job(id: JobId) -> Job {
    let at = Pointer { position: Position(1), index: 0 };
    Job::waiting(id, Timestamp(0), (Sequence(1), at), QueueNo(0), 0, 0)
}

fn id(number: usize) -> JobId {
    JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0000 + number as u128)
}

fn filled(jobs: usize) -> Table {
    let mut table = Table::default();
    for number in 0..jobs {
        assert_eq!(table.insert(job(id(number))).index(), number);
    }
    table
}

#[test]
fn jobs_are_found_across_chunks() {
    for jobs in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5] {
        let table = filled(jobs);
        assert_eq!((table.len(), table.slots()), (jobs, jobs));
        assert!((0..jobs).all(|number| table.find(id(number), None).unwrap().index() == number));
        assert_eq!(table.find(id(jobs), None), None);
        assert!(table.get(Slot(u32::try_from(jobs).unwrap())).is_none());
        assert_eq!(table.iter().count(), jobs);
    }
}

#[test]
fn freed_slots_are_used_again_before_the_slab_grows() {
    let mut table = filled(CHUNK + 100);
    for number in (0..CHUNK + 100).step_by(3) {
        let slot = table.find(id(number), None).unwrap();
        assert_eq!(table.remove(slot).id, id(number));
        assert_eq!(table.find(id(number), Some(slot)), None);
        assert!(table.get(slot).is_none());
    }
    let freed = (0..CHUNK + 100).step_by(3).count();
    for number in 10_000..10_000 + freed {
        let slot = table.insert(job(id(number)));
        assert!(slot.index() < CHUNK + 100 && slot.index().is_multiple_of(3));
    }
    assert_eq!(table.slots(), CHUNK + 100);
    assert_eq!(table.insert(job(id(90_000))).index(), CHUNK + 100);
}

#[test]
fn a_wrong_hint_costs_a_look_up_and_never_gives_another_job() {
    let mut table = filled(5);
    let right = Slot(3);
    for hint in [None, Some(right), Some(Slot(2)), Some(Slot(5)), Some(Slot(u32::MAX))] {
        assert_eq!(table.find(id(3), hint), Some(right), "{hint:?}");
        assert_eq!(table.find(id(99), hint), None, "{hint:?}");
    }
    table.remove(right);
    let again = table.insert(job(id(50)));
    assert_eq!(again, right, "the slot holds another job now");
    assert_eq!(table.find(id(3), Some(right)), None);
    assert_eq!(table.find(id(50), Some(Slot(0))), Some(right));
}

#[test]
fn id_order_does_not_depend_on_slots() {
    let mut table = Table::default();
    for number in [5, 1, 9, 3] {
        table.insert(job(id(number)));
    }
    let slot = table.find(id(1), None).unwrap();
    table.remove(slot);
    table.insert(job(id(7)));
    let order: Vec<JobId> = table.in_id_order().iter().map(|slot| table.at(*slot).id).collect();
    assert_eq!(order, [3, 5, 7, 9].map(id));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_table_holds_what_a_map_would(steps in prop::collection::vec((0..40_u64, any::<bool>()), 1..300)) {
        let mut table = Table::default();
        let mut map: BTreeMap<JobId, Slot> = BTreeMap::new();
        for (number, spread) in steps {
            let high = if spread { u128::from(number) << 80 } else { 0 };
            let id = JobId::from_u128(high + u128::from(number));
            match map.remove(&id) {
                Some(slot) => prop_assert_eq!(table.remove(slot).id, id),
                None => {
                    map.insert(id, table.insert(job(id)));
                }
            }
            prop_assert_eq!(table.len(), map.len());
            prop_assert_eq!(table.is_empty(), map.is_empty());
        }
        prop_assert_eq!(table.in_id_order(), map.values().copied().collect::<Vec<_>>());
        prop_assert!(map.iter().all(|(id, slot)| table.find(*id, None) == Some(*slot)));
    }
}
