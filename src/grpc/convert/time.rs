//! Times and durations. The domain counts whole milliseconds: what comes in finer is rounded up, so that nothing starts
//! before the time that was asked for.

use crate::clock::Timestamp;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Path;
use std::time::Duration;

/// The longest duration that is accepted: 3,650 days.
pub const DURATION_MAX: Duration = Duration::from_secs(3_650 * 24 * 3_600);

/// A point of time; `None` and a violation if it is before 1970 or not before the year 9999.
pub fn timestamp(time: prost_types::Timestamp, path: Path, checks: &mut Checks) -> Option<Timestamp> {
    let converted = millis(time.seconds, time.nanos).map(Timestamp).filter(|&time| time < Timestamp::END);
    if converted.is_none() {
        checks.field(path, "is not a time from 1970 to before the year 9999");
    }
    converted
}

/// A duration of at least `least`; `None` and a violation if it is shorter, negative or too long.
pub fn duration(
    duration: prost_types::Duration,
    least: Duration,
    path: Path,
    checks: &mut Checks,
) -> Option<Duration> {
    let converted = millis(duration.seconds, duration.nanos)
        .map(Duration::from_millis)
        .filter(|&duration| (least..=DURATION_MAX).contains(&duration));
    if converted.is_none() {
        let least = humantime::format_duration(least);
        checks.field(path, format_args!("is not a duration from {least} to 3,650 days"));
    }
    converted
}

/// How long a call may wait: what is over `most` is cut, because the caller may always ask again.
pub fn wait(
    wait: Option<prost_types::Duration>,
    most: Duration,
    path: Path,
    checks: &mut Checks,
) -> Option<Duration> {
    match wait {
        None => Some(Duration::ZERO),
        Some(wait) => duration(wait, Duration::ZERO, path, checks).map(|wait| wait.min(most)),
    }
}

/// Whole milliseconds, rounded up; `None` if negative or not normalized.
fn millis(seconds: i64, nanos: i32) -> Option<u64> {
    let seconds = u64::try_from(seconds).ok()?;
    let nanos = u64::try_from(nanos).ok().filter(|&nanos| nanos < 1_000_000_000)?;
    seconds.checked_mul(1_000)?.checked_add(nanos.div_ceil(1_000_000))
}

/// A time as the API sends it.
#[must_use]
pub fn to_timestamp(time: Timestamp) -> prost_types::Timestamp {
    let (seconds, nanos) = split(time.0);
    prost_types::Timestamp { seconds, nanos }
}

/// A number of milliseconds as the API sends it.
#[must_use]
pub fn to_duration(millis: u64) -> prost_types::Duration {
    let (seconds, nanos) = split(millis);
    prost_types::Duration { seconds, nanos }
}

/// Whole seconds, and nanoseconds besides.
pub(in crate::grpc::convert) fn split(millis: u64) -> (i64, i32) {
    let seconds = i64::try_from(millis / 1_000).expect("a thousandth of 64 bits fits 63");
    let nanos = i32::try_from(millis % 1_000).expect("below 1,000") * 1_000_000;
    (seconds, nanos)
}

/// A duration in whole milliseconds, as the domain keeps it.
#[must_use]
pub fn whole_millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
