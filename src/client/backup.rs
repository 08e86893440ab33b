//! A backup as it comes in: the pieces of the files that the caller does not have yet.

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::server_of;
use crate::grpc::convert::backup;
use crate::log::directory::capture::Part;
use crate::proto::v1;
use crate::service::backup::Piece;
use tonic::Streaming;

/// A backup that is received. Dropping it ends it.
#[derive(Debug)]
pub struct Pieces {
    client: Client,
    stream: Streaming<v1::GetBackupResponse>,
}

impl Client {
    /// Begins a backup, without the files that the caller has; it may name up to [`backup::FILES_MAX`].
    ///
    /// # Errors
    /// [`Error`].
    pub async fn backup(&self, held: &[Part]) -> Result<Pieces, Error> {
        let held = held.iter().map(backup::from_part).collect();
        let request = v1::GetBackupRequest { held };
        let stream = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                server_of(channel).get_backup(request).await
            })
            .await?;
        Ok(Pieces { client: self.clone(), stream })
    }
}

impl Pieces {
    /// The next piece; `None` if the stream has ended. It is complete only after [`Piece::End`].
    ///
    /// # Errors
    /// [`Error`]: nothing is repeated. What has arrived need not be sent again to the next call.
    pub async fn next(&mut self) -> Result<Option<Piece>, Error> {
        match self.stream.message().await {
            Ok(None) => Ok(None),
            Ok(Some(response)) => match backup::to_piece(response) {
                Some(piece) => Ok(Some(piece)),
                None => Err(self.client.odd("it has a piece of a backup that is none")),
            },
            Err(status) => Err(self.client.failed(status)),
        }
    }
}
