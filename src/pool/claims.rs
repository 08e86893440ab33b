//! The claim loop: leases in, assignments to the processes, reports back as finishes. One message to the source for all
//! that is there. The same loop for the server's own pools and for those on other machines: where leases come from is
//! `source.rs`.

use crate::clock::Clock;
use crate::clock::Tick;
use crate::engine::command::FinishRequest;
use crate::engine::command::WorkerMessage;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::QueueName;
use crate::job::retry::Retryable;
use crate::job::spec::Payload;
use crate::pool::Assignment;
use crate::pool::Config;
use crate::pool::Error;
use crate::pool::Execution;
use crate::pool::ExecutionNo;
use crate::pool::Outcome;
use crate::pool::Pool;
use crate::pool::Report;
use crate::pool::Spawner;
use crate::pool::ahead::Ahead;
use crate::pool::ahead::BYTES_MAX;
use crate::pool::outcome::keep_start;
use crate::pool::slot::wait_until;
use crate::pool::source::Answer;
use crate::pool::source::Heard;
use crate::pool::source::News;
use crate::pool::source::Source;
use crate::shutdown::Shutdown;
use hashbrown::HashMap;
use std::collections::HashSet;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

/// Reports that are turned into finishes together when they are there.
const REPORTS_MAX: usize = 256;
/// How often the loop looks whether it holds more than it can begin.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// What a pool works on, and how.
#[derive(Clone, Debug)]
pub struct PoolSpec {
    /// Its name, for people.
    pub name: Arc<str>,
    /// What it takes jobs from.
    pub queues: Vec<QueueName>,
    /// How it works.
    pub config: Config,
}

/// What a pool that has ended could not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Left {
    /// Finishes that nobody has answered: if their leases are gone, the jobs are executed again.
    pub finishes: usize,
}

#[derive(Debug)]
pub(in crate::pool) struct Claims {
    pool: Pool,
    processes: usize,
    spawner: Spawner,
    clock: Clock,
    ahead: Ahead,
    /// Takes no more leases and lets running jobs finish.
    stop: CancellationToken,
    /// Ends at once and kills what runs.
    now: CancellationToken,
    /// How long running jobs may go on, and their results be told, once it stops.
    grace: Duration,
    session: Session,
    /// What the pool works on or is about to.
    running: HashMap<ExecutionNo, Running>,
    /// Bytes of their payloads. [MEM-1]
    bytes: usize,
    /// How many executions the pool was given.
    given: u64,
    /// Leases that may still be sent.
    credit: u32,
    /// Finishes that were told and not yet answered.
    unacked: HashMap<LeaseToken, FinishRequest>,
    /// Finishes that found the disk full: they are told again. [ACK-2]
    untold: Vec<FinishRequest>,
    /// Executions that are to be stopped.
    to_stop: VecDeque<ExecutionNo>,
    /// Since when some job waits for a slot of the pool.
    oldest_wait: Option<Tick>,
}

/// An execution that has not ended.
#[derive(Clone, Copy, Debug)]
struct Running {
    /// Its lease; `None` once that is void: then it is stopped, and however it ends is told to nobody. A server that was restored
    /// from a backup may have given the same job again, under the same token. [LEASE-1]
    lease: Option<Holder>,
    /// Of its payload.
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    Open,
    /// Between two: finishes are kept, no lease is asked for.
    Away,
}

impl Claims {
    /// Starts the pool; [`Claims::run`] feeds it.
    pub(in crate::pool) fn start(
        config: Config,
        spawner: &Spawner,
        clock: &Clock,
        shutdown: &Shutdown,
        now: CancellationToken,
    ) -> Result<(Claims, mpsc::Receiver<Report>), Error> {
        let processes = config.processes.get();
        let grace = config.stop_grace + config.kill_grace;
        let (pool, reports) = Pool::start(config, spawner, clock, shutdown)?;
        let claims = Claims {
            pool,
            processes,
            spawner: spawner.clone(),
            clock: clock.clone(),
            ahead: Ahead::new(processes, clock.now().tick),
            stop: shutdown.token().clone(),
            now,
            grace,
            session: Session::Open,
            running: HashMap::new(),
            bytes: 0,
            given: 0,
            credit: 0,
            unacked: HashMap::new(),
            untold: Vec::new(),
            to_stop: VecDeque::new(),
            oldest_wait: None,
        };
        Ok((claims, reports))
    }

    /// Works until the stop, and then until everything is told or the grace is over.
    pub(in crate::pool) async fn run<S: Source>(
        mut self,
        mut source: S,
        mut reports: mpsc::Receiver<Report>,
    ) -> Result<Left, S::Error> {
        let (stop, now) = (self.stop.clone(), self.now.clone());
        let mut look = tokio::time::interval(LOOK_EVERY);
        // Two looks in a row would take a pool for one that stands still.
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut told = Vec::with_capacity(REPORTS_MAX);
        let mut give_up = None;
        while give_up.is_none() || !self.is_settled() {
            let mut message = WorkerMessage::default();
            tokio::select! {
                heard = source.hear() => match heard? {
                    Heard::News(news) => self.take(news, &mut message),
                    Heard::Away => {
                        self.session = Session::Away;
                        source.come_back(self.held());
                    }
                },
                count = reports.recv_many(&mut told, REPORTS_MAX) => {
                    if count == 0 {
                        break;
                    }
                    self.report(&mut told, &mut message);
                }
                _ = look.tick() => self.look(&mut message),
                () = stop_first(&self.pool, &self.to_stop), if !self.to_stop.is_empty() => {
                    self.to_stop.pop_front();
                }
                () = stop.cancelled(), if give_up.is_none() => {
                    give_up = Some(self.clock.now().tick.after(self.grace));
                    source.stop_leases();
                }
                () = wait_until(&self.clock, give_up) => break,
                () = now.cancelled() => {
                    // Before the leases are handed back, so that no job runs twice; and here, where no report is read any
                    // more, so that none of those deaths is told as a crash.
                    self.spawner.kill_all();
                    break;
                }
            }
            self.ask(&mut message);
            for request in &message.finishes {
                self.unacked.insert(request.holder.token, request.clone());
            }
            let silent = message.finishes.is_empty() && message.progress.is_empty() && message.free == 0;
            if !silent && self.session == Session::Open {
                source.tell(message).await?;
            }
        }
        source.close().await;
        Ok(Left { finishes: self.unacked.len() + self.untold.len() })
    }

    fn is_settled(&self) -> bool {
        self.running.is_empty() && self.unacked.is_empty() && self.untold.is_empty()
    }

    /// The leases that it works on or has finishes of.
    fn held(&self) -> Vec<Holder> {
        let finishes = self.unacked.values().chain(&self.untold).map(|request| request.holder);
        self.running.values().filter_map(|running| running.lease).chain(finishes).collect()
    }

    /// Leases go to the processes, cancels stop them, finishes that found the disk full are kept.
    fn take(&mut self, news: News, message: &mut WorkerMessage) {
        if let Some(held) = news.joined {
            self.join(&held, message);
        }
        for (token, answer) in news.acks {
            self.settle(token, answer, message);
        }
        let leased = u32::try_from(news.leases.len() + news.unusable.len()).unwrap_or(u32::MAX);
        self.credit = self.credit.saturating_sub(leased);
        message.finishes.extend(news.unusable.into_iter().map(|(holder, why)| release(holder, why)));
        self.give(news.leases, message);
        for (id, token) in news.cancels {
            self.cancel(id, token);
        }
    }

    /// In a new session: what is no longer held is stopped, what is held and was not answered is told again. [LEASE-1]
    fn join(&mut self, held: &HashSet<LeaseToken>, message: &mut WorkerMessage) {
        self.session = Session::Open;
        self.credit = 0;
        let untold = std::mem::take(&mut self.untold);
        let unanswered = self.unacked.drain().map(|(_, request)| request).chain(untold);
        let (again, settled): (Vec<_>, Vec<_>) =
            unanswered.partition(|request| held.contains(&request.holder.token));
        let gone: Vec<Holder> = self
            .running
            .values()
            .filter_map(|running| running.lease)
            .filter(|holder| !held.contains(&holder.token))
            .collect();
        if !settled.is_empty() || !gone.is_empty() {
            let (settled, stopped) = (settled.len(), gone.len());
            tracing::warn!(
                settled,
                stopped,
                "leases ended while the link was broken; their jobs are stopped"
            );
        }
        message.finishes.extend(again);
        for holder in gone {
            self.cancel(holder.id, holder.token);
        }
    }

    fn settle(&mut self, token: LeaseToken, answer: Answer, message: &mut WorkerMessage) {
        let Some(request) = self.unacked.remove(&token) else { return };
        match answer {
            Answer::Settled => {}
            Answer::Later => {
                if self.untold.is_empty() {
                    tracing::warn!("the server's disk is full: results are told again until there is space");
                }
                self.untold.push(request);
            }
            Answer::Invalid(why) => message.finishes.extend(instead(request, &why)),
        }
    }

    fn give(&mut self, leases: Vec<(Holder, Assignment)>, message: &mut WorkerMessage) {
        if leases.is_empty() {
            return;
        }
        let now = self.clock.now().tick;
        if self.running.is_empty() {
            self.ahead.begin(now);
        }
        let mut executions = Vec::with_capacity(leases.len());
        for (holder, job) in leases {
            let bytes = job.payload.len();
            self.ahead.leased(bytes);
            if self.running.len() >= self.processes && self.bytes.saturating_add(bytes) > BYTES_MAX {
                message.finishes.push(release(holder, "the pool holds as much payload as it may"));
                continue;
            }
            executions.push(Execution { number: self.hold(holder, bytes), job });
        }
        let refused = self.pool.give(executions);
        self.hand_back(refused, "the pool has no room for it", message);
        if self.oldest_wait.is_none() && self.pool.waiting() > 0 {
            self.oldest_wait = Some(now);
        }
    }

    fn hold(&mut self, lease: Holder, bytes: usize) -> ExecutionNo {
        self.given += 1;
        let number = ExecutionNo(self.given);
        self.running.insert(number, Running { lease: Some(lease), bytes });
        self.bytes += bytes;
        number
    }

    /// The execution has ended; its lease, if that is not void.
    fn let_go(&mut self, execution: ExecutionNo) -> Option<Holder> {
        let running = self.running.remove(&execution)?;
        self.bytes -= running.bytes;
        running.lease
    }

    fn hand_back(&mut self, executions: Vec<Execution>, why: &str, message: &mut WorkerMessage) {
        for execution in executions {
            if let Some(holder) = self.let_go(execution.number) {
                message.finishes.push(release(holder, why));
            }
        }
    }

    /// The lease is void: what was given under it is stopped.
    fn cancel(&mut self, id: JobId, token: LeaseToken) {
        let is_it = |lease: Holder| lease.id == id && lease.token == token;
        let it = self.running.iter_mut().find(|(_, running)| running.lease.is_some_and(is_it));
        if let Some((&number, running)) = it {
            running.lease = None;
            self.stop_execution(number);
        }
    }

    fn stop_execution(&mut self, execution: ExecutionNo) {
        if self.pool.withdraw(execution) {
            self.let_go(execution);
        } else {
            self.to_stop.push_back(execution);
        }
    }

    /// Stops again what was to be stopped and has not ended. A process that dies puts back what it had not begun, and
    /// another one that takes it may have heard of the cancel before, when it had no such job.
    fn stop_again(&mut self) {
        // What is still on its way to the slots is not told twice.
        if self.to_stop.is_empty() {
            let void = self.running.iter().filter(|(_, running)| running.lease.is_none());
            let void: Vec<ExecutionNo> = void.map(|(number, _)| *number).collect();
            void.into_iter().for_each(|number| self.stop_execution(number));
        }
    }

    fn report(&mut self, reports: &mut Vec<Report>, message: &mut WorkerMessage) {
        let mut ended = 0;
        for report in reports.drain(..) {
            match report {
                Report::Progress(number, progress) => {
                    if let Some(holder) = self.running.get(&number).and_then(|running| running.lease) {
                        message.progress.push((holder, progress));
                    }
                }
                Report::Ended(number, outcome) => {
                    ended += 1;
                    if let Some(holder) = self.let_go(number) {
                        message.finishes.extend(finish(holder, outcome));
                    }
                }
            }
        }
        self.ahead.ended(ended, self.clock.now().tick);
        if self.pool.waiting() == 0 {
            self.oldest_wait = None;
        }
    }

    /// What waited too long for a slot goes back, for others to take: all but as many as ended since the last look. How much
    /// is held ahead follows the pace.
    fn look(&mut self, message: &mut WorkerMessage) {
        if self.session == Session::Open {
            message.finishes.append(&mut self.untold);
        }
        self.stop_again();
        let now = self.clock.now().tick;
        let ended = self.ahead.look(LOOK_EVERY, self.running.len(), now);
        if self.oldest_wait.is_some_and(|since| now.since(since) >= LOOK_EVERY) {
            let waiting = self.pool.take_back(usize::try_from(ended).unwrap_or(usize::MAX));
            self.hand_back(waiting, "it was leased ahead and could not be started in time", message);
            if ended == 0 {
                self.oldest_wait = None;
            }
        }
    }

    /// Asks for as many leases as the pool can use.
    fn ask(&mut self, message: &mut WorkerMessage) {
        if self.stop.is_cancelled() || self.session == Session::Away {
            return;
        }
        let held = u32::try_from(self.running.len()).unwrap_or(u32::MAX);
        let more = self.ahead.target().saturating_sub(held.saturating_add(self.credit));
        message.free += more;
        self.credit += more;
    }
}

/// Stops the first of these executions; the reports go on being read meanwhile.
async fn stop_first(pool: &Pool, executions: &VecDeque<ExecutionNo>) {
    if let Some(execution) = executions.front() {
        pool.stop(*execution).await;
    }
}

/// How many jobs such a pool works on at a time, as operators are told.
pub(in crate::pool) fn slots(config: &Config) -> u32 {
    u32::try_from(config.processes.get()).unwrap_or(u32::MAX)
}

fn release(holder: Holder, why: &str) -> FinishRequest {
    FinishRequest { holder, finish: Finish::Release { delay: Duration::ZERO, reason: why.into() } }
}

/// What ends the attempt if this finish of it was not valid; nothing can, if that was its release.
fn instead(request: FinishRequest, why: &str) -> Option<FinishRequest> {
    let FinishRequest { holder, finish } = request;
    match finish {
        Finish::Complete { .. } => {
            let message = format!("the server did not take the result: {why}");
            let message = keep_start(&message, Failure::MESSAGE_BYTES_MAX).into();
            let failure = Failure { kind: FailureKind::Failed, message, process: None };
            Some(FinishRequest { holder, finish: Finish::Fail { failure, retryable: Retryable::Yes } })
        }
        Finish::Fail { .. } => Some(release(holder, "the server did not take its failure")),
        Finish::Release { .. } => {
            tracing::error!(job_id = %holder.id, why, "the server does not take a lease back");
            None
        }
    }
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
