//! Restoring backups, whole and damaged: what a server recovers is what was backed up, as of any update.

use crate::clock::Timestamp;
use crate::engine::recover;
use crate::job::id::Sequence;
use crate::job::state::State;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Faults;
use crate::offline::Kind;
use crate::offline::Until;
use crate::offline::backup::Links;
use crate::offline::backup::take;
use crate::offline::restore::Outcome;
use crate::offline::restore::Restored;
use crate::offline::restore::restore;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::copy_directory;
use crate::offline::tests::rig::flip;
use crate::offline::tests::rig::overwrite;
use crate::offline::tests::rig::walked;
use std::path::Path;
use std::path::PathBuf;

fn backed_up(rig: &Rig) -> PathBuf {
    let out = rig.root().with_file_name("out");
    take(&rig.root(), &out, Links::No, &mut |_| {}).unwrap();
    out
}

fn restored(backup: &Path, to: &Path, until: Until) -> Restored {
    match restore(backup, to, until).unwrap() {
        Outcome::Done(restored) => *restored,
        Outcome::Damaged(faults) => panic!("{faults:?}"),
    }
}

fn damaged(backup: &Path, to: &Path) -> Faults {
    let Outcome::Damaged(faults) = restore(backup, to, Until::End).unwrap() else {
        panic!("it was restored")
    };
    assert!(!to.exists() && !to.with_extension("restoring").exists(), "nothing is left");
    faults
}

/// As a server recovers it, which appends more.
fn recovered(root: &Path) -> State {
    let options = DirectoryOptions { segment_bytes: SEGMENT_BYTES, reserve_bytes: 0, retry_ms: 10 };
    let log = Directory::open(root, options).unwrap().log;
    recover::recover(&log.archive()).unwrap().state
}

#[test]
fn a_restored_directory_has_every_frame_and_a_store_id_of_its_own() {
    for rig in [Rig::with_jobs(30), Rig::trimmed()] {
        let (out, to) = (backed_up(&rig), rig.root().with_file_name("restored"));
        let done = restored(&out, &to, Until::End);
        let (source, copy) = (DataDirectory::open(&rig.root()).unwrap(), DataDirectory::open(&to).unwrap());
        assert_eq!(Some(done.old_store), source.store_id());
        assert_eq!(Some(done.new_store), copy.store_id());
        assert_ne!(done.old_store, done.new_store);
        let frames = |directory: &DataDirectory| -> Vec<_> {
            walked(directory).frames.into_iter().map(|located| located.frame).collect()
        };
        assert_eq!(frames(&copy), frames(&source));
        assert_eq!(recovered(&to).digest(), recovered(&rig.root()).digest());
        // The next life of it is backed up elsewhere: it is another store.
        let into_old = take(&to, &out, Links::Allowed, &mut |_| {});
        assert!(matches!(into_old, Err(Error::NoBackup { .. })), "{into_old:?}");
        let again = restore(&out, &to, Until::End);
        assert!(matches!(again, Err(Error::Unusable { .. })), "{again:?}");
    }
}

/// Never more than was asked for, and everything up to there that whole frames allow.
#[test]
fn a_restore_up_to_any_update_is_the_state_as_of_the_last_frame_before_it() {
    for (rig, name) in [(Rig::with_jobs(12), "whole"), (Rig::trimmed(), "trimmed")] {
        let out = backed_up(&rig);
        let source = DataDirectory::open(&rig.root()).unwrap();
        let last = rig.frames.last().unwrap().next_sequence().0 - 1;
        let (mut refused, mut cut) = (0, 0);
        for wanted in (1..=last).step_by(if name == "trimmed" { 11 } else { 1 }) {
            let to = rig.root().with_file_name(format!("{name}-{wanted}"));
            let done = match restore(&out, &to, Until::Sequence(Sequence(wanted))) {
                Ok(Outcome::Done(done)) => done,
                Ok(Outcome::Damaged(faults)) => panic!("{wanted}: {faults:?}"),
                Err(Error::NoBackup { reason, .. }) => {
                    assert!(reason.contains("the earliest state"), "{reason}");
                    assert_eq!(cut, 0, "only what is too early is refused");
                    refused += 1;
                    continue;
                }
                Err(error) => panic!("{wanted}: {error}"),
            };
            cut += 1;
            let reached = done.verified.tail.sequence;
            assert!(reached.0 <= wanted);
            let next =
                rig.frames.iter().find(|frame| frame.first_sequence == reached.plus(1) && frame.updates > 0);
            assert!(next.is_none_or(|frame| frame.next_sequence().0 - 1 > wanted), "{wanted}: {reached}");
            let expected = AsOf::of(&source, Until::Sequence(reached)).unwrap().state;
            let state = recovered(&to);
            assert_eq!(state.sequence(), reached);
            assert_eq!(state.jobs().len(), expected.jobs().len(), "{wanted}");
            std::fs::remove_dir_all(&to).unwrap();
        }
        assert_eq!(refused > 0, name == "trimmed", "{refused}");
        let beyond = restore(&out, &rig.root().with_file_name("beyond"), Until::Sequence(Sequence(last + 1)));
        let Err(Error::NoBackup { reason, .. }) = beyond else { panic!("{beyond:?}") };
        assert!(reason.contains(&format!("it ends with update {last}")), "{reason}");
    }
}

#[test]
fn a_restore_up_to_a_time_takes_the_frames_up_to_it() {
    let rig = Rig::with_jobs(12);
    let (out, to) = (backed_up(&rig), rig.root().with_file_name("restored"));
    let frame = &rig.frames[20];
    let done = restored(&out, &to, Until::Time(Timestamp(frame.time.0 + 1)));
    assert_eq!(done.verified.tail.position, frame.position);
    let early = restore(&out, &to.with_file_name("early"), Until::Time(Timestamp(5)));
    assert!(matches!(early, Err(Error::NoBackup { .. })), "{early:?}");
}

#[test]
fn a_wrong_byte_in_a_frame_carry_file_or_checkpoint_is_named_and_nothing_is_restored() {
    let rig = Rig::trimmed();
    let out = backed_up(&rig);
    let mut tried = 0;
    for folder in ["log", "checkpoints"] {
        for entry in std::fs::read_dir(out.join(folder)).unwrap() {
            let name = PathBuf::from(folder).join(entry.unwrap().file_name());
            for offset in [20, 4_096 + 100] {
                if std::fs::metadata(out.join(&name)).unwrap().len() <= offset {
                    continue;
                }
                let harmed = rig.root().with_file_name(format!("harmed-{tried}"));
                copy_directory(&out, &harmed);
                flip(&harmed.join(&name), offset);
                let faults = damaged(&harmed, &rig.root().with_file_name("restored"));
                // A segment's first frame is missed where the segment before it ends.
                let is_segment = name.extension().is_some_and(|extension| extension == "seg");
                let named = |fault: &Fault| fault.file == name || is_segment && fault.kind == Kind::Frame;
                assert!(faults.kept().iter().any(named), "{}: {faults:?}", name.display());
                tried += 1;
            }
        }
    }
    assert!(tried >= 8, "{tried}");
}

/// The log alone cannot tell that its end is missing; the manifest can.
#[test]
fn a_backup_whose_last_frames_are_gone_is_noticed() {
    let rig = Rig::with_jobs(30);
    let out = backed_up(&rig);
    let last = walked(&DataDirectory::open(&out).unwrap()).frames.pop().unwrap();
    let span = usize::try_from(last.span).unwrap();
    overwrite(&out.join(&last.file), last.offset, &vec![0; span]);
    let faults = damaged(&out, &rig.root().with_file_name("restored"));
    assert_eq!(faults.kept()[0].lost.frames, 1, "{faults:?}");
    assert!(faults.kept()[0].what.contains("the log ends with frame"), "{faults:?}");
}

#[test]
fn only_finished_backups_are_restored() {
    let rig = Rig::with_jobs(2);
    let to = rig.root().with_file_name("restored");
    for (what, place) in [("it is no backup", rig.root()), ("it is not a directory", rig.root().join("none"))]
    {
        let refused = restore(&place, &to, Until::End);
        let Err(Error::NoBackup { reason, .. }) = refused else { panic!("{refused:?}") };
        assert!(reason.contains(what), "{reason}");
    }
    let out = backed_up(&rig);
    flip(&out.join("backup"), 40);
    let refused = restore(&out, &to, Until::End);
    let Err(Error::NoBackup { reason, .. }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("gangline salvage"), "{reason}");
}
