//! Questions: what does a durable frame cost over the bare write and fdatasync of the same bytes? How long does it take
//! to open a log of 2 GiB?
//!
//! Run with `cargo bench --bench log`. Files go to `GANGLINE_BENCH_DIR`, else to the target folder: never to a tmpfs
//! unasked.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use divan::counter::ItemsCount;
use gangline::clock::Timestamp;
use gangline::job::event::Event;
use gangline::job::event::Submitted;
use gangline::job::id::Epoch;
use gangline::job::id::JobId;
use gangline::job::id::QueueNo;
use gangline::job::spec::Payload;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::frame::Frame;
use gangline::log::frame::body_of;
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt;
use tempfile::TempDir;

/// Events of one frame, and bytes of each one's payload: about 300 bytes an event.
const EVENTS: u32 = 1_000;
const PAYLOAD_BYTES: usize = 265;
const PLAIN_BYTES: u64 = 64 << 20;

fn main() {
    divan::main();
}

fn place() -> TempDir {
    let parent = std::env::var("GANGLINE_BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").to_owned());
    TempDir::new_in(parent).expect("the folder can be written to")
}

fn body() -> Bytes {
    let events: Vec<Event> = (0..EVENTS)
        .map(|n| {
            Event::Submitted(Submitted {
                id: JobId::from_u128((0x0198_a5c2_6f00_7000_8000 << 48) + u128::from(n)),
                queue: QueueNo(1),
                priority: 0,
                due: Timestamp(0),
                policy: None,
                extra: None,
                payload: Payload(Bytes::from(vec![n as u8; PAYLOAD_BYTES])),
            })
        })
        .collect();
    body_of(&events)
}

fn next(log: &Directory, updates: u32, body: &Bytes) -> Frame {
    let head = log.head();
    Frame {
        position: head.position.next(),
        epoch: Epoch(1),
        first_sequence: head.sequence.plus(1),
        updates,
        time: Timestamp(1),
        previous: head.hash,
        body: body.clone(),
    }
}

/// Append and sync, without encoding the events.
#[divan::bench(sample_count = 500)]
fn append_and_sync(bencher: Bencher<'_, '_>) {
    let place = place();
    let mut log =
        Directory::open(&place.path().join("data"), DirectoryOptions::default()).expect("opens").log;
    let body = body();
    bencher.counter(BytesCount::new(body.len())).counter(ItemsCount::new(EVENTS)).bench_local(|| {
        log.append(&next(&log, EVENTS, &body)).expect("there is space");
        log.sync().expect("the disk is good")
    });
}

/// The same bytes over zeros that are already there, by hand.
#[divan::bench(sample_count = 500)]
fn plain_write_and_sync(bencher: Bencher<'_, '_>) {
    let place = place();
    let file = OpenOptions::new().write(true).create_new(true).open(place.path().join("plain")).expect("new");
    file.write_all_at(&vec![0; usize::try_from(PLAIN_BYTES).expect("fits")], 0).expect("there is space");
    file.sync_all().expect("the disk is good");
    let body = body();
    let mut at = 0;
    bencher.counter(BytesCount::new(body.len())).counter(ItemsCount::new(EVENTS)).bench_local(|| {
        file.write_all_at(&body, at).expect("there is space");
        file.sync_data().expect("the disk is good");
        at += body.len() as u64;
        if at + body.len() as u64 > PLAIN_BYTES {
            at = 0;
        }
    });
}

/// Opening what a writer left behind, everything that recovery promises included.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn open_2_gib(bencher: Bencher<'_, '_>) {
    let place = place();
    let data = place.path().join("data");
    let mut log = Directory::open(&data, DirectoryOptions::default()).expect("opens").log;
    let body = Bytes::from(vec![5; 4 << 20]);
    for _ in 0..512 {
        log.append(&next(&log, 0, &body)).expect("there is space");
    }
    log.sync().expect("the disk is good");
    drop(log);
    bencher.bench_local(|| Directory::open(&data, DirectoryOptions::default()).expect("opens"));
}
