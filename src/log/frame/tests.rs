//! The stored form of frames, byte for byte. [FMT-1]

use crate::clock::Timestamp;
use crate::codec;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::event::specimens::specimens;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Payload;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use crate::log::frame::body_of;
use bytes::Bytes;

/// A frame of every kind of event, header and body, as version 1 stores it. These bytes are in the directories of our
/// users: if this test fails, the format has changed, and what is needed is a new version and a migration.
const STORED: &str = "
    0700000000000000020000000000000029000000000000000d000000ca020000c8cf269e9801000070726576696f75732068
    617368202e2e01000198a5c26f007000800000000000000103fbfd7bce269e980100000104020101096496fb60ea0a01fb30
    7501fd7bce269e9801000001106170706c69636174696f6e2f6a736f6e0108637573746f6d65720231373730302d30616637
    363531393136636434336464383434386562323131633830333139632d623761643662373136393230333333312d30310361
    3d62077061796c6f6164010198a5c26f0070008000000000000001030203772d31020198a5c26f0070008000000000000001
    0301fb88130468616c66030198a5c26f0070008000000000000001030200076e6f206c75636b0101010112066b696c6c6564
    01fbd204fbd5ddfd7bce269e98010000030198a5c26f0070008000000000000001030301076e6f206c75636b010101011206
    6b696c6c656401fbd204fbd5ddfd7bce269e98010000030198a5c26f0070008000000000000001030402076e6f206c75636b
    0101010112066b696c6c656401fbd204fbd5ddfd7bce269e98010000040198a5c26f00700080000000000000010305fd7bce
    269e980100000873746f7070696e67050198a5c26f0070008000000000000001030606726573756c740a746578742f706c61
    696e01fbd204fbd5dd060198a5c26f0070008000000000000001030703076e6f206c75636b0101010112066b696c6c656401
    fbd204fbd5dd070198a5c26f007000800000000000000103080a6e6f742077616e746564080198a5c26f0070008000000000
    00000103090198a5c26f007000800000000000000103010a0198a5c26f0070008000000000000001030b03086d61696c2f6f
    75740c030101fbf4010701fc005c26050d06726561646572fb2c010e067265616465720f086f72646572203737fcefbeedfe
    0198a5c26f00700080000000000000010210fd7bce269e98010000110170fc701101000198a5c26f00700080000000000000
    0102120203702d3103702d32130905302e312e30
";

/// The hash of that frame.
const HASH: &str = "715425b4721c11bf450d8ba97b7fb66e";

fn frame(events: &[Event]) -> Frame {
    Frame {
        position: Position(7),
        epoch: Epoch(2),
        first_sequence: Sequence(41),
        updates: u32::try_from(events.iter().filter(|event| event.is_update()).count()).unwrap(),
        time: Timestamp(1_755_000_000_456),
        previous: Hash(*b"previous hash ..."[..16].as_array().unwrap()),
        body: body_of(events),
    }
}

fn with_body(frame: &Frame, body: Vec<u8>) -> Frame {
    Frame { body: Bytes::from(body), ..frame.clone() }
}

#[test]
fn the_stored_form_of_every_event_is_what_version_1_stores() {
    let frame = frame(&specimens());
    let bytes = [&frame.header()[..], &frame.body].concat();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, STORED.replace(char::is_whitespace, ""));
    assert_eq!(format!("{:?}", frame.hash()), HASH);
    assert_eq!(frame.events(), Ok(specimens()));
    assert_eq!(frame.next_sequence(), Sequence(54));
}

#[test]
fn the_specimens_are_of_every_kind() {
    let mut kinds: Vec<u8> = specimens().iter().map(|event| codec::encode(event)[1]).collect();
    kinds.dedup();
    let count = u8::try_from(kinds.len()).unwrap();
    assert_eq!(kinds, (0..count).collect::<Vec<u8>>());
    let next = [&[codec::VERSION, count][..], &[0; 64]].concat();
    let error = codec::Run::open(&next).unwrap().take::<Event>().unwrap_err();
    assert!(error.to_string().contains("variant"), "a kind without a specimen: {error}");
}

#[test]
fn a_body_that_was_cut_extended_or_written_by_another_release_is_refused() {
    let events: Vec<Event> = specimens().into_iter().filter(Event::is_update).collect();
    let frame = frame(&events);
    for end in 0..frame.body.len() {
        assert!(with_body(&frame, frame.body[..end].to_vec()).events().is_err(), "{end} bytes");
    }
    for more in [&[0][..], &[0xff], &codec::encode(&events[0])[1..]] {
        assert!(with_body(&frame, [&frame.body, more].concat()).events().is_err(), "{more:?}");
    }
    let mut newer = frame.body.to_vec();
    newer[0] = codec::VERSION + 1;
    assert_eq!(with_body(&frame, newer).events(), Err(codec::Error::Version(codec::VERSION + 1)));
}

#[test]
fn a_header_that_announces_other_updates_is_refused_and_allocates_nothing() {
    let frame = frame(&specimens());
    for updates in [0, frame.updates - 1, frame.updates + 1, u32::MAX] {
        assert!(Frame { updates, ..frame.clone() }.events().is_err());
    }
}

#[test]
fn every_part_of_a_frame_is_in_its_hash() {
    let frame = frame(&specimens());
    let mut changed = frame.body.to_vec();
    *changed.last_mut().unwrap() ^= 1;
    let others = [
        Frame { position: Position(8), ..frame.clone() },
        Frame { epoch: Epoch(3), ..frame.clone() },
        Frame { first_sequence: Sequence(42), ..frame.clone() },
        Frame { updates: 1, ..frame.clone() },
        Frame { time: Timestamp(0), ..frame.clone() },
        Frame { previous: Hash::ZERO, ..frame.clone() },
        with_body(&frame, changed),
    ];
    for other in others {
        assert_ne!(other.hash(), frame.hash(), "{other:?}");
    }
}

#[test]
fn the_life_of_an_empty_job_takes_at_most_100_bytes() {
    let id = JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0001);
    let queue = QueueNo(3);
    let (policy, extra, payload) = (None, None, Payload::default());
    let life = [
        Event::Submitted(Submitted { id, queue, priority: 0, due: Timestamp(0), policy, extra, payload }),
        Event::Started { id, queue, attempt: 1, worker: "worker-1".into() },
        Event::Succeeded {
            id,
            queue,
            attempt: 1,
            result: Payload::default(),
            content_type: "".into(),
            usage: None,
        },
    ];
    let bytes = body_of(&life).len();
    assert!(bytes <= 100, "{bytes} bytes");
}
