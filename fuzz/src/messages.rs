//! Messages of clients: any bytes that decode are refused or converted, and what is converted keeps to its limits.

use crate::input::Input;
use gangline::grpc::convert;
use gangline::grpc::convert::Checks;
use gangline::grpc::convert::Sizes;
use gangline::job::id::StoreId;
use gangline::proto::v1;
use prost::Message;

const SIZES: Sizes = Sizes { payload_bytes_max: 64, result_bytes_max: 64, jobs_max: 8 };

/// Decodes and converts one message.
pub fn run(bytes: &[u8]) {
    let mut input = Input(bytes);
    let kind = input.byte();
    let bytes = input.0;
    match kind % 13 {
        0 => with(bytes, |request| {
            if let Ok(batch) = convert::submit::from_submit_jobs(request, &SIZES) {
                assert!((1..=SIZES.jobs_max).contains(&batch.jobs.len()));
                assert!(batch.jobs.iter().all(|job| job.payload.0.len() <= SIZES.payload_bytes_max));
                assert!(batch.jobs.iter().all(|job| (-100..=100).contains(&job.priority)));
            }
        }),
        1 => with(bytes, |batch| {
            if let Ok(batch) = convert::submit::from_submit_job_batch(batch, &"p".into(), &SIZES) {
                assert!((1..=SIZES.jobs_max).contains(&batch.jobs.len()));
            }
        }),
        2 => with(bytes, |start: v1::SubmitStart| drop(convert::submit::from_submit_start(&start))),
        3 => with(bytes, |finish: v1::Finish| {
            if let Ok((holder, finish)) = convert::finish::from_finish(finish, &SIZES) {
                // What was accepted comes through a second time as it is.
                let again = convert::finish::to_finish(&holder, finish.clone());
                let again = convert::finish::from_finish(again, &SIZES).expect("it was accepted once");
                assert_eq!(format!("{again:?}"), format!("{:?}", (holder, finish)));
            }
        }),
        4 => with(bytes, |report: v1::ProgressReport| drop(convert::finish::from_progress_report(report))),
        5 => with(bytes, |request: v1::GetUpdatesRequest| drop(convert::tail::from_get_updates(request))),
        6 => with(bytes, |request: v1::CommitCursorRequest| drop(convert::tail::from_commit_cursor(request))),
        7 => with(bytes, |request: v1::ListJobsRequest| {
            if let Ok((wanted, _)) = convert::page::from_list_jobs(&request, StoreId([7; 16])) {
                assert!(wanted.limit > 0);
            }
        }),
        8 => with(bytes, |request: v1::UpdateQueueRequest| drop(convert::queue::from_update_queue(&request))),
        9 => with(bytes, |request: v1::PurgeQueueRequest| drop(convert::queue::from_purge_queue(&request))),
        10 => with(bytes, |request: v1::ListQueuesRequest| drop(convert::queue::from_list_queues(&request))),
        11 => {
            with(bytes, |request: v1::ListWorkersRequest| drop(convert::admin::from_list_workers(&request)))
        }
        _ => with(bytes, |held: v1::HeldLease| {
            convert::finish::from_held_lease(&held, &mut Checks::new());
        }),
    }
}

fn with<M: Message + Default>(bytes: &[u8], convert: impl FnOnce(M)) {
    if let Ok(message) = M::decode(bytes) {
        convert(message);
    }
}
