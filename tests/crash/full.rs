//! A full disk: submits are refused and say so, running jobs finish, reads go on, a restart works, and when there is
//! space again submits work by themselves. [ACK-2]

use crate::history::Saw;
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
use gangline::proto::v1::admin_service_client::AdminServiceClient;
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
    let (mut server, mut load) = loaded("full", &volume, segments).await;
    let ballast = volume.path().join("ballast");
    fill(&ballast);
    judge_full(&server, &load, &ballast, "f1").await;
    server.kill();
    fill(&ballast);
    server.start().await;
    judge_full(&server, &load, &ballast, "f2").await;
    let acks = || load.recorder.look(|sum| sum.acks);
    let before = acks();
    volume.grow(1_024);
    let grown = Instant::now();
    let back = until(BACK, || (acks() > before).then_some(()));
    assert!(back.await.is_some(), "submits are still refused {BACK:?} after there is space again");
    eprintln!("full: submits were back {:?} after there was space", grown.elapsed());
    serving(&server, "gangline.submits", ServingStatus::Serving).await;
    load.look();
    load.assert_kept("a disk full twice, once of them at the start").await;
    server.kill();
}

/// A server with these segments on this volume, under a load that has done a little.
async fn loaded(part: &str, volume: &Volume, segments: &[&str]) -> (Server, Load) {
    let flags: Vec<&str> = FLAGS.iter().chain(segments).copied().collect();
    let mut server = Server::on(volume, &flags);
    let mut load = Load::start(part, &server.address(), tier::seed(part));
    server.start().await;
    load.more(200).await;
    (server, load)
}

/// The work tree is left alone while space is scarce, and is not even opened on a full disk: the log tells of what only
/// the tree knew. It comes back by itself. [ACK-2]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_read_while_the_disk_gets_full_and_after_a_start_on_it() {
    let volume = match Volume::tmpfs(64) {
        Ok(volume) => volume,
        Err(why) => return eprintln!("SKIPPED: no disk can be filled here: {why}"),
    };
    let (mut server, mut load) = loaded("reads", &volume, &SMALL).await;
    let ballast = volume.path().join("ballast");
    fill_but(&ballast, 6 << 20);
    load.more(100).await;
    let (_, left_at) = positions(&server).await;
    load.more(100).await;
    let (head, applied) = positions(&server).await;
    assert!(applied == left_at && applied < head, "the tree went on from {left_at} to {applied} of {head}");
    read_all(&server, "little space").await;
    fill(&ballast);
    read_all(&server, "no space").await;
    server.kill();
    fill(&ballast);
    server.start().await;
    assert_eq!(positions(&server).await.1, 0, "there is no space for a tree");
    read_all(&server, "no space at the start").await;
    volume.grow(1_024);
    let there = async {
        while positions(&server).await.1 <= head {
            load::link::pause().await;
        }
    };
    assert!(timeout(PATIENCE, there).await.is_ok(), "the tree comes back by itself");
    read_all(&server, "space again").await;
    load.assert_kept("a disk that got full and was read all the time").await;
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
            load.recorder.note(&Saw::Asked(vec![payload]));
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
    read_all(server, by).await;
}

/// Every job that the log tells of is listed and can be had, finished ones with their results. [ACK-2]
async fn read_all(server: &Server, when: &str) {
    let channel = server.channel().await;
    let mut jobs = JobServiceClient::new(channel);
    let began = Instant::now();
    let listed = load::list(&mut jobs).await;
    let list_took = began.elapsed();
    let succeeded: Vec<&v1::Job> =
        listed.iter().filter(|job| job.state() == v1::JobState::Succeeded).collect();
    assert!(succeeded.len() >= 100, "{when}: {} of {} jobs", succeeded.len(), listed.len());
    for job in succeeded.iter().step_by(succeeded.len() / 20) {
        let got = load::get(&mut jobs, &job.id).await.expect("what is listed is there");
        assert_eq!((got.state(), got.last_sequence), (job.state(), job.last_sequence), "{when}");
        assert!(!got.result.is_empty(), "{when}: {got:?}");
    }
    let took = began.elapsed();
    eprintln!("full: {when}: {} jobs were listed in {list_took:?}, all was read in {took:?}", listed.len());
}

/// The newest frame, and that which the work tree shows.
async fn positions(server: &Server) -> (u64, u64) {
    let mut admin = AdminServiceClient::new(server.channel().await);
    let info =
        admin.get_server_info(v1::GetServerInfoRequest::default()).await.expect("it answers").into_inner();
    (info.head_position, info.applied_position)
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

/// Takes the space that is left but for so many bytes.
fn fill_but(ballast: &Path, bytes: u64) {
    let place = ballast.parent().expect("it is in a directory");
    let space = rustix::fs::statvfs(place).expect("it is mounted");
    let take = (space.f_bavail * space.f_frsize).checked_sub(bytes).expect("there is more");
    let zeros = vec![0; usize::try_from(take).expect("it is small")];
    std::fs::write(ballast, zeros).expect("there is space");
}

/// Takes all the space that is left.
fn fill(ballast: &Path) {
    let mut file = std::fs::File::options().append(true).create(true).open(ballast).expect("a file");
    for step in [64 << 10, 4 << 10] {
        let zeros = vec![0; step];
        while file.write(&zeros).is_ok_and(|written| written > 0) {}
    }
}
