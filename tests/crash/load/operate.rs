//! The operator: retries dead jobs that are planned to be mended, until the service says that it is done.

use crate::history::Controlled;
use crate::history::Saw;
use crate::load::link::Link;
use crate::load::link::pause;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use tokio::sync::mpsc;

pub(crate) struct Operator {
    pub(crate) link: Link,
    pub(crate) to_mend: mpsc::UnboundedReceiver<String>,
}

impl Operator {
    /// Retries jobs until it is told to stop.
    pub(crate) async fn run(mut self) {
        let stop = self.link.stop().clone();
        while let Some(Some(job)) = stop.run_until_cancelled(self.to_mend.recv()).await {
            self.retry(job).await;
        }
    }

    async fn retry(&mut self, job: String) {
        while let Some(channel) = self.link.connect().await {
            let request = v1::RetryJobsRequest { job_ids: vec![job.clone()] };
            match JobServiceClient::new(channel).retry_jobs(request).await {
                Ok(answer) => {
                    let result = answer.into_inner().results.remove(0);
                    let done = result.outcome() == v1::JobOutcome::Done;
                    let control = done.then(|| Controlled {
                        job: job.clone(),
                        kind: v1::UpdateKind::Retried,
                        sequence: result.sequence,
                    });
                    // WRONG_STATE: an earlier call whose outcome was unknown has done it.
                    let seen = Saw::Controlled(control.into_iter().collect());
                    if self.link.receive(&[seen]).is_ok() {
                        return;
                    }
                }
                Err(status) => {
                    self.link.failed("retry", &status);
                }
            }
            pause().await;
        }
    }
}
