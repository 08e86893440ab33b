//! `WorkerService`: the stream of a worker, and unary calls for those that cannot hold one.

mod claim;
mod hello;
mod portion;
mod stream;

use crate::grpc::convert::Sizes;
use crate::grpc::limits::Limits;
use crate::grpc::workers::stream::WorkStream;
use crate::proto::v1;
use crate::proto::v1::worker_service_server::WorkerService;
use crate::service::Service;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::Streaming;

/// The gRPC face of working on jobs.
#[derive(Clone, Debug)]
pub struct Workers {
    service: Service,
    sizes: Sizes,
    /// The leases of one message; the rest of it has room for everything else.
    leases_bytes_max: usize,
    /// The largest message that is read.
    request_bytes_max: usize,
}

impl Workers {
    /// The face of `service`, which takes results of these sizes and keeps its messages below these limits.
    #[must_use]
    pub fn new(service: Service, sizes: Sizes, limits: &Limits) -> Workers {
        Workers {
            service,
            sizes,
            leases_bytes_max: limits.response_bytes_max / 2,
            request_bytes_max: limits.request_bytes_max,
        }
    }
}

#[tonic::async_trait]
impl WorkerService for Workers {
    type WorkStream = WorkStream;

    async fn work(
        &self,
        request: Request<Streaming<v1::WorkRequest>>,
    ) -> Result<Response<WorkStream>, Status> {
        let stream = stream::open(self.clone(), request.into_inner());
        Ok(Response::new(stream))
    }

    async fn claim_jobs(
        &self,
        request: Request<v1::ClaimJobsRequest>,
    ) -> Result<Response<v1::ClaimJobsResponse>, Status> {
        Ok(Response::new(claim::claim(self, request.into_inner()).await?))
    }

    async fn finish_jobs(
        &self,
        request: Request<v1::FinishJobsRequest>,
    ) -> Result<Response<v1::FinishJobsResponse>, Status> {
        Ok(Response::new(claim::finish(&self.service, &self.sizes, request.into_inner()).await?))
    }

    async fn extend_leases(
        &self,
        request: Request<v1::ExtendLeasesRequest>,
    ) -> Result<Response<v1::ExtendLeasesResponse>, Status> {
        Ok(Response::new(claim::extend(&self.service, request.into_inner()).await?))
    }
}
