//! A lease as workers receive it.

use crate::grpc::convert::finish;
use crate::grpc::convert::spec;
use crate::grpc::convert::time;
use crate::job::event::Submitted;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::table::Slot;
use crate::proto::v1;

/// The lease `token` of the job in `slot`, for its attempt number `attempt`, with all that its worker needs.
#[must_use]
pub fn to_lease(
    job: &Submitted,
    queue: &QueueName,
    token: LeaseToken,
    slot: Slot,
    attempt: u32,
) -> v1::Lease {
    let spec = spec::to_spec(job, queue, job.payload.0.clone());
    v1::Lease {
        job_id: job.id.to_string(),
        token: token.0,
        handle: finish::to_handle(slot),
        queue: spec.queue,
        attempt,
        payload: spec.payload,
        content_type: spec.content_type,
        priority: spec.priority,
        timeout: spec.timeout,
        labels: spec.labels,
        traceparent: spec.traceparent,
        tracestate: spec.tracestate,
    }
}

/// A duration that a worker is told, such as the lease period.
#[must_use]
pub fn to_period(period: std::time::Duration) -> prost_types::Duration {
    time::to_duration(time::whole_millis(period))
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::grpc::convert::Sizes;
    use crate::grpc::convert::finish::from_finish;
    use crate::grpc::convert::lease::to_lease;
    use crate::job::event::Submitted;
    use crate::job::id::JobId;
    use crate::job::id::LeaseToken;
    use crate::job::id::QueueNo;
    use crate::job::spec::Payload;
    use crate::job::spec::Policy;
    use crate::job::table::Slot;
    use crate::proto::v1;

    /// What a worker sends back of its lease finds the job again, in the first slot too.
    #[test]
    fn a_lease_comes_back_as_its_holder() {
        let job = Submitted {
            id: JobId::from_u128(5),
            queue: QueueNo(1),
            priority: -3,
            due: Timestamp(0),
            policy: Some(Box::new(Policy { timeout_ms: Some(1_500), ..Policy::default() })),
            extra: None,
            payload: Payload("in".into()),
        };
        for slot in [Slot(0), Slot(77)] {
            let lease = to_lease(&job, &"mail".parse().unwrap(), LeaseToken(8), slot, 2);
            assert_eq!((lease.queue.as_str(), lease.attempt, lease.priority), ("mail", 2, -3));
            assert_eq!(lease.timeout, Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }));
            assert_eq!(lease.payload, "in");
            let outcome = Some(v1::finish::Outcome::Release(v1::Release::default()));
            let finish =
                v1::Finish { job_id: lease.job_id, token: lease.token, handle: lease.handle, outcome };
            let (holder, _) = from_finish(finish, &Sizes::default()).unwrap();
            assert_eq!((holder.id, holder.token, holder.hint), (job.id, LeaseToken(8), Some(slot)));
        }
    }
}
