//! Each limit of the transport against a real server.

mod wire;

use crate::clock::Clock;
use crate::grpc::limits;
use crate::grpc::limits::Limited;
use crate::grpc::limits::Limits;
use crate::grpc::listener::Error;
use crate::grpc::listener::Exposure;
use crate::grpc::listener::Listener;
use crate::grpc::listener::tests::wire::ENHANCE_YOUR_CALM;
use crate::grpc::listener::tests::wire::GOAWAY;
use crate::grpc::listener::tests::wire::HEADERS;
use crate::grpc::listener::tests::wire::REFUSED_STREAM;
use crate::grpc::listener::tests::wire::RST_STREAM;
use crate::grpc::listener::tests::wire::SETTINGS;
use crate::grpc::listener::tests::wire::WINDOW_UPDATE;
use crate::grpc::listener::tests::wire::Wire;
use crate::shutdown::Shutdown;
use crate::shutdown::Waited;
use std::net::SocketAddr;
use std::time::Duration;
use tonic::Code;
use tonic::transport::Channel;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::health_server::HealthServer;
use tonic_health::server::HealthService;

const WATCH: &str = "/grpc.health.v1.Health/Watch";

/// Serves the health service under `limits` on a free port.
async fn serve(limits: Limits) -> (SocketAddr, Shutdown) {
    let listener = Listener::bind(loopback(), Exposure::LoopbackOnly).await.unwrap();
    let address = listener.address();
    let shutdown = Shutdown::new();
    let incoming = listener.incoming(&limits, Clock::system(), &shutdown);
    let health = HealthService::from_health_reporter(tonic_health::server::HealthReporter::new());
    let health = HealthServer::new(health).limited(&limits);
    let token = shutdown.token().clone();
    let served = limits::server(&limits).add_service(health);
    shutdown.spawn(served.serve_with_incoming_shutdown(incoming, token.cancelled_owned()));
    (address, shutdown)
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

async fn client(address: SocketAddr) -> HealthClient<Channel> {
    HealthClient::new(Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap())
}

fn service(bytes: usize) -> HealthCheckRequest {
    HealthCheckRequest { service: "s".repeat(bytes) }
}

#[tokio::test]
async fn a_client_is_served_and_the_shutdown_ends_everything() {
    let (address, shutdown) = serve(Limits::default()).await;
    let mut client = client(address).await;
    client.check(service(0)).await.unwrap();
    shutdown.begin();
    assert_eq!(shutdown.wait(Duration::from_secs(10)).await, Waited::Ended);
    assert!(client.check(service(0)).await.is_err());
}

#[tokio::test]
async fn an_address_that_others_can_reach_needs_an_explicit_word() {
    let anywhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let refused = Listener::bind(anywhere, Exposure::LoopbackOnly).await.unwrap_err();
    assert!(matches!(refused, Error::Remote(_)), "{refused}");
    assert!(refused.to_string().contains("--allow-remote"), "{refused}");
    assert!(Listener::bind(anywhere, Exposure::AllowRemote).await.is_ok());
    let six = SocketAddr::from(([0xfe80, 0, 0, 0, 0, 0, 0, 1], 0));
    assert!(matches!(Listener::bind(six, Exposure::LoopbackOnly).await, Err(Error::Remote(_))));
}

#[tokio::test]
async fn an_address_in_use_is_named() {
    let first = Listener::bind(loopback(), Exposure::LoopbackOnly).await.unwrap();
    let refused = Listener::bind(first.address(), Exposure::LoopbackOnly).await.unwrap_err();
    assert_eq!(refused.to_string(), format!("cannot listen on {}", first.address()));
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_read() {
    let (address, _shutdown) = serve(Limits { request_bytes_max: 1_000, ..Limits::default() }).await;
    let mut client = client(address).await;
    assert_eq!(client.check(service(900)).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(client.check(service(1_100)).await.unwrap_err().code(), Code::OutOfRange);
}

/// What was sent of a refused message must not stay on the account of the connection: nothing else would get through.
#[tokio::test]
async fn refused_messages_do_not_use_up_the_connection() {
    let limits = Limits { request_bytes_max: 1_000, ..Limits::default() };
    let windows = limits.connection_window_bytes as usize;
    let (address, _shutdown) = serve(limits).await;
    let mut client = client(address).await;
    for bytes in [500_000, 1_000_000, 1_500_000, 5_000].repeat(8 * windows / 3_000_000) {
        let refused = soon(client.check(service(bytes))).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{bytes}: {refused}");
        let refused = soon(client.watch(service(bytes))).await.unwrap_err();
        assert_eq!(refused.code(), Code::OutOfRange, "{bytes}: {refused}");
    }
    soon(client.check(service(0))).await.unwrap();
}

async fn soon<T>(call: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), call).await.expect("the connection takes the call")
}

#[tokio::test]
async fn a_message_over_the_limit_is_not_sent() {
    let (address, _shutdown) = serve(Limits { response_bytes_max: 1, ..Limits::default() }).await;
    let status = client(address).await.check(service(0)).await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status}");
    assert!(status.message().contains("the limit is: 1 bytes"), "{status}");
}

#[tokio::test]
async fn metadata_over_the_limit_is_refused() {
    let (address, _shutdown) = serve(Limits { header_list_bytes_max: 2_048, ..Limits::default() }).await;
    let mut client = client(address).await;
    let mut with = async |bytes: usize| {
        let mut request = tonic::Request::new(service(0));
        request.metadata_mut().insert("x-large", "v".repeat(bytes).parse().unwrap());
        client.check(request).await.map_err(|status| status.to_string())
    };
    assert!(with(1_000).await.is_ok());
    let refused = with(3_000).await.unwrap_err();
    assert!(refused.contains("431") || refused.contains("header"), "{refused}");
}

#[tokio::test]
async fn the_limits_of_http2_are_announced() {
    let (address, _shutdown) = serve(Limits::default()).await;
    let mut wire = Wire::open(address).await;
    let announced = wire.read_until(SETTINGS, 0).await.settings();
    for wanted in [(3, 128), (4, 1_048_576), (6, 16_384)] {
        assert!(announced.contains(&wanted), "{wanted:?} is not in {announced:?}");
    }
    let window = wire.read_until(WINDOW_UPDATE, 0).await.number(0);
    assert_eq!(window, 2 * 1_048_576 - 65_535);
}

#[tokio::test]
async fn a_call_over_the_limit_of_a_connection_is_refused() {
    let (address, _shutdown) = serve(Limits { streams_per_connection: 2, ..Limits::default() }).await;
    let mut wire = Wire::open(address).await;
    for stream in [1, 3, 5] {
        wire.call(stream, WATCH).await;
    }
    assert_eq!(wire.read_until(RST_STREAM, 5).await.number(0), REFUSED_STREAM);
}

#[tokio::test]
async fn rapid_resets_close_the_connection() {
    let (address, _shutdown) = serve(Limits { pending_resets_max: 5, ..Limits::default() }).await;
    let mut wire = Wire::open(address).await;
    // In one write, so that the server finds calls that were reset before it looked at them.
    let mut resets = Vec::new();
    for stream in (1..21).step_by(2) {
        resets.extend(wire::frame(HEADERS, 4, stream, &wire::call(WATCH)));
        resets.extend(wire::frame(RST_STREAM, 0, stream, &8_u32.to_be_bytes()));
    }
    wire.send(&resets).await;
    assert_eq!(wire.read_until(GOAWAY, 0).await.number(4), ENHANCE_YOUR_CALM);
    wire.closed().await;
}

#[tokio::test]
async fn calls_that_we_must_reset_close_the_connection() {
    let (address, _shutdown) = serve(Limits { local_resets_max: 3, ..Limits::default() }).await;
    let mut wire = Wire::open(address).await;
    for stream in (1..41).step_by(2) {
        // Overflowing the window of a call is an error of that one call, which the server answers with a reset.
        let sent = wire.try_frame(HEADERS, 4, stream, &wire::call(WATCH)).await
            && wire.try_frame(WINDOW_UPDATE, 0, stream, &0x7fff_ffff_u32.to_be_bytes()).await;
        if !sent {
            break;
        }
    }
    assert_eq!(wire.read_until(GOAWAY, 0).await.number(4), ENHANCE_YOUR_CALM);
    wire.closed().await;
}

#[tokio::test]
async fn a_silent_peer_is_closed_by_keepalive() {
    let short = Duration::from_millis(50);
    let limits = Limits { keepalive_interval: short, keepalive_timeout: short, ..Limits::default() };
    let (address, _shutdown) = serve(limits).await;
    let mut wire = Wire::open(address).await;
    wire.closed().await;
}

#[tokio::test]
async fn connections_are_capped_in_all_and_a_closed_one_gives_its_place_back() {
    let (address, _shutdown) = serve(Limits { connections: 2, ..Limits::default() }).await;
    let mut first = Wire::open(address).await;
    let mut second = Wire::open(address).await;
    first.read_until(SETTINGS, 0).await;
    second.read_until(SETTINGS, 0).await;
    Wire::connect(address).await.closed().await;
    drop(first);
    let next = async {
        loop {
            let mut next = Wire::connect(address).await;
            if next.try_hello().await {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("the place is given back");
}

#[tokio::test]
async fn connections_of_one_peer_are_capped_and_leave_room_for_another() {
    let (address, _shutdown) = serve(Limits { connections_per_peer: 1, ..Limits::default() }).await;
    let mut first = Wire::open(address).await;
    first.read_until(SETTINGS, 0).await;
    Wire::connect(address).await.closed().await;
    let mut other = Wire::connect_from("127.0.0.2", address).await;
    assert!(other.try_hello().await);
}

#[tokio::test]
async fn half_a_preface_is_closed_in_time() {
    let (address, _shutdown) =
        serve(Limits { handshake: Duration::from_millis(50), ..Limits::default() }).await;
    let mut half = Wire::connect(address).await;
    half.send(b"PRI * HTTP/2").await;
    half.closed().await;
    Wire::connect(address).await.closed().await;
}

#[tokio::test]
async fn a_preface_in_pieces_is_accepted() {
    let (address, _shutdown) = serve(Limits::default()).await;
    let mut wire = Wire::connect(address).await;
    for piece in crate::grpc::listener::connection::PREFACE.chunks(5) {
        wire.send(piece).await;
        tokio::task::yield_now().await;
    }
    wire.frame(SETTINGS, 0, 0, &[]).await;
    wire.read_until(SETTINGS, 0).await;
}

#[tokio::test]
async fn anything_but_http2_is_closed_at_once() {
    let (address, _shutdown) =
        serve(Limits { handshake: Duration::from_secs(3_600), ..Limits::default() }).await;
    for garbage in [&b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"[..], b"PRI * HTTP/2.1", b"\x16\x03\x01"] {
        let mut wire = Wire::connect(address).await;
        wire.send(garbage).await;
        wire.closed().await;
    }
}
