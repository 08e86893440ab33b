//! The clients of a bench: a submitter with a window, and a reader of updates.

use crate::cli::bench::error::Error;
use crate::cli::bench::leftovers::is_ours;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::QUEUE;
use crate::proto::v1;
use crate::proto::v1::job_service_client::JobServiceClient;
use crate::proto::v1::update_service_client::UpdateServiceClient;
use anyhow::Context;
use anyhow::bail;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Channel;

/// Requests that may lie between a client and its transport.
const REQUESTS_MAX: usize = 8;

/// One `StreamSubmit` on a connection of its own.
#[derive(Debug)]
pub(in crate::cli::bench) struct Submitter {
    requests: mpsc::Sender<v1::StreamSubmitRequest>,
    answers: Streaming<v1::StreamSubmitResponse>,
    sent: u64,
    accepted: u64,
    /// Where the jobs go, each to the next one.
    queues: Vec<String>,
    payload: Bytes,
    patience: Duration,
}

impl Submitter {
    pub(in crate::cli::bench) async fn open(bench: &Bench, producer: &str) -> anyhow::Result<Submitter> {
        Submitter::open_to(bench, producer, vec![QUEUE.to_owned()]).await
    }

    /// One whose jobs go to these queues in turn.
    pub(in crate::cli::bench) async fn open_to(
        bench: &Bench,
        producer: &str,
        queues: Vec<String>,
    ) -> anyhow::Result<Submitter> {
        let (requests, outgoing) = mpsc::channel(REQUESTS_MAX);
        let producer_id = bench.producer(producer);
        let start = v1::SubmitStart { producer_id: producer_id.clone() };
        requests.send(request(v1::stream_submit_request::Request::Start(start))).await?;
        let mut client = JobServiceClient::new(bench.connect().await?);
        let mut answers = client.stream_submit(ReceiverStream::new(outgoing)).await?.into_inner();
        let resumed = answers
            .message()
            .await?
            .and_then(|first| first.resumed)
            .context("the server did not say where it resumes")?;
        if resumed.last_ordinal > 0 {
            return Err(Error::KnownProducer(producer_id).into());
        }
        let (payload, patience) = (bench.payload(), bench.arguments.patience);
        Ok(Submitter { requests, answers, sent: 0, accepted: 0, queues, payload, patience })
    }

    /// How many jobs were sent.
    pub(in crate::cli::bench) fn sent(&self) -> u64 {
        self.sent
    }

    /// How many jobs are on disk.
    pub(in crate::cli::bench) fn accepted(&self) -> u64 {
        self.accepted
    }

    /// Sends `count` more jobs.
    pub(in crate::cli::bench) async fn send(&mut self, count: u64) -> anyhow::Result<()> {
        let turn = usize::try_from(self.sent % self.queues.len() as u64)?;
        let queues = self.queues.iter().cycle().skip(turn).take(usize::try_from(count)?);
        let job = |queue: &String| v1::JobSpec {
            queue: queue.clone(),
            payload: self.payload.clone(),
            ..v1::JobSpec::default()
        };
        let jobs = queues.map(job).collect();
        let batch = v1::SubmitJobBatch { first_ordinal: self.sent + 1, jobs };
        self.requests.send(request(v1::stream_submit_request::Request::Batch(batch))).await?;
        self.sent += count;
        Ok(())
    }

    /// Waits for the next answer.
    pub(in crate::cli::bench) async fn hear(&mut self) -> anyhow::Result<()> {
        let Some(answer) = self.answers.message().await? else { bail!("the server ended the submit stream") };
        self.accepted += answer.accepted.iter().map(|range| range.count).sum::<u64>();
        Ok(())
    }

    /// Sends `count` more jobs and waits for the next answer, but not for ever.
    pub(in crate::cli::bench) async fn deliver(&mut self, count: u64) -> anyhow::Result<()> {
        let sent = self.sent + count;
        self.progress(sent, async |submitter| {
            submitter.send(count).await?;
            submitter.hear().await
        })
        .await
    }

    /// Sends `jobs` jobs, `batch` in a message, with at most `window` unanswered, and waits until all are on disk. Each answer
    /// may take as long as the bench's patience.
    pub(in crate::cli::bench) async fn send_all(
        &mut self,
        jobs: u64,
        batch: u64,
        window: u64,
    ) -> anyhow::Result<()> {
        while self.accepted < jobs {
            self.progress(jobs, async |submitter| {
                while submitter.sent < jobs
                    && submitter.sent - submitter.accepted + batch <= window.max(batch)
                {
                    submitter.send(batch.min(jobs - submitter.sent)).await?;
                }
                submitter.hear().await
            })
            .await?;
        }
        Ok(())
    }

    /// A step on the way to `jobs` jobs that ends with an answer.
    async fn progress(
        &mut self,
        jobs: u64,
        step: impl AsyncFnOnce(&mut Submitter) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let patience = self.patience;
        match tokio::time::timeout(patience, step(self)).await {
            Ok(stepped) => stepped,
            Err(_late) => {
                let so_far = format!("{} of {jobs} jobs are on disk", self.accepted);
                Err(Error::Stuck { waited_for: "no submit was acknowledged", patience, so_far }.into())
            }
        }
    }
}

fn request(request: v1::stream_submit_request::Request) -> v1::StreamSubmitRequest {
    v1::StreamSubmitRequest { request: Some(request) }
}

/// A stream of updates, on a connection of its own.
pub(in crate::cli::bench) async fn updates(
    bench: &Bench,
    request: v1::GetUpdatesRequest,
) -> anyhow::Result<Streaming<v1::GetUpdatesResponse>> {
    let channel = bench.connect().await?;
    Ok(client(channel).get_updates(request).await?.into_inner())
}

/// A reader of updates, whose messages may be large.
pub(in crate::cli::bench) fn client(channel: Channel) -> UpdateServiceClient<Channel> {
    UpdateServiceClient::new(channel).max_decoding_message_size(16 << 20)
}

/// All successes, with results, from the head of the log on: what finished in a run before is not this one's.
pub(in crate::cli::bench) async fn results(
    bench: &Bench,
) -> anyhow::Result<Streaming<v1::GetUpdatesResponse>> {
    let request = v1::GetUpdatesRequest {
        after: Some(v1::get_updates_request::After::End(v1::LogEnd::Head.into())),
        kinds: vec![v1::UpdateKind::Succeeded.into()],
        include_result: true,
        include_payload: true,
        ..v1::GetUpdatesRequest::default()
    };
    let mut updates = updates(bench, request).await?;
    // It comes at once, and tells that the place in the log is taken.
    updates.message().await?.context("the server ended the updates")?;
    Ok(updates)
}

/// How many of these are of jobs of a bench.
pub(in crate::cli::bench) fn finished(response: &v1::GetUpdatesResponse) -> anyhow::Result<u64> {
    Ok(response.updates()?.iter().filter(|update| is_ours(&update.queue)).count() as u64)
}
