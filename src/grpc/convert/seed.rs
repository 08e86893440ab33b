//! The words of the service that this one replaces.

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::names;
use crate::grpc::convert::spec::Specs;
use crate::grpc::status::Refusal;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::Sequence;
use crate::job::spec::NewJob;
use crate::proto::dosomething::Item;
use crate::proto::dosomething::State;
use crate::proto::dosomething::Update;
use crate::proto::v1;
use std::sync::Arc;

/// The label that keeps an item's own name.
const NAME_LABEL: &str = "name";
/// The cursor of readers that name none.
const DEFAULT_CURSOR: &str = "default";

/// The jobs that items ask for.
///
/// # Errors
/// The refusal that names every violation.
pub fn from_items(items: Vec<Item>, sizes: &Sizes) -> Result<Vec<NewJob>, Refusal> {
    let mut checks = Checks::new();
    let mut specs = Specs::new(sizes, &mut checks);
    let job = |(index, item): (usize, Item)| {
        let Item { name, payload, queue } = item;
        let labels = (!name.is_empty()).then(|| (NAME_LABEL.to_owned(), name)).into_iter().collect();
        let spec = v1::JobSpec { queue, payload, labels, ..v1::JobSpec::default() };
        specs.job(spec, At::Element("items", index))
    };
    let jobs = items.into_iter().enumerate().filter_map(job).collect();
    checks.pass(jobs)
}

/// The name of a reader's cursor.
///
/// # Errors
/// The refusal of a name that is not allowed.
pub fn from_cursor_name(name: Option<&str>) -> Result<Arc<str>, Refusal> {
    let mut checks = Checks::new();
    let name = names::name(name.unwrap_or(DEFAULT_CURSOR), At::Request.dot("gangline-cursor"), &mut checks);
    checks.pass(name.unwrap_or_default())
}

/// The event as an update; `None` for events that are none.
#[must_use]
pub fn to_update(sequence: Sequence, event: &Event) -> Option<Update> {
    let (id, _) = event.job()?;
    let mut update = Update { sequence: sequence.0, job_id: id.to_string(), ..Update::default() };
    let state = match event {
        Event::Submitted(job) => {
            update.name = name_of(job);
            update.payload = job.payload.apart().0;
            State::Submitted
        }
        Event::Started { .. } => State::Started,
        Event::Progress { .. } => State::Progress,
        Event::Retrying { failure, .. } => {
            update.error = failure.message.as_ref().to_owned();
            State::Retrying
        }
        Event::Released { reason, .. } => {
            update.error = because("handed back by its worker", reason);
            State::Retrying
        }
        Event::Retried { .. } => {
            update.error = "an operator tries it again".to_owned();
            State::Retrying
        }
        Event::Succeeded { result, .. } => {
            update.result = result.0.clone();
            State::Succeeded
        }
        Event::Dead { failure, .. } => {
            update.error = failure.message.as_ref().to_owned();
            State::Failed
        }
        Event::Cancelled { reason, .. } => {
            update.error = because("cancelled", reason);
            State::Dropped
        }
        Event::Expired { .. } => {
            update.error = "expired".to_owned();
            State::Dropped
        }
        Event::Deleted { .. } => {
            update.error = "deleted".to_owned();
            State::Dropped
        }
        Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => return None,
    };
    update.set_state(state);
    Some(update)
}

fn name_of(job: &Submitted) -> String {
    let labels = job.extra.as_deref().map_or(&[][..], |extra| &extra.labels);
    let named = labels.iter().find(|(label, _)| &**label == NAME_LABEL);
    named.map(|(_, name)| name.as_ref().to_owned()).unwrap_or_default()
}

fn because(what: &str, reason: &str) -> String {
    if reason.is_empty() { what.to_owned() } else { format!("{what}: {reason}") }
}
