//! Events for tests: one or more of every kind with every field filled, and arbitrary ones over few names and numbers.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::ProcessEnd;
use crate::job::event::Progress;
use crate::job::event::Submitted;
use crate::job::event::Usage;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Backoff;
use crate::job::spec::Extra;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::spec::QueueSettings;
use bytes::Bytes;
use proptest::prelude::*;

const ID: JobId = JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0001);
const QUEUE: QueueNo = QueueNo(3);
const TIME: Timestamp = Timestamp(1_755_000_000_123);
const USAGE: Usage = Usage { cpu_ms: 1_234, rss_kib: 56_789 };

/// Every kind of event in the order of the format, with every kind of failure.
pub(crate) fn specimens() -> Vec<Event> {
    let mut events = about_jobs();
    events.extend(about_no_job());
    events
}

fn about_jobs() -> Vec<Event> {
    let (id, queue, due) = (ID, QUEUE, TIME);
    vec![
        Event::Submitted(submitted()),
        Event::Started { id, queue, attempt: 2, worker: "w-1".into() },
        Event::Progress { id, queue, progress: Progress { done: Some(5_000), message: "half".into() } },
        Event::Retrying { id, queue, attempt: 2, failure: failure(FailureKind::Failed), due },
        Event::Retrying { id, queue, attempt: 3, failure: failure(FailureKind::Crashed), due },
        Event::Retrying { id, queue, attempt: 4, failure: failure(FailureKind::TimedOut), due },
        Event::Released { id, queue, attempt: 5, due, reason: "stopping".into() },
        Event::Succeeded {
            id,
            queue,
            attempt: 6,
            result: Payload(Bytes::from_static(b"result")),
            content_type: "text/plain".into(),
            usage: Some(USAGE),
        },
        Event::Dead { id, queue, attempt: 7, failure: failure(FailureKind::Lost) },
        Event::Cancelled { id, queue, attempt: 8, reason: "not wanted".into() },
        Event::Expired { id, queue },
        Event::Retried { id, queue, generation: 1 },
        Event::Deleted { id, queue },
    ]
}

fn about_no_job() -> Vec<Event> {
    let settings =
        QueueSettings { paused: true, max_pending: Some(500), dead_max: 7, retention_ms: Some(86_400_000) };
    vec![
        Event::QueueMade { queue: QUEUE, name: "mail/out".parse().unwrap() },
        Event::QueueSet { queue: QUEUE, settings },
        Event::CursorSet { name: "reader".into(), sequence: Sequence(300) },
        Event::CursorDropped { name: "reader".into() },
        Event::KeyTaken { key: "order 77".into(), fingerprint: 0xfeed_beef, first: ID, jobs: 2 },
        Event::KeysForgotten { ended_before: TIME },
        Event::ProducerAdvanced { producer: "p".into(), ordinal: 70_000, first: ID, jobs: 2 },
        Event::ProducersForgotten { producers: vec!["p-1".into(), "p-2".into()] },
        Event::Opened { epoch: Epoch(9), version: "0.1.0".into() },
    ]
}

fn submitted() -> Submitted {
    let backoff = Backoff { initial_ms: 100, factor_percent: 150, max_ms: 60_000, jitter_percent: 10 };
    let policy = Policy {
        max_attempts: 4,
        crashed_max: 2,
        timed_out_max: Some(1),
        lost_max: 9,
        backoff,
        timeout_ms: Some(30_000),
        expires: Some(TIME),
    };
    let extra = Extra {
        content_type: "application/json".into(),
        labels: vec![("customer".into(), "17".into())],
        traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into(),
        tracestate: "a=b".into(),
    };
    Submitted {
        id: ID,
        queue: QUEUE,
        priority: -5,
        due: TIME,
        policy: Some(Box::new(policy)),
        extra: Some(Box::new(extra)),
        payload: Payload(Bytes::from_static(b"payload")),
    }
}

fn failure(kind: FailureKind) -> Failure {
    let process =
        ProcessEnd { exit_code: Some(-1), signal: Some(9), stderr: "killed".into(), usage: Some(USAGE) };
    Failure { kind, message: "no luck".into(), process: Some(Box::new(process)) }
}

/// Any events about few jobs, queues, attempts and names, so that many fit what came before and many do not.
pub(crate) fn arbitrary() -> impl Strategy<Value = Event> {
    prop_oneof![4 => arbitrary_of_jobs(), 1 => arbitrary_of_tables()]
}

fn arbitrary_of_jobs() -> impl Strategy<Value = Event> {
    let kind = prop_oneof![
        Just(FailureKind::Failed),
        Just(FailureKind::Crashed),
        Just(FailureKind::TimedOut),
        Just(FailureKind::Lost)
    ];
    let policy = prop::option::of((0..3_u16, prop::option::of(0..2_u16), 0..3_u64));
    let numbers = (id(), (0..3_u32).prop_map(QueueNo), attempt(), 0..3_u64, generation());
    (0..11_u8, numbers, kind, policy, text()).prop_map(|(which, numbers, kind, policy, text)| {
        let (id, queue, attempt, due, generation) = numbers;
        let due = Timestamp(due);
        let failure = Failure { kind, message: text.as_str().into(), process: None };
        let policy = policy.map(|(max_attempts, timed_out_max, expires)| {
            let expires = Some(Timestamp(expires));
            Box::new(Policy { max_attempts, timed_out_max, expires, ..Policy::default() })
        });
        let (extra, payload) = (None, Payload(Bytes::copy_from_slice(text.as_bytes())));
        match which {
            0 => Event::Submitted(Submitted { id, queue, priority: -1, due, policy, extra, payload }),
            1 => Event::Started { id, queue, attempt, worker: text.into() },
            2 => Event::Progress { id, queue, progress: Progress { done: None, message: text.into() } },
            3 => Event::Retrying { id, queue, attempt, failure, due },
            4 => Event::Released { id, queue, attempt, due, reason: text.into() },
            5 => {
                let content_type = text.into();
                Event::Succeeded { id, queue, attempt, result: payload, content_type, usage: Some(USAGE) }
            }
            6 => Event::Dead { id, queue, attempt, failure },
            7 => Event::Cancelled { id, queue, attempt, reason: text.into() },
            8 => Event::Expired { id, queue },
            9 => Event::Retried { id, queue, generation },
            _ => Event::Deleted { id, queue },
        }
    })
}

fn arbitrary_of_tables() -> impl Strategy<Value = Event> {
    let ordinal = prop_oneof![8 => 0..6_u64, 1 => Just(u64::MAX)];
    let jobs = prop_oneof![8 => 0..3_u32, 1 => Just(u32::MAX)];
    (0..9_u8, 0..3_u64, id(), jobs, text(), ordinal).prop_map(
        |(which, number, first, jobs, text, ordinal)| {
            let queue = QueueNo(u32::try_from(number).unwrap());
            let time = Timestamp(number);
            match which {
                0 => Event::QueueMade { queue, name: format!("q{text}").parse().unwrap() },
                1 => Event::QueueSet { queue, settings: QueueSettings::default() },
                2 => Event::CursorSet { name: text.into(), sequence: Sequence(ordinal) },
                3 => Event::CursorDropped { name: text.into() },
                4 => Event::KeyTaken { key: text.into(), fingerprint: number, first, jobs },
                5 => Event::KeysForgotten { ended_before: time },
                6 => Event::ProducerAdvanced { producer: text.into(), ordinal, first, jobs },
                7 => Event::ProducersForgotten { producers: vec![text.into()] },
                _ => Event::Opened { epoch: Epoch(number), version: text.into() },
            }
        },
    )
}

fn id() -> impl Strategy<Value = JobId> {
    prop_oneof![60 => (0..6_u128).prop_map(JobId::from_u128), 1 => Just(JobId::MAX)]
}

fn attempt() -> impl Strategy<Value = u32> {
    prop_oneof![12 => 0..4_u32, 1 => Just(u32::MAX)]
}

fn generation() -> impl Strategy<Value = u16> {
    prop_oneof![12 => 0..3_u16, 1 => Just(u16::MAX)]
}

fn text() -> impl Strategy<Value = String> {
    prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just(String::new())]
}
