//! Backups of real directories: what they take, what they keep, where they may be killed, and what they refuse.

use crate::job::id::Position;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::backup::Announced;
use crate::log::directory::backup::Backup;
use crate::log::directory::backup::Finished;
use crate::log::directory::backup::Last;
use crate::log::directory::capture::Capture;
use crate::log::frame::Frame;
use crate::offline::DataDirectory;
use crate::offline::Verified;
use crate::offline::backup::Links;
use crate::offline::backup::Taken;
use crate::offline::backup::take;
use crate::offline::tests::rig::Copy;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::copy_directory;
use crate::offline::tests::rig::flip;
use crate::offline::tests::rig::walked;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::path::PathBuf;

fn taken(data: &Path, out: &Path) -> Taken {
    take(data, out, Links::Allowed, &mut |_| {}).unwrap()
}

fn refused(data: &Path, out: &Path) -> String {
    match take(data, out, Links::Allowed, &mut |_| {}) {
        Err(error @ Error::NoBackup { .. }) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

/// Every frame of a directory, in which nothing is wrong.
fn frames(root: &Path) -> Vec<Frame> {
    let directory = DataDirectory::open(root).unwrap();
    let verified = Verified::of(&directory, &mut |fault| panic!("{fault}")).unwrap();
    assert_eq!((verified.faults, verified.tail.torn_bytes), (0, 0));
    walked(&directory).frames.into_iter().map(|located| located.frame).collect()
}

fn out_of(rig: &Rig) -> PathBuf {
    rig.root().with_file_name("out")
}

fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in ["log", "checkpoints"] {
        let entries = std::fs::read_dir(root.join(folder)).unwrap();
        found.extend(entries.map(|entry| entry.unwrap().path()));
    }
    found.sort();
    found
}

#[test]
fn a_later_backup_adds_what_is_new_and_lets_go_of_what_the_source_let_go_of() {
    let mut rig = Rig::with_jobs(40);
    rig.open();
    let out = out_of(&rig);
    let first = taken(&rig.root(), &out);
    assert_eq!(first.manifest.head, rig.log.as_ref().unwrap().head());
    assert_eq!(frames(&out), rig.frames);
    assert!(first.bytes_linked >= SEGMENT_BYTES && first.bytes_kept == 0, "{first:?}");

    // Nothing new: nothing is copied.
    let again = taken(&rig.root(), &out);
    assert_eq!((again.bytes_copied, again.bytes_linked), (0, 0));
    assert_eq!(again.manifest, first.manifest);

    // One frame: only its own bytes are copied.
    rig.vouch();
    let third = taken(&rig.root(), &out);
    assert_eq!((third.bytes_copied, third.bytes_linked), (third.manifest.end - first.manifest.end, 0));
    assert!(third.bytes_copied < 200, "{third:?}");

    rig.checkpoint();
    for _ in 0..30 {
        let first = rig.submit(2, 300);
        rig.append(&[rig.started(first)]);
    }
    rig.checkpoint();
    rig.trim();
    let fourth = taken(&rig.root(), &out);
    assert!(fourth.manifest.first_segment > 1 && fourth.manifest.carry.is_some());
    assert_eq!(frames(&out), frames(&rig.root()));
    let names = |root: &Path| -> Vec<PathBuf> {
        files(root).into_iter().map(|path| path.file_name().unwrap().into()).collect()
    };
    let prepared = format!("{:010}.seg", fourth.manifest.last_segment + 1);
    let of_source: Vec<PathBuf> =
        names(&rig.root()).into_iter().filter(|name| *name != Path::new(&prepared)).collect();
    assert_eq!(names(&out), of_source, "the same files, but for the one that is only prepared");
}

/// A second name is safe because sealed segments never change; the last one does, so it is copied.
#[test]
fn what_the_source_does_later_never_changes_a_backup_that_shares_its_files() {
    let mut rig = Rig::with_jobs(40);
    rig.open();
    let out = out_of(&rig);
    let manifest = taken(&rig.root(), &out).manifest;
    let links = |number: u64| std::fs::metadata(out.join(format!("log/{number:010}.seg"))).unwrap().nlink();
    assert!((manifest.first_segment..manifest.last_segment).all(|number| links(number) == 2));
    assert_eq!(links(manifest.last_segment), 1);
    let read = |path: &PathBuf| std::fs::read(path).unwrap();
    let before: Vec<Vec<u8>> = files(&out).iter().map(read).collect();

    // The server dies with a frame that is not whole, recovers, goes on, makes checkpoints, and lets go.
    let segment = rig.root().join(format!("log/{:010}.seg", manifest.last_segment));
    rig.log = None;
    rig.open();
    rig.append_unsynced(&[]);
    rig.log = None;
    flip(&segment, manifest.end + 20);
    rig.frames.pop();
    rig.open();
    for _ in 0..2 {
        for _ in 0..30 {
            rig.submit(2, 300);
        }
        rig.checkpoint();
    }
    rig.trim();
    assert!(!rig.root().join("log/0000000001.seg").exists(), "the test must trim");
    assert_eq!(files(&out).iter().map(read).collect::<Vec<Vec<u8>>>(), before);
    taken(&rig.root(), &out);
    assert_eq!(frames(&out), frames(&rig.root()));
}

#[test]
fn every_file_is_copied_where_that_is_asked_for() {
    let rig = Rig::trimmed();
    let out = out_of(&rig);
    let taken = take(&rig.root(), &out, Links::No, &mut |_| {}).unwrap();
    assert_eq!(taken.bytes_linked, 0);
    assert!(files(&out).iter().all(|path| std::fs::metadata(path).unwrap().nlink() == 1));
    assert_eq!(frames(&out), frames(&rig.root()));
}

/// Receives all parts but the last `missing`, and stops there.
fn half(data: &Path, out: &Path, missing: usize) {
    let (capture, backup) = (Capture::of_files(data).unwrap(), Backup::open(out).unwrap());
    backup.begin(&Announced::of(&capture)).unwrap();
    let held = backup.held().unwrap();
    let wanted = capture.parts().len() - missing;
    for (part, at) in capture.parts()[..wanted].iter().zip(1..) {
        let Some(from) = backup.wants(part, &held).unwrap() else { continue };
        let last = if at == capture.parts().len() { Last::Yes } else { Last::No };
        let mut receiving = backup.receive(part, from, last).unwrap();
        let mut bytes = Vec::new();
        capture.open(part).unwrap().take(part.bytes).read_to_end(&mut bytes).unwrap();
        receiving.take(&bytes[usize::try_from(from).unwrap()..]).unwrap();
        receiving.finish().unwrap();
    }
}

#[test]
fn a_backup_that_was_killed_anywhere_looks_unfinished_and_is_completed_by_the_next() {
    let rig = Rig::trimmed();
    let parts = Capture::of_files(&rig.root()).unwrap().parts().len();
    for missing in 0..=parts {
        let out = rig.root().with_file_name(format!("out-{missing}"));
        half(&rig.root(), &out, missing);
        std::fs::write(out.join("incoming/log/0000000099.seg.new"), "half of it").unwrap();
        let Err(Error::NoBackup { reason, .. }) = Finished::open(&out) else { panic!("{missing}") };
        assert!(reason.contains("not finished"), "{reason}");
        let Err(Error::Unusable { reason, .. }) =
            crate::log::directory::Directory::open(&out, Default::default())
        else {
            panic!("{missing}")
        };
        assert!(reason.contains("gangline restore"), "{reason}");
        let taken = taken(&rig.root(), &out);
        if missing < parts && missing > 0 {
            assert!(taken.bytes_kept > 0, "what had arrived is not fetched again");
        }
        assert_eq!(frames(&out), frames(&rig.root()));
        assert!(!out.join("incoming").exists());
    }
}

/// The same while a finished backup is taken further: it stays what it was until everything new is there.
#[test]
fn a_finished_backup_stays_whole_while_the_next_one_is_received() {
    let mut rig = Rig::with_jobs(40);
    rig.open();
    let out = out_of(&rig);
    let before = taken(&rig.root(), &out).manifest;
    let old = rig.frames.clone();
    for _ in 0..30 {
        rig.submit(2, 300);
    }
    half(&rig.root(), &out, 0);
    assert_eq!(frames(&out), old);
    assert_eq!(Finished::open(&out).unwrap().manifest(), &before);
    taken(&rig.root(), &out);
    assert_eq!(frames(&out), rig.frames);
}

/// From the moment the new manifest is there, any number of files may have their names already.
#[test]
fn whoever_opens_a_backup_finishes_what_only_lacks_names() {
    let mut rig = Rig::with_jobs(40);
    rig.open();
    let old = out_of(&rig);
    let first = taken(&rig.root(), &old).manifest;
    for _ in 0..30 {
        rig.submit(2, 300);
    }
    let new = rig.root().with_file_name("new");
    copy_directory(&old, &new);
    let manifest = taken(&rig.root(), &new).manifest;
    let received: Vec<PathBuf> = (first.last_segment..=manifest.last_segment)
        .map(|number| PathBuf::from(format!("log/{number:010}.seg")))
        .collect();
    assert!(received.len() >= 3);
    for named in 0..=received.len() {
        let out = rig.root().with_file_name(format!("named-{named}"));
        copy_directory(&old, &out);
        for folder in ["incoming", "incoming/log", "incoming/checkpoints"] {
            std::fs::create_dir(out.join(folder)).unwrap();
        }
        std::fs::copy(new.join("backup"), out.join("incoming/backup")).unwrap();
        for (at, name) in received.iter().enumerate() {
            let live = at + 1 == received.len() && at >= named;
            let to = if at < named { out.join(name) } else { out.join("incoming").join(name) };
            let to = if live { PathBuf::from(format!("{}.live", to.display())) } else { to };
            std::fs::copy(new.join(name), to).unwrap();
        }
        let finished = Finished::open(&out).unwrap();
        assert_eq!(finished.manifest(), &manifest);
        assert_eq!(frames(&out), rig.frames);
        assert!(!out.join("incoming").exists());
    }
}

#[test]
fn what_does_not_continue_a_backup_is_refused_and_the_backup_stays() {
    let mut rig = Rig::with_jobs(20);
    let older = rig.copy();
    let out = out_of(&rig);
    rig.open();
    rig.submit(2, 300);
    rig.submit(2, 300);
    taken(&rig.root(), &out);
    let kept = frames(&out);

    // An older copy of the same store; the same gone on elsewhere; another store; places with other things.
    assert!(refused(&older.root(), &out).contains("not their continuation"));
    let mut elsewhere = Rig::at_copy_of(&older);
    for _ in 0..4 {
        elsewhere.submit(3, 200);
    }
    assert!(refused(&elsewhere.root(), &out).contains("not their continuation"));
    for _ in 0..60 {
        elsewhere.submit(3, 200);
    }
    assert!(refused(&elsewhere.root(), &out).contains("not their continuation"), "with more segments");
    assert!(refused(&Rig::with_jobs(2).root(), &out).contains("it holds the store"));
    assert_eq!(frames(&out), kept);
    assert!(refused(&rig.root(), &older.root()).contains("it is a data directory"));
    assert!(refused(&rig.root(), &rig.root().join("log/out")).contains("inside the directory"));
    let other = rig.root().with_file_name("other");
    std::fs::create_dir(&other).unwrap();
    std::fs::write(other.join("diary"), "dear").unwrap();
    assert!(refused(&rig.root(), &other).contains("diary"));
    assert!(!rig.root().join("log/out").exists());
}

#[test]
fn two_backups_into_one_place_do_not_meet() {
    let rig = Rig::with_jobs(2);
    let out = out_of(&rig);
    let _first = Backup::open(&out).unwrap();
    let second = take(&rig.root(), &out, Links::Allowed, &mut |_| {});
    assert!(matches!(second, Err(Error::InUse { .. })), "{second:?}");
}

/// Damage is told when the backup is made, not when it is needed.
#[test]
fn a_damaged_source_is_no_backup() {
    let rig = Rig::with_jobs(40);
    for (segment, offset) in [(2, 6_000), (3, 9_000)] {
        let copy: Copy = rig.copy();
        let out = copy.root().with_file_name("out");
        flip(&copy.segment(segment), offset);
        let Err(Error::Damaged { file, position, .. }) =
            take(&copy.root(), &out, Links::Allowed, &mut |_| {})
        else {
            panic!("segment {segment}")
        };
        assert!(file.contains(&format!("{segment:010}.seg")) && position > Position(1), "{file} {position}");
        assert!(Finished::open(&out).is_err());
    }
    let copy = rig.copy();
    std::fs::remove_file(copy.segment(2)).unwrap();
    let missing = Capture::of_files(&copy.root());
    assert!(matches!(missing, Err(Error::Damaged { .. })), "{missing:?}");
}
