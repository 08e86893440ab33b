//! The transport limits that the configuration names are the ones that the real server applies.

use crate::harness::PATIENCE;
use crate::harness::Server;
use std::net::SocketAddr;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;

/// Waits until the other side closes the connection.
async fn closed(stream: &mut TcpStream) {
    let mut buffer = [0; 1_024];
    let end = async { while stream.read(&mut buffer).await.is_ok_and(|count| count > 0) {} };
    tokio::time::timeout(PATIENCE, end).await.expect("the server closes it");
}

async fn connect(address: SocketAddr) -> TcpStream {
    TcpStream::connect(address).await.expect("the server listens")
}

#[tokio::test]
async fn a_message_over_the_configured_size_is_refused() {
    let flags =
        ["--transport-request-bytes-max=66KiB", "--payload-bytes-max=1KiB", "--result-bytes-max=1KiB"];
    let server = Server::start(&flags);
    let mut health = server.health().await;
    let of = |bytes: usize| HealthCheckRequest { service: "s".repeat(bytes) };
    assert_eq!(health.check(of(60_000)).await.expect_err("unknown").code(), Code::NotFound);
    assert_eq!(health.check(of(70_000)).await.expect_err("too large").code(), Code::OutOfRange);
}

#[tokio::test]
async fn connections_over_the_configured_number_are_closed() {
    let server = Server::start(&["--transport-connections=2", "--transport-connections-per-peer=1"]);
    let mut health = server.health().await;
    health.check(HealthCheckRequest::default()).await.expect("the first connection is served");
    closed(&mut connect(server.address()).await).await;
    health.check(HealthCheckRequest::default()).await.expect("and goes on");
}

#[tokio::test]
async fn a_silent_connection_is_closed_after_the_configured_time() {
    let server = Server::start(&["--transport-handshake=50ms"]);
    closed(&mut connect(server.address()).await).await;
}
