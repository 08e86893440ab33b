//! `StreamSubmit`: messages in, batches to the service; accepted ranges back, gathered into one message a wake.

use crate::grpc::convert::Sizes;
use crate::grpc::convert::submit;
use crate::grpc::jobs::Jobs;
use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::job::decide::submit::Batch;
use crate::job::dedupe::Range;
use crate::proto::v1;
use crate::proto::v1::stream_submit_request::Request;
use crate::service::Error;
use crate::service::producers::Ended;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;

/// How many messages wait for a producer that does not read; then it is not read either. [MEM-1]
const RESPONSES_MAX: usize = 4;

/// How long a stream that ended waits to say why.
const LAST_WORD: Duration = Duration::from_secs(1);

type Response = Result<v1::StreamSubmitResponse, Status>;

/// The answers to a producer's stream. They begin at once, so that the headers go out before its first message came.
pub(in crate::grpc::jobs) fn answer(
    jobs: Jobs,
    messages: Streaming<v1::StreamSubmitRequest>,
) -> ReceiverStream<Response> {
    let (responses, receiver) = mpsc::channel(RESPONSES_MAX);
    let shutdown = jobs.service.shutdown().clone();
    shutdown.spawn(async move {
        if let Err(status) = serve(&jobs, messages, &responses).await {
            // A producer that went away does not hear it, nor one that has long stopped reading.
            drop(tokio::time::timeout(LAST_WORD, responses.send(Err(status))).await);
        }
    });
    ReceiverStream::new(receiver)
}

async fn serve(
    jobs: &Jobs,
    mut messages: Streaming<v1::StreamSubmitRequest>,
    responses: &mpsc::Sender<Response>,
) -> Result<(), Status> {
    let Jobs { service, sizes, request_bytes_max } = jobs;
    let first = tokio::select! {
        first = messages.message() => first?,
        () = service.shutdown().token().cancelled() => return Err(Error::ShuttingDown.into()),
        () = responses.closed() => return Ok(()),
    };
    let Some(first) = first else { return Ok(()) };
    let Some(Request::Start(start)) = first.request else {
        return Err(out_of_turn("the first message of a producer's stream must be start").into());
    };
    let producer = submit::from_submit_start(&start)?;
    let producing = service.begin_producing(&producer).await?;
    let resumed = v1::SubmitResumed {
        last_ordinal: producing.last_ordinal(),
        request_bytes_max: *request_bytes_max as u64,
    };
    let response = v1::StreamSubmitResponse { resumed: Some(resumed), accepted: Vec::new() };
    if responses.send(Ok(response)).await.is_err() {
        return Ok(());
    }
    let batches = batches(messages, &producer, *sizes);
    match producing.run(batches, responses, |ranges| Ok(response_of(&ranges))).await {
        Ok(()) | Err(Ended::Left) => Ok(()),
        Err(Ended::Input(status)) => Err(status),
        Err(Ended::Service(error)) => Err(error.into()),
    }
}

fn batches(
    messages: Streaming<v1::StreamSubmitRequest>,
    producer: &Arc<str>,
    sizes: Sizes,
) -> impl Stream<Item = Result<Batch, Status>> {
    let producer = Arc::clone(producer);
    messages.map(move |message| match message?.request {
        Some(Request::Batch(batch)) => Ok(submit::from_submit_job_batch(batch, &producer, &sizes)?),
        Some(Request::Start(_)) => Err(out_of_turn("start comes once, as the first message").into()),
        None => Err(out_of_turn("a message of a producer's stream must hold a batch").into()),
    })
}

fn response_of(ranges: &[Range]) -> v1::StreamSubmitResponse {
    let accepted = ranges.iter().map(submit::to_accepted_range).collect();
    v1::StreamSubmitResponse { resumed: None, accepted }
}

fn out_of_turn(text: &str) -> Refusal {
    Refusal::new(Reason::UnexpectedMessage, text)
}
