//! The claim loop of the server's own pools: leases in, assignments to the processes, reports back as finishes. One
//! message to the engine for all that is there.

use crate::clock::Clock;
use crate::clock::Tick;
use crate::engine::command;
use crate::engine::command::Bye;
use crate::engine::command::FinishRequest;
use crate::engine::command::WorkerMessage;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::Liveness;
use crate::engine::workers::Output;
use crate::engine::workers::Unnamed;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::spec::Payload;
use crate::pool::Assignment;
use crate::pool::AttemptId;
use crate::pool::Config;
use crate::pool::Error;
use crate::pool::Outcome;
use crate::pool::Pool;
use crate::pool::Report;
use crate::pool::Spawner;
use crate::pool::ahead::Ahead;
use crate::service::Service;
use crate::service::workers::Hearing;
use crate::service::workers::Hello;
use crate::service::workers::Lease;
use crate::service::workers::Teller;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Reports that are turned into finishes together when they are there.
const REPORTS_MAX: usize = 256;
/// Outputs of the engine that are dealt with together.
const OUTPUTS_MAX: usize = 16;
/// How often the loop looks whether it holds more than it can begin.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a pool of the server works on.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name, for people.
    pub name: Arc<str>,
    /// What it takes jobs from.
    pub queues: Vec<QueueName>,
    /// How it works.
    pub config: Config,
}

/// Starts a pool of this server and its claim loop. It ends with the shutdown: jobs that run get their grace, the rest
/// is released without using a budget.
///
/// # Errors
/// A command that does not exist, and the like: see [`Pool::start`].
pub fn start(service: &Service, spec: PoolSpec, spawner: &Spawner, clock: &Clock) -> Result<(), Error> {
    let processes = spec.config.processes.get();
    let shutdown = service.shutdown().clone();
    let (pool, reports) = Pool::start(spec.config, spawner, clock, &shutdown)?;
    let claims = Claims {
        service: service.clone(),
        name: format!("{LOCAL_PREFIX}{}", spec.name).into(),
        queues: spec.queues,
        pool,
        clock: clock.clone(),
        ahead: Ahead::new(processes),
        running: HashMap::new(),
        credit: 0,
        unacked: HashMap::new(),
        untold: Vec::new(),
        oldest_wait: None,
    };
    shutdown.spawn(claims.run(reports));
    Ok(())
}

#[derive(Debug)]
struct Claims {
    service: Service,
    name: Arc<str>,
    queues: Vec<QueueName>,
    pool: Pool,
    clock: Clock,
    ahead: Ahead,
    /// Leases that the pool works on or is about to.
    running: HashMap<AttemptId, Holder>,
    /// Leases the engine may still send.
    credit: u32,
    /// Finishes that were told and not yet answered.
    unacked: HashMap<LeaseToken, FinishRequest>,
    /// Finishes that found the disk full: they are told again. [ACK-2]
    untold: Vec<FinishRequest>,
    /// Since when some job waits for a slot of the pool.
    oldest_wait: Option<Tick>,
}

impl Claims {
    async fn run(mut self, mut reports: mpsc::Receiver<Report>) {
        let free = self.ahead.target();
        let hello = Hello {
            name: self.name.clone(),
            description: "".into(),
            queues: self.queues.clone(),
            free,
            held: Vec::new(),
            liveness: Liveness::Local,
            unnamed: Unnamed::Lost,
        };
        let Ok((teller, hearing, _)) = self.service.attach_worker(hello).await else { return };
        self.credit = free;
        if self.serve(&teller, hearing, &mut reports).await {
            teller.close(Bye::Said).await;
        }
    }

    /// Says whether the engine is still there to hear a good-bye.
    async fn serve(
        &mut self,
        teller: &Teller,
        mut hearing: Hearing,
        reports: &mut mpsc::Receiver<Report>,
    ) -> bool {
        let stop = self.service.shutdown().token().clone();
        let mut look = tokio::time::interval(LOOK_EVERY);
        let (mut outputs, mut told) = (Vec::with_capacity(OUTPUTS_MAX), Vec::with_capacity(REPORTS_MAX));
        while !(stop.is_cancelled() && self.running.is_empty()) {
            let mut message = WorkerMessage::default();
            tokio::select! {
                count = hearing.recv_many(&mut outputs, OUTPUTS_MAX) => {
                    if count == 0 {
                        return false;
                    }
                    self.take(&mut outputs, &mut message).await;
                }
                count = reports.recv_many(&mut told, REPORTS_MAX) => {
                    if count == 0 {
                        return true;
                    }
                    self.report(&mut told, &mut message);
                }
                _ = look.tick() => self.look(&mut message),
                () = stop.cancelled(), if self.running.is_empty() => return true,
            }
            self.ask(&mut message);
            for request in &message.finishes {
                self.unacked.insert(request.holder.token, request.clone());
            }
            let silent = message.finishes.is_empty() && message.progress.is_empty() && message.free == 0;
            if !silent && teller.tell(message).await.is_err() {
                return false;
            }
        }
        true
    }

    /// Leases go to the processes, cancels stop them, finishes that found the disk full are kept.
    async fn take(&mut self, outputs: &mut Vec<Output>, message: &mut WorkerMessage) {
        for output in outputs.drain(..) {
            for ack in output.acks {
                let told = self.unacked.remove(&ack.token);
                if ack.outcome == Err(command::Error::DiskFull) {
                    self.untold.extend(told);
                }
            }
            let grants = u32::try_from(output.grants.len()).unwrap_or(u32::MAX);
            self.credit = self.credit.saturating_sub(grants);
            match self.service.leases(output.grants.clone()).await {
                Ok(leases) => self.give(leases, message),
                Err(error) => {
                    tracing::error!(error = %error, "the payloads of leased jobs cannot be read; the jobs are released");
                    for grant in output.grants {
                        let holder = Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) };
                        message.finishes.push(release(holder, "its payload could not be read"));
                    }
                }
            }
            for (id, token) in output.cancels {
                self.cancel(id, token).await;
            }
        }
    }

    fn give(&mut self, leases: Vec<Lease>, message: &mut WorkerMessage) {
        let mut assignments = Vec::with_capacity(leases.len());
        for lease in leases {
            let assignment = assignment(&lease);
            let holder =
                Holder { id: lease.grant.id, token: lease.grant.token, hint: Some(lease.grant.slot) };
            self.running.insert(assignment.attempt_id(), holder);
            assignments.push(assignment);
        }
        let refused = self.pool.give(assignments);
        self.hand_back(refused, "the pool has no room for it", message);
        if self.pool.waiting() > 0 && self.oldest_wait.is_none() {
            self.oldest_wait = Some(self.clock.now().tick);
        }
    }

    fn hand_back(&mut self, jobs: Vec<Assignment>, why: &str, message: &mut WorkerMessage) {
        for job in jobs {
            if let Some(holder) = self.running.remove(&job.attempt_id()) {
                message.finishes.push(release(holder, why));
            }
        }
    }

    async fn cancel(&mut self, id: JobId, token: LeaseToken) {
        let held = self.running.iter().find(|(attempt, holder)| attempt.id == id && holder.token == token);
        if let Some((attempt, _)) = held {
            let attempt = *attempt;
            self.pool.cancel(attempt).await;
        }
    }

    fn report(&mut self, reports: &mut Vec<Report>, message: &mut WorkerMessage) {
        for report in reports.drain(..) {
            match report {
                Report::Progress(attempt, progress) => {
                    if let Some(holder) = self.running.get(&attempt) {
                        message.progress.push((*holder, progress));
                    }
                }
                Report::Ended(attempt, outcome) => {
                    self.ahead.ended();
                    if let Some(holder) = self.running.remove(&attempt) {
                        message.finishes.extend(finish(holder, outcome));
                    }
                }
            }
        }
        if self.pool.waiting() == 0 {
            self.oldest_wait = None;
        }
    }

    /// What waited too long for a slot goes back, for others to take; how much is held ahead follows the pace.
    fn look(&mut self, message: &mut WorkerMessage) {
        message.finishes.append(&mut self.untold);
        let now = self.clock.now().tick;
        self.ahead.look(LOOK_EVERY, self.running.len());
        if self.oldest_wait.is_some_and(|since| now.since(since) >= LOOK_EVERY) && self.ahead.stands_still() {
            let waiting = self.pool.take_back();
            self.hand_back(waiting, "it was leased ahead and could not be started in time", message);
            self.oldest_wait = None;
        }
    }

    /// Asks for as many leases as the pool can use.
    fn ask(&mut self, message: &mut WorkerMessage) {
        if self.service.shutdown().token().is_cancelled() {
            return;
        }
        let held = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let more = self.ahead.target().saturating_sub(held.saturating_add(self.credit));
        message.free += more;
        self.credit += more;
    }
}

fn release(holder: Holder, why: &str) -> FinishRequest {
    FinishRequest { holder, finish: Finish::Release { delay: Duration::ZERO, reason: why.into() } }
}

/// The finish that an outcome leads to; none for a cancelled execution: its lease is gone.
fn finish(holder: Holder, outcome: Outcome) -> Option<FinishRequest> {
    let finish = match outcome {
        Outcome::Completed { result, content_type, usage } => {
            Finish::Complete { result: Payload(result), content_type, usage }
        }
        Outcome::Failed { failure, retry } => Finish::Fail { failure, retryable: retry },
        Outcome::Released { reason } => Finish::Release { delay: Duration::ZERO, reason },
        Outcome::Cancelled => return None,
    };
    Some(FinishRequest { holder, finish })
}

fn assignment(lease: &Lease) -> Assignment {
    let extra = lease.job.extra.as_deref();
    Assignment {
        id: lease.grant.id,
        attempt: lease.grant.attempt,
        queue: lease.queue.clone(),
        payload: lease.job.payload.0.clone(),
        content_type: extra.map_or_else(|| "".into(), |extra| extra.content_type.clone()),
        traceparent: extra.map_or_else(|| "".into(), |extra| extra.traceparent.clone()),
        labels: extra.map_or_else(Vec::new, |extra| extra.labels.clone()),
        timeout: lease.grant.timeout_ms.map(Duration::from_millis),
    }
}
