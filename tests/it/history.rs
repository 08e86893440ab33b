//! A data directory with a history that is the same in every run: ids, times and frames. Only its store id and the salts of
//! its segments are random.

use crate::harness::Place;
use gangline::clock::Timestamp;
use gangline::job::event::Event;
use gangline::job::event::Failure;
use gangline::job::event::FailureKind;
use gangline::job::event::Progress;
use gangline::job::event::Submitted;
use gangline::job::event::Usage;
use gangline::job::id::Epoch;
use gangline::job::id::JobId;
use gangline::job::id::QueueNo;
use gangline::job::id::Sequence;
use gangline::job::spec::Payload;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::frame::Frame;
use gangline::log::frame::body_of;

const FIRST: u128 = 0x0198_a5c2_6f00_7000_8000_0000_0000_0001;
/// 2025-08-14T00:00:00Z.
pub(crate) const BEGIN_MS: u64 = 1_755_129_600_000;

/// The id of the job with this number, from 0.
pub(crate) fn id(number: u32) -> JobId {
    JobId::from_u128(FIRST + u128::from(number))
}

pub(crate) fn submitted(number: u32, queue: u32, payload: &str) -> Event {
    Event::Submitted(Submitted {
        id: id(number),
        queue: QueueNo(queue),
        priority: 0,
        due: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload(payload.as_bytes().to_vec().into()),
    })
}

pub(crate) fn started(number: u32, queue: u32, attempt: u32) -> Event {
    Event::Started { id: id(number), queue: QueueNo(queue), attempt, worker: "worker-1".into() }
}

fn failure(kind: FailureKind, message: &str) -> Failure {
    Failure { kind, message: message.into(), process: None }
}

/// The events of each frame, in order. The last one is what a clean stop leaves: empty.
pub(crate) fn frames() -> Vec<Vec<Event>> {
    let (mail, pictures) = (QueueNo(0), QueueNo(1));
    let made = |queue, name: &str| Event::QueueMade { queue, name: name.parse().expect("a name") };
    let due = Timestamp(BEGIN_MS + 90_000);
    let failed = failure(FailureKind::Failed, "no route to host");
    let crashed = failure(FailureKind::Crashed, "killed by signal 11");
    let usage = Some(Usage { cpu_ms: 120, rss_kib: 4_096 });
    let result = Payload(b"small.jpg".to_vec().into());
    let progress = Progress { done: Some(2_500), message: "a quarter".into() };
    vec![
        vec![Event::Opened { epoch: Epoch(1), version: "0.1.0".into() }],
        vec![
            made(mail, "mail"),
            Event::KeyTaken { key: "batch-7".into(), fingerprint: 7, first: id(0), jobs: 2 },
            submitted(0, 0, "to: a"),
            submitted(1, 0, "to: b"),
        ],
        vec![made(pictures, "pictures"), submitted(2, 1, "cat.jpg"), started(2, 1, 1)],
        vec![started(0, 0, 1), started(1, 0, 1)],
        vec![Event::Progress { id: id(2), queue: pictures, progress }],
        vec![
            Event::Retrying { id: id(0), queue: mail, attempt: 1, failure: failed, due },
            Event::Dead { id: id(1), queue: mail, attempt: 1, failure: crashed },
        ],
        vec![
            Event::Succeeded {
                id: id(2),
                queue: pictures,
                attempt: 1,
                result,
                content_type: "text/plain".into(),
                usage,
            },
            Event::CursorSet { name: "archive".into(), sequence: Sequence(5) },
        ],
        vec![submitted(3, 1, "dog.jpg"), submitted(4, 1, "owl.jpg")],
        vec![Event::Cancelled { id: id(3), queue: pictures, attempt: 0, reason: "not needed".into() }],
        vec![],
    ]
}

/// Writes these frames, ten seconds apart and each synced, into a new directory.
pub(crate) fn write(place: &Place, frames: &[Vec<Event>]) {
    let options = DirectoryOptions { segment_bytes: 64 << 10, reserve_bytes: 0, retry_ms: 10 };
    let mut log = Directory::open(&place.data(), options).expect("a new directory").log;
    for (events, number) in frames.iter().zip(0..) {
        let head = log.head();
        let updates = events.iter().filter(|event| event.is_update()).count();
        let frame = Frame {
            position: head.position.next(),
            epoch: Epoch(1),
            first_sequence: head.sequence.plus(1),
            updates: u32::try_from(updates).expect("few"),
            time: Timestamp(BEGIN_MS + number * 10_000),
            previous: head.hash,
            body: body_of(events),
        };
        log.append(&frame).expect("there is room");
        log.sync().expect("the disk works");
    }
    // What is prepared ahead is there in every run.
    log.await_room();
}

/// A directory with the whole history.
pub(crate) fn written() -> Place {
    let place = Place::new();
    write(&place, &frames());
    place
}
