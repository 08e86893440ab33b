//! Every limit of the transport, with its default, and the one place that applies them to a server.

use crate::grpc::deadline::DeadlineLayer;
use crate::proto::dosomething::do_something_service_server::DoSomethingServiceServer;
use crate::proto::v1::admin_service_server::AdminServiceServer;
use crate::proto::v1::job_service_server::JobServiceServer;
use crate::proto::v1::queue_service_server::QueueServiceServer;
use crate::proto::v1::update_service_server::UpdateServiceServer;
use crate::proto::v1::worker_service_server::WorkerServiceServer;
use std::time::Duration;
use tonic::transport::Server;
use tonic_health::pb::health_server::HealthServer;
use tonic_reflection::server::v1::ServerReflectionServer;
use tonic_reflection::server::v1alpha::ServerReflectionServer as OlderReflectionServer;
use tower_layer::Identity;
use tower_layer::Stack;

const KIB: usize = 1_024;
const MIB: usize = 1_024 * KIB;

/// What one peer, and all of them together, may take of the transport. [MEM-1]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The largest message that is read; 4 MiB and 64 KiB for what surrounds the payloads.
    pub request_bytes_max: usize,
    /// The largest message that is sent; 4 MiB, because that is what most clients read by default.
    pub response_bytes_max: usize,
    /// Calls at a time on one connection; 128. tonic's own default is none.
    pub streams_per_connection: u32,
    /// Connections at a time, handshakes included; 1,024.
    pub connections: usize,
    /// Connections at a time from one peer, an IPv4 address or an IPv6 /64; 256.
    pub connections_per_peer: usize,
    /// The metadata of one call; 16 KiB.
    pub header_list_bytes_max: u32,
    /// A connection that was silent for so long is pinged; 20 s.
    pub keepalive_interval: Duration,
    /// A connection that does not answer a ping in this time is closed; 10 s.
    pub keepalive_timeout: Duration,
    /// A new connection must have sent the HTTP/2 preface by then; 3 s. Keepalive begins only after it.
    pub handshake: Duration,
    /// Calls reset by the peer before we looked at them; 20. More closes the connection (CVE-2023-44487).
    pub pending_resets_max: usize,
    /// Calls that we reset because of the peer's errors; 64. More closes the connection.
    pub local_resets_max: usize,
    /// What a peer may send ahead on one call; 1 MiB. A batch should fit.
    pub stream_window_bytes: u32,
    /// What a peer may send ahead on one connection; 2 MiB.
    pub connection_window_bytes: u32,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            request_bytes_max: 4 * MIB + 64 * KIB,
            response_bytes_max: 4 * MIB,
            streams_per_connection: 128,
            connections: 1_024,
            connections_per_peer: 256,
            header_list_bytes_max: 16 * 1_024,
            keepalive_interval: Duration::from_secs(20),
            keepalive_timeout: Duration::from_secs(10),
            handshake: Duration::from_secs(3),
            pending_resets_max: 20,
            local_resets_max: 64,
            stream_window_bytes: 1_024 * 1_024,
            connection_window_bytes: 2 * 1_024 * 1_024,
        }
    }
}

/// A server builder with the limits of a connection, whose calls end at the deadlines of their clients.
///
/// What comes before HTTP/2 (connection caps, handshake) is the listener's, see [`crate::grpc::listener`]; the size of
/// messages is each service's, see [`Limited`].
#[must_use]
pub fn server(limits: &Limits) -> Server<Stack<DeadlineLayer, Identity>> {
    Server::builder()
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_max_header_list_size(limits.header_list_bytes_max)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout))
        .http2_max_pending_accept_reset_streams(Some(limits.pending_resets_max))
        .http2_max_local_error_reset_streams(Some(limits.local_resets_max))
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .layer(DeadlineLayer)
}

/// A service that has limits on the size of its messages. Every service goes through this before it is added to a
/// server: tonic's own default for what it sends is no limit.
pub trait Limited {
    /// The service with its limits.
    #[must_use]
    fn limited(self, limits: &Limits) -> Self;
}

macro_rules! limited {
    ($($service:ident)+) => { $(
        impl<T> Limited for $service<T> {
            fn limited(self, limits: &Limits) -> Self {
                self.max_decoding_message_size(limits.request_bytes_max)
                    .max_encoding_message_size(limits.response_bytes_max)
            }
        }
    )+ };
}

limited! {
    JobServiceServer UpdateServiceServer WorkerServiceServer QueueServiceServer AdminServiceServer
    DoSomethingServiceServer HealthServer ServerReflectionServer OlderReflectionServer
}
