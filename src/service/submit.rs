//! Submitting one batch: all of its jobs or none.

use crate::engine::command;
use crate::engine::command::Command;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::service::Error;
use crate::service::Service;

impl Service {
    /// Submits `batch`. The answer rests on stable storage. [ACK-1]
    ///
    /// # Errors
    /// [`Error::Command`]; [`Error::ShuttingDown`] if the shutdown begins while the work tree is waited for.
    pub async fn submit(&self, batch: Batch) -> Result<Accepted, Error> {
        tokio::select! {
            () = self.engine.let_work_tree_follow() => {}
            () = self.shutdown.token().cancelled() => return Err(Error::ShuttingDown),
        }
        let bytes = command::weight(&batch);
        Ok(self.engine.call(bytes, |reply| Command::Submit(batch, reply)).await?)
    }
}
