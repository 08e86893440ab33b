//! Every job comes once, with what was submitted and how it went.

use crate::job::event::Failure;
use crate::job::id::QueueName;
use crate::job::state::JobState;
use crate::offline::DataDirectory;
use crate::offline::export;
use crate::offline::export::Exported;
use crate::offline::export::Filter;
use crate::offline::export::Go;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::flip;

fn exported(directory: &DataDirectory, filter: &Filter) -> (Vec<Exported>, u64) {
    let mut jobs = Vec::new();
    let ended = export::jobs(directory, filter, &mut |job| {
        jobs.push(job);
        Go::On
    });
    (jobs, ended.unwrap().faults.count())
}

#[test]
fn every_job_comes_once_with_payload_and_end() {
    let rig = Rig::with_jobs(20);
    let copy = rig.copy();
    let (jobs, faults) = exported(&copy.directory(), &Filter::default());
    assert_eq!((jobs.len(), faults), (40, 0));
    let mut ids: Vec<_> = jobs.iter().map(|job| job.id).collect();
    ids.sort();
    assert_eq!(ids, (0..40).map(Rig::id).collect::<Vec<_>>());
    for job in &jobs {
        let spec = job.spec.as_ref().expect("it was submitted");
        assert_eq!((spec.id, spec.payload.0.len()), (job.id, 300));
        assert_eq!((job.attempts, job.started.is_some()), (1, true));
        let ended = job.state == JobState::Succeeded;
        assert_eq!(
            (job.finished.is_some(), &job.result.0[..]),
            if ended { (true, &b"done"[..]) } else { (false, &[][..]) }
        );
        assert_eq!(job.worker.is_some(), !ended);
    }
}

#[test]
fn of_a_trimmed_log_carried_jobs_come_too_and_filters_are_kept_to() {
    let rig = Rig::trimmed();
    let copy = rig.copy();
    let directory = copy.directory();
    let (jobs, faults) = exported(&directory, &Filter::default());
    assert_eq!(faults, 0);
    let dead: Vec<&Exported> = jobs.iter().filter(|job| job.state == JobState::Dead).collect();
    assert_eq!(dead.len(), 30);
    for job in &dead {
        assert!(job.spec.is_some(), "{job:?}");
        assert!(matches!(&job.failures[..], [(1, _, Failure { message, .. })] if **message == *"no"));
    }
    let old = jobs
        .iter()
        .find(|job| job.id == Rig::id(1))
        .expect("it lived from before the log began until its end");
    assert_eq!((old.state, old.spec.is_some()), (JobState::Succeeded, true));
    let filter = Filter { states: vec![JobState::Dead], ..Filter::default() };
    assert_eq!(exported(&directory, &filter).0.len(), 30);
    let none: QueueName = "none".parse().unwrap();
    assert_eq!(exported(&directory, &Filter { queues: vec![none], ..Filter::default() }).0.len(), 0);
}

#[test]
fn damage_costs_what_was_in_it_and_the_rest_comes() {
    let rig = Rig::with_jobs(20);
    let copy = rig.copy();
    let place = copy.walked().frames[4].clone();
    flip(&copy.segment(place.segment), place.offset + 100);
    let (jobs, faults) = exported(&copy.directory(), &Filter::default());
    assert_eq!(faults, 1);
    assert!(jobs.len() >= 37, "{}", jobs.len());
}
