//! Reading one job, at once or when it has ended.

use crate::engine::command::Command;
use crate::job::id::JobId;
use crate::job::id::Sequence;
use crate::service::Error;
use crate::service::Service;
use crate::service::lookup;
use crate::service::lookup::Located;
use crate::service::shown;
use crate::service::shown::Detail;
use crate::service::shown::Shown;
use std::time::Duration;

/// One job, and up to which update the answer shows everything.
#[derive(Clone, Debug)]
pub struct Got {
    /// The job.
    pub job: Shown,
    /// Every update up to this one shows.
    pub as_of: Sequence,
}

impl Service {
    /// The job `id`: at once if `wait` is zero; otherwise when it has finished or died, or else when `wait` is over. A job
    /// that an acknowledged submit named is found; one that lives, as long as the history is read again after a restart, too.
    ///
    /// # Errors
    /// [`Error::NoJob`], [`Error::Rebuilding`], [`Error::WorkTree`], [`Error::Log`]; [`Error::ShuttingDown`] if the
    /// shutdown begins while it waits.
    pub async fn get(&self, id: JobId, wait: Duration) -> Result<Got, Error> {
        if !wait.is_zero() {
            tokio::select! {
                ended = self.ended(id) => ended?,
                () = tokio::time::sleep(wait) => {}
                () = self.shutdown.token().cancelled() => return Err(Error::ShuttingDown),
            }
        }
        // Taken first: what is published after it may show too, what was published before it does.
        let as_of = self.engine.view().seen().sequence;
        let engine = self.engine.clone();
        let look = move || {
            let located = lookup::locate(&engine, id)?.ok_or(Error::NoJob(id))?;
            shown::show(&engine, id, &located, Detail::Whole)?.ok_or(Error::NoJob(id))
        };
        let job = match self.read(look).await {
            Err(error) => {
                let (engine, located) = (self.engine.clone(), self.live(id, error).await?);
                let show = move || shown::show(&engine, id, &located, Detail::Whole)?.ok_or(Error::NoJob(id));
                self.read(show).await?
            }
            found => found?,
        };
        Ok(Got { job, as_of })
    }

    /// Returns once the job has finished or died.
    async fn ended(&self, id: JobId) -> Result<(), Error> {
        // The watch begins before the first look, so that an end between the two is not missed.
        let mut watch = self.engine.view().watch(id);
        loop {
            let engine = self.engine.clone();
            let located = match self.read(move || lookup::locate(&engine, id)).await {
                Err(error) => self.live(id, error).await?,
                found => found?.ok_or(Error::NoJob(id))?,
            };
            if located.state().is_terminal() {
                return Ok(());
            }
            watch.changed().await;
        }
    }

    /// What the writer knows of the job, if the reader's `error` is that the work tree cannot tell: of jobs that live the
    /// writer knows as soon as there is a server, however long it takes until the history can be read again.
    async fn live(&self, id: JobId, error: Error) -> Result<Located, Error> {
        if !matches!(error, Error::Rebuilding(_) | Error::WorkTree(_)) {
            return Err(error);
        }
        let live = self.engine.call(0, |reply| Command::Look(id, reply)).await;
        live.ok().flatten().map(Located::Overlay).ok_or(error)
    }

    /// Runs a read that may wait for the disk where it holds nobody up.
    pub(in crate::service) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        match tokio::task::spawn_blocking(read).await {
            Ok(result) => result,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_stopped) => Err(Error::ShuttingDown),
        }
    }
}
