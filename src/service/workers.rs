//! Working on jobs: a worker's session, from attaching to good-bye. Used by the stream of a remote worker and by the
//! server's own pools alike.

use crate::engine::Handle;
use crate::engine::command::Ack;
use crate::engine::command::Bye;
use crate::engine::command::Command;
use crate::engine::command::Grant;
use crate::engine::command::Welcome;
use crate::engine::command::WorkerMessage;
use crate::engine::command::weight_of_message;
use crate::engine::history::History;
use crate::engine::view::Published;
use crate::engine::workers::Attach;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Session;
use crate::engine::workers::Unnamed;
use crate::engine::workers::WorkerView;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::log;
use crate::service::Error;
use crate::service::Service;
use crate::shutdown::Shutdown;
use std::sync::Arc;
use tokio::sync::mpsc;

/// What a worker says of itself when it begins.
#[derive(Clone, Debug)]
pub struct Hello {
    /// Its name; the same name comes back for the same leases.
    pub name: Arc<str>,
    /// What it says about itself; may be empty.
    pub description: Arc<str>,
    /// How many jobs it works on at a time, for operators; 0: it does not say.
    pub slots: u32,
    /// What it takes jobs from.
    pub queues: Vec<QueueName>,
    /// How many leases it takes now.
    pub free: u32,
    /// The leases it believes to hold.
    pub held: Vec<(JobId, LeaseToken)>,
    /// How it is known to be alive.
    pub liveness: Liveness,
    /// What becomes of its leases that `held` does not name.
    pub unnamed: Unnamed,
}

/// A lease with the job it is for.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The lease.
    pub grant: Grant,
    /// The name of the job's queue.
    pub queue: QueueName,
    /// The job as it was submitted.
    pub job: Submitted,
}

/// The side of a session that tells the engine. Dropping it without [`Teller::close`] leaves the leases to their grace.
#[derive(Debug)]
pub struct Teller {
    engine: Handle,
    shutdown: Shutdown,
    session: Session,
    closed: bool,
}

/// The side of a session that hears of leases, acks and cancels. It ends when the session does.
pub type Hearing = mpsc::UnboundedReceiver<Output>;

impl Service {
    /// Begins a worker's session; an earlier one of the same name ends.
    ///
    /// # Errors
    /// If the engine does not take it.
    pub async fn attach_worker(&self, hello: Hello) -> Result<(Teller, Hearing, Welcome), Error> {
        let (outlet, hearing) = mpsc::unbounded_channel();
        let Hello { name, description, slots, queues, free, held, liveness, unnamed } = hello;
        let attach = Attach { name, description, slots, queues, free, held, outlet, liveness, unnamed };
        let welcome = self.engine().call(0, |reply| Command::Attach(attach, reply)).await?;
        let teller = Teller {
            engine: self.engine().clone(),
            shutdown: self.shutdown().clone(),
            session: welcome.session,
            closed: false,
        };
        Ok((teller, hearing, welcome))
    }

    /// The leases with their jobs: from memory where they are still there, else from the log.
    ///
    /// # Errors
    /// [`Error::Log`] if the log cannot be read.
    pub async fn leases(&self, grants: Vec<Grant>) -> Result<Vec<Lease>, Error> {
        let (leases, _) = self.first_leases(grants, usize::MAX).await?;
        Ok(leases)
    }

    /// As many of the leases, from the first on, as have `bytes_max` bytes of payload together, one at least; and the grants
    /// that are left. [MEM-1]
    ///
    /// # Errors
    /// [`Error::Log`] if the log cannot be read.
    pub async fn first_leases(
        &self,
        mut grants: Vec<Grant>,
        bytes_max: usize,
    ) -> Result<(Vec<Lease>, Vec<Grant>), Error> {
        let view = self.engine().view();
        let mut jobs: Vec<Option<Submitted>> = Vec::with_capacity(grants.len());
        let (mut bytes, mut missing) = (0, false);
        let mut frame: Option<Arc<Published>> = None;
        for grant in &grants {
            if bytes >= bytes_max {
                break;
            }
            if frame.as_ref().is_none_or(|frame| frame.position != grant.submitted_at.position) {
                frame = view.frame_of(grant.submitted_at);
            }
            let job =
                frame.as_ref().and_then(|frame| copied(&frame.events[grant.submitted_at.index as usize]));
            missing |= job.is_none();
            bytes += job.as_ref().map_or(0, |job| job.payload.0.len());
            jobs.push(job);
        }
        let jobs: Vec<Submitted> = if missing {
            let (history, wanted) = (Arc::clone(self.engine().history()), grants.clone());
            let read = tokio::task::spawn_blocking(move || read(&*history, jobs, &wanted, bytes_max));
            read.await.map_err(|_panicked| Error::ShuttingDown)?.map_err(Error::Log)?
        } else {
            jobs.into_iter().flatten().collect()
        };
        let rest = grants.split_off(jobs.len());
        let names = view.queue_names_of(grants.iter().map(|grant| grant.queue));
        let whole = grants.into_iter().zip(jobs).zip(names).map(|((grant, job), queue)| Lease {
            grant,
            queue: queue.expect("a queue is published with its first job"),
            job,
        });
        Ok((whole.collect(), rest))
    }

    /// Ends attempts for a worker without a session.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn finish_for(&self, worker: Arc<str>, message: WorkerMessage) -> Result<Vec<Ack>, Error> {
        let bytes = weight_of_message(&message);
        Ok(self.engine().call(bytes, |reply| Command::Finish(worker, message, reply)).await?)
    }

    /// Extends the leases of a worker without a session; says which of `claimed` it holds.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn extend_for(
        &self,
        worker: Arc<str>,
        claimed: Vec<(JobId, LeaseToken)>,
        message: WorkerMessage,
    ) -> Result<Vec<(JobId, LeaseToken)>, Error> {
        let bytes = weight_of_message(&message);
        Ok(self.engine().call(bytes, |reply| Command::Extend(worker, claimed, message, reply)).await?)
    }

    /// All workers that hold leases or want some.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn list_workers(&self) -> Result<Vec<WorkerView>, Error> {
        Ok(self.engine().call(0, Command::ListWorkers).await?)
    }
}

/// Reads from the log what was not in memory, until there are `bytes_max` bytes of payload.
fn read(
    history: &dyn History,
    jobs: Vec<Option<Submitted>>,
    grants: &[Grant],
    bytes_max: usize,
) -> Result<Vec<Submitted>, log::Error> {
    let mut bytes = 0;
    let mut read = Vec::with_capacity(jobs.len());
    for (job, grant) in jobs.into_iter().zip(grants) {
        if bytes >= bytes_max {
            break;
        }
        let job = match job {
            Some(job) => job,
            None => submitted(history.event(grant.submitted_at)?)
                .expect("a grant points to the submission of its job"),
        };
        bytes += job.payload.0.len();
        read.push(job);
    }
    Ok(read)
}

fn submitted(event: Event) -> Option<Submitted> {
    if let Event::Submitted(job) = event { Some(job) } else { None }
}

/// The job, with a payload that does not keep its frame in memory however long the attempt takes. [MEM-1]
fn copied(event: &Event) -> Option<Submitted> {
    if let Event::Submitted(job) = event {
        Some(Submitted { payload: job.payload.apart(), ..job.clone() })
    } else {
        None
    }
}

impl Teller {
    /// Tells the engine; every message is a sign of life. Waits while the engine is busy.
    ///
    /// # Errors
    /// If the engine takes nothing more.
    pub async fn tell(&self, message: WorkerMessage) -> Result<(), Error> {
        let bytes = weight_of_message(&message);
        Ok(self.engine.send(bytes, Command::Work(self.session, message)).await?)
    }

    /// Takes no more leases. When this returns, those that were given are in the hearing side.
    ///
    /// # Errors
    /// If the engine does not answer.
    pub async fn stop_leases(&self) -> Result<(), Error> {
        let session = self.session;
        Ok(self.engine.call(0, |reply| Command::StopLeases(session, reply)).await?)
    }

    /// Ends the session; what `bye` says decides what becomes of its leases.
    pub async fn close(mut self, bye: Bye) {
        self.closed = true;
        // An engine that has stopped holds no session any more.
        let _ = self.engine.send(0, Command::Detach(self.session, bye)).await;
    }
}

impl Drop for Teller {
    fn drop(&mut self) {
        if !self.closed {
            let (engine, session) = (self.engine.clone(), self.session);
            self.shutdown.spawn(async move {
                let _ = engine.send(0, Command::Detach(session, Bye::Unsaid)).await;
            });
        }
    }
}
