//! How a worker announces itself.

use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Liveness;
use crate::engine::workers::Unnamed;
use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::finish::from_held_lease;
use crate::grpc::convert::names;
use crate::grpc::status::Refusal;
use crate::job::id::QueueName;
use crate::proto::v1;
use crate::service::workers::Hello;
use std::sync::Arc;

/// The most queues a worker may name.
const QUEUES_MAX: usize = 1_000;
/// The most leases a worker may say it holds.
const HELD_MAX: usize = 10_000;

/// The worker behind the first message of a stream, which takes `free` leases at once.
///
/// # Errors
/// The refusal that names every violation.
pub(in crate::grpc::workers) fn from_hello(hello: &v1::Hello, free: u32) -> Result<Hello, Refusal> {
    let mut checks = Checks::new();
    let at = At::Field("hello");
    let name = worker_name(&hello.worker_id, at, &mut checks);
    let queues = worker_queues(&hello.queues, &mut checks);
    let description = names::words(&hello.description, 256, at.dot("description"), &mut checks);
    names::count(hello.held.len(), 0..=HELD_MAX, at.dot("held"), &mut checks);
    let held: Vec<_> = hello.held.iter().filter_map(|held| from_held_lease(held, &mut checks)).collect();
    let name = checks.pass(name)?.expect("without a violation there is a name");
    Ok(Hello {
        name,
        description: description.unwrap_or_default(),
        slots: hello.slots,
        queues,
        free,
        held: held.into_iter().map(|holder| (holder.id, holder.token)).collect(),
        liveness: Liveness::Signs,
        unnamed: Unnamed::Lost,
    })
}

/// A worker's name; those of the server's own workers are taken.
pub(in crate::grpc::workers) fn worker_name(name: &str, at: At, checks: &mut Checks) -> Option<Arc<str>> {
    if name.starts_with(LOCAL_PREFIX) {
        let text = format_args!("begins with {LOCAL_PREFIX:?}, as only the server's own workers do");
        checks.field(at.dot("worker_id"), text);
    }
    names::name(name, at.dot("worker_id"), checks)
}

/// The queues of a worker; the default one if it names none.
pub(in crate::grpc::workers) fn worker_queues(queues: &[String], checks: &mut Checks) -> Vec<QueueName> {
    if queues.is_empty() {
        names::queue_or_default("", At::Request.dot("queues"), checks).into_iter().collect()
    } else {
        names::queues(queues, QUEUES_MAX, "queues", checks)
    }
}
