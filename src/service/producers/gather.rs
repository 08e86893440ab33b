//! Gathering what a producer has sent so far: many small messages become few commands, and a large one waits for nothing.

use crate::engine::command;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::service::Error;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use tokio_stream::Stream;

/// How many jobs are gathered at once, and how many one command holds unless one message holds more.
const JOBS_MAX: usize = 4_096;
/// How many bytes of log are gathered at once, and how many one command needs unless one message needs more.
const BYTES_MAX: usize = 512 * 1_024;

/// What a producer still has to say.
#[derive(Debug)]
pub(in crate::service::producers) enum Input<E> {
    /// More may come.
    Open,
    /// It has sent everything.
    Closed,
    /// It sent what is not allowed, or its link broke.
    Failed(E),
    /// The engine refused what cannot be tried again.
    Refused(Error),
}

impl<E> Input<E> {
    pub(in crate::service::producers) fn is_open(&self) -> bool {
        matches!(self, Input::Open)
    }

    pub(in crate::service::producers) fn is_refused(&self) -> bool {
        matches!(self, Input::Refused(_))
    }
}

/// What was there.
#[derive(Debug)]
pub(in crate::service::producers) struct Gathered<E> {
    /// Batches in order, those merged that follow each other.
    pub(in crate::service::producers) batches: Vec<Batch>,
    /// What is to come.
    pub(in crate::service::producers) input: Input<E>,
}

/// Waits for something to be there, and takes what is there without waiting for more. Nothing is lost if the wait is
/// given up.
pub(in crate::service::producers) async fn gather<E>(
    mut stream: Pin<&mut impl Stream<Item = Result<Batch, E>>>,
) -> Gathered<E> {
    std::future::poll_fn(|context| poll(stream.as_mut(), context)).await
}

fn poll<E>(
    mut stream: Pin<&mut impl Stream<Item = Result<Batch, E>>>,
    context: &mut Context<'_>,
) -> Poll<Gathered<E>> {
    let mut batches = Vec::new();
    let (mut jobs, mut bytes) = (0, 0);
    while jobs < JOBS_MAX && bytes < BYTES_MAX {
        match stream.as_mut().poll_next(context) {
            Poll::Ready(Some(Ok(batch))) => {
                jobs += batch.jobs.len().max(1);
                bytes += command::weight(&batch);
                put(&mut batches, batch);
            }
            Poll::Ready(Some(Err(error))) => {
                return Poll::Ready(Gathered { batches, input: Input::Failed(error) });
            }
            Poll::Ready(None) => return Poll::Ready(Gathered { batches, input: Input::Closed }),
            Poll::Pending if batches.is_empty() => return Poll::Pending,
            Poll::Pending => break,
        }
    }
    Poll::Ready(Gathered { batches, input: Input::Open })
}

/// Adds `batch` to the last of `batches` if it follows on it and both are small.
fn put(batches: &mut Vec<Batch>, batch: Batch) {
    let follows = |last: &&mut Batch| {
        end(last).is_some_and(|end| Some(end) == first(&batch))
            && last.jobs.len() + batch.jobs.len() <= JOBS_MAX
            && command::weight(last) + command::weight(&batch) <= BYTES_MAX
    };
    match batches.last_mut().filter(follows) {
        Some(last) => last.jobs.extend(batch.jobs),
        None => batches.push(batch),
    }
}

fn first(batch: &Batch) -> Option<u64> {
    match &batch.origin {
        Origin::Producer { ordinal, .. } => Some(*ordinal),
        Origin::Anonymous | Origin::Key { .. } => None,
    }
}

fn end(batch: &Batch) -> Option<u64> {
    first(batch).and_then(|first| first.checked_add(batch.jobs.len() as u64))
}
