//! A remote worker that does nothing: it completes each lease as it comes, and asks for the next in the same message.

use crate::cli::bench::setup::Bench;
use crate::proto::v1;
use crate::proto::v1::worker_service_client::WorkerServiceClient;
use anyhow::Context;
use bytes::Bytes;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;

/// A worker on a connection of its own; it ends when it is dropped.
#[derive(Debug)]
pub(in crate::cli::bench) struct Worker {
    task: JoinHandle<anyhow::Result<()>>,
}

impl Worker {
    pub(in crate::cli::bench) async fn start(
        bench: &Bench,
        worker: &str,
        slots: u32,
        queues: Vec<String>,
    ) -> anyhow::Result<Worker> {
        let (requests, outgoing) = mpsc::channel(8);
        let hello = v1::Hello {
            worker_id: bench.worker(worker),
            description: "gangline bench".to_owned(),
            queues,
            ..v1::Hello::default()
        };
        let first = v1::WorkRequest { hello: Some(hello), free_slots: slots, ..v1::WorkRequest::default() };
        requests.send(first).await?;
        let client = WorkerServiceClient::new(bench.connect().await?);
        let mut client = client.max_decoding_message_size(64 << 20);
        let mut responses = client.work(ReceiverStream::new(outgoing)).await?.into_inner();
        responses
            .message()
            .await?
            .and_then(|first| first.welcome)
            .context("the server did not welcome the worker")?;
        let result = bench.payload();
        let tracked = crate::shutdown::Shutdown::new();
        let task = tracked.spawn(async move {
            while let Some(response) = responses.message().await? {
                if !response.leases.is_empty() {
                    requests.send(complete(response.leases, &result)).await?;
                }
            }
            Ok(())
        });
        Ok(Worker { task })
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn complete(leases: Vec<v1::Lease>, result: &Bytes) -> v1::WorkRequest {
    let finishes: Vec<v1::Finish> = leases
        .into_iter()
        .map(|lease| v1::Finish {
            job_id: lease.job_id,
            token: lease.token,
            handle: lease.handle,
            outcome: Some(v1::finish::Outcome::Complete(v1::Complete {
                result: result.clone(),
                ..v1::Complete::default()
            })),
        })
        .collect();
    let free_slots = u32::try_from(finishes.len()).unwrap_or(u32::MAX);
    v1::WorkRequest { finishes, free_slots, ..v1::WorkRequest::default() }
}
