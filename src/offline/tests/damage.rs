//! Damage is named with all that is lost in it, and everything else is still read.

use crate::job::id::Position;
use crate::log::Error;
use crate::log::frame::Frame;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::From;
use crate::offline::Kind;
use crate::offline::Step;
use crate::offline::tests::rig::Copy;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::Walked;
use crate::offline::tests::rig::block;
use crate::offline::tests::rig::flip;
use crate::offline::tests::rig::overwrite;

/// What was read is some of what was written, in order; what is missing was either told, or nothing vouched for it.
#[track_caller]
fn check(written: &[Frame], walked: &Walked, harm: &str) {
    let mut left = written.iter();
    for located in &walked.frames {
        assert!(left.any(|frame| *frame == located.frame), "{harm}: frame {}", located.frame.position);
        assert_eq!(located.hash, located.frame.hash());
    }
    let read = read(walked);
    let missing = read - walked.frames.len() as u64;
    let told: u64 = walked.faults.iter().map(|fault| fault.lost.frames).sum();
    assert_eq!(told, missing, "{harm}: {:#?}", walked.faults);
}

/// Besides, nothing that was vouched for is missing without a word at the end: frame `n` vouches for `n - 1`.
#[track_caller]
fn check_end(written: &[Frame], walked: &Walked, harm: &str) {
    check(written, walked, harm);
    let (read, end) = (read(walked), written.len() as u64);
    assert!(read + 1 >= end || !walked.faults.is_empty(), "{harm}: the log ends at {read} of {end}");
}

fn read(walked: &Walked) -> u64 {
    walked.frames.last().map_or(0, |located| located.frame.position.0)
}

fn only(walked: &Walked) -> &Fault {
    assert_eq!(walked.faults.len(), 1, "{:#?}", walked.faults);
    &walked.faults[0]
}

#[test]
fn a_whole_log_is_read_whole() {
    let rig = Rig::with_jobs(30);
    let walked = rig.copy().walked();
    assert_eq!(walked.faults, []);
    let frames: Vec<Frame> = walked.frames.iter().map(|located| located.frame.clone()).collect();
    assert_eq!(frames, rig.frames);
    assert!(walked.frames.iter().any(|located| located.segment >= 3), "it goes over several segments");
    assert_eq!(walked.tail.position, Position(rig.frames.len() as u64));
    assert_eq!((walked.tail.torn_bytes, walked.tail.unvouched_updates), (0, 0));
}

#[test]
fn a_walk_may_begin_anywhere() {
    let rig = Rig::with_jobs(30);
    let copy = rig.copy();
    let directory = copy.directory();
    for wanted in &rig.frames {
        for from in
            [From::Position(wanted.position), From::Sequence(wanted.first_sequence), From::Time(wanted.time)]
        {
            let mut walk = directory.walk_from(from).unwrap();
            let Some(Ok(Step::Frame(first))) = walk.next() else { panic!("{from:?}") };
            assert!(first.frame.position <= wanted.position, "{from:?} begins at {}", first.frame.position);
            assert!(
                first.frame.position.0 + 40 > wanted.position.0,
                "{from:?} begins a segment earlier at most"
            );
            assert!(walk.all(|step| matches!(step, Ok(Step::Frame(_)))));
        }
    }
}

#[test]
fn a_flipped_bit_costs_one_frame_and_is_named() {
    let rig = Rig::with_jobs(30);
    let places = rig.copy().walked().frames;
    for (number, located) in places.iter().enumerate().step_by(3) {
        for at in (0..located.span).step_by(53) {
            let copy = rig.copy();
            flip(&copy.segment(located.segment), located.offset + at);
            let walked = copy.walked();
            check_end(&rig.frames, &walked, &format!("frame {number} byte {at}"));
            let padding = at >= 80 + located.frame.body.len() as u64;
            if number + 1 == places.len() {
                assert!(walked.faults.is_empty(), "nothing vouches for the last frame");
                assert!(walked.tail.torn_bytes > 0 || padding);
            } else if !padding {
                let fault = only(&walked);
                assert_eq!(fault.kind, Kind::Frame);
                assert_eq!(fault.file, located.file);
                assert_eq!(fault.offset, located.offset);
                assert_eq!(fault.position, Some(located.frame.position));
                assert_eq!(fault.sequence, Some(located.frame.first_sequence));
                assert_eq!((fault.lost.frames, fault.lost.updates), (1, located.frame.updates.into()));
            }
        }
    }
}

#[test]
fn a_segment_cut_short_costs_what_was_cut() {
    let rig = Rig::with_jobs(30);
    let last = rig.copy().walked().frames.last().unwrap().segment;
    for number in 1..=last {
        for length in (0..SEGMENT_BYTES).step_by(911).chain([100, 4_095, 4_096]) {
            let copy = rig.copy();
            let file = std::fs::OpenOptions::new().write(true).open(copy.segment(number)).unwrap();
            file.set_len(length).unwrap();
            let walked = copy.walked();
            assert!(walked.faults.iter().any(|fault| fault.kind == Kind::Segment), "{number} {length}");
            check_end(&rig.frames, &walked, &format!("segment {number} cut to {length}"));
        }
    }
}

#[test]
fn blocks_that_are_zeroed_or_swapped_cost_what_was_in_them() {
    let rig = Rig::with_jobs(45);
    let end = rig.copy().walked().frames.pop().unwrap();
    // With the block that the last frame is in everything that vouches for the others there goes too.
    let silent = (end.segment, (end.offset + end.span - 1) / 4_096);
    assert!(silent.1 > 1, "choose another number of jobs: the last segment's frames are all in one block");
    let blocks: Vec<(u64, u64)> = (1..=end.segment)
        .flat_map(|segment| (0..SEGMENT_BYTES / 4_096).map(move |block| (segment, block)))
        .collect();
    let judge = |copy: &Copy, harmed: &[(u64, u64)]| {
        let harm = format!("{harmed:?}");
        let check = if harmed.contains(&silent) { check } else { check_end };
        check(&rig.frames, &copy.walked(), &harm);
    };
    for &(segment, number) in &blocks {
        let copy = rig.copy();
        overwrite(&copy.segment(segment), number * 4_096, &[0; 4_096]);
        judge(&copy, &[(segment, number)]);
    }
    let pairs = blocks.iter().zip(blocks.iter().skip(1)).chain(blocks.iter().zip(blocks.iter().skip(6)));
    for (one, other) in pairs {
        let copy = rig.copy();
        let (first, second) = (block(&copy.segment(one.0), one.1), block(&copy.segment(other.0), other.1));
        overwrite(&copy.segment(one.0), one.1 * 4_096, &second);
        overwrite(&copy.segment(other.0), other.1 * 4_096, &first);
        judge(&copy, &[*one, *other]);
    }
}

#[test]
fn a_header_that_is_damaged_beside_its_salt_hides_no_frame() {
    let rig = Rig::with_jobs(30);
    for offset in [0, 9, 20, 30, 60, 2_000, 4_095] {
        let copy = rig.copy();
        flip(&copy.segment(2), offset);
        let walked = copy.walked();
        assert_eq!(only(&walked).kind, Kind::Segment);
        assert_eq!(walked.frames.len(), rig.frames.len(), "byte {offset}");
    }
    let copy = rig.copy();
    flip(&copy.segment(2), 45);
    check(&rig.frames, &copy.walked(), "the salt");
}

#[test]
fn segments_that_are_missing_or_mixed_up_are_named() {
    let rig = Rig::with_jobs(40);
    for number in 1..=3 {
        let copy = rig.copy();
        std::fs::remove_file(copy.segment(number)).unwrap();
        let walked = copy.walked();
        check_end(&rig.frames, &walked, &format!("{number} is missing"));
        let fault = &walked.faults[0];
        assert_eq!((fault.kind, fault.what.as_str()), (Kind::Segment, "the segment is missing"));
        assert_eq!(fault.file, std::path::PathBuf::from(format!("log/{number:010}.seg")));
    }
    let copy = rig.copy();
    std::fs::rename(copy.segment(1), copy.root().join("one")).unwrap();
    std::fs::rename(copy.segment(3), copy.segment(1)).unwrap();
    std::fs::rename(copy.root().join("one"), copy.segment(3)).unwrap();
    let walked = copy.walked();
    assert_eq!(walked.frames.len(), rig.frames.len(), "they say themselves which they are");
    assert_eq!(walked.faults.len(), 2, "{:#?}", walked.faults);

    let copy = rig.copy();
    std::fs::copy(Rig::with_jobs(40).copy().segment(2), copy.segment(2)).unwrap();
    let walked = copy.walked();
    check(&rig.frames, &walked, "a segment of another store");
    assert!(walked.faults[0].what.contains("belongs to the store"), "{:#?}", walked.faults);
}

#[test]
fn a_torn_end_is_in_flight_and_no_damage() {
    let mut rig = Rig::with_jobs(3);
    rig.open();
    rig.append_unsynced(&[rig.started(90)]);
    rig.log = None;
    let whole = rig.copy();
    let walked = whole.walked();
    assert_eq!((walked.faults.len(), walked.tail.unvouched_updates), (0, 1));
    let place = walked.frames.last().unwrap();
    flip(&whole.segment(place.segment), place.offset + 90);
    let walked = whole.walked();
    assert_eq!(walked.faults, []);
    assert_eq!(walked.frames.len(), rig.frames.len() - 1);
    assert!(walked.tail.torn_bytes > 0);
    assert_eq!(walked.tail.offset, place.offset);
}

/// Two frames were on their way to the disk, and only the second arrived: nothing says that the first had been synced.
#[test]
fn a_whole_frame_behind_a_torn_one_that_nothing_vouches_for_is_no_damage() {
    let mut rig = Rig::with_jobs(3);
    rig.open();
    rig.append_unsynced(&[rig.started(90)]);
    rig.append_unsynced(&[rig.started(91)]);
    rig.log = None;
    let copy = rig.copy();
    let places = copy.walked().frames;
    let torn = &places[places.len() - 2];
    flip(&copy.segment(torn.segment), torn.offset + 90);
    let walked = copy.walked();
    assert_eq!(walked.faults, []);
    assert_eq!(walked.frames.len(), rig.frames.len() - 2);
    assert_eq!((walked.tail.offset, walked.tail.torn_bytes > torn.span), (torn.offset, true));
}

#[test]
fn other_files_that_are_damaged_are_named_and_hide_nothing() {
    let rig = Rig::with_jobs(10);
    for text in [None, Some("nonsense"), Some("gangline data directory\nformat 1\n")] {
        let copy = rig.copy();
        match text {
            None => std::fs::remove_file(copy.root().join("format")).unwrap(),
            Some(text) => std::fs::write(copy.root().join("format"), text).unwrap(),
        }
        let walked = copy.walked();
        assert_eq!(only(&walked).kind, Kind::Format);
        assert_eq!(walked.frames.len(), rig.frames.len());
    }
}

#[test]
fn what_is_no_data_directory_of_this_release_is_refused() {
    let rig = Rig::with_jobs(1);
    let copy = rig.copy();
    let refused = |copy: &Copy, path: &str| match DataDirectory::open(&copy.root().join(path)) {
        Err(error @ (Error::Unusable { .. } | Error::NewerFormat { .. })) => error.to_string(),
        other => panic!("{path}: {other:?}"),
    };
    assert!(refused(&copy, "nowhere").contains("it does not exist"));
    assert!(refused(&copy, "format").contains("it is not a directory"));
    assert!(refused(&copy, "checkpoints").contains("it holds no log"));
    let format = std::fs::read_to_string(copy.root().join("format")).unwrap();
    std::fs::write(copy.root().join("format"), format.replace("format 1", "format 9")).unwrap();
    assert!(refused(&copy, "").contains("has format 9"));
}
