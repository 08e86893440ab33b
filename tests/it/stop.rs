//! Stopping: by a signal, by a second one, by kill -9; and what the next start finds.

use crate::harness::Server;
use crate::harness::until;
use gangline::cli::exit::Exit;
use gangline::clock::Clock;
use rustix::process::Signal;
use std::time::Duration;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

#[test]
fn sigterm_and_sigint_end_it_with_0_and_the_next_start_warns_of_nothing() {
    let mut server = Server::start(&["--log-format", "human"]);
    for signal in [Signal::TERM, Signal::INT] {
        let begun = Clock::system().now().tick;
        server.signal(signal);
        assert!(server.wait().success(), "{signal:?}");
        assert!(
            Clock::system().now().tick.since(begun) < Duration::from_secs(5),
            "an idle server stops at once"
        );
        server = server.again();
        assert!(!server.stderr().contains("WARN"), "{}", server.stderr());
    }
}

#[test]
fn after_kill_9_it_starts_again_in_the_same_place() {
    let mut server = Server::start(&[]);
    for _ in 0..3 {
        server.kill();
        server = server.again();
    }
    assert!(server.terminate().success());
}

/// A watcher of the health is told before its connection ends, and does not hold the stop up.
#[tokio::test(flavor = "multi_thread")]
async fn health_says_not_serving_before_the_end() {
    let mut server = Server::start(&[]);
    let mut health = server.health().await;
    let watch = HealthCheckRequest::default();
    let mut told = health.watch(watch).await.expect("it is known").into_inner();
    let first = told.message().await.expect("it serves").expect("a status");
    assert_eq!(first.status(), ServingStatus::Serving);
    server.signal(Signal::TERM);
    let second = told.message().await.expect("the stream is still there").expect("a status");
    assert_eq!(second.status(), ServingStatus::NotServing);
    assert!(server.wait().success());
    assert!(!server.stderr().contains("did not end in time"), "{}", server.stderr());
}

/// A connection with an open call that never ends by itself does not hold the stop up.
#[tokio::test]
async fn an_open_stream_does_not_hold_the_stop_up() {
    let mut server = Server::start(&[]);
    let mut health = server.health().await;
    let told = health.watch(HealthCheckRequest::default()).await.expect("it is known");
    let begun = Clock::system().now().tick;
    assert!(server.terminate().success());
    assert!(
        Clock::system().now().tick.since(begun) < Duration::from_secs(10),
        "{:?}",
        Clock::system().now().tick.since(begun)
    );
    drop(told);
}

#[tokio::test]
async fn a_second_signal_stops_it_at_once() {
    let mut server = Server::start(&[]);
    let mut health = server.health().await;
    // The open call makes the stop take a while.
    let told = health.watch(HealthCheckRequest::default()).await.expect("it is known");
    server.signal(Signal::TERM);
    until("the stop has begun", || server.stderr().contains("stopping").then_some(()));
    server.signal(Signal::INT);
    let status = server.wait();
    assert!([Some(0), Some(i32::from(Exit::INTERRUPTED.code()))].contains(&status.code()), "{status}");
    assert!(server.again().terminate().success());
    drop(told);
}
