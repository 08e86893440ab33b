//! A wall clock that is set back.

use crate::clock::Timestamp;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::job;
use crate::job::id::Position;
use crate::job::spec::NewJob;
use crate::log::Archive;
use std::time::Duration;

const HOUR_MS: u64 = 3_600_000;

/// [LOG-1]
#[test]
fn after_the_clock_was_set_back_what_is_due_comes_late_but_comes_and_log_time_meets_the_clock_again() {
    let mut rig = Rig::new();
    let due = rig.now.wall.after(Duration::from_secs(10));
    rig.submit(vec![NewJob { run_at: due, ..job("q") }]).unwrap();
    let mut hand = rig.attach("@w", &["q"], 1);
    rig.now.wall = Timestamp(rig.now.wall.0 - HOUR_MS);
    rig.live(19_000);
    assert!(hand.hear().grants.is_empty(), "it is not early");
    rig.live(2_000);
    assert_eq!(hand.hear().grants.len(), 1, "it is as late again as it was to wait");

    rig.restart();
    assert!(rig.core.state().time() > rig.now.wall, "the clock is still behind");
    rig.live(2 * HOUR_MS);
    rig.one();
    assert_eq!(rig.core.state().time(), rig.now.wall);
    let frames = rig.core.archive().read(Position(1), usize::MAX).unwrap();
    assert!(frames.is_sorted_by_key(|frame| frame.time), "log time went back");
}
