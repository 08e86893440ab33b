//! A response stream that is made item by item, each only when the transport asks for it: a slow reader holds one item.
//! [MEM-1]

use std::future::Future;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio_stream::Stream;
use tonic::Status;

/// Where the items come from.
pub trait Source: Send + Sized + 'static {
    /// A message of the stream.
    type Item: Send + 'static;

    /// The next item; `None` at the end. Not called again after the end or a failure.
    fn next(&mut self) -> impl Future<Output = Result<Option<Self::Item>, Status>> + Send;
}

type Making<S> = Pin<Box<dyn Future<Output = (S, Result<Option<<S as Source>::Item>, Status>)> + Send>>;

/// The stream of a source.
pub struct Pulled<S: Source> {
    /// The item that is being made; `None` once the source has ended.
    making: Option<Making<S>>,
}

impl<S: Source> Pulled<S> {
    pub(in crate::grpc) fn new(source: S) -> Pulled<S> {
        Pulled { making: Some(make(source)) }
    }
}

impl<S: Source> std::fmt::Debug for Pulled<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pulled").field("ended", &self.making.is_none()).finish()
    }
}

fn make<S: Source>(mut source: S) -> Making<S> {
    Box::pin(async move {
        let item = source.next().await;
        (source, item)
    })
}

impl<S: Source> Stream for Pulled<S> {
    type Item = Result<S::Item, Status>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(making) = &mut self.making else { return Poll::Ready(None) };
        let Poll::Ready((source, item)) = making.as_mut().poll(context) else { return Poll::Pending };
        // A future does nothing before it is polled, so the next item waits until it is asked for.
        self.making = matches!(item, Ok(Some(_))).then(|| make(source));
        Poll::Ready(item.transpose())
    }
}
