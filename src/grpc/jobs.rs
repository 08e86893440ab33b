//! `gangline.v1.JobService`.

mod producer;

use crate::grpc::convert::At;
use crate::grpc::convert::Checks;
use crate::grpc::convert::Sizes;
use crate::grpc::convert::job;
use crate::grpc::convert::names;
use crate::grpc::convert::page;
use crate::grpc::convert::submit;
use crate::grpc::convert::time;
use crate::grpc::convert::update::Parts;
use crate::grpc::limits::Limits;
use crate::grpc::status::Refusal;
use crate::job::id::JobId;
use crate::proto::v1;
use crate::proto::v1::job_service_server::JobService;
use crate::service::Service;
use std::time::Duration;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

/// How long a `GetJob` waits at most.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A page's jobs come without their large parts.
const LISTED: Parts = Parts { payload: false, result: false };

/// The job service's face.
#[derive(Clone, Debug)]
pub struct Jobs {
    service: Service,
    sizes: Sizes,
    /// The largest message that is read.
    request_bytes_max: usize,
}

impl Jobs {
    /// The face of `service`, with these limits on what requests hold and on their messages.
    #[must_use]
    pub fn new(service: Service, sizes: Sizes, limits: &Limits) -> Jobs {
        Jobs { service, sizes, request_bytes_max: limits.request_bytes_max }
    }

    fn ids(&self, texts: &[String], checks: &mut Checks) -> Vec<JobId> {
        names::job_ids(texts, 1..=self.sizes.jobs_max, "job_ids", checks)
    }
}

#[tonic::async_trait]
impl JobService for Jobs {
    type StreamSubmitStream = ReceiverStream<Result<v1::StreamSubmitResponse, Status>>;

    async fn submit_jobs(
        &self,
        request: Request<v1::SubmitJobsRequest>,
    ) -> Result<Response<v1::SubmitJobsResponse>, Status> {
        let batch = submit::from_submit_jobs(request.into_inner(), &self.sizes)?;
        let accepted = self.service.submit(batch).await?;
        Ok(Response::new(submit::to_submit_jobs_response(&accepted.ranges, accepted.repeated)))
    }

    async fn stream_submit(
        &self,
        request: Request<Streaming<v1::StreamSubmitRequest>>,
    ) -> Result<Response<Self::StreamSubmitStream>, Status> {
        Ok(Response::new(producer::answer(self.clone(), request.into_inner())))
    }

    async fn get_job(
        &self,
        request: Request<v1::GetJobRequest>,
    ) -> Result<Response<v1::GetJobResponse>, Status> {
        let request = request.into_inner();
        let parts = Parts { payload: request.include_payload, result: request.include_result };
        let (id, wait) = from_get_job(&request)?;
        let got = self.service.get(id, wait).await?;
        let job = job::to_job(got.job, parts);
        Ok(Response::new(v1::GetJobResponse { job: Some(job), as_of_sequence: got.as_of.0 }))
    }

    async fn list_jobs(
        &self,
        request: Request<v1::ListJobsRequest>,
    ) -> Result<Response<v1::ListJobsResponse>, Status> {
        let store = self.service.engine().history().store_id();
        let (wanted, tokens) = page::from_list_jobs(request.get_ref(), store)?;
        let page = self.service.list(wanted).await?;
        Ok(Response::new(v1::ListJobsResponse {
            jobs: page.jobs.into_iter().map(|job| job::to_job(job, LISTED)).collect(),
            next_page_token: page.next.map(|last| tokens.token(last)).unwrap_or_default(),
            as_of_sequence: page.as_of.0,
        }))
    }

    async fn cancel_jobs(
        &self,
        request: Request<v1::CancelJobsRequest>,
    ) -> Result<Response<v1::CancelJobsResponse>, Status> {
        let mut checks = Checks::new();
        let ids = self.ids(&request.get_ref().job_ids, &mut checks);
        let at = At::Request.dot("reason");
        let reason = names::words(&request.get_ref().reason, names::REASON_BYTES_MAX, at, &mut checks);
        let (ids, reason) = checks.pass((ids, reason.unwrap_or_default()))?;
        let results = job::to_results(&ids, self.service.cancel(ids.clone(), reason).await?);
        Ok(Response::new(v1::CancelJobsResponse { results }))
    }

    async fn retry_jobs(
        &self,
        request: Request<v1::RetryJobsRequest>,
    ) -> Result<Response<v1::RetryJobsResponse>, Status> {
        let mut checks = Checks::new();
        let ids = self.ids(&request.get_ref().job_ids, &mut checks);
        let ids = checks.pass(ids)?;
        let results = job::to_results(&ids, self.service.retry(ids.clone()).await?);
        Ok(Response::new(v1::RetryJobsResponse { results }))
    }

    async fn delete_jobs(
        &self,
        request: Request<v1::DeleteJobsRequest>,
    ) -> Result<Response<v1::DeleteJobsResponse>, Status> {
        let mut checks = Checks::new();
        let ids = self.ids(&request.get_ref().job_ids, &mut checks);
        let ids = checks.pass(ids)?;
        let results = job::to_results(&ids, self.service.delete(ids.clone()).await?);
        Ok(Response::new(v1::DeleteJobsResponse { results }))
    }
}

fn from_get_job(request: &v1::GetJobRequest) -> Result<(JobId, Duration), Refusal> {
    let mut checks = Checks::new();
    let id = names::job_id(&request.job_id, "job_id", &mut checks);
    let wait = time::wait(request.wait, WAIT_MAX, At::Request.dot("wait"), &mut checks);
    checks.pass((id.unwrap_or_default(), wait.unwrap_or_default()))
}

#[cfg(test)]
mod tests;
