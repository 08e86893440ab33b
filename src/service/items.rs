//! Submitting items in order, with back pressure: what does not fit waits, and with it whoever sends more.

use crate::engine::command;
use crate::engine::command::Command;
use crate::job::decide::Refused;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::spec::NewJob;
use crate::service::Error;
use crate::service::Service;
use std::time::Duration;

/// How long to wait before a full queue is tried again, at first and at most.
const PAUSE_MIN: Duration = Duration::from_millis(5);
const PAUSE_MAX: Duration = Duration::from_millis(500);

impl Service {
    /// Submits `jobs` in their order, as many at a time as there is room for; all are on stable storage when this
    /// returns. [ACK-1]
    ///
    /// # Errors
    /// What the engine refuses, but for a full queue, service or disk, which are waited for; [`Error::ShuttingDown`]. The
    /// first of the jobs may have been accepted.
    pub async fn submit_in_order(&self, mut jobs: Vec<NewJob>) -> Result<(), Error> {
        let (mut part, mut pause) = (jobs.len(), PAUSE_MIN);
        while !jobs.is_empty() {
            part = part.clamp(1, jobs.len());
            self.unless_stopped(self.engine().let_work_tree_follow()).await?;
            let batch = Batch { jobs: jobs[..part].to_vec(), origin: Origin::Anonymous };
            let bytes = command::weight(&batch);
            match self.engine().call(bytes, |reply| Command::Submit(batch, reply)).await {
                Ok(_) => {
                    jobs.drain(..part);
                    (part, pause) = (jobs.len(), PAUSE_MIN);
                }
                Err(command::Error::TooLarge { .. }) if part > 1 => part /= 2,
                Err(error) => {
                    part = room(&error, part).ok_or(error)?;
                    self.unless_stopped(tokio::time::sleep(pause)).await?;
                    pause = (2 * pause).min(PAUSE_MAX);
                }
            }
        }
        Ok(())
    }

    async fn unless_stopped(&self, wait: impl Future<Output = ()>) -> Result<(), Error> {
        tokio::select! {
            () = wait => Ok(()),
            () = self.shutdown().token().cancelled() => Err(Error::ShuttingDown),
        }
    }
}

/// How many jobs to try next after a refusal that passes by itself; `None` if it does not.
fn room(error: &command::Error, part: usize) -> Option<usize> {
    let fits = |held: u64, most: u64| usize::try_from(most.saturating_sub(held)).unwrap_or(usize::MAX);
    match error {
        command::Error::Refused(Refused::QueueFull { waiting, max_pending, .. }) => {
            Some(fits(*waiting, *max_pending).min(part.saturating_sub(1)))
        }
        command::Error::Refused(Refused::ServiceFull { live, live_max }) => {
            Some(fits(*live, *live_max).min(part.saturating_sub(1)))
        }
        command::Error::DiskFull => Some(part),
        command::Error::Refused(_)
        | command::Error::TooLarge { .. }
        | command::Error::OutcomeUnknown
        | command::Error::ReadOnly
        | command::Error::ShuttingDown => None,
    }
}
