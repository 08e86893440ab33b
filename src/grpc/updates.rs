//! `gangline.v1.UpdateService`.

mod batches;
#[cfg(test)]
mod tests;

use crate::grpc::convert::tail;
use crate::grpc::pulled::Pulled;
use crate::grpc::pulled::Source;
use crate::grpc::status::Refusal;
use crate::grpc::updates::batches::Batches;
use crate::proto::GetUpdatesResponse;
use crate::proto::v1;
use crate::proto::v1::update_service_server::UpdateService;
use crate::service::Service;
use crate::service::tail::Names;
use crate::service::tail::Tail;
use std::sync::Arc;
use tonic::Request;
use tonic::Response;
use tonic::Status;

/// The gRPC face of tails and named cursors.
#[derive(Clone, Debug)]
pub struct Updates(Service);

impl Updates {
    /// The face of `service`.
    #[must_use]
    pub fn new(service: Service) -> Updates {
        Updates(service)
    }
}

#[tonic::async_trait]
impl UpdateService for Updates {
    type GetUpdatesStream = Pulled<Readings>;

    async fn get_updates(
        &self,
        request: Request<v1::GetUpdatesRequest>,
    ) -> Result<Response<Self::GetUpdatesStream>, Status> {
        let wanted = tail::from_get_updates(request.into_inner())?;
        let names = Names::new(Arc::clone(self.0.engine().view()));
        let watchable = wanted.filter.watchable();
        let batches = Batches::new(wanted.filter, wanted.parts, names);
        let tail = self.0.tail(wanted.start, wanted.follow, &watchable, batches).await?;
        Ok(Response::new(Pulled::new(Readings(tail))))
    }

    async fn commit_cursor(
        &self,
        request: Request<v1::CommitCursorRequest>,
    ) -> Result<Response<v1::CommitCursorResponse>, Status> {
        let (name, cursor) = tail::from_commit_cursor(request.into_inner())?;
        self.0.commit_cursor(name, cursor).await?;
        Ok(Response::new(v1::CommitCursorResponse {}))
    }

    async fn list_cursors(
        &self,
        request: Request<v1::ListCursorsRequest>,
    ) -> Result<Response<v1::ListCursorsResponse>, Status> {
        let page = tail::from_list_cursors(&request.into_inner())?;
        Ok(Response::new(tail::to_list_cursors(&self.0.list_cursors(&page), self.0.store_id())))
    }

    async fn delete_cursor(
        &self,
        request: Request<v1::DeleteCursorRequest>,
    ) -> Result<Response<v1::DeleteCursorResponse>, Status> {
        self.0.delete_cursor(tail::from_delete_cursor(&request.into_inner())?).await?;
        Ok(Response::new(v1::DeleteCursorResponse {}))
    }
}

/// The responses of one reader.
#[derive(Debug)]
pub struct Readings(Tail<Batches>);

impl Source for Readings {
    type Item = GetUpdatesResponse;

    async fn next(&mut self) -> Result<Option<GetUpdatesResponse>, Status> {
        match self.0.next().await {
            Ok(step) => Ok(step.map(|step| GetUpdatesResponse {
                batch: step.batch.unwrap_or_default(),
                head_sequence: step.head.0,
                cursor_sequence: step.cursor.0,
                store_id: step.store.map(|store| store.to_string()).unwrap_or_default(),
            })),
            // The reader is told where to go on, whatever ended the stream.
            Err(error) => Err(Refusal::from(error).fact("cursor_sequence", self.0.told()).into()),
        }
    }
}
