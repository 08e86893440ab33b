use crate::clock::Timestamp;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::finish;
use crate::grpc::convert::names;
use crate::grpc::convert::queue;
use crate::grpc::convert::spec;
use crate::grpc::convert::spec::Specs;
use crate::grpc::convert::submit;
use crate::grpc::convert::update::Parts;
use crate::grpc::convert::update::encode_update;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::decide::finish::Finish;
use crate::job::decide::submit::Origin;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::ProcessEnd;
use crate::job::event::Submitted;
use crate::job::event::Usage;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::retry::Retryable;
use crate::job::spec::Backoff;
use crate::job::spec::Extra;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::spec::QueueSettings;
use crate::job::state::JobState;
use crate::job::table::Slot;
use crate::proto::v1;
use bytes::Bytes;
use bytes::BytesMut;
use proptest::prelude::*;
use prost::Message;
use std::sync::Arc;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn submit(jobs: Vec<v1::JobSpec>) -> Result<Vec<NewJob>, Refusal> {
    let request = v1::SubmitJobsRequest { jobs, key: String::new() };
    submit::from_submit_jobs(request, &Sizes::default()).map(|batch| batch.jobs)
}

fn submitted(job: NewJob) -> Submitted {
    let NewJob { priority, run_at, policy, extra, payload, .. } = job;
    Submitted { id: JobId::from_u128(7), queue: QueueNo(1), priority, due: run_at, policy, extra, payload }
}

fn policies() -> impl Strategy<Value = Policy> {
    let backoff = (0..86_400_000_u64, 100..=u16::MAX, 0..86_400_000_u64, 0..=100_u8);
    let backoff = backoff.prop_map(|(initial_ms, factor_percent, more, jitter_percent)| Backoff {
        initial_ms,
        factor_percent,
        max_ms: initial_ms + more,
        jitter_percent,
    });
    let budget = || 1..=u16::MAX;
    let timed = prop::option::of(budget());
    let expires = prop::option::of((2_000_000_000_000..Timestamp::END.0).prop_map(Timestamp));
    (budget(), budget(), timed, budget(), backoff, prop::option::of(1..86_400_000_u64), expires).prop_map(
        |(max_attempts, crashed_max, timed_out_max, lost_max, backoff, timeout_ms, expires)| Policy {
            max_attempts,
            crashed_max,
            timed_out_max,
            lost_max,
            backoff,
            timeout_ms,
            expires,
        },
    )
}

fn jobs() -> impl Strategy<Value = NewJob> {
    let labels = prop::collection::btree_map("[a-z]{1,64}", "[ -~]{0,256}", 0..=spec::LABELS_MAX);
    let extra = ("[a-z/]{0,128}", labels, any::<bool>()).prop_map(|(content_type, labels, traced)| Extra {
        content_type: content_type.into(),
        labels: labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        traceparent: if traced { PARENT.into() } else { "".into() },
        tracestate: if traced { "a=b".into() } else { "".into() },
    });
    let payload = prop::collection::vec(any::<u8>(), 0..100);
    let run_at = (0..2_000_000_000_000_u64).prop_map(Timestamp);
    let policy = prop_oneof![Just(Policy::default()), policies()];
    ("[a-z][a-z0-9./:_-]{0,100}", -100..=100_i8, run_at, policy, extra, payload).prop_map(
        |(queue, priority, run_at, policy, extra, payload)| NewJob {
            queue: queue.parse().unwrap(),
            priority,
            run_at,
            policy: (policy != Policy::default()).then(|| Box::new(policy)),
            extra: (extra != Extra::default()).then(|| Box::new(extra)),
            payload: Payload(payload.into()),
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Every job that can be accepted is shown as a spec that submits the same job again, over the wire.
    #[test]
    fn a_job_survives_the_way_out_and_in(job in jobs()) {
        let sent = spec::to_spec(&submitted(job.clone()), &job.queue, job.payload.0.clone());
        let received = v1::JobSpec::decode(sent.encode_to_vec().as_slice()).unwrap();
        prop_assert_eq!(submit(vec![received]).unwrap(), vec![job]);
    }
}

#[test]
fn an_empty_spec_is_a_job_with_every_default() {
    let wanted = NewJob {
        queue: "default".parse().unwrap(),
        priority: 0,
        run_at: Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload::default(),
    };
    let explicit = v1::RetryPolicy { max_attempts: Some(5), lost_max: Some(20), ..Default::default() };
    let explicit = v1::JobSpec { retry_policy: Some(explicit), ..Default::default() };
    assert_eq!(submit(vec![v1::JobSpec::default(), explicit]).unwrap(), [wanted.clone(), wanted]);
}

/// Each wrong field is refused by its own path and reason.
#[test]
fn wrong_fields_are_named() {
    let time = |seconds| Some(prost_types::Timestamp { seconds, nanos: 0 });
    let long = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let retry = |retry| v1::JobSpec { retry_policy: Some(retry), ..Default::default() };
    let backoff = |backoff| retry(v1::RetryPolicy { backoff: Some(backoff), ..Default::default() });
    let labels = |count: usize, name: usize, value: usize| v1::JobSpec {
        labels: (0..count).map(|n| (format!("{n:0>name$}"), "v".repeat(value))).collect(),
        ..Default::default()
    };
    let base = v1::JobSpec::default;
    let cases = [
        (v1::JobSpec { queue: "no queue".into(), ..base() }, "queue"),
        (v1::JobSpec { payload: vec![0; 1_048_577].into(), ..base() }, "payload"),
        (v1::JobSpec { content_type: "t".repeat(129), ..base() }, "content_type"),
        (v1::JobSpec { priority: 101, ..base() }, "priority"),
        (v1::JobSpec { priority: -129, ..base() }, "priority"),
        (v1::JobSpec { run_at: time(-1), ..base() }, "run_at"),
        (v1::JobSpec { run_at: time(253_370_764_800), ..base() }, "run_at"),
        (v1::JobSpec { timeout: long(-1), ..base() }, "timeout"),
        (v1::JobSpec { timeout: long(0), ..base() }, "timeout"),
        (v1::JobSpec { timeout: long(i64::MAX), ..base() }, "timeout"),
        (v1::JobSpec { expires_at: time(0), ..base() }, "expires_at"),
        (v1::JobSpec { run_at: time(50), expires_at: time(50), ..base() }, "expires_at"),
        (labels(33, 2, 1), "labels"),
        (labels(1, 65, 1), "labels"),
        (labels(1, 2, 257), "labels"),
        (v1::JobSpec { traceparent: PARENT.to_uppercase(), ..base() }, "traceparent"),
        (v1::JobSpec { tracestate: "a=b".into(), ..base() }, "tracestate"),
        (retry(v1::RetryPolicy { max_attempts: Some(0), ..Default::default() }), "retry_policy.max_attempts"),
        (retry(v1::RetryPolicy { lost_max: Some(65_536), ..Default::default() }), "retry_policy.lost_max"),
        (
            backoff(v1::Backoff { factor_percent: Some(99), ..Default::default() }),
            "retry_policy.backoff.factor_percent",
        ),
        (
            backoff(v1::Backoff { jitter_percent: Some(101), ..Default::default() }),
            "retry_policy.backoff.jitter_percent",
        ),
        (
            backoff(v1::Backoff { initial: long(9), max: long(8), ..Default::default() }),
            "retry_policy.backoff.max",
        ),
    ];
    for (wrong, field) in cases {
        let refusal = submit(vec![base(), wrong.clone()]).unwrap_err();
        let fields: Vec<_> = refusal.violations().iter().map(|v| v.field.clone()).collect();
        assert_eq!(fields, [format!("jobs[1].{field}")], "{wrong:?}");
        let reason = match field {
            "queue" => Reason::InvalidQueueName,
            "payload" => Reason::PayloadTooLarge,
            _ => Reason::InvalidField,
        };
        assert_eq!(refusal.reason(), reason, "{wrong:?}");
    }
}

#[test]
fn all_violations_are_told_up_to_a_bound() {
    let wrong = v1::JobSpec { queue: "-".into(), priority: 999, ..Default::default() };
    let refusal = submit(vec![wrong.clone()]).unwrap_err();
    assert_eq!(refusal.violations().len(), 2);
    assert_eq!(submit(vec![wrong; 10_000]).unwrap_err().violations().len(), Checks::TOLD_MAX);
    assert_eq!(submit(vec![]).unwrap_err().violations()[0].field, "jobs");
    assert!(submit(vec![v1::JobSpec::default(); 10_001]).is_err());
}

#[test]
fn traceparents_are_checked() {
    let job = |traceparent: &str| v1::JobSpec { traceparent: traceparent.into(), ..Default::default() };
    assert!(submit(vec![job(PARENT)]).is_ok());
    for bad in [
        "00-00000000000000000000000000000000-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
        "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
        "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-",
        "zz",
    ] {
        assert!(submit(vec![job(bad)]).is_err(), "{bad}");
    }
}

#[test]
fn a_time_finer_than_a_millisecond_is_rounded_up() {
    let run_at = Some(prost_types::Timestamp { seconds: 1, nanos: 1 });
    let timeout = Some(prost_types::Duration { seconds: 0, nanos: 1 });
    let job = &submit(vec![v1::JobSpec { run_at, timeout, ..Default::default() }]).unwrap()[0];
    assert_eq!(job.run_at, Timestamp(1_001));
    assert_eq!(job.policy.as_ref().unwrap().timeout_ms, Some(1));
    let broken = Some(prost_types::Timestamp { seconds: 1, nanos: -1 });
    assert!(submit(vec![v1::JobSpec { run_at: broken, ..Default::default() }]).is_err());
}

/// The fingerprint is kept with the key: a release that computed another one would refuse honest repeats. [ID-1]
#[test]
fn the_fingerprint_of_a_batch_never_changes() {
    let labels = [("b", "2"), ("a", "1")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let job = v1::JobSpec { queue: "mail".into(), payload: "x".into(), labels, ..Default::default() };
    let print = |jobs| {
        let request = v1::SubmitJobsRequest { jobs, key: "k".into() };
        match submit::from_submit_jobs(request, &Sizes::default()).unwrap().origin {
            Origin::Key { fingerprint, .. } => fingerprint,
            Origin::Anonymous | Origin::Producer { .. } => panic!("a call with a key has a fingerprint"),
        }
    };
    assert_eq!(print(vec![job.clone()]), FINGERPRINT);
    assert_ne!(print(vec![job.clone(), job]), FINGERPRINT);
}

const FINGERPRINT: u64 = 16_951_388_556_349_697_252;

#[test]
fn a_producer_gives_its_ordinal_and_its_name() {
    let start = |name: &str| submit::from_submit_start(&v1::SubmitStart { producer_id: name.into() });
    assert!(start("").is_err() && start("a\nb").is_err() && start(&"n".repeat(129)).is_err());
    let producer = start("p").unwrap();
    let batch = |first_ordinal| v1::SubmitJobBatch { first_ordinal, jobs: vec![v1::JobSpec::default()] };
    let origin = submit::from_submit_job_batch(batch(5), &producer, &Sizes::default()).unwrap().origin;
    assert_eq!(origin, Origin::Producer { producer: Arc::clone(&producer), ordinal: 5 });
    assert!(submit::from_submit_job_batch(batch(0), &producer, &Sizes::default()).is_err());
}

#[test]
fn finishes_are_converted_and_wrong_ones_are_answered_one_by_one() {
    let id = JobId::from_u128(9);
    let with = |outcome| v1::Finish { job_id: id.to_string(), token: 3, handle: 1, outcome: Some(outcome) };
    let from = |finish| finish::from_finish(finish, &Sizes::default());
    let complete = |bytes: usize| {
        let result = Bytes::from(vec![1; bytes]);
        with(v1::finish::Outcome::Complete(v1::Complete { result, ..Default::default() }))
    };
    let (holder, finish) = from(complete(2)).unwrap();
    assert_eq!((holder.id, holder.token, holder.hint), (id, LeaseToken(3), Some(Slot(0))));
    assert!(matches!(finish, Finish::Complete { result, .. } if result.0 == [1, 1][..]));
    assert_eq!(finish::to_held_lease(&holder).handle, 1);

    let lost = v1::Failure { kind: v1::FailureKind::Lost.into(), ..Default::default() };
    let lost = with(v1::finish::Outcome::Fail(v1::Fail { failure: Some(lost), retryable: 0 }));
    let nameless = v1::Finish { job_id: String::new(), ..complete(1) };
    let outcomeless = v1::Finish { outcome: None, ..complete(1) };
    for (wrong, reason) in [
        (lost, Reason::InvalidField),
        (nameless, Reason::InvalidJobId),
        (outcomeless, Reason::InvalidField),
        (complete(1_048_577), Reason::PayloadTooLarge),
    ] {
        let refusal = from(wrong).unwrap_err();
        assert_eq!(refusal.reason(), reason);
        let ack = finish::to_ack(LeaseToken(3), Some(&refusal));
        assert_eq!((ack.token, ack.outcome()), (3, v1::FinishOutcome::Invalid));
    }
    let full = Refusal::new(Reason::DiskFull, "the disk is full");
    assert_eq!(finish::to_ack(LeaseToken(3), Some(&full)).outcome(), v1::FinishOutcome::RetryLater);
    assert_eq!(finish::to_ack(LeaseToken(3), None).outcome(), v1::FinishOutcome::Accepted);
}

#[test]
fn failures_survive_the_way_out_and_in_and_long_texts_are_cut() {
    let usage = Some(Usage { cpu_ms: 1_234, rss_kib: 5 });
    let process = ProcessEnd { exit_code: Some(-1), signal: None, stderr: "é".into(), usage };
    let kinds = [FailureKind::Failed, FailureKind::Crashed, FailureKind::TimedOut];
    for kind in kinds {
        let failure = Failure { kind, message: "m".into(), process: Some(Box::new(process.clone())) };
        let fail = v1::Fail {
            failure: Some(crate::grpc::convert::failure::to_failure(&failure)),
            retryable: v1::Retryable::No.into(),
        };
        let sent = v1::Finish {
            job_id: JobId::MIN.to_string(),
            outcome: Some(v1::finish::Outcome::Fail(fail)),
            ..Default::default()
        };
        let (_, received) = finish::from_finish(sent, &Sizes::default()).unwrap();
        let Finish::Fail { failure: found, retryable } = received else { panic!("{received:?}") };
        assert_eq!((found, retryable), (failure, Retryable::No));
    }
    let mut checks = Checks::new();
    let long = v1::Failure {
        message: "é".repeat(4_096),
        process: Some(v1::ProcessEnd { stderr: format!("{}end", "é".repeat(4_096)), ..Default::default() }),
        ..Default::default()
    };
    let path = At::Request.dot("failure");
    let cut = crate::grpc::convert::failure::from_failure(long, path, &mut checks).unwrap();
    assert_eq!(cut.message.len(), 4_096);
    let stderr = cut.process.unwrap().stderr;
    assert!(stderr.len() <= 4_096 && stderr.ends_with("éend"));
}

#[test]
fn queue_settings_change_only_what_is_said() {
    let before = QueueSettings { max_pending: Some(5), retention_ms: Some(9), ..Default::default() };
    let change = |settings| queue::from_queue_settings(Some(&settings)).map(|change| change.of(&before));
    let paused = v1::QueueSettings { paused: Some(true), ..Default::default() };
    assert_eq!(change(paused).unwrap(), QueueSettings { paused: true, ..before.clone() });
    let unlimited = v1::QueueSettings { max_pending: Some(0), ..Default::default() };
    assert_eq!(change(unlimited).unwrap(), QueueSettings { max_pending: None, ..before.clone() });
    assert_eq!(
        change(queue::to_queue_settings(&QueueSettings::default())).unwrap(),
        QueueSettings::default()
    );
    assert!(change(v1::QueueSettings::default()).is_err());
    assert!(change(v1::QueueSettings { dead_max: Some(0), ..Default::default() }).is_err());
}

#[test]
fn states_go_both_ways_and_filters_refuse_what_is_none() {
    for state in [
        JobState::Waiting,
        JobState::Running,
        JobState::Succeeded,
        JobState::Dead,
        JobState::Cancelled,
        JobState::Expired,
    ] {
        assert_eq!(names::from_state(names::to_state(state)), Some(state));
    }
    let mut checks = Checks::new();
    assert_eq!(names::states(&[1, 0, 99], &mut checks), [JobState::Waiting]);
    names::kinds(&[0, 11], &mut checks);
    let fields =
        checks.pass(()).unwrap_err().violations().iter().map(|v| v.field.clone()).collect::<Vec<_>>();
    assert_eq!(fields, ["states[1]", "states[2]", "kinds[0]"]);
}

#[test]
fn a_violation_in_a_spec_leaves_the_next_one_unharmed() {
    let sizes = Sizes::default();
    let mut checks = Checks::new();
    let mut specs = Specs::new(&sizes, &mut checks);
    let named = |queue: &str| v1::JobSpec { queue: queue.into(), ..Default::default() };
    assert!(specs.job(named("a"), At::Element("jobs", 0)).is_some());
    assert!(specs.job(named("?"), At::Element("jobs", 1)).is_none());
    assert_eq!(specs.job(named(""), At::Element("jobs", 2)).unwrap().queue.as_str(), "default");
}

#[test]
fn payloads_are_copied_out_of_the_message_whatever_their_sizes() {
    let sizes = [0, 1, 100, 4_096, 4_097, 100, 20_000, 3, 0].repeat(40);
    let payloads =
        sizes.iter().zip(0..).map(|(bytes, number): (&usize, usize)| Bytes::from(vec![number as u8; *bytes]));
    let payloads: Vec<Bytes> = payloads.collect();
    let spec = |payload: &Bytes| v1::JobSpec { payload: payload.clone(), ..Default::default() };
    let jobs = submit(payloads.iter().map(spec).collect()).unwrap();
    for (job, payload) in jobs.iter().zip(&payloads) {
        assert_eq!(job.payload.0, *payload);
        assert!(payload.is_empty() || job.payload.0.as_ptr() != payload.as_ptr(), "the message is kept");
    }
    assert_eq!(jobs.len(), payloads.len());
    drop(jobs);
    let is_free = |payload: &Bytes| payload.is_empty() || payload.is_unique();
    assert!(payloads.iter().all(is_free), "the message is kept");
}

#[test]
fn updates_are_encoded_one_after_the_other_with_the_parts_that_were_asked_for() {
    let id = JobId::from_u128(7);
    let queue = "mail".parse().unwrap();
    let no = QueueNo(1);
    let job =
        NewJob { queue: "mail".parse().unwrap(), ..submit(vec![v1::JobSpec::default()]).unwrap().remove(0) };
    let job = Submitted { payload: Payload("in".into()), ..submitted(job) };
    let result = Payload("out".into());
    let events = [
        Event::Submitted(job),
        Event::Opened { epoch: crate::job::id::Epoch(1), version: "1".into() },
        Event::Succeeded {
            id,
            queue: no,
            attempt: 2,
            result,
            content_type: "text/plain".into(),
            usage: None,
        },
    ];
    let encode = |parts| {
        let mut bytes = BytesMut::new();
        let added = events
            .iter()
            .zip(1..)
            .filter(|(event, n)| {
                encode_update(&mut bytes, Sequence(*n), Timestamp(1_500), &queue, event, parts)
            })
            .count();
        assert_eq!(added, 2);
        v1::UpdateBatch::decode(bytes.freeze()).unwrap().updates
    };
    let [submitted, succeeded] = encode(Parts { payload: true, result: true }).try_into().unwrap();
    assert_eq!((submitted.sequence, submitted.kind()), (1, v1::UpdateKind::Submitted));
    assert_eq!(submitted.job_id, id.to_string());
    assert_eq!(submitted.time, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
    assert_eq!(submitted.spec.unwrap().payload, "in");
    assert_eq!((succeeded.queue.as_str(), succeeded.attempt), ("mail", 2));
    assert_eq!((succeeded.result, succeeded.result_content_type), ("out".into(), "text/plain".into()));
    let [submitted, succeeded] = encode(Parts::default()).try_into().unwrap();
    assert!(submitted.spec.unwrap().payload.is_empty() && succeeded.result.is_empty());
}
