//! Reading while a writer writes: nothing that is merely in flight is taken for damage, and nothing is missed.

use crate::log::Log;
use crate::offline::DataDirectory;
use crate::offline::Step;
use crate::offline::tests::rig::Rig;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

/// Other readers start at any moment; one follows from the beginning and is asked again and again.
#[test]
fn a_live_log_is_never_damaged_and_a_follower_misses_nothing() {
    let mut rig = Rig::new();
    let root = rig.root();
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let follower = scope.spawn(|| {
            let directory = DataDirectory::open(&root).unwrap();
            let mut walk = directory.walk();
            let mut positions = Vec::new();
            loop {
                let over = done.load(Ordering::Acquire);
                for step in &mut walk {
                    match step.unwrap() {
                        Step::Frame(located) => positions.push(located.frame.position.0),
                        Step::Fault(fault) => panic!("{fault}"),
                    }
                }
                if over {
                    return positions;
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut read = 0;
            while !done.load(Ordering::Acquire) {
                let directory = DataDirectory::open(&root).unwrap();
                assert_eq!(directory.faults(), []);
                for step in directory.walk() {
                    assert!(matches!(step.unwrap(), Step::Frame(_)));
                }
                read += 1;
            }
            read
        });
        for round in 0..60 {
            let first = rig.submit(3, 500 + round * 20);
            rig.append_unsynced(&[rig.started(first)]);
            rig.append_unsynced(&[rig.succeeded(first)]);
            rig.log.as_mut().unwrap().sync().unwrap();
        }
        done.store(true, Ordering::Release);
        let positions = follower.join().unwrap();
        assert_eq!(positions, (1..=rig.frames.len() as u64).collect::<Vec<u64>>());
        assert!(reader.join().unwrap() > 0);
    });
}

/// The directory may belong to someone else, be mounted read-only, or sit on a full disk: no byte and no time changes.
#[test]
fn reading_writes_nothing() {
    let rig = Rig::with_jobs(10);
    let copy = rig.copy();
    let state = || {
        let mut files: Vec<_> = walk_files(&copy.root());
        files.sort();
        files
    };
    let before = state();
    let walked = copy.walked();
    assert_eq!(walked.frames.len(), rig.frames.len());
    assert!(state() == before);
}

fn walk_files(path: &std::path::Path) -> Vec<(std::path::PathBuf, std::time::SystemTime, u64)> {
    let metadata = std::fs::metadata(path).unwrap();
    let mut found = vec![(path.to_owned(), metadata.modified().unwrap(), metadata.len())];
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            found.extend(walk_files(&entry.unwrap().path()));
        }
    }
    found
}
