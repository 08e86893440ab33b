//! `gangline.v1.AdminService`.

#[cfg(test)]
mod tests;

use crate::grpc::convert::admin;
use crate::grpc::convert::backup;
use crate::grpc::pulled::Pulled;
use crate::grpc::pulled::Source;
use crate::proto::v1;
use crate::proto::v1::admin_service_server::AdminService;
use crate::service::Service;
use crate::service::backup::Backup;
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
    type GetBackupStream = Pulled<Pieces>;

    async fn get_backup(
        &self,
        request: Request<v1::GetBackupRequest>,
    ) -> Result<Response<Self::GetBackupStream>, Status> {
        let held = backup::from_get_backup(request.into_inner())?;
        Ok(Response::new(Pulled::new(Pieces(self.0.backup(held).await?))))
    }

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

/// The responses of one backup.
#[derive(Debug)]
pub struct Pieces(Backup);

impl Source for Pieces {
    type Item = v1::GetBackupResponse;

    async fn next(&mut self) -> Result<Option<v1::GetBackupResponse>, Status> {
        Ok(self.0.next().await?.map(backup::to_response))
    }
}
