//! A migration that is killed at any moment, in a process of its own and by kill -9: the directory is the old one, which the
//! release that wrote it opens, or the new one; and the next migration finishes or begins again. [FMT-1]

use crate::contents;
use crate::contents::Contents;
use crate::steps;
use crate::steps::STEPS;
use crate::undisturbed::Undisturbed;
use gangline::log::directory::migrate;
use gangline::log::directory::migrate::Moment;
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

#[test]
fn a_migration_that_is_killed_at_any_moment_leaves_the_old_directory_or_the_new_one() {
    if let Ok(place) = std::env::var(PLACE) {
        be_killed(&place);
    }
    let place = tempfile::tempdir().expect("a temporary directory");
    for (from, to) in [(0, 1), (1, steps::TESTED)] {
        let undisturbed = Undisturbed::of(from, to, place.path());
        for number in 0..undisturbed.moments.len() {
            let data = place.path().join("killed");
            steps::directory(from, &data);
            let untouched = contents::bytes(&data);
            kill_at(number, to, &data);
            undisturbed.judge(number, &data, &untouched, place.path());
            std::fs::remove_dir_all(&data).expect("it is ours");
        }
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
