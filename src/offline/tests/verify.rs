//! A verification finds nothing in what a writer wrote, and something wherever a byte or a life was changed.

use crate::codec::Writer;
use crate::engine::checkpoint;
use crate::job::event::Event;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::State;
use crate::log::Archive;
use crate::log::Log;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Kind;
use crate::offline::Verified;
use crate::offline::tests::rig::Copy;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::flip;
use crate::offline::verify::Compared;

fn verified(directory: &DataDirectory) -> (Verified, Vec<Fault>) {
    let mut faults = Vec::new();
    let verified = Verified::of(directory, &mut |fault| faults.push(fault)).unwrap();
    assert_eq!(verified.faults, faults.len() as u64);
    (verified, faults)
}

fn faults(copy: &Copy) -> Vec<Fault> {
    verified(&copy.directory()).1
}

#[test]
fn nothing_is_found_in_what_a_writer_wrote() {
    let mut rig = Rig::with_jobs(20);
    rig.open();
    let first = rig.checkpoint();
    rig.submit(2, 300);
    let second = rig.checkpoint();
    rig.vouch();
    rig.log = None;
    let copy = rig.copy();
    let (verified, faults) = verified(&copy.directory());
    assert_eq!(faults, []);
    assert_eq!((verified.frames, verified.unexplained), (rig.frames.len() as u64, 0));
    let compared = [(first, Compared::Same), (second, Compared::Same)];
    assert_eq!(verified.checkpoints.into_iter().collect::<Vec<_>>(), compared);
}

#[test]
fn of_a_trimmed_log_the_older_checkpoint_is_the_base_and_the_newer_one_follows() {
    let copy = Rig::trimmed().copy();
    let directory = copy.directory();
    assert!(directory.floor().unwrap().position > Position(20), "it was trimmed");
    let (verified, faults) = verified(&directory);
    assert_eq!(faults, []);
    assert!(verified.carried > 20, "{verified:?}");
    let compared: Vec<Compared> = verified.checkpoints.into_values().collect();
    assert_eq!(compared, [Compared::Base, Compared::Same]);
}

/// Each byte of these files is covered by something.
#[test]
fn a_flipped_bit_in_any_file_but_the_log_is_found() {
    let rig = Rig::trimmed();
    let copy = rig.copy();
    let floor = copy.directory().floor().unwrap().position;
    let mut files = vec![format!("log/{:020}.carry", floor.0), "format".to_owned()];
    files.extend(
        copy.directory().checkpoints().unwrap().iter().map(|at| format!("checkpoints/{:020}.ckpt", at.0)),
    );
    for file in files {
        let path = copy.root().join(&file);
        let length = std::fs::metadata(&path).unwrap().len();
        for offset in (0..length).step_by((length / 40).max(1) as usize).chain([length - 1]) {
            flip(&path, offset);
            let found = faults(&copy);
            assert!(!found.is_empty(), "{file} at {offset}");
            let named = found.iter().any(|fault| fault.file.to_str() == Some(&file));
            assert!(named || file == "format", "{file} at {offset}: {found:#?}");
            flip(&path, offset);
        }
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() / 2]).unwrap();
        assert!(!faults(&copy).is_empty(), "{file} cut");
        std::fs::write(&path, whole).unwrap();
    }
    assert_eq!(faults(&copy), []);
}

#[test]
fn a_flipped_bit_in_the_log_is_one_fault_with_all_that_is_lost() {
    let rig = Rig::trimmed();
    let copy = rig.copy();
    let number = copy.directory().segments().unwrap()[0].0;
    for offset in (4_096..SEGMENT_BYTES - 2_048).step_by(397) {
        flip(&copy.segment(number), offset);
        let (verified, found) = verified(&copy.directory());
        if let Some(fault) = found.first() {
            assert_eq!((found.len(), fault.kind), (1, Kind::Frame), "{offset}: {found:#?}");
            assert_eq!(verified.lost.frames, 1);
        }
        flip(&copy.segment(number), offset);
    }
}

#[test]
fn a_life_that_does_not_follow_names_the_job_and_the_update() {
    let mut rig = Rig::new();
    let first = rig.submit(2, 10);
    rig.append(&[rig.started(first)]);
    rig.append(&[rig.succeeded(first)]);
    // A second end, an end without a start, a start of nobody, a queue of nobody's.
    rig.append(&[rig.succeeded(first), rig.succeeded(first + 1), rig.started(77)]);
    rig.append(&[Event::Expired { id: Rig::id(first), queue: QueueNo(9) }, rig.started(first + 1)]);
    rig.vouch();
    rig.log = None;
    let found = faults(&rig.copy());
    let told: Vec<_> =
        found.iter().map(|fault| (fault.kind, fault.sequence.unwrap(), fault.job.unwrap())).collect();
    let life = |sequence, number| (Kind::Life, Sequence(sequence), Rig::id(number));
    assert_eq!(told, [life(5, 0), life(6, 1), life(7, 77), life(8, 0)]);
    assert!(found[0].what.contains("the job is not live"), "{}", found[0]);
    assert!(found.iter().all(|fault| fault.position.is_some() && fault.offset >= 4_096));
}

#[test]
fn a_checkpoint_that_the_log_does_not_lead_to_is_found_although_it_is_whole() {
    for wrong in ["head", "state"] {
        let mut rig = Rig::with_jobs(5);
        rig.open();
        let at = rig.checkpoint();
        let archive = rig.log.as_ref().unwrap().archive();
        let (mut head, state) = checkpoint::load(&archive, at).unwrap();
        let state = if wrong == "state" { State::default() } else { state };
        head.last_id = if wrong == "head" { Rig::id(500) } else { head.last_id };
        archive
            .put_checkpoint(at, &mut |out| {
                Writer::over(out, |out| {
                    checkpoint::write_head(&head, out)?;
                    state.save(out)
                })
            })
            .unwrap();
        drop(archive);
        rig.log = None;
        let found = faults(&rig.copy());
        assert_eq!(
            (found.len(), found[0].kind, found[0].position),
            (1, Kind::Checkpoint, Some(at)),
            "{wrong}"
        );
    }
}

#[test]
fn a_log_that_ends_before_its_checkpoint_or_begins_after_all_of_them_is_found() {
    let mut rig = Rig::with_jobs(20);
    rig.open();
    let at = rig.checkpoint();
    rig.log = None;
    let copy = rig.copy();
    let last = copy.directory().walk().filter_map(Result::ok).count() as u64;
    assert_eq!(at, Position(last));
    for number in 2..=9 {
        std::fs::remove_file(copy.segment(number)).ok();
    }
    let (verified, found) = verified(&copy.directory());
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains("and the log ends with frame"), "{}", found[0]);
    assert_eq!(found[0].lost.frames, last - verified.frames);

    let copy = Rig::trimmed().copy();
    for at in copy.directory().checkpoints().unwrap() {
        std::fs::remove_file(copy.root().join(format!("checkpoints/{:020}.ckpt", at.0))).unwrap();
    }
    let found = faults(&copy);
    assert_eq!(found.len(), 1, "{found:#?}");
    assert!(found[0].what.contains("no good checkpoint reaches it"), "{}", found[0]);
}

#[test]
fn a_live_job_whose_payload_was_not_carried_is_named() {
    let copy = Rig::trimmed().copy();
    let directory = copy.directory();
    let carried = directory.carried().unwrap();
    let at = carried.pointers().next().unwrap().unwrap();
    let Some(Event::Submitted(submitted)) = carried.event(at).unwrap() else { panic!("{at:?}") };
    let wanted = verified(&directory).0.live;
    assert!(wanted > 0);
    // The carry file of another trim of the same log holds other events.
    let other = Rig::trimmed();
    let path = copy.root().join(format!("log/{:020}.carry", carried.floor().position.0));
    std::fs::copy(other.root().join(path.strip_prefix(copy.root()).unwrap()), &path).unwrap();
    let found = faults(&copy);
    assert!(found.iter().any(|fault| fault.kind == Kind::Carry), "{} {found:#?}", submitted.id);
}
