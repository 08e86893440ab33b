//! Queues: what operators ask of them, and what readers see.

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::names;
use crate::grpc::convert::time;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::grpc::status::Violation;
use crate::job::id::InvalidQueueName;
use crate::job::id::QueueName;
use crate::job::spec::QueueChange;
use crate::job::spec::QueueSettings;
use crate::proto::v1;
use crate::service::queues::Purged;
use crate::service::queues::QueueInfo;
use crate::service::queues::QueuePage;
use crate::service::queues::QueuesAfter;
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

/// Which page a `ListQueues` call asks for. A page token is the last name of the page before.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_list_queues(request: &v1::ListQueuesRequest) -> Result<QueuesAfter, Refusal> {
    let mut checks = Checks::new();
    let limit = names::page_size(request.page_size, &mut checks);
    let token = &request.page_token;
    let name = if token.is_empty() { None } else { token.parse().ok() };
    if name.is_none() && !token.is_empty() {
        checks.note(Reason::InvalidPageToken, "page_token", "is not one that this call gave");
    }
    checks.pass(QueuesAfter { name, limit })
}

/// The name of a `GetQueue` call.
///
/// # Errors
/// The refusal of a name that is not allowed.
pub fn from_get_queue(request: &v1::GetQueueRequest) -> Result<QueueName, Refusal> {
    name(&request.name)
}

/// The queue of an `UpdateQueue` call and what is to change.
///
/// # Errors
/// The refusal of a name that is not allowed, or of the change.
pub fn from_update_queue(request: &v1::UpdateQueueRequest) -> Result<(QueueName, QueueChange), Refusal> {
    Ok((name(&request.name)?, from_queue_settings(request.settings.as_ref())?))
}

/// The queue of a `PurgeQueue` call and what goes.
///
/// # Errors
/// The refusal of a name or a target that is not allowed.
pub fn from_purge_queue(request: &v1::PurgeQueueRequest) -> Result<(QueueName, Purged), Refusal> {
    let what = match v1::PurgeTarget::try_from(request.target) {
        Ok(v1::PurgeTarget::Waiting) => Purged::Waiting,
        Ok(v1::PurgeTarget::Dead) => Purged::Dead,
        Ok(v1::PurgeTarget::Finished) => Purged::Finished,
        Ok(v1::PurgeTarget::Unspecified) | Err(_) => {
            let text = "must say which jobs go: waiting, dead or finished ones".to_owned();
            let violation = Violation { reason: Reason::InvalidField, field: "target".to_owned(), text };
            return Err(Refusal::invalid(vec![violation]));
        }
    };
    Ok((name(&request.name)?, what))
}

fn name(text: &str) -> Result<QueueName, Refusal> {
    text.parse().map_err(|error: InvalidQueueName| {
        let text = error.to_string();
        let violation = Violation { reason: Reason::InvalidQueueName, field: "name".to_owned(), text };
        Refusal::invalid(vec![violation])
    })
}

/// A queue as the API sends it.
#[must_use]
pub fn to_queue(queue: &QueueInfo) -> v1::Queue {
    v1::Queue {
        name: queue.view.name.as_str().to_owned(),
        settings: Some(to_queue_settings(&queue.view.settings)),
        ready: queue.backlog.ready,
        scheduled: queue.backlog.scheduled,
        running: queue.view.counts.running,
        dead: queue.view.counts.dead,
        oldest_due: queue.backlog.oldest_due.map(time::to_timestamp),
    }
}

/// A page of queues as the API sends it.
#[must_use]
pub fn to_list_queues(page: &QueuePage) -> v1::ListQueuesResponse {
    v1::ListQueuesResponse {
        queues: page.queues.iter().map(to_queue).collect(),
        next_page_token: page.next.as_ref().map(ToString::to_string).unwrap_or_default(),
    }
}
