//! Calls about the server itself and its workers.

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::server_of;
use crate::proto::v1;

/// Workers a page.
const PAGE_SIZE: u32 = 1_000;

impl Client {
    /// What server this is and how it stands.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn info(&self) -> Result<v1::GetServerInfoResponse, Error> {
        self.call(Repeat::Harmless, v1::GetServerInfoRequest {}, |channel, request| async move {
            server_of(channel).get_server_info(request).await
        })
        .await
    }

    /// The workers that are connected or hold leases, in the order of their ids.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn workers(&self) -> Result<Vec<v1::Worker>, Error> {
        let mut workers = Vec::new();
        let mut request = v1::ListWorkersRequest { page_size: PAGE_SIZE, page_token: String::new() };
        loop {
            let page = self
                .call(Repeat::Harmless, request.clone(), |channel, request| async move {
                    server_of(channel).list_workers(request).await
                })
                .await?;
            workers.extend(page.workers);
            if page.next_page_token.is_empty() {
                return Ok(workers);
            }
            request.page_token = page.next_page_token;
        }
    }
}
