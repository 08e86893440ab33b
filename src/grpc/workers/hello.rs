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
use crate::job::id::StoreId;
use crate::proto::v1;
use crate::service::workers::Hello;
use std::sync::Arc;

/// The most queues a worker may name.
const QUEUES_MAX: usize = 1_000;
/// The most leases a worker may say it holds.
const HELD_MAX: usize = 10_000;

/// The worker behind the first message of a stream, which takes `free` leases at once. `here` is the server's store: tokens of
/// another one may by chance be those of leases that were given here. [LEASE-1]
///
/// # Errors
/// The refusal that names every violation.
pub(in crate::grpc::workers) fn from_hello(
    hello: &v1::Hello,
    free: u32,
    here: StoreId,
) -> Result<Hello, Refusal> {
    let mut checks = Checks::new();
    let at = At::Field("hello");
    let name = worker_name(&hello.worker_id, at, &mut checks);
    let queues = worker_queues(&hello.queues, &mut checks);
    let description = names::words(&hello.description, 256, at.dot("description"), &mut checks);
    names::count(hello.held.len(), 0..=HELD_MAX, at.dot("held"), &mut checks);
    let mut held: Vec<_> = hello.held.iter().filter_map(|held| from_held_lease(held, &mut checks)).collect();
    if !hello.store_id.is_empty()
        && names::store_id(&hello.store_id, at.dot("store_id"), &mut checks) != Some(here)
    {
        held.clear();
    }
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

#[cfg(test)]
mod tests {
    use crate::grpc::workers::hello::from_hello;
    use crate::job::id::StoreId;
    use crate::proto::v1;

    /// [LEASE-1]: a restored server gives the same tokens once more.
    #[test]
    fn leases_of_another_store_are_not_taken_for_those_of_this_one() {
        let (here, other) = (StoreId([1; 16]), StoreId([2; 16]));
        let job_id = "0198a5c2-6f00-7000-8000-000000000001".to_owned();
        let held = |store_id: String| {
            let lease = v1::HeldLease { job_id: job_id.clone(), token: 7, handle: 0 };
            let (worker_id, held) = ("w".to_owned(), vec![lease]);
            from_hello(&v1::Hello { worker_id, held, store_id, ..v1::Hello::default() }, 1, here)
                .map(|hello| hello.held.len())
        };
        assert_eq!(held(here.to_string()).ok(), Some(1));
        assert_eq!(held(String::new()).ok(), Some(1));
        assert_eq!(held(other.to_string()).ok(), Some(0));
        assert_eq!(held("x".to_owned()).unwrap_err().violations()[0].field, "hello.store_id");
    }
}
