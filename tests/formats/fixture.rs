//! The committed directories: one of every format, read by what was written down of it.

use crate::contents;
use crate::contents::Contents;
use gangline::job::event::Event;

#[test]
fn the_fixture_of_format_1_holds_one_of_everything_and_is_what_was_written_down() {
    let contents = Contents::of(&contents::fixture(1), 1);
    let carried = contents.carried.as_ref().expect("a carry file");
    assert_eq!(carried.begins, [2, 34, 106], "it was trimmed");
    let submitted = |(_, _, event): &(u64, u32, Event)| matches!(event, Event::Submitted(_));
    assert!(carried.events.iter().any(submitted), "{carried:?}");
    assert_eq!(contents.frames.len(), 141);
    let positions: Vec<u64> = contents.checkpoints.iter().map(|(position, _)| *position).collect();
    assert_eq!(positions, [68, 123]);
    let segments = contents::segments(&contents::fixture(1), 1).expect("whole ones");
    assert!(segments.iter().filter(|(_, _, frames)| !frames.is_empty()).count() >= 2);
}

#[test]
fn there_is_a_fixture_of_every_format_and_it_is_small() {
    let formats = std::fs::read_dir("tests/fixtures").expect("the fixtures");
    let directories = formats.filter(|entry| entry.as_ref().expect("it can be listed").path().is_dir());
    assert_eq!(directories.count(), 1, "one for each format that was released or is current");
    let bytes: usize = contents::bytes(&contents::fixture(1)).values().map(Vec::len).sum();
    assert!(bytes < 200_000, "{bytes}");
}
