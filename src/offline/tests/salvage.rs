//! What is saved of a directory that was damaged in every place in turn: always a log that a server recovers, with all
//! that is readable, and no job that had ended is run again.

use crate::engine::recover;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::log::Archive;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::offline::DataDirectory;
use crate::offline::salvage::Gap;
use crate::offline::salvage::Report;
use crate::offline::salvage::salvage;
use crate::offline::tests::rig::Copy;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::flip;
use crate::offline::tests::rig::walked;

/// Ten pairs of jobs, a checkpoint, and three more pairs.
fn rig() -> Rig {
    let mut rig = Rig::with_jobs(10);
    rig.open();
    rig.checkpoint();
    for _ in 0..3 {
        let first = rig.submit(2, 300);
        rig.append(&[rig.started(first)]);
    }
    rig.vouch();
    rig.log = None;
    rig
}

/// Salvages a copy, and recovers the new directory as a server does.
fn saved(copy: &Copy) -> (Report, State) {
    let out = copy.root().with_extension("out");
    if out.exists() {
        std::fs::remove_dir_all(&out).unwrap();
    }
    let report = salvage(&copy.directory(), &out).unwrap();
    let read = walked(&DataDirectory::open(&out).unwrap());
    assert_eq!(read.faults, [], "the new log is whole");
    let mut next = 1;
    for located in &read.frames {
        assert_eq!(located.frame.first_sequence.0, next, "no gap [LOG-1]");
        next = located.frame.next_sequence().0;
    }
    let options = DirectoryOptions { segment_bytes: SEGMENT_BYTES, reserve_bytes: 0, retry_ms: 10 };
    let log = Directory::open(&out, options).unwrap().log;
    assert_ne!(Some(log.archive().store_id()), copy.directory().store_id());
    let state = recover::recover(&log.archive()).unwrap().state;
    assert_eq!(state.sequence(), report.sequence);
    (report, state)
}

fn in_state(state: &State, wanted: JobState) -> Vec<crate::job::id::JobId> {
    let jobs = state.jobs().in_id_order().map(|(_, job)| job);
    jobs.filter(|job| job.state() == wanted).map(|job| job.id).collect()
}

#[test]
fn of_a_whole_directory_everything_is_saved_and_what_ran_waits() {
    let rig = rig();
    let (report, state) = saved(&rig.copy());
    assert!(report.is_complete(), "{report:?}");
    assert_eq!(report.updates_kept, 20 * 2 + 10 + 6 + 3);
    // Of each of the ten pairs the second one ran, of the later ones the first.
    assert_eq!(report.updates_added, 13);
    assert_eq!(in_state(&state, JobState::Running), []);
    assert_eq!(in_state(&state, JobState::Waiting).len(), 10 + 6);
}

#[test]
fn wherever_a_byte_is_wrong_the_rest_is_saved_and_nothing_that_ended_before_a_checkpoint_is_run_again() {
    let rig = rig();
    let segments = rig.copy().directory().segments().unwrap();
    assert!(segments.len() >= 2, "{segments:?}");
    let ended: Vec<_> = (0..10).map(|pair| Rig::id(2 * pair)).collect();
    let mut with_gaps = 0;
    for (number, bytes) in segments {
        for offset in (0..bytes).step_by(1_501) {
            let copy = rig.copy();
            flip(&copy.segment(number), offset);
            let (report, state) = saved(&copy);
            let lost: u64 = report.faults.kept().iter().map(|fault| fault.lost.updates).sum();
            assert!(lost <= 20, "segment {number} byte {offset}: {report:?}");
            assert!(lost == 0 || !report.is_complete(), "segment {number} byte {offset}: {report:?}");
            let waiting = in_state(&state, JobState::Waiting);
            assert!(waiting.iter().all(|id| !ended.contains(id)), "segment {number} byte {offset}");
            let missing = |gap: Gap| report.jobs.values().filter(|own| **own == gap).count();
            assert!(waiting.len() + missing(Gap::Payload) + missing(Gap::End) >= 10, "{report:?}");
            with_gaps += u64::from(lost > 0);
        }
    }
    assert!(with_gaps > 5, "{with_gaps} of the damages lost something");
}

#[test]
fn a_missing_segment_is_named_and_jobs_without_a_payload_do_not_live() {
    let rig = rig();
    let copy = rig.copy();
    std::fs::remove_file(copy.segment(1)).unwrap();
    let (report, state) = saved(&copy);
    assert!(!report.is_complete());
    assert!(report.faults.kept()[0].to_string().contains("the segment is missing"), "{report:?}");
    assert!(report.gaps[Gap::Payload as usize] > 0, "{report:?}");
    for (id, _) in report.jobs.iter().filter(|(_, gap)| **gap == Gap::Payload) {
        assert!(state.find(*id, None).is_none(), "{id}");
    }
}

#[test]
fn without_a_checkpoint_a_job_whose_end_is_lost_is_run_again_and_said_to_be_in_doubt() {
    let rig = Rig::with_jobs(3);
    let copy = rig.copy();
    let end = walked(&copy.directory()).frames.into_iter().nth(3).unwrap();
    flip(&copy.root().join(&end.file), end.offset + 100);
    let (report, state) = saved(&copy);
    let waiting = in_state(&state, JobState::Waiting);
    assert_eq!(report.faults.count(), 1);
    assert!(waiting.contains(&Rig::id(0)) && waiting.contains(&Rig::id(1)), "{report:?}");
    assert_eq!(report.jobs.get(&Rig::id(0)), Some(&Gap::Doubt));
}

#[test]
fn the_new_directory_is_never_made_over_something_or_inside_the_old_one() {
    let rig = Rig::with_jobs(1);
    let copy = rig.copy();
    let directory = copy.directory();
    let full = copy.root().with_extension("full");
    std::fs::create_dir(&full).unwrap();
    std::fs::write(full.join("file"), "mine").unwrap();
    let refused = |out: &std::path::Path| salvage(&directory, out).unwrap_err().to_string();
    assert!(refused(&full).contains("not empty"));
    assert!(refused(&full.join("file")).contains("not a directory"));
    assert!(refused(&copy.root().join("new")).contains("inside"));
    assert!(refused(&copy.root()).contains("not empty"));
    let interrupted = copy.root().with_extension("out.salvaging");
    std::fs::create_dir(&interrupted).unwrap();
    assert!(refused(&copy.root().with_extension("out")).contains("interrupted"));
    assert_eq!(std::fs::read(full.join("file")).unwrap(), b"mine");
}

#[test]
fn of_a_trimmed_log_the_carried_jobs_live_on_with_what_they_have_used_up() {
    let rig = Rig::trimmed();
    let copy = rig.copy();
    assert!(copy.directory().floor().unwrap().position > crate::job::id::Position(1));
    let known = crate::offline::AsOf::of(&copy.directory(), crate::offline::Until::End).unwrap().state;
    let (report, state) = saved(&copy);
    assert!(report.is_complete(), "{report:?}");
    let jobs = |state: &State| -> Vec<_> {
        let jobs = state.jobs().in_id_order().map(|(_, job)| job);
        jobs.map(|job| {
            (job.id, job.attempt, state.rare(job).failed, state.rare(job).generation, job.payload_bytes)
        })
        .collect()
    };
    assert_eq!(jobs(&state), jobs(&known));
    assert_eq!(in_state(&state, JobState::Dead), in_state(&known, JobState::Dead));
}
