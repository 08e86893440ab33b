//! The readers of frames: a walk past any damage, everything that stands on it, and recovery. Whatever the files hold, none of
//! them panics; a walk goes forward; and what recovery lets a server start on is what a walk sees.

use crate::input::Input;
use crate::input::scratch;
use crate::written;
use gangline::job::id::JobId;
use gangline::job::id::Position;
use gangline::log::Archive;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::offline::AsOf;
use gangline::offline::DataDirectory;
use gangline::offline::Life;
use gangline::offline::Stats;
use gangline::offline::Step;
use gangline::offline::Until;
use gangline::offline::Verified;
use std::path::Path;

/// Reads the directory that the input says.
pub fn run(bytes: &[u8]) {
    let place = scratch();
    let data = place.path().join("data");
    written::write(&mut Input(bytes), &data);
    let (faults, end) = walk(&data);
    let directory = DataDirectory::open(&data).expect("a directory of this format");
    let mut told = 0;
    let verified = Verified::of(&directory, &mut |fault| {
        assert!(!fault.to_string().is_empty());
        told += 1;
    });
    assert_eq!(verified.expect("every file can be read").faults, told);
    AsOf::of(&directory, Until::End).expect("every file can be read");
    Stats::of(&directory).expect("every file can be read");
    Life::of(&directory, JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0001))
        .expect("every file can be read");
    drop(directory);
    let options = DirectoryOptions { segment_bytes: 16 * 1024, reserve_bytes: 0, retry_ms: 10 };
    // That it is refused is well; that it panics is not.
    let Ok(opened) = Directory::open(&data, options) else { return };
    let head = opened.log.head().position;
    let archive = opened.log.archive();
    let floor = archive.floor();
    if faults == 0 && head >= floor.position {
        let frames = archive.read(floor.position, usize::MAX).expect("no fault was seen");
        assert!(frames.iter().zip(frames.iter().skip(1)).all(|(one, next)| next.previous == one.hash()));
    }
    drop(archive);
    drop(opened);
    let (faults_after, end_after) = walk(&data);
    assert!(faults_after <= faults, "recovery made damage");
    if faults_after == 0 {
        assert_eq!(end_after, head, "the walk ended at {end} before");
    }
}

/// How many faults a walk sees, and the last frame.
fn walk(data: &Path) -> (usize, Position) {
    let directory = DataDirectory::open(data).expect("a directory of this format");
    let mut faults = directory.faults().len();
    let mut end = Position(0);
    let mut walk = directory.walk();
    for step in &mut walk {
        match step.expect("every file can be read") {
            Step::Fault(_) => faults += 1,
            Step::Frame(located) => {
                assert!(located.frame.position > end, "a walk goes forward");
                assert_eq!(located.hash, located.frame.hash());
                end = located.frame.position;
                // Any body may be stored; none may panic.
                if let Ok(events) = located.frame.events() {
                    let updates = events.iter().filter(|event| event.is_update()).count();
                    assert_eq!(updates, located.frame.updates as usize);
                }
            }
        }
    }
    (faults, end)
}
