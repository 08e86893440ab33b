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
use crate::pool::AttemptId;
use crate::pool::Config;
use crate::pool::Error;
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
    /// Leases that the pool works on or is about to.
    running: HashMap<AttemptId, Held>,
    /// Bytes of their payloads. [MEM-1]
    bytes: usize,
    /// Leases that may still be sent.
    credit: u32,
    /// Finishes that were told and not yet answered.
    unacked: HashMap<LeaseToken, FinishRequest>,
    /// Finishes that found the disk full: they are told again. [ACK-2]
    untold: Vec<FinishRequest>,
    /// Executions that are to be stopped.
    to_stop: VecDeque<AttemptId>,
    /// Those and the ones that were told to stop and have not ended: never more than `running`.
    stopping: HashSet<AttemptId>,
    /// Since when some job waits for a slot of the pool.
    oldest_wait: Option<Tick>,
}

/// A lease that the pool works on or is about to.
#[derive(Clone, Copy, Debug)]
struct Held {
    holder: Holder,
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
            credit: 0,
            unacked: HashMap::new(),
            untold: Vec::new(),
            to_stop: VecDeque::new(),
            stopping: HashSet::new(),
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
        self.running.values().map(|held| held.holder).chain(finishes).collect()
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
            .map(|running| running.holder)
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
        let mut assignments = Vec::with_capacity(leases.len());
        for (holder, assignment) in leases {
            let bytes = assignment.payload.len();
            self.ahead.leased(bytes);
            if self.running.len() >= self.processes && self.bytes.saturating_add(bytes) > BYTES_MAX {
                message.finishes.push(release(holder, "the pool holds as much payload as it may"));
                continue;
            }
            self.hold(assignment.attempt_id(), Held { holder, bytes });
            assignments.push(assignment);
        }
        let refused = self.pool.give(assignments);
        self.hand_back(refused, "the pool has no room for it", message);
        if self.oldest_wait.is_none() && self.pool.waiting() > 0 {
            self.oldest_wait = Some(now);
        }
    }

    fn hold(&mut self, attempt: AttemptId, held: Held) {
        self.bytes += held.bytes;
        if let Some(before) = self.running.insert(attempt, held) {
            self.bytes -= before.bytes;
        }
    }

    fn let_go(&mut self, attempt: AttemptId) -> Option<Holder> {
        let held = self.running.remove(&attempt)?;
        self.bytes -= held.bytes;
        Some(held.holder)
    }

    fn hand_back(&mut self, jobs: Vec<Assignment>, why: &str, message: &mut WorkerMessage) {
        for job in jobs {
            if let Some(holder) = self.let_go(job.attempt_id()) {
                message.finishes.push(release(holder, why));
            }
        }
    }

    fn cancel(&mut self, id: JobId, token: LeaseToken) {
        let held = self.running.iter().find(|(attempt, held)| attempt.id == id && held.holder.token == token);
        if let Some((attempt, _)) = held {
            let attempt = *attempt;
            self.stop_attempt(attempt);
        }
    }

    fn stop_attempt(&mut self, attempt: AttemptId) {
        if self.pool.withdraw(attempt) {
            self.let_go(attempt);
            self.stopping.remove(&attempt);
        } else {
            self.to_stop.push_back(attempt);
            self.stopping.insert(attempt);
        }
    }

    /// Stops again what was to be stopped and has not ended. A process that dies puts back what it had not begun, and
    /// another one that takes it may have heard of the cancel before, when it had no such job.
    fn stop_again(&mut self) {
        self.stopping.retain(|attempt| self.running.contains_key(attempt));
        // What is still on its way to the slots is not told twice.
        if self.to_stop.is_empty() {
            let stopping: Vec<AttemptId> = self.stopping.iter().copied().collect();
            stopping.into_iter().for_each(|attempt| self.stop_attempt(attempt));
        }
    }

    fn report(&mut self, reports: &mut Vec<Report>, message: &mut WorkerMessage) {
        let mut ended = 0;
        for report in reports.drain(..) {
            match report {
                Report::Progress(attempt, progress) => {
                    if let Some(held) = self.running.get(&attempt) {
                        message.progress.push((held.holder, progress));
                    }
                }
                Report::Ended(attempt, outcome) => {
                    ended += 1;
                    if let Some(holder) = self.let_go(attempt) {
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
async fn stop_first(pool: &Pool, attempts: &VecDeque<AttemptId>) {
    if let Some(attempt) = attempts.front() {
        pool.stop(*attempt).await;
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
