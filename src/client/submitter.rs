//! A producer: a long run of jobs over one stream, which goes on by itself after a broken link and never doubles or
//! loses a job. [ID-1]

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::jobs_of;
use crate::client::patience::Patience;
use crate::job::id::JobId;
use crate::proto::v1;
use crate::proto::v1::stream_submit_request::Request;
use prost::Message;
use std::collections::VecDeque;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

/// Jobs that may be on their way, sent or not, without an answer. [MEM-1]
const WINDOW_JOBS: usize = 4_000;
/// Their bytes. [MEM-1]
const WINDOW_BYTES: usize = 16 << 20;
/// One message holds at most so many jobs and, if it is more than one, so many bytes.
const BATCH_JOBS: usize = 1_000;
const BATCH_BYTES: usize = 1 << 20;
/// What a message holds besides its jobs, and besides each of them, at most.
const MESSAGE_BYTES: usize = 32;
const JOB_BYTES: usize = 8;
/// Messages between here and the transport.
const MESSAGES_MAX: usize = 4;

/// Jobs of a producer that are now on stable storage. [ACK-1]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The producer's number of the first of them.
    pub first_ordinal: u64,
    /// How many.
    pub count: u64,
    /// The id of the first, the others are consecutive; `None` if the answer was lost with a broken link.
    pub first_id: Option<JobId>,
}

/// A producer of jobs.
///
/// [`Submitter::push`] takes jobs while there is room; [`Submitter::accepted`] sends them, waits for answers and mends
/// the stream. Nothing is sent while nobody waits in it.
pub struct Submitter {
    client: Client,
    producer_id: String,
    accepted: u64,
    unanswered: VecDeque<v1::JobSpec>,
    unanswered_bytes: usize,
    sent: usize,
    link: Link,
    patience: Patience,
    /// How long to wait for something to be accepted before the stream is opened anew.
    progress: Duration,
}

type Opening = Pin<Box<dyn Future<Output = Result<Open, Status>> + Send>>;

enum Link {
    Opening(Opening),
    Open(Box<Open>),
}

struct Open {
    outbound: mpsc::Sender<v1::StreamSubmitRequest>,
    inbound: Streaming<v1::StreamSubmitResponse>,
    last_ordinal: u64,
    /// The largest message that the server reads.
    request_bytes_max: usize,
    /// Is over when the jobs on their way have waited too long; it counts while there are some.
    stalled: Pin<Box<Sleep>>,
}

impl Open {
    /// Whether the server reads a message that holds `job`.
    fn takes(&self, job: &v1::JobSpec) -> bool {
        message_bytes(job) <= self.request_bytes_max
    }
}

/// At most the bytes of a message with this one job.
fn message_bytes(job: &v1::JobSpec) -> usize {
    MESSAGE_BYTES + JOB_BYTES + job.encoded_len()
}

impl fmt::Debug for Submitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Submitter")
            .field("producer_id", &self.producer_id)
            .field("accepted", &self.accepted)
            .field("unanswered", &self.unanswered.len())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Begins or resumes the run of jobs of a producer. Of two with one name the newer one goes on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn submitter(&self, producer_id: &str) -> Result<Submitter, Error> {
        let mut submitter = Submitter {
            client: self.clone(),
            producer_id: producer_id.to_owned(),
            accepted: 0,
            unanswered: VecDeque::new(),
            unanswered_bytes: 0,
            sent: 0,
            link: Link::Opening(open(self, producer_id, Duration::ZERO)),
            patience: self.patience(),
            progress: self.options.progress,
        };
        while let Link::Opening(opening) = &mut submitter.link {
            match opening.await {
                Ok(open) => {
                    submitter.accepted = open.last_ordinal;
                    submitter.opened(open);
                }
                Err(status) => submitter.mend(self.failed(status))?,
            }
        }
        Ok(submitter)
    }
}

impl Submitter {
    /// The ordinal of the newest job on stable storage: of the first one that is pushed next if none is unanswered,
    /// minus one. 0: none.
    #[must_use]
    pub fn last_ordinal(&self) -> u64 {
        self.accepted
    }

    /// How many jobs have been pushed and not yet accepted.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        self.unanswered.len()
    }

    /// Whether one more job may be pushed.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.unanswered.len() < WINDOW_JOBS && self.unanswered_bytes < WINDOW_BYTES
    }

    /// Takes the next job; its ordinal. To be called while there is room: what is beyond it is kept all the same.
    pub fn push(&mut self, job: v1::JobSpec) -> u64 {
        self.unanswered_bytes += job.encoded_len();
        self.unanswered.push_back(job);
        self.accepted + self.unanswered.len() as u64
    }

    /// Sends what was pushed and waits until more of it is accepted. To be called while something is unanswered; it may
    /// be dropped at any time, nothing is lost.
    ///
    /// # Errors
    /// [`Error`]: a job that the server refuses ends the run.
    pub async fn accepted(&mut self) -> Result<Vec<Accepted>, Error> {
        loop {
            let step = match self.step().await {
                Ok(accepted) => self.settle(accepted),
                Err(error) => Err(error),
            };
            match step {
                Ok(accepted) if accepted.is_empty() => {}
                Ok(accepted) => return Ok(accepted),
                Err(error) => self.mend(error)?,
            }
        }
    }

    /// One thing that happens on the stream.
    async fn step(&mut self) -> Result<Vec<Accepted>, Error> {
        let opened = match &mut self.link {
            Link::Opening(opening) => opening.await.map_err(|status| self.client.failed(status))?,
            Link::Open(open) => {
                let next = self.unanswered.get(self.sent);
                if let Some(job) = next.filter(|job| self.sent == 0 && !open.takes(job)) {
                    return Err(Error::TooLarge {
                        address: self.client.address().to_owned(),
                        ordinal: self.accepted + 1,
                        bytes: message_bytes(job),
                        bytes_max: open.request_bytes_max,
                    });
                }
                let unsent = next.is_some_and(|job| open.takes(job)) && !open.outbound.is_closed();
                let stalled = tokio::select! {
                    biased;
                    answer = open.inbound.message() => {
                        let answer = answer.and_then(|answer| answer.ok_or_else(ended));
                        let ranges = answer.map_err(|status| self.client.failed(status))?.accepted;
                        return ranges.iter().map(|range| accepted_of(&self.client, range)).collect();
                    }
                    () = open.stalled.as_mut(), if self.sent > 0 => true,
                    // If it is closed the stream is over, and its status comes as the next answer.
                    permit = open.outbound.reserve(), if unsent => {
                        if let Ok(permit) = permit {
                            if self.sent == 0 {
                                open.stalled = Box::pin(tokio::time::sleep(self.progress));
                            }
                            let most = open.request_bytes_max;
                            let batch = batch(&self.unanswered, self.sent, self.accepted, most);
                            self.sent += batch.jobs.len();
                            permit.send(v1::StreamSubmitRequest { request: Some(Request::Batch(batch)) });
                        }
                        false
                    }
                };
                if stalled {
                    self.stalled();
                }
                return Ok(Vec::new());
            }
        };
        let last = opened.last_ordinal;
        self.opened(opened);
        if last < self.accepted {
            let (known, accepted) = (last, self.accepted);
            return Err(Error::Forgotten { address: self.client.address().to_owned(), known, accepted });
        }
        // Their answer was lost with the link: they are stored, only their ids are not known here.
        let lost = Accepted { first_ordinal: self.accepted + 1, count: last - self.accepted, first_id: None };
        Ok(if lost.count == 0 { Vec::new() } else { vec![lost] })
    }

    /// Forgets the jobs that are accepted. Ranges come in order and without a gap.
    fn settle(&mut self, accepted: Vec<Accepted>) -> Result<Vec<Accepted>, Error> {
        for range in &accepted {
            let count = usize::try_from(range.count).unwrap_or(usize::MAX);
            if range.first_ordinal != self.accepted + 1 || count > self.unanswered.len() {
                return Err(self.client.odd("it accepts jobs that this producer has not sent"));
            }
            self.unanswered_bytes -=
                self.unanswered.drain(..count).map(|job| job.encoded_len()).sum::<usize>();
            self.sent = self.sent.saturating_sub(count);
            self.accepted += range.count;
        }
        if !accepted.is_empty() {
            self.patience.restore(self.client.options.patience);
            self.progress = self.client.options.progress;
            if let Link::Open(open) = &mut self.link {
                open.stalled = Box::pin(tokio::time::sleep(self.progress));
            }
        }
        Ok(accepted)
    }

    fn opened(&mut self, open: Open) {
        self.client.note_reached();
        self.sent = 0;
        self.link = Link::Open(Box::new(open));
    }

    /// Opens the stream anew because nothing moves on it. That costs no patience: a server that answers is there, and its
    /// queue may stay full for long.
    fn stalled(&mut self) {
        tracing::warn!(
            after = ?self.progress,
            "nothing was accepted for long; opening the submit stream anew (a queue may be full)"
        );
        self.progress = self.progress.saturating_mul(2);
        self.link = Link::Opening(open(&self.client, &self.producer_id, Duration::ZERO));
    }

    /// Opens the stream anew after `error`, unless that makes no sense. The pause is part of opening, so that dropping
    /// the caller's future does not shorten it.
    fn mend(&mut self, error: Error) -> Result<(), Error> {
        let pause = self.patience.pause_after(&error, Repeat::Harmless);
        self.link = Link::Opening(open(&self.client, &self.producer_id, pause.unwrap_or_default()));
        match pause {
            None => Err(error),
            Some(pause) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, ?pause, "the submit stream broke; resuming where it was");
                Ok(())
            }
        }
    }
}

fn accepted_of(client: &Client, range: &v1::AcceptedRange) -> Result<Accepted, Error> {
    let first_id = Some(client.job_id(&range.first_job_id)?);
    Ok(Accepted { first_ordinal: range.first_ordinal, count: range.count, first_id })
}

fn ended() -> Status {
    Status::unavailable("the server ended the stream")
}

fn open(client: &Client, producer_id: &str, pause: Duration) -> Opening {
    let channel = client.channel.clone();
    let start = v1::SubmitStart { producer_id: producer_id.to_owned() };
    let progress = client.options.progress;
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        let opened = tokio::time::timeout(progress, begin(channel, start, progress)).await;
        opened.unwrap_or_else(|_late| Err(Status::deadline_exceeded("the server has not begun to answer")))
    })
}

async fn begin(channel: Channel, start: v1::SubmitStart, progress: Duration) -> Result<Open, Status> {
    let (outbound, requests) = mpsc::channel(MESSAGES_MAX);
    let start = v1::StreamSubmitRequest { request: Some(Request::Start(start)) };
    outbound.send(start).await.map_err(|_closed| ended())?;
    let answer = jobs_of(channel).stream_submit(ReceiverStream::new(requests)).await?;
    let mut inbound = answer.into_inner();
    let first = inbound.message().await?.ok_or_else(ended)?;
    let resumed = first.resumed.ok_or_else(|| Status::data_loss("the first answer does not resume"))?;
    let request_bytes_max = match usize::try_from(resumed.request_bytes_max) {
        Ok(0) | Err(_) => usize::MAX,
        Ok(most) => most,
    };
    let last_ordinal = resumed.last_ordinal;
    let stalled = Box::pin(tokio::time::sleep(progress));
    Ok(Open { outbound, inbound, last_ordinal, request_bytes_max, stalled })
}

/// The next jobs that have not been sent on this stream, the first of which the server takes.
fn batch(
    unanswered: &VecDeque<v1::JobSpec>,
    sent: usize,
    accepted: u64,
    request_bytes_max: usize,
) -> v1::SubmitJobBatch {
    let mut bytes = MESSAGE_BYTES;
    let fits = |job: &&v1::JobSpec| {
        let first = bytes == MESSAGE_BYTES;
        bytes += JOB_BYTES + job.encoded_len();
        first || bytes <= BATCH_BYTES.min(request_bytes_max)
    };
    let jobs = unanswered.iter().skip(sent).take(BATCH_JOBS).take_while(fits).cloned().collect();
    v1::SubmitJobBatch { first_ordinal: accepted + sent as u64 + 1, jobs }
}

#[cfg(test)]
mod tests {
    use crate::client::submitter::BATCH_JOBS;
    use crate::client::submitter::batch;
    use crate::client::submitter::message_bytes;
    use crate::proto::v1;
    use crate::proto::v1::JobSpec;
    use crate::proto::v1::stream_submit_request::Request;
    use bytes::Bytes;
    use prost::Message;
    use std::collections::VecDeque;

    fn jobs(count: usize, bytes: usize) -> VecDeque<JobSpec> {
        let payload = Bytes::from(vec![b'x'; bytes]);
        (0..count).map(|_| JobSpec { payload: payload.clone(), ..JobSpec::default() }).collect()
    }

    #[test]
    fn a_batch_goes_on_after_what_was_sent_and_keeps_to_its_bounds() {
        let batch = |jobs: VecDeque<JobSpec>, sent, accepted| batch(&jobs, sent, accepted, usize::MAX);
        let first = batch(jobs(1_500, 10), 0, 40);
        assert_eq!((first.first_ordinal, first.jobs.len()), (41, BATCH_JOBS));
        let rest = batch(jobs(1_500, 10), 1_000, 40);
        assert_eq!((rest.first_ordinal, rest.jobs.len()), (1_041, 500));
        assert_eq!(batch(jobs(5, 400_000), 0, 0).jobs.len(), 2);
        assert_eq!(batch(jobs(5, 3_000_000), 2, 0).jobs.len(), 1, "one job goes, however large");
    }

    /// Messages are as large as they may be, and not a byte larger.
    #[test]
    fn a_message_is_never_larger_than_what_the_server_reads() {
        for bytes in [0, 1, 100, 127, 128, 16_383, 16_384, 70_000] {
            let jobs = jobs(900, bytes);
            for most in [message_bytes(&jobs[0]), 70_100, 100_000, 409_600] {
                if most < message_bytes(&jobs[0]) {
                    continue;
                }
                let batch = batch(&jobs, 0, u64::MAX - 1_000, most);
                let (count, job) = (batch.jobs.len(), jobs[0].encoded_len());
                let message = v1::StreamSubmitRequest { request: Some(Request::Batch(batch)) }.encoded_len();
                assert!(message <= most, "{count} jobs of {bytes}: {message} of {most}");
                assert!(
                    count == 900 || (count + 1) * (job + 8) + 32 > most,
                    "{count} jobs of {bytes} in {most}"
                );
            }
        }
    }
}
