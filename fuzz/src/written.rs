//! A data directory that a fuzzer writes: its checksums are right, unless it says otherwise, so that what stands behind them is
//! reached; its positions, chain, counts and events are what the input says.

use crate::input::Input;
use gangline::clock::Timestamp;
use gangline::job::event::Event;
use gangline::job::event::Failure;
use gangline::job::event::FailureKind;
use gangline::job::event::Progress;
use gangline::job::event::Submitted;
use gangline::job::id::Epoch;
use gangline::job::id::JobId;
use gangline::job::id::Position;
use gangline::job::id::QueueNo;
use gangline::job::id::Sequence;
use gangline::job::spec::Payload;
use gangline::job::spec::QueueSettings;
use gangline::log::frame::Frame;
use gangline::log::frame::Hash;
use gangline::log::frame::body_of;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

const SEGMENT_BYTES: usize = 16 * 1024;
const HEADER_BYTES: usize = 4_096;
const STORE: [u8; 16] = [7; 16];
const BEGIN_MS: u64 = 1_755_000_000_000;
const FIRST_ID: u128 = 0x0198_a5c2_6f00_7000_8000_0000_0000_0001;

/// Makes the directory `root` as the input says.
pub fn write(input: &mut Input<'_>, root: &Path) {
    for folder in [root.to_owned(), root.join("log"), root.join("checkpoints")] {
        std::fs::DirBuilder::new().mode(0o700).create(folder).expect("a new place");
    }
    let store = JobId::from_u128(u128::from_be_bytes(STORE));
    let format = format!("gangline data directory\nformat 1\nstore {store}\n");
    std::fs::write(root.join("format"), format).expect("there is room");
    let mut writing = Writing { position: 1, sequence: 1, epoch: 1, time_ms: BEGIN_MS, previous: Hash::ZERO };
    for number in 1..=1 + u64::from(input.byte() % 3) {
        let bytes = writing.segment(input, number);
        std::fs::write(root.join(format!("log/{number:010}.seg")), bytes).expect("there is room");
    }
    if !input.is_empty() {
        let at = Position(u64::from(input.byte()));
        let content = input.bytes(4_096);
        let path = root.join(format!("checkpoints/{:020}.ckpt", at.0));
        std::fs::write(path, checkpoint(at, writing.previous, content)).expect("there is room");
    }
}

/// Where the log has come to.
struct Writing {
    position: u64,
    sequence: u64,
    epoch: u64,
    time_ms: u64,
    previous: Hash,
}

impl Writing {
    fn segment(&mut self, input: &mut Input<'_>, number: u64) -> Vec<u8> {
        let salt = [u8::try_from(number).expect("few") | 0x80; 16];
        let mut file = header(number, salt);
        let mut is_first = true;
        while !input.is_empty() {
            // A segment is synced before the next one gets its first frame, which says so.
            let kind = if is_first { input.byte() & !(32 | 64) } else { input.byte() };
            let more = match kind {
                0xff => break,
                0xfe => input.bytes(usize::from(kind >> 1)).to_vec(),
                0xfd => vec![0; usize::from(input.byte()) * 16],
                _ => self.frame(input, kind, salt),
            };
            is_first = false;
            if file.len() + more.len() > SEGMENT_BYTES {
                break;
            }
            file.extend_from_slice(&more);
            file.resize(file.len().next_multiple_of(16), 0);
        }
        file.resize(SEGMENT_BYTES, 0);
        file
    }

    /// The bits of `kind` say what is wrong with the frame.
    fn frame(&mut self, input: &mut Input<'_>, kind: u8, salt: [u8; 16]) -> Vec<u8> {
        let mut events = Vec::new();
        let mut body = if kind & 1 == 0 {
            events = (0..input.byte() % 4).map(|_| event(input)).collect();
            body_of(&events).to_vec()
        } else {
            let length = usize::from(input.short() % 2_048);
            [&[1], input.bytes(length)].concat()
        };
        let updates = events.iter().filter(|event| event.is_update()).count() as u32;
        let odd = |bit: u8, input: &mut Input<'_>| if kind & bit == 0 { 0 } else { input.byte() };
        self.position += u64::from(odd(2, input));
        self.epoch += u64::from(odd(4, input) % 2);
        let frame = Frame {
            position: Position(self.position),
            epoch: Epoch(self.epoch),
            first_sequence: Sequence(self.sequence + u64::from(odd(8, input))),
            updates: updates + u32::from(odd(16, input)),
            time: Timestamp(self.time_ms),
            previous: if kind & 32 == 0 { self.previous } else { Hash([input.byte(); 16]) },
            body: std::mem::take(&mut body).into(),
        };
        let synced_up_to = match odd(64, input) {
            0 => self.position - 1,
            other => u64::from(other) - 1,
        };
        let mut stored = stored(&frame, synced_up_to, salt);
        if kind & 128 != 0 {
            let place = usize::from(input.short()) % stored.len();
            stored[place] ^= input.byte();
        }
        self.position += 1;
        self.sequence = frame.next_sequence().0;
        self.time_ms += 7;
        self.previous = frame.hash();
        stored
    }
}

/// An event about one of a few jobs, queues and names.
fn event(input: &mut Input<'_>) -> Event {
    let (kind, about, number) = (input.byte(), input.byte(), input.byte());
    let id = JobId::from_u128(FIRST_ID + u128::from(about & 7));
    let (queue, attempt) = (QueueNo(u32::from(about >> 6)), u32::from(number & 3));
    let due = Timestamp(BEGIN_MS + u64::from(number));
    let name: std::sync::Arc<str> = ["a", "b", "c", "d"][usize::from(about >> 6)].into();
    let kinds = [FailureKind::Failed, FailureKind::Crashed, FailureKind::TimedOut, FailureKind::Lost];
    let failure = Failure { kind: kinds[usize::from(number >> 6)], message: "no".into(), process: None };
    match kind % 20 {
        0 => Event::Submitted(Submitted {
            id,
            queue,
            priority: number as i8,
            due,
            policy: None,
            extra: None,
            payload: Payload(vec![number; usize::from(number)].into()),
        }),
        1 => Event::Started { id, queue, attempt, worker: name },
        2 => Event::Progress { id, queue, progress: Progress { done: Some(number.into()), message: name } },
        3 => Event::Retrying { id, queue, attempt, failure, due },
        4 => Event::Released { id, queue, attempt, due, reason: name },
        5 => Event::Succeeded {
            id,
            queue,
            attempt,
            result: Payload(vec![number; 3].into()),
            content_type: "".into(),
            usage: None,
        },
        6 => Event::Dead { id, queue, attempt, failure },
        7 => Event::Cancelled { id, queue, attempt, reason: name },
        8 => Event::Expired { id, queue },
        9 => Event::Retried { id, queue, generation: number.into() },
        10 => Event::Deleted { id, queue },
        11 => Event::QueueMade { queue, name: name.parse().expect("a name") },
        12 => {
            let settings =
                QueueSettings { paused: number & 1 == 1, dead_max: number.into(), ..Default::default() };
            Event::QueueSet { queue, settings }
        }
        13 => Event::CursorSet { name, sequence: Sequence(number.into()) },
        14 => Event::CursorDropped { name },
        15 => Event::KeyTaken { key: name, fingerprint: about.into(), first: id, jobs: attempt },
        16 => Event::KeysForgotten { ended_before: due },
        17 => Event::ProducerAdvanced { producer: name, ordinal: number.into(), first: id, jobs: attempt },
        18 => Event::ProducersForgotten { producers: vec![name] },
        _ => Event::Opened { epoch: Epoch(number.into()), version: name },
    }
}

/// A segment's header.
fn header(number: u64, salt: [u8; 16]) -> Vec<u8> {
    let mut out = vec![0; HEADER_BYTES];
    out[0..8].copy_from_slice(b"GLSEGMNT");
    out[8..12].copy_from_slice(&1_u32.to_le_bytes());
    out[16..24].copy_from_slice(&number.to_le_bytes());
    out[24..40].copy_from_slice(&STORE);
    out[40..56].copy_from_slice(&salt);
    out[56..64].copy_from_slice(&(SEGMENT_BYTES as u64).to_le_bytes());
    let checksum = crc32c::crc32c(&out[..HEADER_BYTES - 4]);
    out[HEADER_BYTES - 4..].copy_from_slice(&checksum.to_le_bytes());
    out
}

/// A frame as a segment with this salt has it.
fn stored(frame: &Frame, synced_up_to: u64, salt: [u8; 16]) -> Vec<u8> {
    let seed = crc32c::crc32c(&salt);
    let mut rest = crc32c::crc32c_append(seed, &frame.body).to_le_bytes().to_vec();
    rest.extend_from_slice(&synced_up_to.to_le_bytes());
    rest.extend_from_slice(&frame.header());
    let checksum = crc32c::crc32c_append(seed, &rest).to_le_bytes();
    [&salt[..8], &checksum, &rest, &frame.body].concat()
}

/// A checkpoint file with this content behind its hash.
fn checkpoint(at: Position, hash: Hash, content: &[u8]) -> Vec<u8> {
    let mut file = b"GLCKPT01".to_vec();
    file.extend_from_slice(&at.0.to_le_bytes());
    file.extend_from_slice(&STORE);
    file.push(1);
    file.extend_from_slice(&hash.0);
    file.extend_from_slice(content);
    let length = file.len() as u64 - 32;
    file.extend_from_slice(&length.to_le_bytes());
    let digest = xxhash_rust::xxh3::xxh3_128(&file).to_be_bytes();
    file.extend_from_slice(&digest);
    file
}
