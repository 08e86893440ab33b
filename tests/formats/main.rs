//! The formats of the data directory: what is written down in `migrations/` is what the program writes. [FMT-1]

#[path = "../../migrations/0001_initial.rs"]
mod initial;

#[allow(dead_code, reason = "other tests use the rest of it")]
#[path = "../crash/volume.rs"]
mod volume;

mod contents;
mod cut;
mod fixture;
mod killed;
mod refused;
mod steps;
mod undisturbed;

use bytes::Bytes;
use gangline::clock::Timestamp;
use gangline::job::id::Epoch;
use gangline::log::Archive;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::frame::Frame;
use gangline::log::frame::body_of;

#[test]
fn a_directory_of_today_is_what_format_1_says() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let options =
        DirectoryOptions { segment_bytes: 64 << 10, reserve_bytes: 0, ..DirectoryOptions::default() };
    let data = place.path().join("data");
    let mut log = Directory::open(&data, options).expect("a new directory").log;
    let mut written = Vec::new();
    for count in 0..5_u64 {
        let head = log.head();
        let frame = Frame {
            position: head.position.next(),
            epoch: Epoch(1),
            first_sequence: head.sequence.plus(1),
            updates: u32::try_from(count % 2).expect("small"),
            time: Timestamp(1_000 + count),
            previous: head.hash,
            body: if count == 0 { body_of(&[]) } else { Bytes::from(vec![7; 10 * count as usize]) },
        };
        log.append(&frame).expect("there is room");
        written.push((frame, log.sync().expect("the disk works")));
    }
    let store = log.archive().store_id();
    let format = std::fs::read_to_string(data.join("format")).expect("it is there");
    let id = uuid::Uuid::from_bytes(store.0);
    assert_eq!(
        format.replace('-', ""),
        format!("gangline data directory\nformat 1\nstore {id}\n").replace('-', "")
    );

    let file = std::fs::read(data.join("log/0000000001.seg")).expect("the first segment");
    let segment = initial::segment(&file).expect("a segment");
    assert_eq!((segment.format, segment.number, segment.store), (1, 1, store.0));
    assert_eq!(segment.bytes, file.len() as u64);
    let mut offset = initial::SEGMENT_HEADER_BYTES;
    let mut previous = [0; 16];
    for (index, (wanted, _)) in written.iter().enumerate() {
        let (found, next) = initial::frame(&segment, &file, offset).expect("the frame is there");
        assert_eq!((found.position, found.epoch), (wanted.position.0, wanted.epoch.0));
        assert_eq!((found.first_sequence, found.updates), (wanted.first_sequence.0, wanted.updates));
        assert_eq!((found.time_ms, &found.body[..]), (wanted.time.0, &wanted.body[..]));
        assert_eq!(found.previous, previous);
        assert_eq!(found.synced_up_to, index as u64);
        (offset, previous) = (next, found.hash);
    }
    assert!(file[offset..].iter().all(|byte| *byte == 0), "then zeros");
}
