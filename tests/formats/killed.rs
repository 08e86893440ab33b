//! A migration that is killed at any moment, in a process of its own and by kill -9: the directory is the old one, which the
//! release that wrote it opens, or the new one; and the next migration finishes or begins again. [FMT-1]

use crate::contents;
use crate::contents::Contents;
use crate::steps;
use crate::steps::STEPS;
use gangline::job::id::Position;
use gangline::log;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::directory::migrate;
use gangline::log::directory::migrate::Left;
use gangline::log::directory::migrate::Moment;
use gangline::offline::DataDirectory;
use gangline::offline::Verified;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::Command;

const PLACE: &str = "GANGLINE_TEST_MIGRATE";
const MOMENT: &str = "GANGLINE_TEST_MOMENT";
const TO: &str = "GANGLINE_TEST_TO";
const NAME: &str = "killed::a_migration_that_is_killed_at_any_moment_leaves_the_old_directory_or_the_new_one";

/// In the child: migrates, and is killed at the moment it was told.
fn be_killed(place: &str) -> ! {
    let number = |name| std::env::var(name).expect("it is given").parse::<u32>().expect("a number");
    let (mut left, to) = (number(MOMENT), number(TO));
    let mut see = |_: &Moment| {
        if left == 0 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::KILL).expect("it is our own");
        }
        left -= 1;
    };
    migrate::migrate(Path::new(place), &STEPS, Some(to), &mut see).expect("it is killed, or it succeeds");
    panic!("there are fewer moments");
}

fn kill_at(moment: usize, to: u32, data: &Path) {
    let child = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", NAME, "--nocapture"])
        .env(PLACE, data)
        .env(MOMENT, moment.to_string())
        .env(TO, to.to_string())
        .output()
        .expect("this test runs again");
    assert_eq!(child.status.signal(), Some(9), "{}", String::from_utf8_lossy(&child.stderr));
}

fn format_of(data: &Path) -> String {
    let text = std::fs::read_to_string(data.join("format")).expect("there always is a format file");
    text.lines().nth(1).expect("two lines").to_owned()
}

/// The old release opens the directory: of a format 1 that is this one.
fn check_old(data: &Path, from: u32, before: &Contents, scratch: &Path) {
    assert_eq!(&Contents::of(data, from), before);
    let copy = scratch.join("old");
    contents::copy(data, &copy);
    let opened = Directory::open(&copy, DirectoryOptions { reserve_bytes: 0, ..Default::default() });
    match (from, opened) {
        (1, Ok(opened)) => {
            assert_eq!(opened.log.head().position, Position(before.frames.len() as u64 + 33));
            assert!(!copy.join("migrating").exists(), "what is left over takes up space");
        }
        (0, Err(log::Error::OlderFormat { found: 0, known: 1, .. })) => {}
        (_, other) => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(copy).expect("it is ours");
}

/// The new release opens the directory: of a format 1 that is this one.
fn check_new(data: &Path, to: u32, before: &Contents, scratch: &Path) {
    let copy = scratch.join("new");
    contents::copy(data, &copy);
    let untouched = contents::bytes(&copy);
    let opened = Directory::open(&copy, DirectoryOptions { reserve_bytes: 0, ..Default::default() });
    match (to, opened) {
        (1, Ok(opened)) => {
            drop(opened);
            assert!(!copy.join("migrating").exists());
            assert_eq!(&Contents::of(&copy, 1), before);
            let directory = DataDirectory::open(&copy).expect("its files are in place");
            let verified = Verified::of(&directory, &mut |fault| panic!("{fault}")).expect("it can be read");
            assert_eq!(verified.faults, 0);
        }
        (2, Err(log::Error::NewerFormat { found: 2, known: 1, .. })) => {
            assert!(contents::bytes(&copy) == untouched, "an older release must leave it alone");
        }
        (_, other) => panic!("{other:?}"),
    }
    std::fs::remove_dir_all(copy).expect("it is ours");
}

#[test]
fn a_migration_that_is_killed_at_any_moment_leaves_the_old_directory_or_the_new_one() {
    if let Ok(place) = std::env::var(PLACE) {
        be_killed(&place);
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    for (from, to) in [(0, 1), (1, steps::TESTED)] {
        let whole = place.path().join("whole");
        steps::directory(from, &whole);
        let before = Contents::of(&whole, from);
        let mut moments = Vec::new();
        let mut see = |moment: &Moment| moments.push(moment.clone());
        assert_eq!(migrate::migrate(&whole, &STEPS, Some(to), &mut see).expect("nothing is wrong"), to);
        assert_eq!(Contents::of(&whole, to), before);
        assert!(moments.len() > 20, "{moments:?}");
        let switched = moments.iter().position(|moment| *moment == Moment::Switched).expect("it switched");
        for (number, moment) in moments.iter().enumerate() {
            let data = place.path().join("killed");
            steps::directory(from, &data);
            let untouched = contents::bytes(&data);
            kill_at(number, to, &data);
            let plan = migrate::plan(&data, &STEPS, Some(to)).expect("it can always be looked at");
            if number < switched {
                assert_eq!(format_of(&data), format!("format {from}"), "{moment:?}");
                for (file, bytes) in &untouched {
                    assert!(std::fs::read(file).is_ok_and(|found| found == *bytes), "{moment:?}: {file:?}");
                }
                check_old(&data, from, &before, place.path());
                assert_eq!((plan.steps.len(), plan.left == Left::Moving), (1, false), "{moment:?}");
            } else {
                assert_eq!(format_of(&data), format!("format {to}"), "{moment:?}");
                check_new(&data, to, &before, place.path());
                let last = number + 1 == moments.len();
                assert_eq!((plan.steps.len(), plan.left == Left::Nothing), (0, last), "{moment:?}");
            }
            let format = migrate::migrate(&data, &STEPS, Some(to), &mut |_| {}).expect("it goes on");
            assert_eq!((format, Contents::of(&data, to)), (to, Contents::of(&whole, to)), "{moment:?}");
            assert!(!data.join("migrating").exists(), "{moment:?}");
            assert_eq!(std::fs::read_to_string(data.join("format")).expect("it is there").lines().count(), 3);
            std::fs::remove_dir_all(&data).expect("it is ours");
        }
        std::fs::remove_dir_all(whole).expect("it is ours");
    }
}

#[test]
fn two_steps_follow_one_another_and_each_is_whole_by_itself() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let data = place.path().join("data");
    steps::directory(0, &data);
    std::fs::create_dir(data.join("work")).expect("it is ours");
    let before = Contents::of(&data, 0);
    let mut finished = Vec::new();
    let mut see = |moment: &Moment| {
        if let Moment::Finished(format) = moment {
            finished.push((*format, Contents::of(&data, *format) == before));
        }
    };
    assert_eq!(migrate::migrate(&data, &STEPS, None, &mut see).expect("nothing is wrong"), 2);
    assert_eq!(finished, [(1, true), (2, true)]);
    assert!(!data.join("work").exists(), "an index of the old log");
}
