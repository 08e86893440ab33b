//! `com.groundsfam.dosomething.v1.DoSomethingService`: the face of the service that this one replaces.

#[cfg(test)]
mod tests;

use crate::grpc::convert::Sizes;
use crate::grpc::convert::seed;
use crate::grpc::pulled::Pulled;
use crate::grpc::pulled::Source;
use crate::grpc::status::Refusal;
use crate::proto::dosomething::Item;
use crate::proto::dosomething::Update;
use crate::proto::dosomething::do_something_service_server::DoSomethingService;
use crate::service;
use crate::service::Service;
use crate::service::named::NamedTail;
use crate::service::tail::Pending;
use crate::service::tail::Render;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use tokio_stream::Stream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

/// The metadata key that names a reader's cursor.
const CURSOR_KEY: &str = "gangline-cursor";
/// How many items, and bytes of them, are submitted together if they are there. [MEM-1]
const ITEMS_MAX: usize = 1_000;
const ITEMS_BYTES: usize = 512 * 1_024;
/// How many updates, and bytes of them, a reader holds. [MEM-1]
const UPDATES_MAX: usize = 256;
const UPDATES_BYTES: usize = 256 * 1_024;

/// The gRPC face of items in, updates out.
#[derive(Clone, Debug)]
pub struct Seed {
    service: Service,
    sizes: Sizes,
}

impl Seed {
    /// The face of `service`, which takes items of these sizes.
    #[must_use]
    pub fn new(service: Service, sizes: Sizes) -> Seed {
        Seed { service, sizes }
    }
}

#[tonic::async_trait]
impl DoSomethingService for Seed {
    type getUpdatesStream = Pulled<Readings>;

    async fn do_something(&self, request: Request<Streaming<Item>>) -> Result<Response<()>, Status> {
        let mut items = request.into_inner();
        while let Some(gathered) = self.gather(&mut items).await? {
            let jobs = seed::from_items(gathered, &self.sizes)?;
            self.service.submit_in_order(jobs).await?;
        }
        Ok(Response::new(()))
    }

    async fn get_updates(&self, request: Request<()>) -> Result<Response<Self::getUpdatesStream>, Status> {
        let name = request.metadata().get(CURSOR_KEY).map(|name| name.to_str().unwrap_or_default());
        let tail = self.service.named_tail(seed::from_cursor_name(name)?, Updates).await?;
        Ok(Response::new(Pulled::new(Readings { tail, waiting: Vec::new().into_iter() })))
    }
}

impl Seed {
    /// The items that are there, at least one; `None` at the end. What is not taken here waits at the sender.
    async fn gather(&self, items: &mut Streaming<Item>) -> Result<Option<Vec<Item>>, Status> {
        tokio::select! {
            gathered = gather(items) => gathered,
            () = self.service.shutdown().token().cancelled() => Err(service::Error::ShuttingDown.into()),
        }
    }
}

async fn gather(items: &mut Streaming<Item>) -> Result<Option<Vec<Item>>, Status> {
    let (mut gathered, mut bytes) = (Vec::new(), 0);
    poll_fn(|context| {
        while gathered.len() < ITEMS_MAX && bytes < ITEMS_BYTES {
            match Pin::new(&mut *items).poll_next(context) {
                Poll::Ready(Some(Ok(item))) => {
                    bytes += item.payload.len();
                    gathered.push(item);
                }
                Poll::Ready(Some(Err(status))) => return Poll::Ready(Err(status)),
                Poll::Pending if gathered.is_empty() => return Poll::Pending,
                Poll::Ready(None) | Poll::Pending => break,
            }
        }
        Poll::Ready(Ok(()))
    })
    .await?;
    Ok((!gathered.is_empty()).then_some(gathered))
}

/// Makes messages of updates, one each.
#[derive(Debug)]
pub struct Updates;

impl Render for Updates {
    type Batch = Vec<Update>;

    fn render(&mut self, pending: &mut Pending) -> Option<Vec<Update>> {
        let (mut updates, mut bytes) = (Vec::new(), 0);
        while let Some((frame, skip)) = pending.front()
            && updates.len() < UPDATES_MAX
            && bytes < UPDATES_BYTES
        {
            let mut sequence = frame.first_sequence.plus(skip as u64);
            for event in frame.events.iter().filter(|event| event.is_update()).skip(skip) {
                if updates.len() == UPDATES_MAX || bytes >= UPDATES_BYTES {
                    break;
                }
                if let Some(update) = seed::to_update(sequence, event) {
                    bytes += update.payload.len() + update.result.len() + update.error.len();
                    updates.push(update);
                }
                pending.pass(sequence);
                sequence = sequence.plus(1);
            }
        }
        (!updates.is_empty()).then_some(updates)
    }
}

/// The updates of one reader.
#[derive(Debug)]
pub struct Readings {
    tail: NamedTail<Updates>,
    /// Those that the transport has not asked for yet.
    waiting: std::vec::IntoIter<Update>,
}

impl Source for Readings {
    type Item = Update;

    async fn next(&mut self) -> Result<Option<Update>, Status> {
        loop {
            if let Some(update) = self.waiting.next() {
                return Ok(Some(update));
            }
            match self.tail.next().await {
                Ok(Some(updates)) => self.waiting = updates.into_iter(),
                Ok(None) => return Ok(None),
                Err(error) => {
                    return Err(Refusal::from(error).fact("cursor_sequence", self.tail.told()).into());
                }
            }
        }
    }
}
