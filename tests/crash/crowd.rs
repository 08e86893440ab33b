//! Too many and too much: a thousand readers that never read, three times as many submits as workers can take, and a
//! second server on the directory, all beside a load that must not notice. [MEM-1] [DIR-1]

use crate::figures;
use crate::history::Ack;
use crate::history::Saw;
use crate::history::recorder::Recorder;
use crate::kills;
use crate::load::Load;
use crate::load::link;
use crate::plan;
use crate::plan::Plan;
use crate::server;
use crate::server::Server;
use crate::tier;
use gangline::cli::exit::Exit;
use gangline::grpc::status::Reason;
use gangline::grpc::status::reason_of;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use gangline::proto::v1::queue_service_client::QueueServiceClient;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use std::process::Command;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::interval;
use tonic::Streaming;
use tonic::transport::Channel;
use tonic_types::StatusExt;

/// Streams of one connection.
const STREAMS: u64 = 100;
/// What a reader that does not read may cost, whatever its windows let through.
const READER_KIB_MAX: u64 = 384;
/// What else a server may grow by meanwhile.
const GROWTH_KIB_MAX: u64 = 64 << 10;

/// They hold what fits into their windows, and nobody else waits for them; one that reads after all gets everything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_readers_that_never_read_cost_a_bounded_memory_and_disturb_nobody() {
    let seed = tier::seed("readers");
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &kills::FLAGS);
    let mut load = Load::start("readers", &server.address(), seed);
    server.start().await;
    load.more(200).await;
    let before = server.resident_kib();
    let count = tier::number("GANGLINE_READERS", 1_000);
    let mut silent = Vec::new();
    for _ in 0..count.div_ceil(STREAMS) {
        let channel = server.channel().await;
        for _ in 0..STREAMS {
            silent.push(open(UpdateServiceClient::new(channel.clone())).await);
        }
    }
    load.more(2_000).await;
    let after = server.resident_kib();
    let most = before + count * READER_KIB_MAX + GROWTH_KIB_MAX;
    eprintln!(
        "{count} readers that never read: {before} KiB resident before, {after} KiB after 2000 more jobs"
    );
    assert!(after < most, "{after} KiB are resident, more than {most}");
    let account = load.assert_kept(&format!("{count} readers that never read")).await;
    let mut late = silent.swap_remove(0);
    // They share a connection, and what they do not read is in its way.
    drop(silent);
    let mut next = 1;
    while next <= account.last.updates.len() as u64 {
        let response = late.message().await.expect("it was not cut off").expect("it follows");
        for update in response.updates().expect("the batch is one") {
            assert_eq!(update.sequence, next, "[LOG-2]");
            next += 1;
        }
    }
    figures::note("readers", seed, &[("silent_readers", count)]);
}

async fn open(mut client: UpdateServiceClient<Channel>) -> Streaming<v1::GetUpdatesResponse> {
    let request = v1::GetUpdatesRequest { include_payload: true, ..v1::GetUpdatesRequest::default() };
    client.get_updates(request).await.expect("there is room for it").into_inner()
}

/// Jobs that wait at most.
const PENDING_MAX: u64 = 500;
const BATCH_JOBS: u64 = 30;
/// How much more comes than the workers were seen to take.
const OVERLOAD: u32 = 3;
/// What is too much is refused within this time, on a machine that does much else.
const REFUSED_IN: Duration = Duration::from_secs(2);
/// Jobs that are waited for while as many come as the workers take.
const CAPACITY_JOBS: usize = 4_000;
/// So much of what is done at capacity is still done with three times as much work.
const GOODPUT_MIN: f64 = 0.6;
/// What else the machine does may spoil a try, and only for the worse; a server that breaks down under the load spoils all.
const TRIES: usize = 3;

/// Submits come at their own pace, whatever the answers: what is too much is refused at once, what was accepted is done, and
/// about as fast as if no more had come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_times_the_load_is_refused_in_part_and_what_was_accepted_is_done() {
    let seed = tier::seed("overload");
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &kills::FLAGS);
    let mut load = Load::start("overload", &server.address(), seed);
    server.start().await;
    let settings = v1::QueueSettings { max_pending: Some(PENDING_MAX), ..v1::QueueSettings::default() };
    let request = v1::UpdateQueueRequest { name: "a".to_owned(), settings: Some(settings) };
    QueueServiceClient::new(server.channel().await).update_queue(request).await.expect("it is set");
    load.more(300).await;
    load.stop_submitting().await;
    let mut shares = Vec::new();
    while shares.len() < TRIES && shares.iter().all(|share| *share < GOODPUT_MIN) {
        let number = shares.len() as u64;
        let capacity = capacity(&server, &load, number).await;
        let flooded = flood(&server, &load, number, capacity).await;
        let share = flooded.done_a_second / capacity;
        eprintln!(
            "{capacity:.0} jobs a second at capacity; with {OVERLOAD} times as many: {:.0} done, {} accepted, {} refused in {:?} at most",
            flooded.done_a_second, flooded.accepted, flooded.refused, flooded.slowest
        );
        assert!(flooded.refused > 0, "nothing was too much");
        assert!(flooded.slowest < REFUSED_IN, "a refusal took {:?}", flooded.slowest);
        shares.push(share);
    }
    let best = shares.iter().copied().fold(0.0, f64::max);
    assert!(best >= GOODPUT_MIN, "too little is done of what could be: {shares:?}");
    load.assert_kept("three times too much").await;
    let percent = (best * 100.0).round() as u64;
    figures::note("overload", seed, &[("percent_of_the_capacity_done_under_three_times_the_load", percent)]);
}

/// How many jobs the workers finish in a second while there is always something for them to do, and nothing is refused.
async fn capacity(server: &Server, load: &Load, number: u64) -> f64 {
    let idle = load.recorder.tally().wait_for(|tally| tally.live == 0).await.is_ok();
    assert!(idle, "the recorder lives");
    let client = JobServiceClient::new(server.channel().await);
    let (began, before) = (Instant::now(), done(load));
    let mut asked = 0;
    while done(load) < before + CAPACITY_JOBS {
        if asked < done(load) - before + PENDING_MAX as usize / 2 {
            let accepted =
                submit(client.clone(), &load.recorder, &format!("steady{number}"), asked as u64).await;
            accepted.expect("there is room for it");
            asked += BATCH_JOBS as usize;
        } else {
            link::pause().await;
        }
    }
    (done(load) - before) as f64 / began.elapsed().as_secs_f64()
}

fn done(load: &Load) -> usize {
    load.recorder.look(|sum| sum.accepted)
}

/// What became of a flood.
struct Flooded {
    accepted: u64,
    refused: u64,
    /// The refusal that took longest.
    slowest: Duration,
    /// Jobs that were finished in a second meanwhile.
    done_a_second: f64,
}

/// Batches at a fixed pace for some time.
async fn flood(server: &Server, load: &Load, number: u64, capacity: f64) -> Flooded {
    let client = JobServiceClient::new(server.channel().await);
    let every = Duration::from_secs_f64(BATCH_JOBS as f64 / capacity) / OVERLOAD;
    let (mut calls, mut pace) = (JoinSet::new(), interval(every));
    let (began, before) = (Instant::now(), done(load));
    for batch in 0..tier::number("GANGLINE_FLOOD", 600) {
        pace.tick().await;
        let (client, recorder) = (client.clone(), load.recorder.clone());
        calls.spawn(
            async move { submit(client, &recorder, &format!("flood{number}"), batch * BATCH_JOBS).await },
        );
    }
    let done_a_second = (done(load) - before) as f64 / began.elapsed().as_secs_f64();
    let (mut accepted, mut refused, mut slowest) = (0, 0, Duration::ZERO);
    while let Some(call) = calls.join_next().await {
        match call.expect("a call does not panic") {
            Ok(()) => accepted += BATCH_JOBS,
            Err(took) => (refused, slowest) = (refused + BATCH_JOBS, slowest.max(took)),
        }
    }
    Flooded { accepted, refused, slowest, done_a_second }
}

/// Submits a batch; `Err`: it was too much, after so long.
async fn submit(
    mut client: JobServiceClient<Channel>,
    recorder: &Recorder,
    name: &str,
    first: u64,
) -> Result<(), Duration> {
    let payloads: Vec<String> =
        (first..first + BATCH_JOBS).map(|number| plan::payload(name, number, Plan::Quick)).collect();
    let jobs = payloads.iter().map(|payload| plan::spec("a", payload)).collect();
    recorder.note(&Saw::Asked(payloads.clone()));
    let asked = Instant::now();
    let request = v1::SubmitJobsRequest { jobs, ..v1::SubmitJobsRequest::default() };
    match client.submit_jobs(request).await {
        Ok(answer) => {
            let v1::SubmitJobsResponse { job_ids, first_sequence, .. } = answer.into_inner();
            let ack = |(payload, job)| Ack { ordered_by: None, payload, job: Some(job), first_sequence };
            recorder.note(&Saw::Acked(payloads.into_iter().zip(job_ids).map(ack).collect()));
            Ok(())
        }
        Err(status) => {
            assert_eq!(reason_of(&status), Some(Reason::QueueFull), "{status:?}");
            assert!(status.get_details_retry_info().is_some(), "it says when to try again: {status:?}");
            Err(asked.elapsed())
        }
    }
}

/// It is told who runs, and who runs does not notice. [DIR-1]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_server_on_the_directory_is_refused_and_the_first_goes_on() {
    let seed = tier::seed("second");
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &kills::FLAGS);
    let mut load = Load::start("second", &server.address(), seed);
    server.start().await;
    for _ in 0..5 {
        load.more(50).await;
        let mut second = Command::new(server::binary());
        second.args(["serve", "--listen", "127.0.0.1:0", "--data"]).arg(server.data());
        let output = second.output().expect("the binary runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(i32::from(Exit::IN_USE.code())), "{said}");
        assert!(said.contains(&server.process_id().to_string()), "it names the owner: {said}");
    }
    load.assert_kept("a second server that tried five times").await;
}
