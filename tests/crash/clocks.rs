//! A wall clock that jumps under the real binary, with libfaketime: no lease is lost or kept by it, what is to be tried
//! again is, and the times of the log never go back. Leases and time-outs are measured with the monotonic clock, which does
//! not jump. [LEASE-2] [LOG-1]

use crate::pauses::Hand;
use crate::pauses::updates;
use crate::plan;
use crate::plan::Ending;
use crate::plan::Plan;
use crate::server::PATIENCE;
use crate::server::Server;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout;

const FLAGS: [&str; 4] = ["--lease-period", "1s", "--reconnect-grace", "500ms"];
/// More than two lease periods.
const LONG: Duration = Duration::from_millis(2_500);
/// How often a worker says that it is there.
const SIGN: Duration = Duration::from_millis(200);
/// Where the clock jumps to, in seconds from the true time: back and forth by an hour, and by ten years.
const JUMPS: [&str; 5] = ["-3600", "+3600", "-3600", "+315360000", "-315360000"];
/// Where distributions put it.
const LIBRARIES: [&str; 3] = [
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib64/faketime/libfaketimeMT.so.1",
];

fn jump(file: &Path, seconds: &str) {
    // Written beside it and renamed: the server reads it at every look at the clock.
    let new = file.with_extension("new");
    std::fs::write(&new, format!("{seconds}\n")).expect("it can be written");
    std::fs::rename(&new, file).expect("it can be renamed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_jumps_costs_no_lease_and_stops_no_retry() {
    let Some(library) = LIBRARIES.map(PathBuf::from).into_iter().find(|path| path.exists()) else {
        return eprintln!("SKIPPED: the clock cannot be made to jump here: there is no libfaketime");
    };
    let place = tempfile::tempdir().expect("a temporary directory");
    let clock = place.path().join("clock");
    jump(&clock, "+0");
    let mut server = Server::within(place.path(), &FLAGS);
    server.set_variable("LD_PRELOAD", &library.display().to_string());
    server.set_variable("FAKETIME_TIMESTAMP_FILE", &clock.display().to_string());
    server.set_variable("FAKETIME_NO_CACHE", "1");
    server.set_variable("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    server.start().await;
    let mut hand = Hand::open(&server, "w", 1).await;
    for (number, to) in (1..).zip(JUMPS) {
        submit(&server, number).await;
        let first = hand.lease().await;
        jump(&clock, to);
        let until = Instant::now() + LONG;
        while Instant::now() < until {
            tokio::time::sleep(SIGN).await;
            hand.say(v1::WorkRequest::default()).await;
        }
        hand.finish(&first, Ending::Failed).await;
        assert_eq!(hand.ack(first.token).await, v1::FinishOutcome::Accepted, "the lease is held at {to}");
        hand.say(v1::WorkRequest { free_slots: 1, ..v1::WorkRequest::default() }).await;
        let again = retried(&mut hand, to).await;
        assert_eq!((&again.job_id, again.attempt), (&first.job_id, 2));
        hand.finish(&again, Ending::Completed).await;
        assert_eq!(hand.ack(again.token).await, v1::FinishOutcome::Accepted);
        hand.say(v1::WorkRequest { free_slots: 1, ..v1::WorkRequest::default() }).await;
    }
    let all = updates(&server).await;
    let times: Vec<(i64, i32)> =
        all.iter().filter_map(|update| update.time).map(|time| (time.seconds, time.nanos)).collect();
    assert_eq!(times.len(), all.len(), "every update has a time");
    assert!(times.is_sorted(), "log time went back: {times:?}");
    let years = times.last().expect("there are updates").0 - times[0].0;
    assert!(years > 300_000_000, "the clock did not jump: {years} s from the first update to the last");
    let retries = all.iter().filter(|update| update.kind() == v1::UpdateKind::Retrying).count();
    assert_eq!(retries, JUMPS.len(), "each job failed once, and no lease was lost");
}

/// The lease of the second attempt, due a second of log time after the first. The worker goes on saying that it is there.
async fn retried(hand: &mut Hand, to: &str) -> v1::Lease {
    let by = Instant::now() + PATIENCE;
    loop {
        match timeout(SIGN, hand.lease()).await {
            Ok(lease) => return lease,
            Err(_silence) => hand.say(v1::WorkRequest::default()).await,
        }
        assert!(Instant::now() < by, "nothing is tried again at {to}");
    }
}

async fn submit(server: &Server, number: u64) {
    let second = prost_types::Duration { seconds: 1, nanos: 0 };
    let backoff = v1::Backoff { initial: Some(second), ..v1::Backoff::default() };
    let policy = v1::RetryPolicy { backoff: Some(backoff), ..v1::RetryPolicy::default() };
    let spec = plan::spec("a", &plan::payload("clock", number, Plan::Quick));
    let job = v1::JobSpec { retry_policy: Some(policy), ..spec };
    let request = v1::SubmitJobsRequest { jobs: vec![job], ..v1::SubmitJobsRequest::default() };
    JobServiceClient::new(server.channel().await).submit_jobs(request).await.expect("it is accepted");
}
