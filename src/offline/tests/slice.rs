//! Some jobs of a directory: which they are, and their submissions in the old order, from the log and from the carry file.

use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::JobState;
use crate::offline::Slice;
use crate::offline::Until;
use crate::offline::export::Go;
use crate::offline::slice::Wanted;
use crate::offline::tests::rig::Rig;

/// The jobs that are chosen, in the order in which their submissions come; every one has its submission.
fn chosen(rig: &Rig, wanted: &Wanted, until: Until) -> Vec<(JobId, JobState)> {
    let copy = rig.copy();
    let directory = copy.directory();
    let slice = Slice::of(&directory, wanted, until).unwrap();
    assert_eq!(slice.faults.count(), 0, "{:#?}", slice.faults);
    assert_eq!(slice.queues.values().sum::<u64>(), slice.jobs.len() as u64);
    let mut jobs = Vec::new();
    let lost = slice.submissions(&directory, &mut |job| {
        assert!(!job.submitted.payload.0.is_empty());
        jobs.push((job.submitted.id, job.state));
        Go::On
    });
    assert_eq!(lost.unwrap(), []);
    assert!(jobs.is_sorted());
    jobs
}

#[test]
fn of_a_trimmed_log_the_carried_submissions_come_first() {
    let rig = Rig::trimmed();
    let dead = Wanted { states: vec![JobState::Dead], ..Wanted::default() };
    let jobs = chosen(&rig, &dead, Until::End);
    assert_eq!((jobs.len(), jobs[0].0), (30, Rig::id(80)));
    // It lived since before the log began, and ended in it.
    let one = Wanted { jobs: vec![Rig::id(1)], ..Wanted::default() };
    assert_eq!(chosen(&rig, &one, Until::End), [(Rig::id(1), JobState::Succeeded)]);
}

#[test]
fn a_job_that_was_deleted_by_then_is_none_of_them() {
    let mut rig = Rig::with_jobs(1);
    rig.open();
    let before = Until::Sequence(Sequence(5));
    rig.append(&[rig.dead(1)]);
    let deleted = |number| Event::Deleted { id: Rig::id(number), queue: QueueNo(0) };
    rig.append(&[deleted(0), deleted(1)]);
    rig.vouch();
    rig.log = None;
    let all = |until| chosen(&rig, &Wanted::default(), until);
    let (succeeded, running) = (JobState::Succeeded, JobState::Running);
    assert_eq!(all(before), [(Rig::id(0), succeeded), (Rig::id(1), running)]);
    assert_eq!(all(Until::Sequence(Sequence(6))), [(Rig::id(0), succeeded), (Rig::id(1), JobState::Dead)]);
    assert_eq!(all(Until::Sequence(Sequence(7))), [(Rig::id(1), JobState::Dead)]);
    assert_eq!(all(Until::End), []);
    let second = Wanted { from: Some(Until::Sequence(Sequence(2))), ..Wanted::default() };
    assert_eq!(chosen(&rig, &second, before), [(Rig::id(1), running)]);
    let first = Wanted { to: Some(Until::Sequence(Sequence(1))), ..Wanted::default() };
    assert_eq!(chosen(&rig, &first, before), [(Rig::id(0), succeeded)]);
}
