//! A worker's stream: leases come in, finishes go out. After a broken link it is opened anew under the same name, with the
//! leases that the worker still works on. What to do with a lease is the caller's: see the pool. [LEASE-2]

use crate::client::Client;
use crate::client::Error;
use crate::client::RESPONSE_BYTES_MAX;
use crate::client::Repeat;
use crate::client::patience::Patience;
use crate::proto::v1;
use crate::proto::v1::worker_service_client::WorkerServiceClient;
use prost::Message;
use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Interval;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;

/// One message holds at most so many finishes and, if it is more than one, so many bytes of them: a message that the server
/// does not take would break the stream again and again.
const BATCH_FINISHES: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// Messages between here and the transport.
const MESSAGES_MAX: usize = 4;
/// Signs of life in a lease period.
const SIGNS: u32 = 3;
/// What a server that names no lease period is taken to mean.
const LEASE_PERIOD: Duration = Duration::from_secs(15);

/// What a worker hears.
#[derive(Debug)]
pub enum Heard {
    /// A message of the server. The first of a stream has the welcome: of the leases named in [`Worker::open`] those that
    /// it names are still this worker's.
    Message(v1::WorkResponse),
    /// What was told first on this stream has gone out.
    Told,
    /// The stream broke. Call [`Worker::open`] to go on; what was told and not answered is unknown.
    Broke(Error),
    /// The server has ended the stream after [`Worker::close`].
    Closed,
}

/// A worker's stream, opened and told by [`Worker::open`] and [`Worker::tell`]; nothing moves while nobody waits in
/// [`Worker::next`].
pub struct Worker {
    client: Client,
    hello: v1::Hello,
    link: Link,
    outbox: Outbox,
    patience: Patience,
    pause: Duration,
}

type Opening = Pin<Box<dyn Future<Output = Result<(Open, v1::WorkResponse), Status>> + Send>>;

enum Link {
    Down,
    Opening(Opening),
    Open(Box<Open>),
}

struct Open {
    /// `None` once the worker's side is closed.
    outbound: Option<mpsc::Sender<v1::WorkRequest>>,
    inbound: Streaming<v1::WorkResponse>,
    alive: Interval,
    /// The finishes of one message.
    batch_bytes: usize,
    first: First,
    /// Signs of life and messages on this stream: without one its link is not trusted yet.
    signs: u32,
}

/// What was told first on a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum First {
    Awaited,
    OnItsWay,
    Told,
}

/// What has been told and not handed to the transport.
#[derive(Debug, Default)]
struct Outbox {
    finishes: VecDeque<v1::Finish>,
    /// The newest of each lease, by token.
    progress: BTreeMap<u64, v1::ProgressReport>,
    free_slots: u32,
    bye: Option<v1::Bye>,
    closing: bool,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("worker_id", &self.hello.worker_id).finish_non_exhaustive()
    }
}

impl Client {
    /// A worker that announces itself as `hello` says; its `held` is ignored. Nothing is sent before [`Worker::open`].
    #[must_use]
    pub fn worker(&self, hello: v1::Hello) -> Worker {
        Worker {
            client: self.clone(),
            hello,
            link: Link::Down,
            outbox: Outbox::default(),
            patience: self.patience(),
            pause: Duration::ZERO,
        }
    }
}

impl Worker {
    /// Begins to open a stream, after the pause that the last failure asks for. `held` are the leases that the worker works
    /// on or has finishes of: all others it had are lost.
    pub fn open(&mut self, held: Vec<v1::HeldLease>) {
        let hello = v1::Hello { held, ..self.hello.clone() };
        self.link = Link::Opening(open(&self.client, hello, std::mem::take(&mut self.pause)));
    }

    /// Tells the server on the open stream; without one it is dropped.
    pub fn tell(&mut self, request: v1::WorkRequest) {
        if let Link::Open(open) = &mut self.link {
            if open.first == First::Awaited {
                open.first = First::OnItsWay;
            }
            self.outbox.put(request);
        }
    }

    /// Closes the worker's side once everything that was told has gone out.
    pub fn close(&mut self) {
        self.outbox.closing = true;
    }

    /// Sends what was told, gives signs of life, and waits for what the server says. Waits for ever while no stream is open
    /// or being opened. May be dropped at any time, nothing is lost.
    ///
    /// # Errors
    /// [`Error`], if opening the stream again makes no sense or the patience is over.
    pub async fn next(&mut self) -> Result<Heard, Error> {
        let status = match &mut self.link {
            Link::Down => std::future::pending().await,
            Link::Opening(opening) => match opening.await {
                Ok((open, first)) => {
                    self.client.note_reached();
                    // There is a server: one that goes away again is waited for.
                    self.patience.extend(self.client.options.patience);
                    if let Some(welcome) = &first.welcome {
                        // Tokens of this store mean nothing to one that was restored in its place.
                        self.hello.store_id.clone_from(&welcome.store_id);
                    }
                    self.link = Link::Open(Box::new(open));
                    return Ok(Heard::Message(first));
                }
                Err(status) => status,
            },
            Link::Open(open) => match open.step(&mut self.outbox).await {
                Ok(Some(heard)) => return Ok(heard),
                Ok(None) if open.outbound.is_none() => {
                    self.link = Link::Down;
                    return Ok(Heard::Closed);
                }
                Ok(None) => ended(),
                Err(status) => status,
            },
        };
        self.broke(status)
    }

    fn broke(&mut self, status: Status) -> Result<Heard, Error> {
        let error = self.client.failed(status);
        // After a stream that worked the next is opened at once.
        let worked = matches!(&self.link, Link::Open(open) if open.signs > 1);
        self.link = Link::Down;
        self.outbox = Outbox::default();
        if worked {
            self.patience.restore(self.client.options.patience);
        }
        if worked && error.passes() {
            self.pause = Duration::ZERO;
        } else {
            match self.patience.pause_after(&error, Repeat::Harmless) {
                Some(pause) => self.pause = pause,
                None => return Err(error),
            }
        }
        Ok(Heard::Broke(error))
    }
}

impl Open {
    /// One thing that happens; `None` if the server has ended the stream.
    async fn step(&mut self, outbox: &mut Outbox) -> Result<Option<Heard>, Status> {
        loop {
            if outbox.is_empty() {
                if outbox.closing {
                    self.outbound = None;
                }
                if self.first == First::OnItsWay {
                    self.first = First::Told;
                    return Ok(Some(Heard::Told));
                }
            }
            // If it is closed from beyond, the stream is over and its status comes as the next message.
            let outbound = self.outbound.as_ref().filter(|outbound| !outbound.is_closed());
            tokio::select! {
                biased;
                message = self.inbound.message() => {
                    self.signs = self.signs.saturating_add(1);
                    return Ok(message?.map(Heard::Message));
                }
                permit = reserve(outbound), if !outbox.is_empty() => {
                    if let Some(permit) = permit {
                        permit.send(outbox.next(self.batch_bytes));
                    }
                }
                _ = self.alive.tick() => {
                    self.signs = self.signs.saturating_add(1);
                    if let Some(outbound) = outbound {
                        // If there is no room then something is on its way already.
                        outbound.try_send(v1::WorkRequest::default()).ok();
                    }
                }
            }
        }
    }
}

async fn reserve(
    outbound: Option<&mpsc::Sender<v1::WorkRequest>>,
) -> Option<mpsc::Permit<'_, v1::WorkRequest>> {
    match outbound {
        Some(outbound) => outbound.reserve().await.ok(),
        None => std::future::pending().await,
    }
}

impl Outbox {
    fn put(&mut self, request: v1::WorkRequest) {
        self.finishes.extend(request.finishes);
        self.progress.extend(request.progress.into_iter().map(|report| (report.token, report)));
        self.free_slots = self.free_slots.saturating_add(request.free_slots);
        self.bye = request.bye.or(self.bye.take());
    }

    fn is_empty(&self) -> bool {
        self.finishes.is_empty() && self.progress.is_empty() && self.free_slots == 0 && self.bye.is_none()
    }

    /// The next message. The good-bye is in the last one.
    fn next(&mut self, batch_bytes: usize) -> v1::WorkRequest {
        let mut bytes = 0;
        let mut fits = |finish: &v1::Finish| {
            let first = bytes == 0;
            bytes += finish.encoded_len();
            first || bytes <= batch_bytes
        };
        let count = self.finishes.iter().take(BATCH_FINISHES).take_while(|finish| fits(finish)).count();
        let finishes: Vec<v1::Finish> = self.finishes.drain(..count).collect();
        let bye = if self.finishes.is_empty() { self.bye.take() } else { None };
        v1::WorkRequest {
            finishes,
            progress: std::mem::take(&mut self.progress).into_values().collect(),
            free_slots: std::mem::take(&mut self.free_slots),
            bye,
            ..v1::WorkRequest::default()
        }
    }
}

fn open(client: &Client, hello: v1::Hello, pause: Duration) -> Opening {
    let channel = client.channel.clone();
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        let (outbound, requests) = mpsc::channel(MESSAGES_MAX);
        let first = v1::WorkRequest { hello: Some(hello), ..v1::WorkRequest::default() };
        outbound.send(first).await.map_err(|_closed| ended())?;
        let mut service = WorkerServiceClient::new(channel).max_decoding_message_size(RESPONSE_BYTES_MAX);
        let mut inbound = service.work(ReceiverStream::new(requests)).await?.into_inner();
        let first = inbound.message().await?.ok_or_else(ended)?;
        let welcome = first.welcome.as_ref();
        let welcome = welcome.ok_or_else(|| Status::data_loss("the first answer does not welcome"))?;
        let period = welcome.lease_period.and_then(|period| Duration::try_from(period).ok());
        let period = period.filter(|period| !period.is_zero()).unwrap_or(LEASE_PERIOD);
        // Half of what the server reads is for everything else.
        let batch_bytes = match usize::try_from(welcome.request_bytes_max) {
            Ok(0) | Err(_) => BATCH_BYTES,
            Ok(most) => BATCH_BYTES.min(most / 2),
        };
        let mut alive = tokio::time::interval(period / SIGNS);
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let outbound = Some(outbound);
        let open = Open { outbound, inbound, alive, batch_bytes, first: First::Awaited, signs: 0 };
        Ok((open, first))
    })
}

fn ended() -> Status {
    Status::unavailable("the server ended the stream")
}

#[cfg(test)]
mod tests {
    use crate::client::worker::BATCH_BYTES;
    use crate::client::worker::BATCH_FINISHES;
    use crate::client::worker::Outbox;
    use crate::proto::v1;
    use bytes::Bytes;

    fn told(count: usize, bytes: usize) -> v1::WorkRequest {
        let complete = v1::Complete { result: Bytes::from(vec![b'x'; bytes]), ..v1::Complete::default() };
        let finish =
            v1::Finish { outcome: Some(v1::finish::Outcome::Complete(complete)), ..v1::Finish::default() };
        let bye = Some(v1::Bye::default());
        v1::WorkRequest { finishes: vec![finish; count], free_slots: 3, bye, ..v1::WorkRequest::default() }
    }

    /// A message that is over the server's limit would break each new stream too.
    #[test]
    fn large_results_go_in_messages_of_their_own_and_the_good_bye_comes_last() {
        let mut outbox = Outbox::default();
        outbox.put(told(5, 400_000));
        let sent: Vec<v1::WorkRequest> =
            std::iter::from_fn(|| (!outbox.is_empty()).then(|| outbox.next(BATCH_BYTES))).collect();
        let shape =
            |request: &v1::WorkRequest| (request.finishes.len(), request.free_slots, request.bye.is_some());
        assert_eq!(sent.iter().map(shape).collect::<Vec<_>>(), [(2, 3, false), (2, 0, false), (1, 0, true)]);
        outbox.put(told(BATCH_FINISHES + 1, 1));
        assert_eq!(outbox.next(BATCH_BYTES).finishes.len(), BATCH_FINISHES);
    }

    #[test]
    fn of_progress_the_newest_of_each_lease_goes_out() {
        let mut outbox = Outbox::default();
        for (token, done) in [(1, 10), (2, 20), (1, 30)] {
            let progress = Some(v1::Progress { done: Some(done), ..v1::Progress::default() });
            let report = v1::ProgressReport { token, progress, ..v1::ProgressReport::default() };
            outbox.put(v1::WorkRequest { progress: vec![report], ..v1::WorkRequest::default() });
        }
        let sent = outbox.next(BATCH_BYTES).progress.into_iter();
        let done: Vec<_> = sent.map(|report| report.progress.and_then(|progress| progress.done)).collect();
        assert_eq!(done, [Some(30), Some(20)]);
    }
}
