//! The server's own pools: leases come from the service in this process, without a wire between.

use crate::clock::Clock;
use crate::engine::command;
use crate::engine::command::Bye;
use crate::engine::command::Grant;
use crate::engine::command::WorkerMessage;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Unnamed;
use crate::job::decide::finish::Holder;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::log::causes::in_one_line;
use crate::pool::Assignment;
use crate::pool::Error;
use crate::pool::Mode;
use crate::pool::Spawner;
use crate::pool::claims::Claims;
use crate::pool::claims::PoolSpec;
use crate::pool::claims::slots;
use crate::pool::source::Answer;
use crate::pool::source::Heard;
use crate::pool::source::News;
use crate::pool::source::Source;
use crate::service;
use crate::service::Service;
use crate::service::workers::Hearing;
use crate::service::workers::Hello;
use crate::service::workers::Lease;
use crate::service::workers::Teller;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Outputs of the engine that are dealt with together.
const OUTPUTS_MAX: usize = 16;
/// Bytes of payload that are read for one turn of the claim loop, one payload at least. [MEM-1]
const READ_BYTES: usize = 4 << 20;

/// Starts a pool of this server and its claim loop. It ends with the shutdown: jobs that run get their grace, the rest
/// is released without using a budget.
///
/// # Errors
/// A command that does not exist, and the like: see [`Pool::start`](crate::pool::Pool::start).
pub fn start(service: &Service, spec: PoolSpec, spawner: &Spawner, clock: &Clock) -> Result<(), Error> {
    let shutdown = service.shutdown();
    let hello = Hello {
        name: format!("{LOCAL_PREFIX}{}", spec.name).into(),
        description: about(&spec.config.mode).into(),
        slots: slots(&spec.config),
        queues: spec.queues,
        free: 0,
        held: Vec::new(),
        liveness: Liveness::Local,
        unnamed: Unnamed::Lost,
    };
    let never = CancellationToken::new();
    let (claims, reports) = Claims::start(spec.config, spawner, clock, shutdown, never)?;
    let service = service.clone();
    shutdown.spawn(async move {
        // An engine that takes no worker is stopping.
        let Ok((teller, hearing, _)) = service.attach_worker(hello).await else { return };
        let local = Local {
            service,
            teller,
            hearing,
            outputs: Vec::with_capacity(OUTPUTS_MAX),
            grants: Vec::new(),
            cancels: Vec::new(),
            reading: None,
        };
        // What it could not tell ends with the server, which says so when it starts again.
        claims.run(local, reports).await.ok();
    });
    Ok(())
}

/// What an operator sees of it.
fn about(mode: &Mode) -> String {
    let program = match mode {
        Mode::Each(command) | Mode::Serve(command, _) => command.argv.first(),
        Mode::Handler(_) => None,
    };
    program
        .map_or_else(|| "in the server".to_owned(), |program| format!("{}, in the server", program.display()))
}

/// The engine takes nothing more and gives nothing more.
#[derive(Clone, Copy, Debug)]
struct Gone;

/// The leases of some grants, and the grants that are left.
type Reading = Pin<Box<dyn Future<Output = Result<(Vec<Lease>, Vec<Grant>), service::Error>> + Send>>;

struct Local {
    service: Service,
    teller: Teller,
    hearing: Hearing,
    /// Received and not yet dealt with.
    outputs: Vec<Output>,
    /// Grants whose payloads have not been read, and what is to be told after their leases.
    grants: Vec<Grant>,
    cancels: Vec<(JobId, LeaseToken)>,
    /// Payloads that are being read; kept, because what waits for it is dropped whenever a job ends.
    reading: Option<Reading>,
}

impl Local {
    /// Takes the outputs apart.
    fn sort(&mut self, news: &mut News) {
        for output in self.outputs.drain(..) {
            let answer = |outcome| match outcome {
                Err(command::Error::DiskFull) => Answer::Later,
                Ok(()) | Err(_) => Answer::Settled,
            };
            news.acks.extend(output.acks.into_iter().map(|ack| (ack.token, answer(ack.outcome))));
            self.grants.extend(output.grants);
            self.cancels.extend(output.cancels);
        }
    }
}

impl Source for Local {
    type Error = Gone;

    async fn hear(&mut self) -> Result<Heard, Gone> {
        let mut news = News::default();
        if self.reading.is_none() {
            if self.grants.is_empty() {
                if self.outputs.is_empty()
                    && self.hearing.recv_many(&mut self.outputs, OUTPUTS_MAX).await == 0
                {
                    return Err(Gone);
                }
                self.sort(&mut news);
            }
            if !self.grants.is_empty() {
                let (service, grants) = (self.service.clone(), self.grants.clone());
                self.reading = Some(Box::pin(async move { service.first_leases(grants, READ_BYTES).await }));
            }
            if !news.acks.is_empty() {
                return Ok(Heard::News(news));
            }
        }
        if let Some(reading) = &mut self.reading {
            let read = reading.await;
            self.reading = None;
            match read {
                Ok((leases, rest)) => {
                    news.leases = leases.into_iter().map(leased).collect();
                    self.grants = rest;
                }
                Err(error) => {
                    let error = in_one_line(&error);
                    tracing::error!(
                        error,
                        "the payloads of leased jobs cannot be read; the jobs are released"
                    );
                    let unusable = |grant: Grant| (holder(&grant), "its payload could not be read");
                    news.unusable = self.grants.drain(..).map(unusable).collect();
                }
            }
        }
        if self.grants.is_empty() {
            // After the leases that they are about.
            news.cancels = std::mem::take(&mut self.cancels);
        }
        Ok(Heard::News(news))
    }

    async fn tell(&mut self, message: WorkerMessage) -> Result<(), Gone> {
        self.teller.tell(message).await.map_err(|_stopped| Gone)
    }

    /// A session within the process does not break.
    fn come_back(&mut self, _held: Vec<Holder>) {}

    /// The engine drains before its pools stop.
    fn stop_leases(&mut self) {}

    async fn close(self) {
        self.teller.close(Bye::Said).await;
    }
}

fn holder(grant: &Grant) -> Holder {
    Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) }
}

fn leased(lease: Lease) -> (Holder, Assignment) {
    let extra = lease.job.extra.as_deref();
    let assignment = Assignment {
        id: lease.grant.id,
        attempt: lease.grant.attempt,
        queue: lease.queue.clone(),
        payload: lease.job.payload.0.clone(),
        content_type: extra.map(|extra| extra.content_type.clone()).unwrap_or_default(),
        traceparent: extra.map(|extra| extra.traceparent.clone()).unwrap_or_default(),
        labels: extra.map_or_else(Vec::new, |extra| extra.labels.clone()),
        timeout: lease.grant.timeout_ms.map(Duration::from_millis),
    };
    (holder(&lease.grant), assignment)
}
