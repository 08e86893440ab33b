//! `gangline.v1.QueueService`.

#[cfg(test)]
mod tests;

use crate::grpc::convert::queue;
use crate::proto::v1;
use crate::proto::v1::queue_service_server::QueueService;
use crate::service::Service;
use tonic::Request;
use tonic::Response;
use tonic::Status;

/// The gRPC face of queues.
#[derive(Clone, Debug)]
pub struct Queues(Service);

impl Queues {
    /// The face of `service`.
    #[must_use]
    pub fn new(service: Service) -> Queues {
        Queues(service)
    }
}

#[tonic::async_trait]
impl QueueService for Queues {
    async fn list_queues(
        &self,
        request: Request<v1::ListQueuesRequest>,
    ) -> Result<Response<v1::ListQueuesResponse>, Status> {
        let after = queue::from_list_queues(&request.into_inner())?;
        Ok(Response::new(queue::to_list_queues(&self.0.list_queues(&after).await?)))
    }

    async fn get_queue(
        &self,
        request: Request<v1::GetQueueRequest>,
    ) -> Result<Response<v1::GetQueueResponse>, Status> {
        let found = self.0.get_queue(&queue::from_get_queue(&request.into_inner())?).await?;
        Ok(Response::new(v1::GetQueueResponse { queue: Some(queue::to_queue(&found)) }))
    }

    async fn update_queue(
        &self,
        request: Request<v1::UpdateQueueRequest>,
    ) -> Result<Response<v1::UpdateQueueResponse>, Status> {
        let (name, change) = queue::from_update_queue(&request.into_inner())?;
        let changed = self.0.update_queue(name, change).await?;
        Ok(Response::new(v1::UpdateQueueResponse { queue: Some(queue::to_queue(&changed)) }))
    }

    async fn purge_queue(
        &self,
        request: Request<v1::PurgeQueueRequest>,
    ) -> Result<Response<v1::PurgeQueueResponse>, Status> {
        let (name, what) = queue::from_purge_queue(&request.into_inner())?;
        Ok(Response::new(v1::PurgeQueueResponse { jobs: self.0.purge_queue(&name, what).await? }))
    }
}
