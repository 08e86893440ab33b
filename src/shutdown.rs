//! The end of the server: one token that every task hears, and one tracker that knows them all. The only
//! file that may call `tokio::spawn`, so that nothing is ever detached.

use std::future::Future;
use std::time::Duration;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// A cloneable handle on the shutdown: spawn through it, listen to it, begin it, wait for it.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    token: CancellationToken,
    tasks: TaskTracker,
}

/// Whether everything ended within the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// Every task has ended.
    Ended,
    /// This many tasks were still running when the grace was over.
    Left(usize),
}

impl Shutdown {
    /// A shutdown that has not begun.
    #[must_use]
    pub fn new() -> Shutdown {
        Shutdown::default()
    }

    /// Runs `task` until it ends by itself; it should end soon after [`Shutdown::token`] is cancelled.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    #[allow(clippy::disallowed_methods, reason = "the one place that spawns: every task is tracked here")]
    pub fn spawn<T: Send + 'static>(&self, task: impl Future<Output = T> + Send + 'static) -> JoinHandle<T> {
        tokio::spawn(self.tasks.track_future(task))
    }

    /// The token that is cancelled when the shutdown begins.
    #[must_use]
    pub fn token(&self) -> &CancellationToken {
        &self.token
    }

    /// Begins the shutdown: every task hears it. Repeating it is harmless.
    pub fn begin(&self) {
        self.token.cancel();
    }

    /// Waits until every task has ended, at most for `grace`.
    pub async fn wait(&self, grace: Duration) -> Waited {
        self.tasks.close();
        match tokio::time::timeout(grace, self.tasks.wait()).await {
            Ok(()) => Waited::Ended,
            Err(_elapsed) => Waited::Left(self.tasks.len()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::shutdown::Shutdown;
    use crate::shutdown::Waited;
    use std::time::Duration;

    #[tokio::test(start_paused = true)]
    async fn tasks_hear_the_beginning_and_a_deaf_one_is_counted() {
        let shutdown = Shutdown::new();
        let token = shutdown.token().clone();
        shutdown.spawn(async move { token.cancelled().await });
        let deaf = shutdown.spawn(std::future::pending::<()>());
        shutdown.begin();
        assert_eq!(shutdown.wait(Duration::from_secs(1)).await, Waited::Left(1));
        deaf.abort();
        assert_eq!(shutdown.wait(Duration::from_secs(1)).await, Waited::Ended);
    }
}
