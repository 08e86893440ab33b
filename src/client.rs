//! A thin typed client: the words of the API, safe repeats, and streams that mend themselves. The command line and
//! remote pools use it, and so may any Rust program.
//!
//! A call that failed without having happened, or that is harmless to repeat, is repeated by itself within the
//! [`Options::patience`]; any other failure is told with the server's [`Reason`](crate::grpc::status::Reason).

mod backup;
mod cursors;
mod error;
mod jobs;
mod patience;
mod queues;
mod server;
mod submitter;
mod updates;
mod worker;

pub use crate::client::backup::Pieces;
pub use crate::client::error::Error;
pub use crate::client::jobs::Listing;
pub use crate::client::jobs::Submitted;
pub use crate::client::jobs::With;
pub use crate::client::jobs::is_final;
pub use crate::client::jobs::is_not_found;
pub use crate::client::patience::Repeat;
pub use crate::client::submitter::Accepted;
pub use crate::client::submitter::Submitter;
pub use crate::client::updates::Batch;
pub use crate::client::updates::Updates;
pub use crate::client::worker::Heard;
pub use crate::client::worker::Worker;

use crate::client::patience::Patience;
use crate::engine::chance::Chance;
use crate::grpc::status::Reason;
use crate::proto::v1;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tonic::Response;
use tonic::Status;
use tonic::transport::Channel;
use tonic::transport::Endpoint;
use v1::admin_service_client::AdminServiceClient;
use v1::job_service_client::JobServiceClient;
use v1::queue_service_client::QueueServiceClient;
use v1::update_service_client::UpdateServiceClient;

/// What a peer may send ahead on one call, and on the connection.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 8 << 20;
/// The largest answer that is read: more than a server sends.
const RESPONSE_BYTES_MAX: usize = 16 << 20;
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// The longest text of a status: it stands in a header, and its details in another.
const HEADERS_BYTES_MAX: u32 = 64 << 10;

/// How long a client tries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Options {
    /// How long the pauses between the repeats of one call may take together; 30 s. A stream starts anew with each
    /// message that it receives.
    pub patience: Duration,
    /// The same while the server has never answered this client; 30 s. Zero tells at once that nobody is there. A server that
    /// has just started and still reads its history is there: what it cannot tell yet is waited for with `patience`.
    pub first_patience: Duration,
    /// A link on which nothing moves is given up after this time, within which it is asked for a sign of life; 30 s. [LEASE-2]
    pub silence: Duration,
    /// A stream of submits on which nothing was accepted for so long, with jobs on their way, is opened anew; 2 min. The
    /// next one after twice as long, so that a slow link or a queue that stays full does not have it start for ever.
    pub progress: Duration,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            patience: Duration::from_secs(30),
            first_patience: Duration::from_secs(30),
            silence: Duration::from_secs(30),
            progress: Duration::from_secs(120),
        }
    }
}

/// A connection to a server, made when it is first needed and again whenever it broke. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    channel: Channel,
    address: Arc<str>,
    options: Options,
    reached: Arc<AtomicBool>,
}

impl Client {
    /// A client of the server at `address`, such as `127.0.0.1:4264` or `http://jobs.internal:4264`.
    ///
    /// # Errors
    /// [`Error::Address`] if it is not an address. Whether a server is there shows with the first call.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn connect(address: &str, options: Options) -> Result<Client, Error> {
        let channel = endpoint(address, options.silence)?.connect_lazy();
        Ok(Client { channel, address: address.into(), options, reached: Arc::new(AtomicBool::new(false)) })
    }

    /// Checks an address without connecting to it.
    ///
    /// # Errors
    /// [`Error::Address`].
    pub fn check_address(address: &str) -> Result<(), Error> {
        endpoint(address, Options::default().silence).map(drop)
    }

    /// The server's address as it was given.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Makes one call, and makes it again as `repeat` and the patience allow.
    async fn call<R: Clone, T, F>(
        &self,
        repeat: Repeat,
        request: R,
        send: impl Fn(Channel, R) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Response<T>, Status>>,
    {
        let mut patience = self.patience();
        loop {
            let error = match send(self.channel.clone(), request.clone()).await {
                Ok(answer) => {
                    self.note_reached();
                    return Ok(answer.into_inner());
                }
                Err(status) => self.failed(status),
            };
            if error.reason() == Some(Reason::WorkTreeRebuilding) {
                // It is there and will soon know again: waiting for it is another matter than waiting for one to come.
                patience.extend(self.options.patience);
            }
            let Some(pause) = patience.pause_after(&error, repeat) else { return Err(error) };
            tracing::debug!(error = &error as &dyn std::error::Error, ?pause, "repeating a call");
            tokio::time::sleep(pause).await;
        }
    }

    fn patience(&self) -> Patience {
        let reached = self.reached.load(Ordering::Relaxed);
        Patience::new(if reached { self.options.patience } else { self.options.first_patience })
    }

    fn note_reached(&self) {
        self.reached.store(true, Ordering::Relaxed);
    }

    /// The error that a status tells of. Whoever refuses is there.
    fn failed(&self, status: Status) -> Error {
        let error = Error::of(&self.address, status);
        if error.reason().is_some() {
            self.note_reached();
        }
        error
    }
}

fn endpoint(address: &str, silence: Duration) -> Result<Endpoint, Error> {
    let uri = if address.contains("://") { address.to_owned() } else { format!("http://{address}") };
    let wrong = |source| Error::Address { address: address.to_owned(), source };
    let endpoint = Endpoint::from_shared(uri).map_err(|error| wrong(Some(error)))?;
    let uri = endpoint.uri();
    if uri.scheme_str() != Some("http") || uri.port_u16().is_none() || uri.path() != "/" {
        return Err(wrong(None));
    }
    Ok(endpoint
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .http2_keep_alive_interval(silence / 2)
        .keep_alive_timeout(silence / 2)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADERS_BYTES_MAX)
        .connect_timeout(CONNECT_TIMEOUT))
}

/// A name that nobody else has, for keys and producers.
///
/// # Errors
/// If the operating system has no random bytes to give.
pub fn unique_name() -> Result<String, Error> {
    let random = || Chance::from_system().map(|mut chance| chance.next_u64()).map_err(Error::NoChance);
    Ok(format!("{:016x}{:016x}", random()?, random()?))
}

fn jobs_of(channel: Channel) -> JobServiceClient<Channel> {
    JobServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

fn updates_of(channel: Channel) -> UpdateServiceClient<Channel> {
    UpdateServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

fn queues_of(channel: Channel) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

fn server_of(channel: Channel) -> AdminServiceClient<Channel> {
    AdminServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use crate::client::Client;

    #[test]
    fn an_address_is_a_host_and_a_port() {
        for good in ["127.0.0.1:4264", "[::1]:1", "http://jobs.internal:80", "localhost:4264"] {
            assert!(Client::check_address(good).is_ok(), "{good}");
        }
        for bad in ["", "localhost", "https://a:1", "http://a:1/path", "a b:1", "a:99999"] {
            assert!(Client::check_address(bad).is_err(), "{bad}");
        }
    }
}
