//! A full disk: submits are refused and say so, running jobs finish, reads go on, a restart works, and when there is
//! space again submits work by themselves. [ACK-2]

use crate::check;
use crate::kills;
use crate::load;
use crate::load::Load;
use crate::plan;
use crate::plan::Plan;
use crate::server::PATIENCE;
use crate::server::Server;
use crate::server::until;
use crate::tier;
use crate::volume::Volume;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use std::collections::HashSet;
use std::io::Write;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;
use tokio::time::timeout;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt;

/// A small disk, and leases that lapse soon.
const FLAGS: [&str; 6] = ["--reserve-bytes", "1MiB", "--lease-period", "2s", "--threads", "2"];
/// Segments that are larger than the largest frame by far.
const LARGE: [&str; 2] = ["--segment-bytes", "32MiB"];
/// Segments that have room for two of the largest results.
const SMALL: [&str; 8] = [
    "--segment-bytes",
    "1MiB",
    "--transport-request-bytes-max",
    "512KiB",
    "--payload-bytes-max",
    "448KiB",
    "--result-bytes-max",
    "448KiB",
];
/// Large jobs fill the log soon.
const PADDING_BYTES: usize = 400_000;
/// How soon submits must work again when there is space.
const BACK: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_submits_only_and_they_come_back_by_themselves() {
    fill_twice(112, &LARGE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_jobs_finish_on_a_full_disk_however_small_the_segments() {
    fill_twice(48, &SMALL).await;
}

/// Fills a disk of so many MiB under a server with these segments, again when it starts, and then grows it.
async fn fill_twice(mebibytes: u64, segments: &[&str]) {
    let volume = match Volume::tmpfs(mebibytes) {
        Ok(volume) => volume,
        Err(why) => return eprintln!("SKIPPED: no disk can be filled here: {why}"),
    };
    let seed = tier::seed("full");
    let flags: Vec<&str> = FLAGS.iter().chain(segments).copied().collect();
    let mut server = Server::new(&volume.path().join("data"), &volume.beside().join("stderr"), &flags);
    let mut load = Load::start(&server.address(), seed);
    server.start().await;
    load.more(200).await;
    let ballast = volume.path().join("ballast");
    fill(&ballast);
    judge_full(&server, &load, &ballast, "f1").await;
    server.kill();
    fill(&ballast);
    server.start().await;
    judge_full(&server, &load, &ballast, "f2").await;
    let acks = || load.recorder.look(|history| history.acks.len());
    let before = acks();
    volume.grow(1_024);
    let grown = Instant::now();
    let back = until(BACK, || (acks() > before).then_some(()));
    assert!(back.await.is_some(), "submits are still refused {BACK:?} after there is space again");
    eprintln!("full: submits were back {:?} after there was space", grown.elapsed());
    serving(&server, "gangline.submits", ServingStatus::Serving).await;
    load.look();
    let (history, last) = load.settle().await;
    kills::report("a disk full twice, once of them at the start", &history, &last);
    check::assert_kept(&history, &last, seed);
    server.kill();
}

/// What must hold on a full disk.
async fn judge_full(server: &Server, load: &Load, ballast: &Path, by: &str) {
    let channel = server.channel().await;
    let mut jobs = JobServiceClient::new(channel.clone());
    let padded = format!("{by}{}", "x".repeat(PADDING_BYTES));
    let refusal = async {
        for number in 1.. {
            let payload = plan::payload(&padded, number, Plan::Quick);
            let spec = plan::spec("a", &payload);
            load.recorder.intend(|history| history.asked.insert(payload));
            let request = v1::SubmitJobsRequest { jobs: vec![spec], ..v1::SubmitJobsRequest::default() };
            if let Err(status) = jobs.submit_jobs(request).await {
                return status;
            }
            // The server itself had found a little space: take that too.
            fill(ballast);
        }
        unreachable!("numbers do not end")
    };
    let status = timeout(PATIENCE, refusal).await.expect("submits are refused in time");
    assert_eq!(reason_of(&status), Some(Reason::DiskFull), "{status:?}");
    assert_eq!(status.code(), tonic::Code::ResourceExhausted);
    let retry = status.get_details_retry_info().and_then(|info| info.retry_delay);
    assert!(retry.is_some_and(|delay| !delay.is_zero()), "it says when to try again: {status:?}");
    serving(server, "gangline.submits", ServingStatus::NotServing).await;
    serving(server, "", ServingStatus::Serving).await;
    let mut updates = UpdateServiceClient::new(channel);
    let full_at = running(&mut updates).await;
    let finished = async {
        while !running(&mut updates).await.is_disjoint(&full_at) {
            load::link::pause().await;
        }
    };
    assert!(timeout(PATIENCE, finished).await.is_ok(), "running jobs finish and the log can be read");
    // A server that starts on a full disk finds no space for a work tree that has to be built: then it says so.
    match jobs.list_jobs(v1::ListJobsRequest::default()).await {
        Ok(_) => eprintln!("full: {by}: jobs can be listed"),
        Err(status) => {
            assert_eq!(reason_of(&status), Some(Reason::WorkTreeRebuilding), "{status:?}");
            assert_eq!(by, "f2", "reads go on when the disk gets full");
            eprintln!("full: {by}: {status:?}");
        }
    }
}

/// Which jobs run, by the whole log.
async fn running(client: &mut UpdateServiceClient<Channel>) -> HashSet<String> {
    let request = v1::GetUpdatesRequest {
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let mut stream = client.get_updates(request).await.expect("reads go on").into_inner();
    let mut running = HashSet::new();
    while let Some(response) = stream.message().await.expect("reads go on") {
        for update in response.updates().expect("the batch is one") {
            if update.kind() == v1::UpdateKind::Started {
                running.insert(update.job_id);
            } else if update.kind() != v1::UpdateKind::Progress {
                running.remove(&update.job_id);
            }
        }
    }
    running
}

/// Waits until health says so.
async fn serving(server: &Server, service: &str, wanted: ServingStatus) {
    let mut health = HealthClient::new(server.channel().await);
    let request = HealthCheckRequest { service: service.to_owned() };
    let mut stream = health.watch(request).await.expect("health can be watched").into_inner();
    let told = async {
        while let Some(response) = stream.message().await.expect("health can be watched") {
            if response.status() == wanted {
                return;
            }
        }
        panic!("health ends");
    };
    assert!(timeout(PATIENCE, told).await.is_ok(), "{service:?} never was {wanted:?}");
}

/// Takes all the space that is left.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(ballast).expect("a file");
    for step in [64 << 10, 4 << 10] {
        let zeros = vec![0; step];
        while file.write(&zeros).is_ok_and(|written| written > 0) {}
    }
}
