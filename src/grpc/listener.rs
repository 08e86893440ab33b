//! The accept loop in front of tonic: connection caps, and a deadline for the first bytes, both of which tonic lacks
//! (a half-sent HTTP/2 preface holds a connection of it for ever). Nothing that is not HTTP/2 gets past it.

mod connection;
mod places;
mod refusals;
#[cfg(test)]
mod tests;

pub use connection::Connection;

use crate::clock::Clock;
use crate::grpc::limits::Limits;
use crate::grpc::listener::connection::Handshake;
use crate::grpc::listener::places::Place;
use crate::grpc::listener::places::Places;
use crate::grpc::listener::refusals::Refusals;
use crate::shutdown::Shutdown;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

/// Connections that are past the handshake and wait for the server to take them.
const READY_MAX: usize = 64;
/// Pause after an accept that failed for want of descriptors or memory; doubles up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// Who may reach the server: calls are neither encrypted nor authenticated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exposure {
    /// Only programs on this machine.
    LoopbackOnly,
    /// Anyone who can reach the address; said explicitly.
    AllowRemote,
}

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The address can be reached from other machines, and nobody said that it may.
    #[error(
        "refusing to listen on {0}: other machines can reach it, and calls are neither encrypted nor authenticated; \
         listen on 127.0.0.1 or [::1], or allow it with --allow-remote (allow_remote = true) on a network you trust"
    )]
    Remote(SocketAddr),
    /// The operating system refused the address.
    #[error("cannot listen on {address}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// The stream of connections that tonic serves. It ends with the shutdown.
pub type Incoming = ReceiverStream<Result<Connection, Infallible>>;

/// A bound address, not yet accepting.
#[derive(Debug)]
pub struct Listener {
    listener: TcpListener,
    address: SocketAddr,
}

impl Listener {
    /// Binds `address`; port 0 picks a free one.
    ///
    /// # Errors
    /// [`Error::Remote`] if the address is not a loopback one and `exposure` does not allow it; [`Error::Bind`].
    pub async fn bind(address: SocketAddr, exposure: Exposure) -> Result<Listener, Error> {
        match exposure {
            Exposure::LoopbackOnly if !address.ip().to_canonical().is_loopback() => {
                return Err(Error::Remote(address));
            }
            Exposure::LoopbackOnly | Exposure::AllowRemote => {}
        }
        let failed = |source| Error::Bind { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(Listener { listener, address })
    }

    /// The bound address, with the port that was picked.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Begins to accept; hand the stream to tonic's `serve_with_incoming_shutdown`.
    #[must_use]
    pub fn incoming(self, limits: &Limits, clock: Clock, shutdown: &Shutdown) -> Incoming {
        let (ready, incoming) = mpsc::channel(READY_MAX);
        let gate = Gate {
            ready,
            places: Places::new(limits.connections, limits.connections_per_peer),
            refusals: Arc::new(Refusals::new(clock)),
            limits: limits.clone(),
            shutdown: shutdown.clone(),
        };
        shutdown.spawn(accept(self.listener, gate));
        ReceiverStream::new(incoming)
    }
}

/// What a connection has to pass.
struct Gate {
    ready: mpsc::Sender<Result<Connection, Infallible>>,
    places: Places,
    refusals: Arc<Refusals>,
    limits: Limits,
    shutdown: Shutdown,
}

async fn accept(listener: TcpListener, gate: Gate) {
    let mut pause = PAUSE_MIN;
    loop {
        let accepted = tokio::select! {
            biased;
            () = gate.shutdown.token().cancelled() => return,
            () = gate.ready.closed() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                pause = PAUSE_MIN;
                gate.admit(stream, peer);
            }
            Err(error) if is_the_peers(&error) => {}
            Err(error) => {
                // The connection stays in the backlog, so that accepting again at once would spin.
                gate.refusals.add(&format!("cannot accept, next try in {pause:?}: {error}"));
                tokio::select! {
                    () = gate.shutdown.token().cancelled() => return,
                    () = tokio::time::sleep(pause) => {}
                }
                pause = (pause * 2).min(PAUSE_MAX);
            }
        }
    }
}

/// Whether only this one connection is affected: it was gone before we took it.
fn is_the_peers(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}

impl Gate {
    /// Gives the connection a place and lets it shake hands, or closes it.
    fn admit(&self, stream: TcpStream, peer: SocketAddr) {
        let place = match self.places.take(peer.ip()) {
            Ok(place) => place,
            Err(full) => {
                return self.refusals.add(&format!("closed a connection from {}: {full}", peer.ip()));
            }
        };
        if let Err(error) = set_options(&stream, &self.limits) {
            return self.refusals.add(&format!("closed a connection from {}: {error}", peer.ip()));
        }
        let ready = self.ready.clone();
        let refusals = Arc::clone(&self.refusals);
        let handshake = self.limits.handshake;
        let token = self.shutdown.token().clone();
        self.shutdown.spawn(async move {
            tokio::select! {
                () = token.cancelled() => {}
                () = shake(stream, peer, place, handshake, ready, refusals) => {}
            }
        });
    }
}

/// Waits for the preface and passes the connection on.
async fn shake(
    stream: TcpStream,
    peer: SocketAddr,
    place: Place,
    deadline: Duration,
    ready: mpsc::Sender<Result<Connection, Infallible>>,
    refusals: Arc<Refusals>,
) {
    match Connection::shake(stream, place, deadline).await {
        Handshake::Done(connection) => {
            // A closed channel means that the server has stopped: dropping the connection closes it.
            drop(ready.send(Ok(connection)).await);
        }
        Handshake::Left => {}
        Handshake::Refused(why) => refusals.add(&format!("closed a connection from {}: {why}", peer.ip())),
    }
}

fn set_options(stream: &TcpStream, limits: &Limits) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_keepalive(stream, true)?;
    rustix::net::sockopt::set_tcp_keepidle(stream, limits.keepalive_interval.max(Duration::from_secs(1)))?;
    rustix::net::sockopt::set_tcp_keepintvl(stream, limits.keepalive_timeout.max(Duration::from_secs(1)))?;
    Ok(())
}
