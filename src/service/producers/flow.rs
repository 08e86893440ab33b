//! The batches of one producer: on their way to the engine, waiting, or to be tried again.
//!
//! Up to a window of jobs is on its way. If the engine has no room for a batch it refuses all later ones too, as a gap in
//! the ordinals: once all are answered they are tried again in order, the first one alone, until it is accepted.

use crate::engine::Handle;
use crate::engine::command;
use crate::engine::command::Command;
use crate::engine::command::Reply;
use crate::job::decide::Refused;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::dedupe::Range;
use crate::service::Error;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::sync::mpsc;

/// Jobs of a stream that may be on their way: more would only add latency.
const JOBS_MAX: usize = 8_192;
/// Bytes of a stream's jobs that may be on their way. [MEM-1]
const BYTES_MAX: usize = 4 * 1_024 * 1_024;
/// How soon a refused batch is tried again at first, and at most; the pause doubles.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The answer to the batch with this number.
pub(in crate::service::producers) type Answer = (u64, Result<Accepted, command::Error>);

#[derive(Debug)]
struct Sent {
    tag: u64,
    bytes: usize,
    /// Kept in case there is no room for it; its payloads are shared with the one that was sent.
    batch: Batch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// Batches follow each other.
    Flowing,
    /// There was no room: the first `jobs` of what was refused are tried after the pause.
    Held { pause: Duration, jobs: usize },
    /// The try is on its way.
    Trying { pause: Duration },
}

#[derive(Debug)]
pub(in crate::service::producers) struct Flow<'a> {
    engine: &'a Handle,
    answers: mpsc::UnboundedSender<Answer>,
    sent: VecDeque<Sent>,
    refused: Vec<Batch>,
    waiting: VecDeque<Batch>,
    jobs: usize,
    bytes: usize,
    next_tag: u64,
    pace: Pace,
}

impl<'a> Flow<'a> {
    pub(in crate::service::producers) fn new(
        engine: &'a Handle,
        answers: mpsc::UnboundedSender<Answer>,
    ) -> Flow<'a> {
        Flow {
            engine,
            answers,
            sent: VecDeque::new(),
            refused: Vec::new(),
            waiting: VecDeque::new(),
            jobs: 0,
            bytes: 0,
            next_tag: 0,
            pace: Pace::Flowing,
        }
    }

    /// Whether the producer may go on: nothing waits, and the window is not full.
    pub(in crate::service::producers) fn has_room(&self) -> bool {
        self.waiting.is_empty() && self.pace == Pace::Flowing && self.has_window()
    }

    pub(in crate::service::producers) fn add(&mut self, batches: Vec<Batch>) {
        self.waiting.extend(batches);
    }

    /// Whether everything that was added is on stable storage.
    pub(in crate::service::producers) fn is_done(&self) -> bool {
        self.sent.is_empty() && self.waiting.is_empty() && self.refused.is_empty()
    }

    /// Whether a batch is to be sent, after [`Flow::ready`].
    pub(in crate::service::producers) fn has_next(&self) -> bool {
        let may = match self.pace {
            Pace::Flowing => self.has_window(),
            Pace::Held { .. } => self.sent.is_empty(),
            Pace::Trying { .. } => false,
        };
        may && !self.waiting.is_empty()
    }

    /// Waits for the pause to be over, and for the work tree.
    pub(in crate::service::producers) async fn ready(&self) {
        if let Pace::Held { pause, .. } = self.pace {
            tokio::time::sleep(pause).await;
        }
        self.engine.let_work_tree_follow().await;
    }

    /// Sends the next batch.
    pub(in crate::service::producers) async fn send_next(&mut self) -> Result<(), Error> {
        let Some(mut batch) = self.waiting.pop_front() else { return Ok(()) };
        if let Pace::Held { pause, jobs } = self.pace {
            if let Some(rest) = split(&mut batch, jobs) {
                self.waiting.push_front(rest);
            }
            self.pace = Pace::Trying { pause };
        }
        let (tag, bytes) = (self.next_tag, command::weight(&batch));
        self.next_tag += 1;
        self.jobs += batch.jobs.len();
        self.bytes += bytes;
        self.sent.push_back(Sent { tag, bytes, batch: batch.clone() });
        let reply = Reply::Stream(self.answers.clone(), tag);
        Ok(self.engine.send(bytes, Command::Submit(batch, reply)).await?)
    }

    /// Takes in answers, which come in the order of their batches, and adds what was accepted to `accepted`.
    ///
    /// # Errors
    /// Why the stream must end: what was sent after the refused batch does not count any more.
    pub(in crate::service::producers) fn take_in(
        &mut self,
        answers: impl Iterator<Item = Answer>,
        accepted: &mut Vec<Range>,
    ) -> Result<(), Error> {
        for (tag, outcome) in answers {
            let sent = self.sent.pop_front().filter(|sent| sent.tag == tag);
            let Sent { batch, bytes, .. } = sent.expect("the engine answers each command once, in order");
            self.jobs -= batch.jobs.len();
            self.bytes -= bytes;
            match outcome {
                Ok(known) => {
                    known.ranges.into_iter().for_each(|range| join(accepted, range));
                    if let Pace::Trying { .. } = self.pace {
                        self.pace = Pace::Flowing;
                    }
                }
                Err(error) => match self.held(&error, batch.jobs.len()) {
                    Some(pace) => {
                        self.pace = pace;
                        self.refused.push(batch);
                    }
                    None => return Err(error.into()),
                },
            }
        }
        if self.sent.is_empty() {
            // What still waits is later than what was refused.
            for batch in self.refused.drain(..).rev() {
                self.waiting.push_front(batch);
            }
        }
        Ok(())
    }

    /// How to go on after a refusal that passes; `None` if it does not.
    fn held(&self, error: &command::Error, jobs: usize) -> Option<Pace> {
        let pause = match self.pace {
            Pace::Flowing => PAUSE_MIN,
            Pace::Trying { pause } => (2 * pause).min(PAUSE_MAX),
            // All that was sent after a refused batch is refused.
            Pace::Held { .. } => {
                let passes = is_gap(error) || room(error, jobs).is_some();
                return passes.then_some(self.pace);
            }
        };
        room(error, jobs).map(|jobs| Pace::Held { pause, jobs })
    }

    fn has_window(&self) -> bool {
        self.sent.is_empty() || (self.jobs < JOBS_MAX && self.bytes < BYTES_MAX)
    }
}

/// How many of the refused `jobs` to try next, if the refusal passes: a batch on a stream need not be accepted whole.
fn room(error: &command::Error, jobs: usize) -> Option<usize> {
    let fits = |held: u64, most: u64| usize::try_from(most.saturating_sub(held)).unwrap_or(usize::MAX).max(1);
    match error {
        command::Error::Refused(Refused::QueueFull { waiting, max_pending, .. }) => {
            Some(fits(*waiting, *max_pending))
        }
        command::Error::Refused(Refused::ServiceFull { live, live_max }) => Some(fits(*live, *live_max)),
        command::Error::TooLarge { .. } => (jobs > 1).then_some(jobs / 2),
        command::Error::DiskFull => Some(jobs),
        command::Error::Refused(_)
        | command::Error::OutcomeUnknown
        | command::Error::ReadOnly
        | command::Error::ShuttingDown => None,
    }
}

fn is_gap(error: &command::Error) -> bool {
    matches!(error, command::Error::Refused(Refused::OrdinalGap { .. }))
}

/// Leaves the first `jobs` jobs in `batch` and gives the rest, if there is any.
fn split(batch: &mut Batch, jobs: usize) -> Option<Batch> {
    if jobs >= batch.jobs.len() {
        return None;
    }
    let origin = match &batch.origin {
        Origin::Producer { producer, ordinal } => {
            Origin::Producer { producer: producer.clone(), ordinal: ordinal + jobs as u64 }
        }
        Origin::Anonymous => Origin::Anonymous,
        // A keyed batch is accepted whole.
        Origin::Key { .. } => return None,
    };
    Some(Batch { jobs: batch.jobs.split_off(jobs), origin })
}

/// Adds `range` to the last of `ranges` if it goes on where that ends.
fn join(ranges: &mut Vec<Range>, range: Range) {
    let follows = |last: &&mut Range| {
        last.ordinal + last.jobs == range.ordinal
            && last.first.plus(last.jobs) == range.first
            && last.first_sequence.plus(last.jobs) == range.first_sequence
    };
    match ranges.last_mut().filter(follows) {
        Some(last) => last.jobs += range.jobs,
        None => ranges.push(range),
    }
}
