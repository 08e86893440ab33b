//! A submitter of keyed batches. What it does not know the outcome of it repeats with the same key, across restarts;
//! and now and then it repeats what it does know.

use crate::history::Ack;
use crate::history::Controlled;
use crate::history::Saw;
use crate::history::recorder::Recorder;
use crate::load::link::Failure;
use crate::load::link::Link;
use crate::load::link::pause;
use crate::load::room;
use crate::plan;
use crate::plan::Plan;
use gangline::engine::chance::Chance;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use tonic::transport::Channel;

const BATCH_JOBS_MAX: u32 = 20;

pub(crate) struct Submitter {
    pub(crate) name: String,
    pub(crate) queues: Vec<&'static str>,
    pub(crate) link: Link,
    pub(crate) recorder: Recorder,
    pub(crate) chance: Chance,
}

impl Submitter {
    /// Submits until it is told to stop; then settles what it has begun.
    pub(crate) async fn run(mut self) {
        let mut client = JobServiceClient::new(self.link.reach().await);
        let mut number = 0;
        let mut batch = 0;
        while room(&self.recorder, self.link.stop()).await {
            batch += 1;
            let count = 1 + self.chance.next_u32() % BATCH_JOBS_MAX;
            let plans: Vec<Plan> = (0..count).map(|_| Plan::of(self.chance.next_u32())).collect();
            let payloads: Vec<String> = plans
                .iter()
                .zip(number + 1..)
                .map(|(plan, number)| plan::payload(&self.name, number, *plan))
                .collect();
            number += payloads.len() as u64;
            let queue = self.queues[self.chance.next_u32() as usize % self.queues.len()];
            let jobs = payloads.iter().map(|payload| plan::spec(queue, payload)).collect();
            let request = v1::SubmitJobsRequest { jobs, key: format!("{} {batch}", self.name) };
            self.recorder.note(&Saw::Asked(payloads.clone()));
            let name = Some(self.name.clone());
            let ids = self.submit(&mut client, &request, &payloads, name).await;
            if self.chance.next_u32().is_multiple_of(16) {
                self.submit(&mut client, &request, &payloads, None).await;
            }
            let to_cancel =
                plans.iter().zip(ids).filter(|(plan, _)| **plan == Plan::Cancel).map(|(_, id)| id);
            let to_cancel: Vec<String> = to_cancel.collect();
            if !to_cancel.is_empty() {
                self.cancel(&mut client, to_cancel).await;
            }
        }
    }

    async fn submit(
        &mut self,
        client: &mut JobServiceClient<Channel>,
        request: &v1::SubmitJobsRequest,
        payloads: &[String],
        ordered_by: Option<String>,
    ) -> Vec<String> {
        loop {
            match client.submit_jobs(request.clone()).await {
                Ok(answer) => {
                    let v1::SubmitJobsResponse { job_ids, first_sequence, .. } = answer.into_inner();
                    assert_eq!(job_ids.len(), payloads.len(), "an id for each job");
                    let acks = payloads.iter().zip(&job_ids).map(|(payload, job)| Ack {
                        ordered_by: ordered_by.clone(),
                        payload: payload.clone(),
                        job: Some(job.clone()),
                        first_sequence,
                    });
                    if self.link.receive(&[Saw::Acked(acks.collect())]).is_ok() {
                        return job_ids;
                    }
                }
                Err(status) => {
                    let failure = self.link.failed("submit", &status);
                    pause().await;
                    if failure == Failure::Refused {
                        continue;
                    }
                }
            }
            *client = JobServiceClient::new(self.link.reach().await);
        }
    }

    /// Cancels jobs once; whether it happened is only known if an answer comes.
    async fn cancel(&mut self, client: &mut JobServiceClient<Channel>, job_ids: Vec<String>) {
        let request = v1::CancelJobsRequest { job_ids, reason: "planned".to_owned() };
        let Ok(answer) = client.cancel_jobs(request).await else { return };
        let done = answer.into_inner().results.into_iter();
        let done = done.filter(|result| result.outcome() == v1::JobOutcome::Done).map(|result| Controlled {
            job: result.job_id,
            kind: v1::UpdateKind::Cancelled,
            sequence: result.sequence,
        });
        // While the power is being cut it does not count.
        self.link.receive(&[Saw::Controlled(done.collect())]).ok();
    }
}
