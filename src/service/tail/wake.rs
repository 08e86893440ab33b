//! What a tail at the head waits for: the next frame, or the next one that touches a job it watches.

use crate::engine::view::Health;
use crate::engine::view::Seen;
use crate::engine::view::Watch;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::log;
use crate::service::Error;
use crate::service::Service;
use std::collections::BTreeSet;
use std::future::Future;
use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What wakes a tail.
#[derive(Debug)]
pub(in crate::service::tail) enum Wake {
    /// Every frame.
    Frames(Frames),
    /// Frames that touch one of these jobs.
    Jobs(Ends, Jobs),
}

/// The end of the service: what every tail hears.
#[derive(Debug)]
pub(in crate::service::tail) struct Ends {
    shutdown: CancellationToken,
    health: watch::Receiver<Health>,
}

/// Every frame, and the end of the service.
#[derive(Debug)]
pub(in crate::service::tail) struct Frames {
    ends: Ends,
    seen: watch::Receiver<Seen>,
}

/// Watches over single jobs.
#[derive(Debug)]
pub(in crate::service::tail) struct Jobs(Vec<Watch>);

/// Why a tail woke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::service::tail) enum Woken {
    /// There may be something new.
    ToLook,
    /// Its patience was over.
    ByTime,
}

impl Wake {
    /// Waits for `watched` jobs, or for every frame if there are none.
    pub(in crate::service::tail) fn new(service: &Service, watched: &[JobId]) -> Wake {
        let view = service.engine().view();
        let ends = Ends { shutdown: service.shutdown().token().clone(), health: view.follow_health() };
        if watched.is_empty() {
            Wake::Frames(Frames { ends, seen: view.follow() })
        } else {
            Wake::Jobs(ends, Jobs(watched.iter().map(|id| view.watch(*id)).collect()))
        }
    }

    /// Whether the service goes on.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`]; [`Error::Log`] after the log failed. [ACK-2]
    pub(in crate::service::tail) fn check(&self) -> Result<(), Error> {
        let (Wake::Frames(Frames { ends, .. }) | Wake::Jobs(ends, _)) = self;
        if *ends.health.borrow() == Health::Poisoned {
            return Err(Error::Log(log::Error::Poisoned));
        }
        if ends.shutdown.is_cancelled() { Err(Error::ShuttingDown) } else { Ok(()) }
    }

    /// Waits at most for `patience`.
    pub(in crate::service::tail) async fn wait(&mut self, patience: Option<Duration>) -> Woken {
        let (ends, news): (&mut Ends, Pin<Box<dyn Future<Output = ()> + Send>>) = match self {
            Wake::Frames(Frames { ends, seen }) => (ends, Box::pin(newer(seen))),
            Wake::Jobs(ends, jobs) => (ends, Box::pin(jobs.touched())),
        };
        let time = async {
            match patience {
                Some(patience) => tokio::time::sleep(patience).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ends.come() => Woken::ToLook,
            () = news => Woken::ToLook,
            () = time => Woken::ByTime,
        }
    }
}

async fn newer(seen: &mut watch::Receiver<Seen>) {
    // Only a view that is gone closes it, and the tail's own handle keeps the view.
    seen.changed().await.expect("the view outlives its readers");
}

impl Ends {
    async fn come(&mut self) {
        tokio::select! {
            () = self.shutdown.cancelled() => {}
            _ = self.health.wait_for(|health| *health == Health::Poisoned) => {}
        }
    }
}

impl Jobs {
    /// Waits until one of the jobs is touched. A touch between two calls is not missed.
    async fn touched(&mut self) {
        let mut waits: Vec<_> = self.0.iter_mut().map(|watch| Box::pin(watch.changed())).collect();
        poll_fn(|context| {
            let touched = waits.iter_mut().any(|wait| wait.as_mut().poll(context).is_ready());
            if touched { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// The frames from `from` on that touch one of the jobs, in order; `None` if there are more than are remembered.
    pub(in crate::service::tail) fn touched_since(&self, from: Position) -> Option<BTreeSet<Position>> {
        let mut positions = BTreeSet::new();
        for watch in &self.0 {
            positions.extend(watch.touched_since(from)?);
        }
        Some(positions)
    }
}
