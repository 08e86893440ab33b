//! Trims and checkpoints that were killed half-way, and readers that are in the way of a trim.

use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::tests::place::Files;
use crate::log::suite;
use crate::log::suite::append;
use std::io::Read;
use std::path::PathBuf;

fn filled() -> Files {
    let files = Files::new();
    let mut log = files.opened().log;
    for _ in 0..60 {
        append(&mut log, 50);
        log.sync().unwrap();
    }
    drop(log);
    files
}

fn pointer(position: u64) -> Pointer {
    Pointer { position: Position(position), index: 3 }
}

fn carries(files: &Files) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(files.root().join("log")).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "carry")).collect()
}

/// The carry file is in place, but nothing has been removed yet, or only the middle one of three segments.
#[test]
fn a_trim_killed_after_its_carry_file_is_finished_by_the_next_opening() {
    let files = filled();
    let before = files.copy();
    let log = files.opened().log;
    let archive = log.archive();
    let expected = archive.event(pointer(2)).unwrap();
    let floor = archive.trim(Position(50), &mut [pointer(2)].into_iter()).unwrap();
    let frames = suite::all(&archive);
    drop((log, archive));
    let carry = carries(&files).remove(0);
    std::fs::copy(&carry, before.root().join("log").join(carry.file_name().unwrap())).unwrap();
    std::fs::remove_file(before.segment(2)).unwrap();
    let archive = before.opened().log.archive();
    assert_eq!(archive.floor(), floor);
    assert_eq!(suite::all(&archive), frames);
    assert_eq!(archive.event(pointer(2)).unwrap(), expected);
    assert!(!before.segment(1).exists());
}

#[test]
fn a_trim_killed_before_its_carry_file_is_named_has_not_happened() {
    let files = filled();
    let unfinished = files.root().join("log").join("00000000000000000030.carry.new");
    std::fs::write(&unfinished, "half of it").unwrap();
    let archive = files.opened().log.archive();
    assert_eq!(archive.floor().position, Position(1));
    assert!(!unfinished.exists());
}

#[test]
fn one_carry_file_is_kept_and_the_lost_oldest_segment_is_named() {
    let files = filled();
    let log = files.opened().log;
    let archive = log.archive();
    let first = archive.trim(Position(20), &mut [pointer(4)].into_iter()).unwrap();
    let floor = archive.trim(Position(50), &mut [pointer(4), pointer(first.position.0)].into_iter()).unwrap();
    drop((log, archive));
    assert_eq!(carries(&files).len(), 1);
    let oldest = (1..).find(|number| files.segment(*number).exists()).unwrap();
    std::fs::remove_file(files.segment(oldest)).unwrap();
    let Err(Error::Damaged { file, position, .. }) = files.try_open() else { panic!() };
    assert_eq!((file, position), (files.segment(oldest).display().to_string(), floor.position));
}

#[test]
fn a_damaged_carry_file_is_named_at_opening_or_when_its_event_is_read() {
    let files = filled();
    let log = files.opened().log;
    log.archive().trim(Position(50), &mut [pointer(4), pointer(5)].into_iter()).unwrap();
    drop(log);
    let carry = carries(&files).remove(0);
    let intact = std::fs::read(&carry).unwrap();
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        std::fs::write(&carry, bytes).unwrap();
        let error = match files.try_open() {
            Err(error) => error,
            Ok(opened) => {
                let archive = opened.log.archive();
                archive.event(pointer(4)).and(archive.event(pointer(5))).expect_err(&format!("byte {at}"))
            }
        };
        let Error::Damaged { file, .. } = error else { panic!("byte {at}: {error}") };
        assert_eq!(file, carry.display().to_string());
    }
}

/// Readers that began below a floor either get what was there or are told; they never get anything else.
#[test]
fn readers_are_safe_from_a_trim() {
    let files = filled();
    let log = files.opened().log;
    let archive = log.archive();
    let frames = suite::all(&archive);
    let reader = {
        let (archive, frames) = (archive.clone(), frames.clone());
        std::thread::spawn(move || {
            let last = frames.len() as u64;
            while archive.floor().position < Position(40) {
                for at in 1..=last {
                    match archive.read(Position(at), 4_000) {
                        Ok(found) => assert_eq!(found[0], frames[usize::try_from(at).unwrap() - 1]),
                        Err(Error::BelowFloor { wanted, floor }) => assert!(wanted < floor),
                        Err(error) => panic!("{error}"),
                    }
                    let event = archive.event(pointer(at)).unwrap();
                    assert_eq!(event, frames[usize::try_from(at).unwrap() - 1].events().unwrap()[3]);
                }
            }
        })
    };
    for before in 2..=55 {
        archive.trim(Position(before), &mut (1..before).map(pointer)).unwrap();
    }
    reader.join().unwrap();
}

#[test]
fn a_damaged_checkpoint_is_refused_and_the_other_one_is_good() {
    let files = filled();
    let log = files.opened().log;
    let archive = log.archive();
    for at in [10, 20] {
        archive.put_checkpoint(Position(at), &mut |out| out.write_all(&[at as u8; 50])).unwrap();
    }
    let path = files.root().join("checkpoints").join("00000000000000000020.ckpt");
    let intact = std::fs::read(&path).unwrap();
    for at in 0..intact.len() {
        let mut bytes = intact.clone();
        bytes[at] ^= 0x80;
        std::fs::write(&path, bytes).unwrap();
        let Err(Error::Damaged { file, position, .. }) = archive.checkpoint(Position(20)) else {
            panic!("{at}")
        };
        assert_eq!((file, position), (path.display().to_string(), Position(20)));
    }
    for length in [0, 31, 60, intact.len() - 1] {
        std::fs::write(&path, &intact[..length]).unwrap();
        assert!(matches!(archive.checkpoint(Position(20)), Err(Error::Damaged { .. })), "{length}");
    }
    let mut content = Vec::new();
    archive.checkpoint(Position(10)).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, [10; 50]);
}
