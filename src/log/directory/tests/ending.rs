//! How the log ends after a crash: torn tails are cut, damage is named, and recovery may itself be killed.

use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Recovered;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::directory::segment::SegmentHeader;
use crate::log::directory::segment::StoredHeader;
use crate::log::directory::segment::encode_frame;
use crate::log::directory::tests::place::Files;
use crate::log::frame::Frame;
use crate::log::suite;
use crate::log::suite::append;
use bytes::Bytes;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Three frames, each synced, then one without events that vouches for them, and one unsynced.
struct Written {
    files: Files,
    frames: Vec<Frame>,
    /// Where each frame begins in the first segment, and where the last one ends.
    offsets: Vec<u64>,
}

fn written() -> Written {
    let files = Files::new();
    let mut log = files.opened().log;
    let mut frames = Vec::new();
    for updates in [2, 1, 4, 0] {
        frames.push(append(&mut log, updates));
        log.sync().unwrap();
    }
    frames.push(append(&mut log, 3));
    let reader = log.archive().current();
    let mut offsets = vec![HEADER_BYTES];
    let mut window = reader.window(0);
    while let Some(header) = reader.header_at(&mut window, *offsets.last().unwrap()).unwrap() {
        offsets.push(offsets.last().unwrap() + header.span());
    }
    assert_eq!(offsets.len(), 6);
    Written { files, frames, offsets }
}

fn overwrite(path: &Path, offset: u64, bytes: &[u8]) {
    OpenOptions::new().write(true).open(path).unwrap().write_all_at(bytes, offset).unwrap();
}

fn flip(path: &Path, offset: u64) {
    let mut byte = [0];
    std::fs::File::open(path).unwrap().read_exact_at(&mut byte, offset).unwrap();
    overwrite(path, offset, &[byte[0] ^ 0x10]);
}

/// Opens a copy of the files after `harm` was done to them.
fn opened_after(files: &Files, harm: impl FnOnce(&Files)) -> (Result<Recovered, Error>, Vec<Frame>, Files) {
    let copy = files.copy();
    harm(&copy);
    match copy.try_open() {
        Ok(opened) => {
            let frames = suite::all(&opened.log.archive());
            (Ok(opened.recovered), frames, copy)
        }
        Err(error) => (Err(error), Vec::new(), copy),
    }
}

#[test]
fn a_torn_last_frame_is_cut_wherever_it_was_torn() {
    let Written { files, frames, offsets } = written();
    let (begin, end) = (offsets[4], offsets[5]);
    let intact = std::fs::read(files.segment(1)).unwrap();
    for torn_at in (begin..end).step_by(16).chain((begin + 1..end).step_by(37)).chain([begin, end - 17]) {
        let (recovered, found, copy) = opened_after(&files, |copy| {
            overwrite(&copy.segment(1), torn_at, &vec![0; usize::try_from(end - torn_at).unwrap()]);
        });
        let kept = intact[torn_at as usize..end as usize].iter().all(|byte| *byte == 0);
        let recovered = recovered.unwrap();
        assert_eq!(found, frames[..if kept { 5 } else { 4 }], "torn at {torn_at}");
        if torn_at == begin {
            assert_eq!(recovered.cut, None);
        } else if !kept {
            let cut = recovered.cut.unwrap();
            assert_eq!((cut.file, cut.offset), (copy.segment(1), begin));
            assert!(cut.bytes > 0 && cut.bytes <= torn_at - begin);
        }
        let after = std::fs::read(copy.segment(1)).unwrap();
        assert!(kept || after[begin as usize..].iter().all(|byte| *byte == 0), "zeros follow the end");
    }
}

#[test]
fn any_flipped_bit_in_the_unvouched_frame_cuts_it_and_the_log_goes_on() {
    let Written { files, frames, offsets } = written();
    for offset in (offsets[4]..offsets[4] + 80 + 90).step_by(3) {
        let (recovered, found, copy) = opened_after(&files, |copy| flip(&copy.segment(1), offset));
        let cut = recovered.unwrap().cut.unwrap();
        assert_eq!(cut.offset, offsets[4]);
        assert_eq!(found, frames[..4], "flipped at {offset}");
        let mut log = copy.opened().log;
        let frame = append(&mut log, 1);
        log.sync().unwrap();
        drop(log);
        assert_eq!(suite::all(&copy.opened().log.archive()).last(), Some(&frame));
    }
}

#[test]
fn a_flipped_bit_in_a_vouched_frame_is_named_and_nothing_is_changed() {
    let Written { files, frames, offsets } = written();
    for damaged in 0..3 {
        let span = frames[damaged].body.len() as u64 + 80;
        for offset in (offsets[damaged]..offsets[damaged] + span).step_by(7) {
            let copy = files.copy();
            flip(&copy.segment(1), offset);
            let before = std::fs::read(copy.segment(1)).unwrap();
            let error = copy.try_open().unwrap_err();
            let text = error.to_string();
            let Error::Damaged { file, offset, position, sequence, .. } = error else { panic!("{error}") };
            assert_eq!(file, copy.segment(1).display().to_string());
            assert_eq!(offset, offsets[damaged]);
            assert_eq!(position, frames[damaged].position);
            assert_eq!(sequence, frames[damaged].first_sequence);
            assert!(text.contains("it is not what was written") && text.contains("was durable"), "{text}");
            assert_eq!(std::fs::read(copy.segment(1)).unwrap(), before);
        }
    }
}

/// A payload may hold a copy of another segment, or of a frame made for another salt: it neither vouches nor is read.
#[test]
fn a_payload_that_looks_like_frames_fools_nobody() {
    let other = written();
    let mut posing =
        std::fs::read(other.files.segment(1)).unwrap()[HEADER_BYTES as usize..][..1_600].to_vec();
    let files = Files::new();
    let mut log = files.opened().log;
    let first = append(&mut log, 1);
    log.sync().unwrap();
    // This one would vouch for the frame that is going to be bad, if it were taken for a frame of this segment.
    let salt = SegmentHeader::decode(&std::fs::read(other.files.segment(1)).unwrap()).unwrap().salt;
    let lie = Frame { position: Position(9), ..frame_of(&log, &[]) };
    let mut stored = Vec::new();
    encode_frame(&salt, &lie, Position(8), &mut stored);
    assert!(StoredHeader::decode(&salt, &stored).is_some());
    posing.extend(stored);
    let bad = frame_of(&log, b"bad");
    log.append(&bad).unwrap();
    let end = HEADER_BYTES + crate::log::directory::segment::span(first.body.len());
    let posing = (0..16).flat_map(|shift| [vec![0; shift], posing.clone()].concat()).collect::<Vec<u8>>();
    let posing = &posing[..20_000.min(posing.len())];
    let posed = frame_of(&log, posing);
    log.append(&posed).unwrap();
    drop(log);
    flip(&files.segment(1), end + 70);
    let opened = files.opened();
    assert_eq!(opened.recovered.cut.unwrap().offset, end);
    assert_eq!(suite::all(&opened.log.archive()), [first]);
}

fn frame_of(log: &impl Log, body: &[u8]) -> Frame {
    Frame { body: Bytes::copy_from_slice(body), updates: 0, ..suite::frame_after(log.head(), &[]) }
}

/// Killed after any part of its writes, recovery finds the same end the next time.
#[test]
fn recovery_may_be_killed_and_run_again() {
    let Written { files, frames, offsets } = written();
    let torn = |copy: &Files| flip(&copy.segment(1), offsets[4] + 90);
    let (_, found, recovered) = opened_after(&files, torn);
    assert_eq!(found, frames[..4]);
    let after = std::fs::read(recovered.segment(1)).unwrap();
    for zeroed in [0, 1, 16, 64, 80, 81, 200] {
        let (again, found, copy) = opened_after(&files, |copy| {
            torn(copy);
            // The kernel may write back any part of the zeros first.
            overwrite(&copy.segment(1), offsets[4] + zeroed, &[0; 100]);
        });
        assert!(again.is_ok());
        assert_eq!(found, frames[..4]);
        assert_eq!(std::fs::read(copy.segment(1)).unwrap(), after);
    }
}

#[test]
fn whole_frames_that_nothing_vouches_for_are_kept_and_counted() {
    let Written { files, frames, .. } = written();
    let (recovered, found, copy) = opened_after(&files, |_| {});
    assert_eq!(recovered.unwrap(), Recovered { cut: None, frames_rewritten: 1 });
    assert_eq!(found, frames);
    assert_eq!(std::fs::read(copy.segment(1)).unwrap(), std::fs::read(files.segment(1)).unwrap());
}

/// Enough frames for several segments, each synced.
fn long() -> (Files, Vec<Frame>) {
    let files = Files::new();
    let mut log = files.opened().log;
    let mut frames = Vec::new();
    while frames.len() < 40 {
        frames.push(append(&mut log, 50));
        log.sync().unwrap();
    }
    assert!(log.archive().current().header.number >= 3);
    drop(log);
    (files, frames)
}

#[test]
fn the_log_rolls_over_and_reads_across_segments() {
    let (files, frames) = long();
    let archive = files.opened().log.archive();
    assert_eq!(suite::all(&archive), frames);
    assert_eq!(archive.read(Position(1), usize::MAX).unwrap(), frames);
    for frame in &frames {
        assert_eq!(archive.read(frame.position, 0).unwrap(), std::slice::from_ref(frame));
        assert_eq!(archive.position_of(frame.first_sequence).unwrap(), frame.position);
        assert_eq!(archive.position_of(Sequence(frame.next_sequence().0 - 1)).unwrap(), frame.position);
    }
}

#[test]
fn a_missing_segment_is_named() {
    let (files, _) = long();
    for gone in [1, 2] {
        let (result, _, copy) =
            opened_after(&files, |copy| std::fs::remove_file(copy.segment(gone)).unwrap());
        let Err(Error::Damaged { file, what, .. }) = result else { panic!("{result:?}") };
        assert_eq!(file, copy.segment(gone).display().to_string());
        assert!(what.contains("missing"), "{what}");
    }
}

#[test]
fn damage_at_a_segments_beginning_is_named() {
    let (files, _) = long();
    let last = files.opened().log.archive().current().header.number;
    for number in 1..=last {
        for offset in [20, HEADER_BYTES + 30, HEADER_BYTES + 100] {
            let (result, _, copy) = opened_after(&files, |copy| flip(&copy.segment(number), offset));
            let Err(Error::Damaged { file, .. }) = result else { panic!("{number} {offset} {result:?}") };
            assert_eq!(file, copy.segment(number).display().to_string());
        }
    }
}

/// Opening does not read sealed segments, so damage inside one is found by whoever reads there. It is never passed on.
#[test]
fn damage_inside_a_sealed_segment_is_found_when_read() {
    let (files, frames) = long();
    flip(&files.segment(1), HEADER_BYTES + 9_000);
    let archive = files.opened().log.archive();
    let Err(Error::Damaged { file, position, .. }) = archive.read(Position(1), usize::MAX) else { panic!() };
    assert_eq!(file, files.segment(1).display().to_string());
    let good = usize::try_from(position.0).unwrap() - 1;
    assert!(good > 1 && good < 12, "{position}");
    assert_eq!(
        archive.read(Position(1), frames[..good].iter().map(|f| f.body.len()).sum()).unwrap(),
        frames[..good]
    );
    assert_eq!(archive.read(Position(30), usize::MAX).unwrap(), frames[29..]);
}

/// A spare that a killed process had begun to write to is not trusted to be empty.
#[test]
fn a_torn_first_frame_of_a_new_segment_is_cut_with_its_segment() {
    let (files, frames) = long();
    let last = frames.len();
    let log = files.opened().log;
    let next = log.archive().current().header.number + 1;
    crate::log::directory::tests::place::wait_until(|| log.room().spares == 1);
    drop(log);
    overwrite(&files.segment(next), HEADER_BYTES, &[0xab; 300]);
    let opened = files.opened();
    assert_eq!(opened.log.head().position, Position(last as u64));
    let mut log = opened.log;
    let more: Vec<Frame> = (0..20).map(|_| append(&mut log, 50)).collect();
    log.sync().unwrap();
    drop(log);
    assert_eq!(suite::all(&files.opened().log.archive())[last..], more);
}
