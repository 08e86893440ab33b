//! A producer's stream of submits: batches go to the engine without waiting for each other's answers, in order; what
//! was accepted comes back gathered. Resuming doubles nothing. [ID-1]
//!
//! No task, channel or message per job or batch: each stream has one channel for all its answers.

mod flow;
mod gather;

use crate::engine::command;
use crate::engine::command::Command;
use crate::engine::view::Health;
use crate::job::decide::submit::Batch;
use crate::job::dedupe::Range;
use crate::service::Error;
use crate::service::Service;
use crate::service::producers::flow::Flow;
use crate::service::producers::gather::Input;
use crate::service::producers::gather::gather;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use tokio::sync::mpsc;
use tokio_stream::Stream;
use tokio_util::sync::CancellationToken;

/// How many outcomes are taken in at once.
const OUTCOMES_MAX: usize = 1_024;
/// How many accepted ranges wait for a producer that does not read; then it is not read either. [MEM-1]
const RANGES_MAX: usize = 1_024;

/// Who streams now: of two streams with one producer's name the newer goes on.
#[derive(Debug, Default)]
pub(in crate::service) struct Producers(Mutex<Turns>);

#[derive(Debug, Default)]
struct Turns {
    last: u64,
    current: HashMap<Arc<str>, (u64, CancellationToken)>,
}

/// The right of one stream to go on as its producer, until a newer one takes it.
#[derive(Debug)]
struct Turn {
    producers: Arc<Producers>,
    producer: Arc<str>,
    number: u64,
    replaced: CancellationToken,
}

impl Turn {
    fn take(producers: &Arc<Producers>, producer: &Arc<str>) -> Turn {
        let replaced = CancellationToken::new();
        let mut turns = producers.0.lock().unwrap_or_else(PoisonError::into_inner);
        turns.last += 1;
        let number = turns.last;
        if let Some((_, older)) = turns.current.insert(Arc::clone(producer), (number, replaced.clone())) {
            older.cancel();
        }
        Turn { producers: Arc::clone(producers), producer: Arc::clone(producer), number, replaced }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.producers.0.lock().unwrap_or_else(PoisonError::into_inner);
        if turns.current.get(&self.producer).is_some_and(|(number, _)| *number == self.number) {
            turns.current.remove(&self.producer);
        }
    }
}

/// Why a stream ended early.
#[derive(Debug)]
pub enum Ended<E> {
    /// The producer sent what is not allowed, or its link broke.
    Input(E),
    /// The service could not go on.
    Service(Error),
    /// Nobody receives the answers any more.
    Left,
}

impl<E> From<Error> for Ended<E> {
    fn from(error: Error) -> Ended<E> {
        Ended::Service(error)
    }
}

/// A producer whose turn it is.
#[derive(Debug)]
pub struct Producing {
    service: Service,
    turn: Turn,
    last_ordinal: u64,
}

impl Service {
    /// Begins or resumes the stream of `producer`; an older one ends.
    ///
    /// # Errors
    /// [`Error::Command`].
    pub async fn begin_producing(&self, producer: &Arc<str>) -> Result<Producing, Error> {
        let turn = Turn::take(&self.producers, producer);
        // Asked of the engine itself: what the older stream had sent is decided before, and counts.
        let ask = |reply| Command::LastOrdinal(Arc::clone(producer), reply);
        let last_ordinal = self.engine.call(0, ask).await?;
        Ok(Producing { service: self.clone(), turn, last_ordinal })
    }
}

impl Producing {
    /// The last ordinal that is on stable storage; 0 if there is none.
    #[must_use]
    pub fn last_ordinal(&self) -> u64 {
        self.last_ordinal
    }

    /// Submits `batches` until they end, and sends what was accepted to `answers`, in order, as much at a time as is there.
    /// While a queue is full, or nobody takes the answers, it takes nothing from `batches`.
    ///
    /// # Errors
    /// [`Ended`]. What was accepted before has been sent.
    pub async fn run<E, T>(
        self,
        batches: impl Stream<Item = Result<Batch, E>>,
        answers: &mpsc::Sender<T>,
        answer: impl Fn(Vec<Range>) -> T,
    ) -> Result<(), Ended<E>> {
        let mut batches = std::pin::pin!(batches);
        let mut interrupted = std::pin::pin!(self.interrupted(answers));
        let (sender, mut outcomes) = mpsc::unbounded_channel();
        let mut flow = Flow::new(&self.service.engine, sender);
        let (mut decided, mut accepted) = (Vec::new(), Vec::new());
        let mut input = Input::Open;
        loop {
            let has_room = flow.has_room() && accepted.len() < RANGES_MAX;
            tokio::select! {
                biased;
                ended = &mut interrupted => return Err(ended),
                _ = outcomes.recv_many(&mut decided, OUTCOMES_MAX), if !input.is_refused() => {
                    if let Err(error) = flow.take_in(decided.drain(..), &mut accepted) {
                        input = Input::Refused(error);
                    }
                }
                permit = answers.reserve(), if !accepted.is_empty() => {
                    let Ok(permit) = permit else { return Err(Ended::Left) };
                    permit.send(answer(std::mem::take(&mut accepted)));
                }
                // Only the waiting is given up when something else comes first: no batch is lost half-way.
                () = flow.ready(), if flow.has_next() && !input.is_refused() => flow.send_next().await?,
                gathered = gather(batches.as_mut()), if input.is_open() && has_room => {
                    flow.add(gathered.batches);
                    input = gathered.input;
                }
            }
            let answered = accepted.is_empty();
            input = match input {
                Input::Refused(error) if answered => return Err(Ended::Service(error)),
                Input::Closed if answered && flow.is_done() => return Ok(()),
                Input::Failed(error) if answered && flow.is_done() => return Err(Ended::Input(error)),
                Input::Open | Input::Closed | Input::Failed(_) | Input::Refused(_) => input,
            };
        }
    }

    /// Returns when the stream must end whatever its producer does.
    async fn interrupted<E, T>(&self, answers: &mpsc::Sender<T>) -> Ended<E> {
        let mut health = self.service.engine.view().follow_health();
        tokio::select! {
            () = self.turn.replaced.cancelled() => Ended::Service(Error::ProducerReplaced),
            () = self.service.shutdown.token().cancelled() => Ended::Service(Error::ShuttingDown),
            () = answers.closed() => Ended::Left,
            // A command that the writer left behind is never answered.
            _ = health.wait_for(|health| *health == Health::Poisoned) => {
                Ended::Service(Error::Command(command::Error::OutcomeUnknown))
            }
        }
    }
}
