//! Calls about queues.

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::queues_of;
use crate::job::id::QueueName;
use crate::proto::v1;

/// Queues a page.
const PAGE_SIZE: u32 = 1_000;

impl Client {
    /// Every queue, in the order of their names.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn queues(&self) -> Result<Vec<v1::Queue>, Error> {
        let mut queues = Vec::new();
        let mut request = v1::ListQueuesRequest { page_size: PAGE_SIZE, page_token: String::new() };
        loop {
            let page = self
                .call(Repeat::Harmless, request.clone(), |channel, request| async move {
                    queues_of(channel).list_queues(request).await
                })
                .await?;
            queues.extend(page.queues);
            if page.next_page_token.is_empty() {
                return Ok(queues);
            }
            request.page_token = page.next_page_token;
        }
    }

    /// One queue.
    ///
    /// # Errors
    /// [`Error`]; [`Reason::QueueNotFound`](crate::grpc::status::Reason::QueueNotFound).
    pub async fn queue(&self, name: &QueueName) -> Result<v1::Queue, Error> {
        let request = v1::GetQueueRequest { name: name.to_string() };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                queues_of(channel).get_queue(request).await
            })
            .await?;
        answer.queue.ok_or_else(|| self.odd("it has no queue"))
    }

    /// Changes settings of a queue, which is made if it does not exist.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn set_queue(&self, name: &QueueName, settings: v1::QueueSettings) -> Result<v1::Queue, Error> {
        let request = v1::UpdateQueueRequest { name: name.to_string(), settings: Some(settings) };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                queues_of(channel).update_queue(request).await
            })
            .await?;
        answer.queue.ok_or_else(|| self.odd("it has no queue"))
    }

    /// Clears jobs out of a queue; how many. Not repeated if its effect is unknown: new jobs may be there by then.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn purge(&self, name: &QueueName, target: v1::PurgeTarget) -> Result<u64, Error> {
        let request = v1::PurgeQueueRequest { name: name.to_string(), target: target.into() };
        let answer = self
            .call(Repeat::IfNothingHappened, request, |channel, request| async move {
                queues_of(channel).purge_queue(request).await
            })
            .await?;
        Ok(answer.jobs)
    }
}
