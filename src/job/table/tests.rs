//! The slots and their order: across chunks, with slots used again, and with hints that are wrong.

use crate::clock::Timestamp;
use crate::job::chunks::Chunks;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::Job;
use crate::job::table::Slot;
use crate::job::table::Table;
use crate::job::table::order::BLOCK;
use proptest::prelude::*;
use std::collections::BTreeMap;

const CHUNK: usize = Chunks::<Option<Job>>::CHUNK;

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
    for number in 2 * CHUNK..2 * CHUNK + freed {
        let slot = table.insert(job(id(number)));
        assert!(slot.index() < CHUNK + 100 && slot.index().is_multiple_of(3));
    }
    assert_eq!(table.slots(), CHUNK + 100);
    assert_eq!(table.insert(job(id(9 * CHUNK))).index(), CHUNK + 100);
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
    for number in [1, 3, 5, 9] {
        table.insert(job(id(number)));
    }
    table.remove(table.find(id(3), None).unwrap());
    table.remove(table.find(id(1), None).unwrap());
    table.insert(job(id(11)));
    table.insert(job(id(12)));
    assert_eq!(in_order(&table), [5, 9, 11, 12].map(id));
    let slots: Vec<usize> = table.in_id_order().map(|(slot, _)| slot.index()).collect();
    assert_eq!(slots, [2, 3, 0, 1]);
}

#[test]
#[should_panic(expected = "ids rise")]
fn a_job_below_one_that_was_there_before_is_a_mistake() {
    let mut table = filled(2);
    table.remove(Slot(1));
    table.insert(job(id(1)));
}

#[test]
fn jobs_whose_ids_end_alike_are_told_apart() {
    let mut table = Table::default();
    let alike: Vec<JobId> = (1..=3).map(|high| JobId::from_u128((high << 80) + 7)).collect();
    for id in &alike {
        table.insert(job(*id));
    }
    table.remove(table.find(alike[1], None).unwrap());
    assert_eq!(table.find(alike[0], None), Some(Slot(0)));
    assert_eq!(table.find(alike[1], None), None);
    assert_eq!(table.find(alike[2], None), Some(Slot(2)));
    assert_eq!(in_order(&table), [alike[0], alike[2]]);
}

fn in_order(table: &Table) -> Vec<JobId> {
    table.in_id_order().map(|(_, job)| job.id).collect()
}

/// What a step of the test below does.
#[derive(Clone, Debug)]
enum Step {
    /// Jobs come whose ids are so far apart.
    Insert { jobs: usize, apart: u128 },
    /// Jobs go, from this part of those that live on: the oldest first.
    Remove { jobs: usize, from: usize },
    /// All jobs go but each so many-th.
    Thin { every: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let apart = prop_oneof![Just(1), Just(3), Just(1 << 32), Just(1 << 80)];
    prop_oneof![
        4 => (1..2 * BLOCK, apart).prop_map(|(jobs, apart)| Step::Insert { jobs, apart }),
        4 => (1..3 * BLOCK, 0..4_usize).prop_map(|(jobs, from)| Step::Remove { jobs, from }),
        1 => (2..40_usize).prop_map(|every| Step::Thin { every }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

    #[test]
    fn a_table_holds_what_a_map_would(steps in prop::collection::vec(step(), 1..120)) {
        let mut table = Table::default();
        let mut map: BTreeMap<JobId, Slot> = BTreeMap::new();
        let mut newest = JobId::MIN.as_u128();
        for step in steps {
            let going: Vec<(JobId, Slot)> = match step {
                Step::Insert { jobs, apart } => {
                    for _ in 0..jobs {
                        newest += apart;
                        let id = JobId::from_u128(newest);
                        map.insert(id, table.insert(job(id)));
                    }
                    Vec::new()
                }
                Step::Remove { jobs, from } => {
                    let from = map.len() * from / 4;
                    map.iter().skip(from).take(jobs).map(|(id, slot)| (*id, *slot)).collect()
                }
                Step::Thin { every } => {
                    let numbered = map.iter().enumerate().filter(|(number, _)| number % every != 0);
                    numbered.map(|(_, (id, slot))| (*id, *slot)).collect()
                }
            };
            for (id, slot) in going {
                prop_assert_eq!(table.remove(slot).id, id);
                prop_assert_eq!(table.find(id, None), None);
                map.remove(&id);
            }
            prop_assert_eq!((table.len(), table.is_empty()), (map.len(), map.is_empty()));
            let held: Vec<(JobId, Slot)> = table.in_id_order().map(|(slot, job)| (job.id, slot)).collect();
            prop_assert_eq!(held, map.iter().map(|(id, slot)| (*id, *slot)).collect::<Vec<_>>());
            prop_assert!(map.iter().all(|(id, slot)| table.find(*id, None) == Some(*slot)));
        }
    }
}
