//! Jobs that certify themselves: the payload says who made it, what the worker is to do with it, and its own digest.

use bytes::Bytes;
use gangline::proto::v1;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use xxhash_rust::xxh3::xxh3_64;

/// What the worker does with a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// Completes it soon.
    Quick,
    /// Completes it after a time that is long enough to meet a crash.
    Slow,
    /// Fails the first attempt, completes the next.
    Fail,
    /// Says of the first attempt that its process crashed, completes the next.
    Crash,
    /// Hands the first attempt back, completes the next.
    Release,
    /// Fails every attempt: dead when its two attempts are used up.
    Exhaust,
    /// Fails the first attempt for good: dead at once. An operator retries it, then it completes.
    Mend,
    /// As slow; its submitter cancels it.
    Cancel,
}

/// How an attempt ends, as its worker says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Ending {
    Completed,
    Failed,
    FailedForGood,
    Crashed,
    Released,
}

const PLANS: [(&str, Plan); 8] = [
    ("quick", Plan::Quick),
    ("slow", Plan::Slow),
    ("fail", Plan::Fail),
    ("crash", Plan::Crash),
    ("release", Plan::Release),
    ("exhaust", Plan::Exhaust),
    ("mend", Plan::Mend),
    ("cancel", Plan::Cancel),
];

/// Failed attempts that a job may have. Lost ones do not count.
pub(crate) const ATTEMPTS_MAX: u32 = 2;
/// Crashed attempts that a job may have.
pub(crate) const CRASHES_MAX: u32 = 3;

impl Plan {
    /// The plan of a random number: most jobs just run.
    pub(crate) fn of(chance: u32) -> Plan {
        match chance % 32 {
            0..=1 => Plan::Slow,
            2 => Plan::Fail,
            3 => Plan::Crash,
            4..=5 => Plan::Release,
            6 => Plan::Exhaust,
            7 => Plan::Mend,
            8 => Plan::Cancel,
            9.. => Plan::Quick,
        }
    }

    fn word(self) -> &'static str {
        let named = PLANS.iter().find(|(_, plan)| *plan == self);
        named.expect("every plan has a word").0
    }

    /// How the attempt with this number ends.
    pub(crate) fn ending(self, attempt: u32) -> Ending {
        match self {
            Plan::Exhaust => Ending::Failed,
            Plan::Fail if attempt == 1 => Ending::Failed,
            Plan::Crash if attempt == 1 => Ending::Crashed,
            Plan::Release if attempt == 1 => Ending::Released,
            Plan::Mend if attempt == 1 => Ending::FailedForGood,
            Plan::Quick
            | Plan::Slow
            | Plan::Fail
            | Plan::Crash
            | Plan::Release
            | Plan::Mend
            | Plan::Cancel => Ending::Completed,
        }
    }

    pub(crate) fn is_slow(self) -> bool {
        matches!(self, Plan::Slow | Plan::Cancel)
    }
}

/// The payload of the client's `number`-th job.
pub(crate) fn payload(client: &str, number: u64, plan: Plan) -> String {
    let said = format!("{client}/{number}/{}", plan.word());
    format!("{said}/{:016x}", xxh3_64(said.as_bytes()))
}

/// The plan in a payload; `None` if it is not one of ours, byte for byte.
pub(crate) fn parse(payload: &str) -> Option<Plan> {
    let (said, digest) = payload.rsplit_once('/')?;
    let whole = digest == format!("{:016x}", xxh3_64(said.as_bytes()));
    let word = said.rsplit_once('/')?.1;
    PLANS.iter().find(|(name, _)| whole && *name == word).map(|(_, plan)| *plan)
}

/// What a job with this payload results in.
pub(crate) fn result(payload: &str) -> String {
    format!("done: {payload}")
}

/// The job.
pub(crate) fn spec(queue: &str, payload: &str) -> v1::JobSpec {
    let span = |millis: i32| prost_types::Duration { seconds: 0, nanos: millis * 1_000_000 };
    let backoff = v1::Backoff { initial: Some(span(10)), max: Some(span(50)), ..v1::Backoff::default() };
    v1::JobSpec {
        queue: queue.to_owned(),
        payload: Bytes::copy_from_slice(payload.as_bytes()),
        retry_policy: Some(v1::RetryPolicy {
            max_attempts: Some(ATTEMPTS_MAX),
            crashed_max: Some(CRASHES_MAX),
            backoff: Some(backoff),
            ..v1::RetryPolicy::default()
        }),
        labels: BTreeMap::new(),
        ..v1::JobSpec::default()
    }
}
