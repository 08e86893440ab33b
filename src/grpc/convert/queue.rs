//! Settings of a queue: a change from an operator, and the whole to readers.

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::time;
use crate::grpc::status::Refusal;
use crate::job::spec::QueueChange;
use crate::job::spec::QueueSettings;
use crate::proto::v1;
use std::time::Duration;

/// What an operator wants changed.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_queue_settings(settings: Option<&v1::QueueSettings>) -> Result<QueueChange, Refusal> {
    let mut checks = Checks::new();
    let at = At::Field("settings");
    let settings = settings.copied().unwrap_or_default();
    if settings == v1::QueueSettings::default() {
        checks.field("settings", "changes nothing: set at least one field");
    }
    if settings.dead_max == Some(0) {
        checks.field(at.dot("dead_max"), "is 0; at least 1 is kept");
    }
    let retention = settings
        .retention
        .and_then(|found| time::duration(found, Duration::ZERO, at.dot("retention"), &mut checks))
        .map(time::whole_millis);
    // 0 takes a limit away.
    let change = QueueChange {
        paused: settings.paused,
        max_pending: settings.max_pending.map(|max| (max > 0).then_some(max)),
        dead_max: settings.dead_max,
        retention_ms: retention.map(|millis| (millis > 0).then_some(millis)),
    };
    checks.pass(change)
}

/// All settings as the API sends them.
#[must_use]
pub fn to_queue_settings(settings: &QueueSettings) -> v1::QueueSettings {
    v1::QueueSettings {
        paused: Some(settings.paused),
        max_pending: Some(settings.max_pending.unwrap_or(0)),
        dead_max: Some(settings.dead_max),
        retention: Some(time::to_duration(settings.retention_ms.unwrap_or(0))),
    }
}
