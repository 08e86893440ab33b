//! A reader of the update log that goes on where it was after a broken link: every update once, in order. [LOG-2]

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::patience::Patience;
use crate::client::updates_of;
use crate::proto::GetUpdatesResponse;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tonic::Status;
use tonic::Streaming;

/// Some updates and how far the reader is with them.
#[derive(Clone, Debug, PartialEq)]
pub struct Batch {
    /// The updates; none in a heartbeat.
    pub updates: Vec<v1::Update>,
    /// Resume after it once the updates have been dealt with.
    pub cursor: v1::Cursor,
    /// The newest update of the log.
    pub head_sequence: u64,
}

/// A tailing reader.
pub struct Updates {
    client: Client,
    request: v1::GetUpdatesRequest,
    store_id: String,
    link: Link,
    patience: Patience,
}

type Opening = Pin<Box<dyn Future<Output = Result<Streaming<GetUpdatesResponse>, Status>> + Send>>;

enum Link {
    Opening(Opening),
    Open(Box<Streaming<GetUpdatesResponse>>),
    Ended,
}

impl fmt::Debug for Updates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Updates").field("request", &self.request).finish_non_exhaustive()
    }
}

impl Client {
    /// Reads updates as `request` says. Nothing is sent before the first [`Updates::next`].
    #[must_use]
    pub fn updates(&self, request: v1::GetUpdatesRequest) -> Updates {
        let link = Link::Opening(open(self, request.clone(), Duration::ZERO));
        Updates { client: self.clone(), request, store_id: String::new(), link, patience: self.patience() }
    }
}

impl Updates {
    /// The next updates, or a heartbeat; `None` when a reader that stops at the head has reached it. May be dropped at
    /// any time, nothing is lost.
    ///
    /// # Errors
    /// [`Error`]. Calling again goes on where it was.
    pub async fn next(&mut self) -> Result<Option<Batch>, Error> {
        loop {
            let failed = match &mut self.link {
                Link::Opening(opening) => match opening.await {
                    Ok(stream) => {
                        self.link = Link::Open(Box::new(stream));
                        continue;
                    }
                    Err(status) => status,
                },
                Link::Open(stream) => match stream.message().await {
                    Ok(Some(response)) => return self.received(response).map(Some),
                    Ok(None) if self.request.follow() == v1::FollowMode::StopAtHead => {
                        self.link = Link::Ended;
                        continue;
                    }
                    Ok(None) => Status::unavailable("the server ended the stream"),
                    Err(status) => status,
                },
                Link::Ended => return Ok(None),
            };
            let error = self.client.failed(failed);
            self.mend(error)?;
        }
    }

    fn received(&mut self, response: GetUpdatesResponse) -> Result<Batch, Error> {
        let updates = response.updates().map_err(|_| self.client.odd("it has updates that are none"))?;
        self.client.note_reached();
        self.patience.restore(self.client.options.patience);
        if !response.store_id.is_empty() {
            self.store_id = response.store_id;
        }
        let cursor = v1::Cursor { store_id: self.store_id.clone(), sequence: response.cursor_sequence };
        self.request.after = Some(After::Cursor(cursor.clone()));
        Ok(Batch { updates, cursor, head_sequence: response.head_sequence })
    }

    fn mend(&mut self, error: Error) -> Result<(), Error> {
        let pause = self.patience.pause_after(&error, Repeat::Harmless);
        self.link = Link::Opening(open(&self.client, self.request.clone(), pause.unwrap_or_default()));
        match pause {
            None => Err(error),
            Some(pause) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, ?pause, "the update stream broke; resuming at its cursor");
                Ok(())
            }
        }
    }
}

fn open(client: &Client, request: v1::GetUpdatesRequest, pause: Duration) -> Opening {
    let channel = client.channel.clone();
    Box::pin(async move {
        tokio::time::sleep(pause).await;
        updates_of(channel).get_updates(request).await.map(tonic::Response::into_inner)
    })
}
