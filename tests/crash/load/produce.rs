//! A producer: one numbered run of jobs over StreamSubmit, resumed after each broken stream where the server says; now
//! and then it sends again what was accepted long ago.

use crate::history::Ack;
use crate::history::Resume;
use crate::history::Saw;
use crate::history::recorder::Recorder;
use crate::load::link::Link;
use crate::load::link::pause;
use crate::load::room;
use crate::plan;
use crate::plan::Plan;
use gangline::engine::chance::Chance;
use gangline::job::id::JobId;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use gangline::proto::v1::stream_submit_request::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

/// Jobs on their way at a time.
const WINDOW: usize = 200;
const BATCH_JOBS_MAX: u32 = 30;

pub(crate) struct Producer {
    pub(crate) name: String,
    pub(crate) queue: &'static str,
    pub(crate) link: Link,
    pub(crate) recorder: Recorder,
    pub(crate) chance: Chance,
    /// Every payload it has made, by ordinal.
    pub(crate) made: Vec<String>,
    /// The last ordinal that it knows to be accepted.
    pub(crate) accepted: usize,
}

struct Open {
    outbound: mpsc::Sender<v1::StreamSubmitRequest>,
    inbound: Streaming<v1::StreamSubmitResponse>,
    /// The last ordinal sent on this stream.
    sent: usize,
}

impl Producer {
    /// Submits until it is told to stop; then waits until all it has made is accepted.
    pub(crate) async fn run(mut self) {
        while !self.link.is_over() || self.accepted < self.made.len() {
            let channel = self.link.reach().await;
            let produced = match self.open(channel).await {
                Ok(open) => self.produce(open).await,
                Err(status) => Err(status),
            };
            if let Err(status) = produced {
                self.link.failed("produce", &status);
                pause().await;
            }
        }
    }

    async fn open(&mut self, channel: Channel) -> Result<Open, Status> {
        let (outbound, requests) = mpsc::channel(4);
        let start = v1::SubmitStart { producer_id: self.name.clone() };
        send(&outbound, Request::Start(start)).await?;
        let answer = JobServiceClient::new(channel).stream_submit(ReceiverStream::new(requests)).await?;
        let mut inbound = answer.into_inner();
        let first = inbound.message().await?.ok_or_else(ended)?;
        let last_ordinal = first.resumed.expect("the first answer resumes").last_ordinal;
        self.resumed(last_ordinal)?;
        let last = usize::try_from(last_ordinal).expect("it was checked");
        let overlap =
            if self.chance.next_u32().is_multiple_of(4) { self.chance.next_u32() as usize % 40 } else { 0 };
        Ok(Open { outbound, inbound, sent: last.saturating_sub(overlap) })
    }

    /// What the server says was accepted, which this producer may not have been told.
    fn resumed(&mut self, last_ordinal: u64) -> Result<(), Status> {
        let resume = Resume {
            producer: self.name.clone(),
            acknowledged: self.accepted as u64,
            sent: self.made.len() as u64,
            last_ordinal,
        };
        let last = usize::try_from(last_ordinal).unwrap_or(usize::MAX);
        let unheard = self.made.get(self.accepted..last).unwrap_or_default();
        let ack = |payload: &String| Ack {
            ordered_by: Some(self.name.clone()),
            payload: payload.clone(),
            job: None,
            first_sequence: 0,
        };
        let acks: Vec<Ack> = unheard.iter().map(ack).collect();
        let received = self.link.receive(&[Saw::Resumed(resume), Saw::Acked(acks)]);
        received.map_err(|_doubtful| ended())?;
        // If it is less than was acknowledged the checker says so, and the rest is sent again.
        self.accepted = last.min(self.made.len());
        Ok(())
    }

    async fn produce(&mut self, mut open: Open) -> Result<(), Status> {
        loop {
            if open.sent < self.made.len() {
                let count = (1 + self.chance.next_u32() % BATCH_JOBS_MAX) as usize;
                let to = self.made.len().min(open.sent + count);
                let jobs =
                    self.made[open.sent..to].iter().map(|payload| plan::spec(self.queue, payload)).collect();
                let batch = v1::SubmitJobBatch { first_ordinal: open.sent as u64 + 1, jobs };
                send(&open.outbound, Request::Batch(batch)).await?;
                open.sent = to;
            }
            let full = open.sent - self.accepted.min(open.sent) >= WINDOW;
            let settled = self.accepted == self.made.len();
            if settled && self.link.is_over() {
                return Ok(());
            }
            let may_make = !full && open.sent == self.made.len() && !self.link.is_over();
            if !may_make && open.sent < self.made.len() && !full {
                continue;
            }
            let (recorder, stop) = (self.recorder.clone(), self.link.stop().clone());
            tokio::select! {
                biased;
                answer = open.inbound.message() => {
                    let answer = answer?.ok_or_else(ended)?;
                    for range in answer.accepted {
                        self.accept(&range)?;
                    }
                }
                has_room = room(&recorder, &stop), if may_make => if has_room {
                    self.make();
                },
            }
        }
    }

    fn make(&mut self) {
        let count = 1 + u64::from(self.chance.next_u32() % BATCH_JOBS_MAX);
        let first = self.made.len() as u64 + 1;
        // Nobody cancels those that are planned to be: they end as slow ones do.
        let payload = |number| plan::payload(&self.name, number, Plan::of(self.chance.next_u32()));
        let payloads: Vec<String> = (first..first + count).map(payload).collect();
        self.recorder.note(&Saw::Asked(payloads.clone()));
        self.made.extend(payloads);
    }

    /// What is accepted now; jobs that were sent again are named again, with the ids they had.
    fn accept(&mut self, range: &v1::AcceptedRange) -> Result<(), Status> {
        let first = usize::try_from(range.first_ordinal).expect("an ordinal of ours") - 1;
        let end = first + usize::try_from(range.count).expect("a count of ours");
        assert!(first <= self.accepted && end <= self.made.len(), "ranges come in order: {range:?}");
        let id: JobId = range.first_job_id.parse().expect("a job id");
        let acks: Vec<Ack> = (first..end)
            .zip(id.as_u128()..)
            .map(|(index, id)| {
                let again = index < self.accepted;
                Ack {
                    ordered_by: (!again).then(|| self.name.clone()),
                    payload: self.made[index].clone(),
                    job: Some(JobId::from_u128(id).to_string()),
                    first_sequence: range.first_sequence,
                }
            })
            .collect();
        let received = self.link.receive(&[Saw::Acked(acks)]);
        received.map_err(|_doubtful| ended())?;
        self.accepted = self.accepted.max(end);
        Ok(())
    }
}

async fn send(outbound: &mpsc::Sender<v1::StreamSubmitRequest>, request: Request) -> Result<(), Status> {
    let request = v1::StreamSubmitRequest { request: Some(request) };
    outbound.send(request).await.map_err(|_closed| ended())
}

fn ended() -> Status {
    Status::unavailable("the stream ended")
}
