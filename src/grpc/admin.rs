//! `gangline.v1.AdminService`.

use crate::grpc::convert::admin;
use crate::proto::v1;
use crate::proto::v1::admin_service_server::AdminService;
use crate::service::Service;
use tonic::Request;
use tonic::Response;
use tonic::Status;

/// The gRPC face of the server itself.
#[derive(Clone, Debug)]
pub struct Admin(Service);

impl Admin {
    /// The face of `service`.
    #[must_use]
    pub fn new(service: Service) -> Admin {
        Admin(service)
    }
}

#[tonic::async_trait]
impl AdminService for Admin {
    async fn get_server_info(
        &self,
        _request: Request<v1::GetServerInfoRequest>,
    ) -> Result<Response<v1::GetServerInfoResponse>, Status> {
        Ok(Response::new(admin::to_server_info(&self.0.info().await?)))
    }

    async fn list_workers(
        &self,
        request: Request<v1::ListWorkersRequest>,
    ) -> Result<Response<v1::ListWorkersResponse>, Status> {
        let page = admin::from_list_workers(&request.into_inner())?;
        let now = self.0.engine().clock().now();
        Ok(Response::new(admin::to_list_workers(self.0.list_workers().await?, &page, now.wall)))
    }
}
