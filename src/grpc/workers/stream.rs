//! The stream of one worker: one task reads what it says, the response tells what the engine gives. Both sides work on
//! whatever is there at once: one command a wake, one message a frame, whatever the number of jobs.

use crate::engine::command::Ack;
use crate::engine::command::Bye;
use crate::engine::command::FinishRequest;
use crate::engine::command::Welcome;
use crate::engine::command::WorkerMessage;
use crate::engine::workers::Output;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::finish::from_finish;
use crate::grpc::convert::finish::from_progress_report;
use crate::grpc::convert::finish::to_ack;
use crate::grpc::convert::lease::to_period;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::grpc::workers::Workers;
use crate::grpc::workers::claim::from_lease;
use crate::grpc::workers::hello::from_hello;
use crate::grpc::workers::portion::portion;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::proto::v1;
use crate::service;
use crate::service::Service;
use crate::service::workers::Hearing;
use crate::service::workers::Teller;
use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tonic::Status;
use tonic::Streaming;

/// The response side.
pub(in crate::grpc::workers) type WorkStream =
    Pin<Box<dyn Stream<Item = Result<v1::WorkResponse, Status>> + Send>>;

/// How long a stream may stay open before its worker says who it is.
const HELLO_WITHIN: Duration = Duration::from_secs(10);
/// Messages that are read together when they are there.
const MESSAGES_MAX: usize = 64;
/// Finishes whose ack the worker has not taken yet; beyond it the stream is not read. [MEM-1]
const UNTAKEN_ACKS_MAX: usize = 20_000;
/// Outputs of the engine that go into one response when they are there.
const OUTPUTS_MAX: usize = 16;

/// Opens the stream: headers go out at once, then the welcome, then leases, acks and cancels.
pub(in crate::grpc::workers) fn open(workers: Workers, requests: Streaming<v1::WorkRequest>) -> WorkStream {
    let (responses, stream) = mpsc::channel(1);
    let shutdown = workers.service.shutdown().clone();
    shutdown.spawn(async move {
        if let Err(status) = serve(workers, requests, &responses).await {
            // A worker that has hung up does not hear why.
            let _ = responses.send(Err(status)).await;
        }
    });
    Box::pin(tokio_stream::wrappers::ReceiverStream::new(stream))
}

type Responses = mpsc::Sender<Result<v1::WorkResponse, Status>>;

async fn serve(
    workers: Workers,
    mut requests: Streaming<v1::WorkRequest>,
    responses: &Responses,
) -> Result<(), Status> {
    let Workers { service, sizes, leases_bytes_max, .. } = workers.clone();
    let first = tokio::time::timeout(HELLO_WITHIN, requests.message()).await;
    let first = first.map_err(|_late| Refusal::new(Reason::InvalidField, "no hello came in time"))??;
    let Some(first) = first else { return Ok(()) };
    let Some(hello) = &first.hello else {
        return Err(
            Refusal::new(Reason::InvalidField, "hello: must be in the first message of the stream").into()
        );
    };
    let hello = from_hello(hello, first.free_slots, service.engine().history().store_id())?;
    let (teller, hearing, welcome) = service.attach_worker(hello).await.map_err(Refusal::from)?;
    let (invalid, invalid_acks) = mpsc::unbounded_channel();
    let untaken = Arc::new(Semaphore::new(UNTAKEN_ACKS_MAX));
    let telling = Telling {
        service: service.clone(),
        leases_bytes_max,
        responses: responses.clone(),
        untaken: Arc::clone(&untaken),
    };
    let greeting = greet(&workers, &welcome);
    let mut reading = Reading { teller, sizes, invalid, untaken, bye: Bye::Unsaid };
    let first = v1::WorkRequest { hello: None, free_slots: 0, ..first };
    let read = async {
        let ended = match reading.take(vec![first]).await {
            Ok(()) => reading.read(&mut requests).await,
            Err(status) => Err(status),
        };
        // A link that breaks after the good-bye may still be mended: its worker is not done.
        let bye = if ended.is_ok() { reading.bye } else { Bye::Unsaid };
        reading.teller.close(bye).await;
        ended
    };
    let hear = telling.run(hearing, invalid_acks, greeting);
    // Both at once on one task: a read that waits for the engine does not keep leases from the worker.
    tokio::pin!(read, hear);
    tokio::select! {
        ended = &mut read => {
            ended?;
            // What was acknowledged before the worker stopped still goes out.
            hear.await
        }
        ended = &mut hear => {
            ended?;
            Err(over(&service))
        }
    }
}

fn greet(workers: &Workers, welcome: &Welcome) -> v1::WorkResponse {
    let service = &workers.service;
    let held = |(id, token): &(JobId, LeaseToken)| v1::HeldLease {
        job_id: id.to_string(),
        token: token.0,
        handle: 0,
    };
    v1::WorkResponse {
        welcome: Some(v1::Welcome {
            lease_period: Some(to_period(service.settings().lease_period)),
            reconnect_grace: Some(to_period(service.settings().reconnect_grace)),
            held: welcome.held.iter().map(held).collect(),
            store_id: service.engine().history().store_id().to_string(),
            request_bytes_max: workers.request_bytes_max as u64,
            result_bytes_max: workers.sizes.result_bytes_max as u64,
        }),
        ..v1::WorkResponse::default()
    }
}

struct Reading {
    teller: Teller,
    sizes: Sizes,
    invalid: mpsc::UnboundedSender<v1::FinishAck>,
    untaken: Arc<Semaphore>,
    /// Whether the worker has said that it stops.
    bye: Bye,
}

impl Reading {
    /// Reads until the worker closes its side of the stream.
    async fn read(&mut self, requests: &mut Streaming<v1::WorkRequest>) -> Result<(), Status> {
        while let Some(first) = requests.next().await {
            let mut messages = vec![first?];
            while messages.len() < MESSAGES_MAX
                && let Some(Some(next)) = at_once(requests).await
            {
                messages.push(next?);
            }
            self.take(messages).await?;
        }
        Ok(())
    }

    /// Turns what is there into one message to the engine.
    async fn take(&mut self, requests: Vec<v1::WorkRequest>) -> Result<(), Status> {
        let mut message = WorkerMessage::default();
        let before = self.bye;
        for request in requests {
            if request.hello.is_some() {
                let text = "hello: belongs into the first message of the stream only";
                return Err(Refusal::new(Reason::InvalidField, text).into());
            }
            message.free = message.free.saturating_add(request.free_slots);
            for finish in request.finishes {
                self.take_finish(finish, &mut message).await;
            }
            for report in request.progress {
                message.progress.push(from_progress_report(report)?);
            }
            if request.bye.is_some() {
                self.bye = Bye::Said;
            }
        }
        if self.bye == Bye::Said {
            message.free = 0;
        }
        self.teller.tell(message).await.map_err(Refusal::from)?;
        if self.bye != before {
            // What it holds it may still finish, until it closes the stream.
            self.teller.stop_leases().await.map_err(Refusal::from)?;
        }
        Ok(())
    }

    async fn take_finish(&mut self, finish: v1::Finish, message: &mut WorkerMessage) {
        // Given back when the ack has gone out: see `Telling::send`.
        if let Ok(room) = self.untaken.acquire().await {
            room.forget();
        }
        let token = LeaseToken(finish.token);
        match from_finish(finish, &self.sizes) {
            Ok((holder, finish)) => message.finishes.push(FinishRequest { holder, finish }),
            Err(refusal) => {
                let _ = self.invalid.send(to_ack(token, Some(&refusal)));
            }
        }
    }
}

struct Telling {
    service: Service,
    leases_bytes_max: usize,
    responses: Responses,
    untaken: Arc<Semaphore>,
}

impl Telling {
    /// Tells the worker what the engine gives, until the session is over.
    async fn run(
        self,
        mut hearing: Hearing,
        mut invalid: mpsc::UnboundedReceiver<v1::FinishAck>,
        greeting: v1::WorkResponse,
    ) -> Result<(), Status> {
        let stop = self.service.shutdown().token();
        self.send(greeting).await?;
        let mut outputs: Vec<Output> = Vec::with_capacity(OUTPUTS_MAX);
        loop {
            let mut response = v1::WorkResponse::default();
            tokio::select! {
                count = hearing.recv_many(&mut outputs, OUTPUTS_MAX) => {
                    if count == 0 {
                        return Ok(());
                    }
                }
                Some(ack) = invalid.recv() => response.acks.push(ack),
                () = stop.cancelled() => return Err(Refusal::from(service::Error::ShuttingDown).into()),
            }
            let superseded = outputs.iter().any(|output| output.superseded);
            let mut leases = fill(&self.service, &mut outputs, &mut response).await?;
            response.leases = portion(&mut leases, self.leases_bytes_max);
            self.send(response).await?;
            while !leases.is_empty() {
                let leases = portion(&mut leases, self.leases_bytes_max);
                self.send(v1::WorkResponse { leases, ..v1::WorkResponse::default() }).await?;
            }
            if superseded {
                let text = "a newer stream of this worker took its place";
                return Err(Refusal::new(Reason::WorkerReplaced, text).into());
            }
        }
    }

    async fn send(&self, response: v1::WorkResponse) -> Result<(), Status> {
        let acks = response.acks.len();
        let sent = self.responses.send(Ok(response)).await;
        self.untaken.add_permits(acks);
        sent.map_err(|_gone| Status::cancelled("the worker hung up"))
    }
}

/// Why the engine ended the session.
fn over(service: &Service) -> Status {
    let error = match service.engine().view().health() {
        crate::engine::view::Health::Poisoned => {
            service::Error::from(crate::engine::command::Error::OutcomeUnknown)
        }
        crate::engine::view::Health::Serving
        | crate::engine::view::Health::ReadOnly
        | crate::engine::view::Health::DiskFull
        | crate::engine::view::Health::Draining => service::Error::ShuttingDown,
    };
    Refusal::from(error).into()
}

/// Puts acks and cancels into the response; the leases are to follow.
async fn fill(
    service: &Service,
    outputs: &mut Vec<Output>,
    response: &mut v1::WorkResponse,
) -> Result<VecDeque<v1::Lease>, Status> {
    let mut grants = Vec::new();
    for output in outputs.drain(..) {
        grants.extend(output.grants);
        response.acks.extend(output.acks.into_iter().map(from_ack));
        response.cancels.extend(output.cancels.into_iter().map(|(id, token)| v1::LeaseCancel {
            job_id: id.to_string(),
            token: token.0,
            reason: String::new(),
        }));
    }
    let leases = service.leases(grants).await.map_err(Refusal::from)?;
    Ok(leases.iter().map(from_lease).collect())
}

fn from_ack(ack: Ack) -> v1::FinishAck {
    let refused = ack.outcome.err().map(|error| Refusal::from(service::Error::from(error)));
    to_ack(ack.token, refused.as_ref())
}

/// What the stream has at once: `None` if nothing is there yet.
async fn at_once<S: Stream + Unpin>(stream: &mut S) -> Option<Option<S::Item>> {
    std::future::poll_fn(|context| {
        Poll::Ready(match Pin::new(&mut *stream).poll_next(context) {
            Poll::Ready(item) => Some(item),
            Poll::Pending => None,
        })
    })
    .await
}
