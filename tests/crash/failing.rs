//! The n-th sync or write fails: strace makes the kernel answer EIO, once for each thread. The server tells its callers
//! that it does not know, says NOT_SERVING, acknowledges nothing more and ends with its own exit code. [ACK-2]

use crate::brittle::Brittle;
use crate::cuts;
use crate::figures;
use crate::kills;
use crate::load::Load;
use crate::server::Server;
use crate::strace;
use crate::strace::Harm;
use crate::tier;
use gangline::cli::exit::Exit;
use gangline::grpc::status::Reason;
use rustix::process::Signal;
use std::path::Path;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// What was decided and synced before the fault may still be on its way to the clients for so long; the server itself
/// stays a whole second longer.
const ON_ITS_WAY_MS: u64 = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_nth_failed_sync_nothing_is_acknowledged_and_nothing_lost() {
    campaign("fdatasync", &ordinals(&[1, 2, 3, 5, 8, 13, 21, 34])).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_the_nth_failed_write_nothing_is_acknowledged_and_nothing_lost() {
    campaign("pwrite64", &ordinals(&[2, 10, 25, 60])).await;
}

/// Which calls fail: every one up to the number that `GANGLINE_ORDINALS` gives, and what a sample has beyond: the first ones
/// come before the server serves.
pub(crate) fn ordinals(sample: &[u64]) -> Vec<u64> {
    let most = tier::number("GANGLINE_ORDINALS", 0);
    (1..=most).chain(sample.iter().copied().filter(|n| *n > most)).collect()
}

/// The kernel forgets what a failed sync should have written, and says that all is well from then on: only what recovery
/// writes again survives the power cut. [ACK-2]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sync_really_failed_to_write_is_written_again_before_anybody_rests_on_it() {
    let brittle = match Brittle::new() {
        Ok(brittle) => brittle,
        Err(why) => return eprintln!("SKIPPED: no write can be made to fail for real here: {why}"),
    };
    let seed = tier::seed("forsaken");
    let mut server = Server::on(&brittle.volume, &kills::FLAGS);
    let mut load = Load::start("forsaken", &server.address(), seed);
    let rounds = tier::number("GANGLINE_FORSAKEN", 2);
    for _ in 0..rounds {
        server.start().await;
        load.more(60).await;
        fail_really(&brittle, &mut server, &mut load).await;
        server.start().await;
        cuts::cut(&brittle.volume, &mut server, &load);
        load.look();
    }
    server.start().await;
    let faults = format!("{rounds} syncs that really failed, each with a power cut after it");
    let acknowledged = load.assert_kept(&faults).await.acknowledged();
    let counts = [("failed_syncs", rounds), ("cuts", rounds), ("acknowledged", acknowledged)];
    figures::note("forsaken", seed, &counts);
    server.kill();
}

/// The running server meets a disk that fails, and ends; then the disk is well again.
pub(crate) async fn fail_really(brittle: &Brittle, server: &mut Server, load: &mut Load) {
    // What arrives while it stands still makes one large frame.
    server.freeze().await;
    while !brittle.break_under(&server.data().join("log")) {
        server.signal(Signal::CONT);
        load.more(1).await;
        server.freeze().await;
    }
    server.signal(Signal::CONT);
    let status = server.ended().await;
    assert_eq!(status.code(), Some(i32::from(Exit::DISK.code())), "it ends with its own code");
    brittle.mend();
}

async fn campaign(call: &str, ordinals: &[u64]) {
    if let Err(why) = strace::usable() {
        return eprintln!("SKIPPED: no {call} can be made to fail here: {why}");
    }
    let seed = tier::seed(call);
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &kills::FLAGS);
    server.start().await;
    let mut load = Load::start(call, &server.address(), seed);
    server.kill();
    let mut told = 0;
    for n in ordinals {
        let trace = place.path().join(format!("trace-{n}"));
        told += u64::from(round(&mut server, &mut load, call, *n, &trace).await);
        load.look();
    }
    server.set_under(Vec::new());
    server.start().await;
    let rounds = ordinals.len() as u64;
    let faults = format!("{rounds} failed calls of {call}, {told} of them while serving");
    let account = load.assert_kept(&faults).await;
    figures::note(call, seed, &[("failed_calls", rounds), ("acknowledged", account.acknowledged())]);
    assert!(told > 0, "no fault met a serving server");
    let failures = &account.history.failures;
    let unknown = failures.iter().filter(|(_, reason)| reason == Reason::OutcomeUnknown.text()).count();
    assert!(unknown > 0, "no waiting caller was told OUTCOME_UNKNOWN: {failures:?}");
}

/// One start with one fault. Says whether it was serving when the fault came.
async fn round(server: &mut Server, load: &mut Load, call: &str, n: u64, trace: &Path) -> bool {
    server.set_under(strace::harming(call, Harm::FailNth(n), trace));
    server.spawn();
    let listens = server.listening_or_ended().await;
    let health = listens.map(|address| watch_health(address.to_string()));
    let status = server.ended().await;
    assert_eq!(status.code(), Some(i32::from(Exit::DISK.code())), "{call} {n}: it ends with its own code");
    let Some(health) = health else { return false };
    let last = health.await.expect("watching does not panic");
    assert_eq!(last, Some(ServingStatus::NotServing), "{call} {n}: health tells of it");
    let newest_ack_ms = load.recorder.look(|sum| sum.newest_ack_ms);
    let fault_ms = newest_fault_ms(trace);
    assert!(newest_ack_ms < fault_ms + ON_ITS_WAY_MS, "{call} {n}: acknowledged after the fault [ACK-2]");
    true
}

/// When the newest fault was injected, in milliseconds since 1970.
fn newest_fault_ms(trace: &Path) -> u64 {
    let faults = strace::harmed(trace);
    let times = faults.iter().filter_map(|line| line.split_whitespace().nth(1)?.parse::<f64>().ok());
    let newest = times.fold(0.0, f64::max);
    assert!(newest > 0.0, "no fault was injected: {faults:?}");
    (newest * 1_000.0) as u64
}

/// Follows the health of the whole server to its end; what it said last.
fn watch_health(address: String) -> JoinHandle<Option<ServingStatus>> {
    #[allow(clippy::disallowed_methods, reason = "the caller waits for it")]
    tokio::spawn(async move {
        let endpoint = Channel::from_shared(format!("http://{address}")).expect("an address is a URI");
        let mut client = HealthClient::new(endpoint.connect().await.ok()?);
        let mut stream = client.watch(HealthCheckRequest::default()).await.ok()?.into_inner();
        let mut last = None;
        while let Ok(Some(response)) = stream.message().await {
            last = Some(response.status());
        }
        last
    })
}
