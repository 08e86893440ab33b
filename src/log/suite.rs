//! What every log must do, whatever it is made of: the contract of [`Log`] and [`Archive`] as tests.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Payload;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Head;
use crate::log::Log;
use crate::log::frame::Frame;
use crate::log::frame::body_of;
use bytes::Bytes;
use proptest::prelude::Just;
use proptest::prelude::any;
use proptest::prelude::prop;
use proptest::prelude::prop_oneof;
use proptest::strategy::Strategy;
use std::io::Read;

/// A place where a log can be opened, lost and opened again.
pub(crate) trait Place {
    type Log: Log;

    /// Opens the log; the one opened before has been dropped.
    fn open(&mut self) -> Self::Log;

    /// Drops the log as a power cut would: what no sync covered is partly lost. `choice` chooses what.
    fn crash(&mut self, log: Self::Log, choice: u64);
}

/// An update that carries `payload`.
pub(crate) fn submitted(id: u128, payload: &[u8]) -> Event {
    Event::Submitted(Submitted {
        id: JobId::from_u128(id),
        queue: QueueNo(1),
        priority: 0,
        due: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload(Bytes::copy_from_slice(payload)),
    })
}

/// The frame that continues `head` with `events`.
pub(crate) fn frame_after(head: Head, events: &[Event]) -> Frame {
    let updates = events.iter().filter(|event| event.is_update()).count();
    Frame {
        position: head.position.next(),
        epoch: Epoch(head.epoch.0.max(1)),
        first_sequence: head.sequence.plus(1),
        updates: u32::try_from(updates).unwrap(),
        time: Timestamp(1_000 + head.position.0),
        previous: head.hash,
        body: body_of(events),
    }
}

/// Appends one frame with `updates` small updates and gives it back.
pub(crate) fn append<L: Log>(log: &mut L, updates: u32) -> Frame {
    let first = u128::from(log.head().sequence.0);
    let events: Vec<Event> = (0..updates).map(|n| submitted(first + u128::from(n), &[n as u8; 40])).collect();
    let frame = frame_after(log.head(), &events);
    log.append(&frame).unwrap();
    frame
}

/// All durable frames.
pub(crate) fn all<A: Archive>(archive: &A) -> Vec<Frame> {
    let mut frames = Vec::new();
    let mut from = archive.floor().position;
    loop {
        let more = archive.read(from, 1_000).unwrap();
        let Some(last) = more.last() else { return frames };
        from = last.position.next();
        frames.extend(more);
    }
}

pub(crate) fn an_empty_log_has_no_frames<P: Place>(place: &mut P) {
    let mut log = place.open();
    assert_eq!(log.head().position, Position(0));
    assert_eq!(log.sync().unwrap(), Position(0));
    let archive = log.archive();
    assert_eq!(archive.read(Position(1), 1_000).unwrap(), []);
    assert_eq!((archive.floor().position, archive.floor().sequence), (Position(1), Sequence(1)));
    assert_eq!(archive.position_of(Sequence(1)).unwrap(), Position(1));
}

/// [ACK-1]: readers see a frame only after the sync that covers it.
pub(crate) fn frames_are_seen_after_their_sync<P: Place>(place: &mut P) {
    let mut log = place.open();
    let archive = log.archive();
    let first = append(&mut log, 2);
    let second = append(&mut log, 0);
    assert_eq!(archive.durable(), Position(0));
    assert_eq!(archive.read(Position(1), 1_000).unwrap(), []);
    assert_eq!(log.sync().unwrap(), Position(2));
    assert_eq!(archive.durable(), Position(2));
    let third = append(&mut log, 1);
    assert_eq!(archive.read(Position(1), 100_000).unwrap(), [first.clone(), second]);
    assert_eq!(archive.read(Position(1), 0).unwrap(), [first]);
    log.sync().unwrap();
    assert_eq!(archive.read(Position(3), 0).unwrap(), [third]);
}

pub(crate) fn a_frame_that_does_not_continue_the_log_is_refused<P: Place>(place: &mut P) {
    let mut log = place.open();
    append(&mut log, 3);
    let good = frame_after(log.head(), &[submitted(9, b"x")]);
    let bad = [
        Frame { position: good.position.next(), ..good.clone() },
        Frame { position: Position(1), ..good.clone() },
        Frame { previous: crate::log::frame::Hash::ZERO, ..good.clone() },
        Frame { epoch: Epoch(0), ..good.clone() },
        Frame { first_sequence: good.first_sequence.plus(1), ..good.clone() },
    ];
    let before = log.head();
    for frame in bad {
        assert!(matches!(log.append(&frame), Err(Error::Conflict { .. })), "{frame:?}");
    }
    let huge = Frame { body: Bytes::from(vec![0; log.limits().frame_bytes_max + 1]), ..good.clone() };
    assert!(matches!(log.append(&huge), Err(Error::TooLarge { .. })));
    assert_eq!(log.head(), before);
    log.append(&good).unwrap();
    let largest = Frame {
        body: Bytes::from(vec![7; log.limits().frame_bytes_max]),
        updates: 0,
        ..frame_after(log.head(), &[])
    };
    log.append(&largest).unwrap();
    log.sync().unwrap();
    assert_eq!(log.archive().read(largest.position, 0).unwrap(), [largest]);
}

pub(crate) fn reopening_finds_what_was_synced<P: Place>(place: &mut P) {
    let mut written = Vec::new();
    for _ in 0..4 {
        let mut log = place.open();
        assert_eq!(all(&log.archive()), written);
        assert_eq!(log.head().position, Position(written.len() as u64));
        assert_eq!(log.archive().durable(), log.head().position);
        for updates in [1, 0, 5] {
            written.push(append(&mut log, updates));
            log.sync().unwrap();
        }
    }
}

/// [LOG-1], [LOG-2]: every sequence is in the frame that says so.
pub(crate) fn sequences_lead_to_their_frames<P: Place>(place: &mut P) {
    let mut log = place.open();
    let frames: Vec<Frame> = [1, 0, 3, 0, 0, 2, 1].iter().map(|updates| append(&mut log, *updates)).collect();
    log.sync().unwrap();
    append(&mut log, 2);
    let archive = log.archive();
    for frame in frames {
        for sequence in frame.first_sequence.0..frame.next_sequence().0 {
            assert_eq!(archive.position_of(Sequence(sequence)).unwrap(), frame.position);
        }
    }
    assert_eq!(archive.position_of(Sequence(8)).unwrap(), Position(8));
    assert_eq!(archive.position_of(Sequence(99)).unwrap(), Position(8));
}

pub(crate) fn events_are_found_by_pointer<P: Place>(place: &mut P) {
    let mut log = place.open();
    let frame = append(&mut log, 5);
    let at = |position, index| Pointer { position: Position(position), index };
    let archive = log.archive();
    assert!(matches!(archive.event(at(1, 0)), Err(Error::Forgotten { .. })), "not durable yet");
    log.sync().unwrap();
    for (index, event) in frame.events().unwrap().into_iter().enumerate() {
        assert_eq!(archive.event(at(1, u32::try_from(index).unwrap())).unwrap(), event);
    }
    for wrong in [at(1, 5), at(2, 0), at(0, 0)] {
        assert!(matches!(archive.event(wrong), Err(Error::Forgotten { .. })), "{wrong:?}");
    }
}

/// Trimming lets go of old frames, never of one at or above `before`, and keeps the events of live jobs.
pub(crate) fn trimming_keeps_what_is_live<P: Place>(place: &mut P) {
    let mut log = place.open();
    let mut frames = Vec::new();
    while frames.len() < 64 {
        let body = vec![frames.len() as u8; 2_000];
        let frame = frame_after(log.head(), &[submitted(1, &body), submitted(2, &body)]);
        log.append(&frame).unwrap();
        frames.push(frame);
    }
    log.sync().unwrap();
    let pointer = |position| Pointer { position: Position(position), index: 1 };
    let archive = log.archive();
    let first = archive.trim(Position(30), &mut [pointer(2), pointer(5)].into_iter()).unwrap();
    assert!(first.position > Position(5) && first.position <= Position(30), "{first:?}");
    assert_eq!(archive.floor(), first);
    let again = archive.trim(Position(60), &mut [pointer(5), pointer(40)].into_iter()).unwrap();
    assert!(again.position > first.position && again.position <= Position(60), "{again:?}");
    drop(archive);
    let mut log = Some(log);
    // The second time round the log has been opened anew.
    for _ in 0..2 {
        let opened = log.take().unwrap_or_else(|| place.open());
        let archive = opened.archive();
        assert_eq!(archive.floor(), again);
        assert_eq!(all(&archive), frames[usize::try_from(again.position.0).unwrap() - 1..]);
        assert!(matches!(archive.read(Position(1), 1), Err(Error::BelowFloor { .. })));
        assert!(matches!(archive.position_of(Sequence(1)), Err(Error::BelowFloor { .. })));
        assert_eq!(archive.position_of(again.sequence).unwrap(), again.position);
        assert!(matches!(archive.event(pointer(2)), Err(Error::Forgotten { .. })));
        for kept in [5, 40, 64] {
            let event = frames[kept - 1].events().unwrap().remove(1);
            assert_eq!(archive.event(pointer(kept as u64)).unwrap(), event);
        }
    }
}

/// An event that is neither retained nor carried cannot be promised: then nothing is let go.
pub(crate) fn trimming_without_an_event_lets_go_of_nothing<P: Place>(place: &mut P) {
    let mut log = place.open();
    for _ in 0..60 {
        append(&mut log, 30);
    }
    log.sync().unwrap();
    let archive = log.archive();
    let nowhere = Pointer { position: Position(2), index: 77 };
    assert!(matches!(archive.trim(Position(50), &mut [nowhere].into_iter()), Err(Error::Forgotten { .. })));
    assert_eq!(archive.floor().position, Position(1));
    assert_eq!(all(&archive).len(), 60);
}

/// The age of log is that of its youngest frame: nothing younger goes with it.
pub(crate) fn log_older_than_a_time_may_go<P: Place>(place: &mut P) {
    let mut log = place.open();
    for _ in 0..60 {
        append(&mut log, 50);
        log.sync().unwrap();
    }
    let archive = log.archive();
    let frames = all(&archive);
    assert_eq!(archive.older(frames[0].time).unwrap(), Position(1), "none is older than the first");
    let youngest = frames[59].time;
    let all_but_the_last_unit = archive.older(Timestamp(youngest.0 + 1)).unwrap();
    assert!(all_but_the_last_unit > Position(30), "{all_but_the_last_unit}");
    for frame in &frames {
        let before = archive.older(frame.time).unwrap();
        assert!(before <= frame.position, "{before} takes frame {}", frame.position);
        let next = archive.older(Timestamp(frame.time.0 + 1)).unwrap();
        assert!(next >= before && next <= frame.position.next());
    }
    let floor = archive.trim(archive.older(frames[49].time).unwrap(), &mut std::iter::empty()).unwrap();
    assert!(floor.position > Position(1) && floor.position <= Position(50), "{floor:?}");
    assert_eq!(archive.older(Timestamp(0)).unwrap(), floor.position);
}

pub(crate) fn the_newest_two_checkpoints_are_kept<P: Place>(place: &mut P) {
    let mut log = place.open();
    for _ in 0..3 {
        append(&mut log, 1);
    }
    log.sync().unwrap();
    let archive = log.archive();
    assert_eq!(archive.checkpoints().unwrap(), []);
    for at in 1..=3 {
        let content = vec![at as u8; 100_000];
        archive.put_checkpoint(Position(at), &mut |out| out.write_all(&content)).unwrap();
    }
    let failed = archive.put_checkpoint(Position(4), &mut |_| Err(std::io::ErrorKind::Other.into()));
    assert!(matches!(failed, Err(Error::Io { .. })));
    drop((archive, log));
    let archive = place.open().archive();
    assert_eq!(archive.checkpoints().unwrap(), [Position(3), Position(2)]);
    let mut content = Vec::new();
    archive.checkpoint(Position(2)).unwrap().read_to_end(&mut content).unwrap();
    assert_eq!(content, vec![2; 100_000]);
    assert!(archive.checkpoint(Position(1)).is_err());
}

/// One step of a random history.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Append(u32),
    Sync,
    Crash(u64),
}

pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0_u32..40).prop_map(Step::Append),
        3 => Just(Step::Sync),
        1 => any::<u64>().prop_map(Step::Crash),
    ];
    prop::collection::vec(step, 1..60)
}

/// [ACK-1], [LOG-1]: after any history every synced frame is there, and what is there is a prefix of what was written.
pub(crate) fn synced_frames_survive<P: Place>(place: &mut P, steps: &[Step]) {
    let mut log = place.open();
    let (mut written, mut synced) = (Vec::new(), 0);
    for step in steps.iter().chain([&Step::Crash(1)]) {
        match step {
            Step::Append(updates) => written.push(append(&mut log, *updates)),
            Step::Sync => {
                log.sync().unwrap();
                synced = written.len();
            }
            Step::Crash(choice) => {
                place.crash(log, *choice);
                log = place.open();
                let found = all(&log.archive());
                assert!(found.len() >= synced, "{} of {synced} synced frames are left", found.len());
                assert_eq!(found, written[..found.len()]);
                written = found;
                synced = written.len();
            }
        }
    }
}

/// Runs the suite for the place that `$place` makes.
macro_rules! conforms {
    ($place:expr) => {
        $crate::log::suite::conforms!($place =>
            an_empty_log_has_no_frames
            frames_are_seen_after_their_sync
            a_frame_that_does_not_continue_the_log_is_refused
            reopening_finds_what_was_synced
            sequences_lead_to_their_frames
            events_are_found_by_pointer
            trimming_keeps_what_is_live
            trimming_without_an_event_lets_go_of_nothing
            log_older_than_a_time_may_go
            the_newest_two_checkpoints_are_kept
        );

        proptest::proptest! {
            #![proptest_config(proptest::test_runner::Config { cases: 40, failure_persistence: None, ..Default::default() })]
            #[test]
            fn synced_frames_survive(steps in $crate::log::suite::steps()) {
                $crate::log::suite::synced_frames_survive(&mut $place, &steps);
            }
        }
    };
    ($place:expr => $($name:ident)*) => {
        $(#[test]
        fn $name() {
            $crate::log::suite::$name(&mut $place);
        })*
    };
}
pub(crate) use conforms;
