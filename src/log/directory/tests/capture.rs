//! Captures of a running log: what they hold stays, whatever the log does meanwhile.

use crate::job::id::Position;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::capture::Capture;
use crate::log::directory::capture::PartKind;
use crate::log::directory::tests::place::Files;
use crate::log::suite::append;
use std::io::Read;

/// The bytes of every part.
fn read(capture: &Capture) -> Vec<Vec<u8>> {
    let parts = capture.parts().iter();
    let read = parts.map(|part| {
        let mut bytes = Vec::new();
        capture.open(part).unwrap().take(part.bytes).read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len() as u64, part.bytes);
        bytes
    });
    read.collect()
}

#[test]
fn a_capture_holds_what_is_durable_and_no_trim_takes_it_away() {
    let files = Files::new();
    let mut log = files.opened().log;
    let archive = log.archive();
    assert!(matches!(archive.capture(), Err(Error::NoBackup { .. })), "there is nothing yet");
    for _ in 0..60 {
        append(&mut log, 50);
        log.sync().unwrap();
    }
    let durable = log.head();
    append(&mut log, 50);
    for at in [20, 50] {
        archive.put_checkpoint(Position(at), &mut |out| out.write_all(b"state")).unwrap();
    }
    let capture = archive.capture().unwrap();
    assert_eq!(capture.head(), durable, "not what no sync has covered");
    let before = read(&capture);

    for _ in 0..20 {
        append(&mut log, 50);
        log.sync().unwrap();
    }
    for at in [61, 70] {
        archive.put_checkpoint(Position(at), &mut |out| out.write_all(b"later")).unwrap();
    }
    assert_eq!(archive.trim(Position(60), &mut std::iter::empty()).unwrap().position, Position(1));
    assert_eq!(read(&capture), before);
    let second = archive.capture().unwrap();
    drop(capture);
    assert_eq!(archive.trim(Position(60), &mut std::iter::empty()).unwrap().position, Position(1));
    drop(second);
    assert!(archive.trim(Position(60), &mut std::iter::empty()).unwrap().position > Position(1));
    assert!(!files.segment(1).exists());

    let trimmed = archive.capture().unwrap();
    assert_eq!(trimmed.parts()[0].kind, PartKind::Carry);
    assert!(trimmed.parts().iter().all(|part| part.kind != PartKind::Segment || part.number > 1));
}

/// The files alone tell the same, while the server holds the lock.
#[test]
fn a_capture_of_the_files_is_that_of_the_running_log() {
    let files = Files::new();
    let mut log = files.opened().log;
    for _ in 0..60 {
        append(&mut log, 50);
        log.sync().unwrap();
    }
    let (running, of_files) = (log.archive().capture().unwrap(), Capture::of_files(&files.root()).unwrap());
    assert_eq!(running.parts(), of_files.parts());
    assert_eq!((running.head(), running.store_id()), (of_files.head(), of_files.store_id()));
    assert_eq!(read(&running), read(&of_files));
}
