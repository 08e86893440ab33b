//! Calls about cursors that the server keeps.

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::updates_of;
use crate::proto::v1;

/// Cursors a page.
const PAGE_SIZE: u32 = 1_000;

impl Client {
    /// Keeps a place in the log under a name.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn commit_cursor(&self, name: &str, cursor: v1::Cursor) -> Result<(), Error> {
        let request = v1::CommitCursorRequest { name: name.to_owned(), cursor: Some(cursor) };
        self.call(Repeat::Harmless, request, |channel, request| async move {
            updates_of(channel).commit_cursor(request).await
        })
        .await
        .map(|v1::CommitCursorResponse {}| ())
    }

    /// Every named cursor, in the order of their names, and the newest update of the log.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn cursors(&self) -> Result<(Vec<v1::NamedCursor>, u64), Error> {
        let mut cursors = Vec::new();
        let mut request = v1::ListCursorsRequest { page_size: PAGE_SIZE, page_token: String::new() };
        loop {
            let page = self
                .call(Repeat::Harmless, request.clone(), |channel, request| async move {
                    updates_of(channel).list_cursors(request).await
                })
                .await?;
            cursors.extend(page.cursors);
            if page.next_page_token.is_empty() {
                return Ok((cursors, page.head_sequence));
            }
            request.page_token = page.next_page_token;
        }
    }

    /// Forgets a named cursor. Not repeated if its effect is unknown, because the repeat would not find it.
    ///
    /// # Errors
    /// [`Error`]; [`Reason::CursorNotFound`](crate::grpc::status::Reason::CursorNotFound).
    pub async fn delete_cursor(&self, name: &str) -> Result<(), Error> {
        let request = v1::DeleteCursorRequest { name: name.to_owned() };
        self.call(Repeat::IfNothingHappened, request, |channel, request| async move {
            updates_of(channel).delete_cursor(request).await
        })
        .await
        .map(|v1::DeleteCursorResponse {}| ())
    }
}
