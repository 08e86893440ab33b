//! Random histories, cut into random batches, with restarts, kills, rebuilds and trims in between.

use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Record;
use crate::work::State;
use crate::work::tests::rig::Rig;
use crate::work::tests::rig::SMALL;
use crate::work::tests::rig::dead;
use crate::work::tests::rig::started;
use crate::work::tests::rig::succeeded;
use proptest::prelude::*;
use std::collections::BTreeMap;

/// One step of a history. Numbers choose among the jobs there are.
#[derive(Clone, Debug)]
enum Step {
    /// A frame with new jobs, and what happens to old and new ones.
    Frame {
        submits: u64,
        changes: Vec<u16>,
    },
    Apply {
        batch: usize,
    },
    Tend,
    Trim {
        keep: u64,
    },
    CloseAndOpen,
    KillAndOpen,
    Rebuild,
}

fn step() -> impl Strategy<Value = Step> {
    let changes = prop::collection::vec(any::<u16>(), 0..60);
    prop_oneof![
        8 => (0_u64..90, changes).prop_map(|(submits, changes)| Step::Frame { submits, changes }),
        6 => (1_usize..5).prop_map(|batch| Step::Apply { batch }),
        2 => Just(Step::Tend),
        1 => (0_u64..8).prop_map(|keep| Step::Trim { keep }),
        1 => Just(Step::CloseAndOpen),
        1 => Just(Step::KillAndOpen),
        1 => Just(Step::Rebuild),
    ]
}

/// A change that the job's state allows; `choice` picks the job and the change.
fn change(jobs: &BTreeMap<JobId, Record>, choice: u16) -> Option<(Event, JobId, State)> {
    let job = jobs.values().nth(usize::from(choice / 8) % jobs.len().max(1))?;
    let (id, queue, attempt) = (job.id, job.queue, u32::from(job.generation) + 1);
    let (event, state) = match (job.state, choice % 8) {
        (State::Live, 0..=3) => (succeeded(id, queue, attempt), State::Succeeded),
        (State::Live, 4) => (dead(id, queue, attempt), State::Dead),
        (State::Live, 5) => (Event::Cancelled { id, queue, attempt, reason: "".into() }, State::Cancelled),
        (State::Live, 6) => (Event::Expired { id, queue }, State::Expired),
        (State::Live, _) => (started(id, queue), State::Live),
        (State::Dead, 0..=3) => (Event::Retried { id, queue, generation: job.generation + 1 }, State::Live),
        (_, 4) => (Event::Deleted { id, queue }, State::Cancelled),
        _ => return None,
    };
    Some((event, id, state))
}

fn frame(rig: &mut Rig, submits: u64, changes: &[u16]) {
    let mut events = rig.submit(submits);
    rig.append(events.clone());
    let mut jobs = rig.model(rig.head());
    rig.frames.pop();
    for choice in changes {
        let Some((event, id, state)) = change(&jobs, *choice) else { continue };
        if let Event::Retried { generation, .. } = event {
            jobs.get_mut(&id).unwrap().generation = generation;
        }
        if matches!(event, Event::Deleted { .. }) {
            jobs.remove(&id);
        } else {
            jobs.get_mut(&id).unwrap().state = state;
        }
        events.push(event);
    }
    rig.append(events);
}

fn run(steps: &[Step]) {
    let mut rig = Rig::new(SMALL);
    for step in steps {
        match step {
            Step::Frame { submits, changes } => frame(&mut rig, *submits, changes),
            Step::Apply { batch } => rig.apply(*batch).unwrap(),
            Step::Tend => rig.tend(),
            Step::Trim { keep } => {
                rig.apply(3).unwrap();
                rig.floor = rig.floor.max(Position(rig.head().0.saturating_sub(*keep)));
                rig.tree.forget_below(rig.floor);
            }
            Step::CloseAndOpen => {
                rig.close();
                rig.open();
            }
            Step::KillAndOpen => {
                rig.kill();
                rig.open();
            }
            Step::Rebuild => rig.rebuild(),
        }
        if rig.next > rig.head() {
            rig.check(1 + rig.frames.len() % 50);
        }
    }
    rig.apply(2).unwrap();
    rig.check(100);
    rig.close();
    rig.open();
    rig.check(7);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    /// [LOG-3]
    #[test]
    fn whatever_happens_the_tree_says_what_the_log_says(steps in prop::collection::vec(step(), 1..40)) {
        run(&steps);
    }
}
