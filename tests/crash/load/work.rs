//! A worker on another machine: one stream with several slots, which it loses with the server, or drops by itself, or
//! ends with a good-bye. It comes back with what it holds, forgets a lease now and then, and tries late finishes too.

use crate::history::Finished;
use crate::history::Leased;
use crate::history::Saw;
use crate::history::recorder::Recorder;
use crate::load::link::Link;
use crate::load::link::pause;
use crate::plan;
use crate::plan::Ending;
use gangline::engine::chance::Chance;
use gangline::proto::v1;
use gangline::proto::v1::worker_service_client::WorkerServiceClient;
use prost::Message;
use std::collections::HashMap;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

const SLOTS: u32 = 16;
/// Finishes of one message together: less than any server here reads, more than any single one.
const FINISHES_BYTES_MAX: usize = 450_000;
/// How long it waits before it tells again what a full disk had no space for.
const RETRY_AFTER: Duration = Duration::from_millis(200);
/// How late it tries to finish what it has lost, at most.
const LATE_MAX_MS: u32 = 300;

pub(crate) struct Worker {
    name: String,
    queues: Vec<String>,
    link: Link,
    recorder: Recorder,
    chance: Chance,
    /// Leases it works on, by token.
    held: HashMap<u64, Held>,
    /// Finishes without an answer, by token.
    unanswered: HashMap<u64, Unanswered>,
    /// Leases it has lost, and when it tries to finish them all the same: another worker may hold the job then.
    lost: Vec<(Instant, v1::Lease)>,
}

struct Unanswered {
    finish: v1::Finish,
    /// Its place in the history.
    index: usize,
    /// The disk was full: when it is told again.
    again_at: Option<Instant>,
}

struct Held {
    lease: v1::Lease,
    done_at: Instant,
}

struct Open {
    outbound: mpsc::Sender<v1::WorkRequest>,
    inbound: Streaming<v1::WorkResponse>,
    alive_every: Duration,
    /// How many messages of the server it takes before it ends the stream by itself.
    left: u32,
}

impl Worker {
    pub(crate) fn new(name: &str, queues: &[&str], link: Link, recorder: Recorder, chance: Chance) -> Worker {
        Worker {
            name: name.to_owned(),
            queues: queues.iter().map(|queue| (*queue).to_owned()).collect(),
            link,
            recorder,
            chance,
            held: HashMap::new(),
            unanswered: HashMap::new(),
            lost: Vec::new(),
        }
    }

    /// Works until it is told to stop.
    pub(crate) async fn run(mut self) {
        while let Some(channel) = self.link.connect().await {
            let stop = self.link.stop().clone();
            let worked = stop.run_until_cancelled(self.work(channel)).await;
            if let Some(Err(status)) = worked {
                self.link.failed("work", &status);
                pause().await;
            }
        }
    }

    async fn work(&mut self, channel: Channel) -> Result<(), Status> {
        let mut open = self.open(channel).await?;
        while open.left > 0 {
            let done = self.held.values().map(|held| held.done_at);
            let again = self.unanswered.values().filter_map(|told| told.again_at);
            let lost = self.lost.iter().map(|(at, _)| *at);
            let next =
                done.chain(again).chain(lost).min().unwrap_or_else(|| Instant::now() + open.alive_every);
            tokio::select! {
                biased;
                message = open.inbound.message() => {
                    open.left -= 1;
                    let freed = self.hear(message?.ok_or_else(ended)?)?;
                    if freed > 0 {
                        send(&open, v1::WorkRequest { free_slots: freed, ..v1::WorkRequest::default() }).await?;
                    }
                }
                () = tokio::time::sleep_until(next) => {
                    let mut again = self.again_due();
                    again.extend(self.lost_due());
                    let mut finishes = self.finish_due();
                    let free_slots = u32::try_from(finishes.len()).expect("few slots");
                    finishes.extend(again);
                    // Without a finish it is a sign of life.
                    send_finishes(&open, finishes, free_slots).await?;
                }
                () = tokio::time::sleep(open.alive_every) => send(&open, v1::WorkRequest::default()).await?,
            }
        }
        if self.chance.next_u32().is_multiple_of(4) { self.say_bye(open).await } else { Ok(()) }
    }

    async fn open(&mut self, channel: Channel) -> Result<Open, Status> {
        let (outbound, requests) = mpsc::channel(16);
        let count = (self.chance.next_u32() % 8).saturating_sub(4);
        let forgotten: Vec<v1::Lease> = (0..count).filter_map(|_| self.forget_one()).collect();
        let named = self.held.values().map(|held| held_of(&held.lease));
        let unanswered = self.unanswered.values().map(|Unanswered { finish, .. }| v1::HeldLease {
            job_id: finish.job_id.clone(),
            token: finish.token,
            handle: finish.handle,
        });
        let hello = v1::Hello {
            worker_id: self.name.clone(),
            queues: self.queues.clone(),
            held: named.chain(unanswered).collect(),
            ..v1::Hello::default()
        };
        let first = v1::WorkRequest { hello: Some(hello), ..v1::WorkRequest::default() };
        outbound.send(first).await.map_err(|_closed| ended())?;
        let mut inbound =
            WorkerServiceClient::new(channel).work(ReceiverStream::new(requests)).await?.into_inner();
        let mut message = inbound.message().await?.ok_or_else(ended)?;
        let welcome = message.welcome.take().expect("the first message welcomes");
        let period = welcome.lease_period.expect("a lease period");
        let period = Duration::try_from(period).expect("a time span");
        let left = 20 + self.chance.next_u32() % 500;
        let open = Open { outbound, inbound, alive_every: period / 4, left };
        self.resume(&open, &welcome.held, forgotten).await?;
        let freed = self.hear(message)?;
        let free_slots = SLOTS.saturating_sub(u32::try_from(self.held.len()).expect("few slots")) + freed;
        send(&open, v1::WorkRequest { free_slots, ..v1::WorkRequest::default() }).await?;
        Ok(open)
    }

    /// Sends again what is unanswered and still held; what is gone it tries to finish later all the same.
    async fn resume(
        &mut self,
        open: &Open,
        still: &[v1::HeldLease],
        forgotten: Vec<v1::Lease>,
    ) -> Result<(), Status> {
        let is_held = |token: &u64| still.iter().any(|held| held.token == *token);
        let gone = self.held.extract_if(|token, _| !is_held(token)).map(|(_, held)| held.lease);
        for lease in gone.chain(forgotten) {
            let late = Duration::from_millis(u64::from(self.chance.next_u32() % LATE_MAX_MS));
            self.lost.push((Instant::now() + late, lease));
        }
        self.unanswered.retain(|token, _| is_held(token));
        let finishes: Vec<v1::Finish> = self.unanswered.values().map(|told| told.finish.clone()).collect();
        for finish in &finishes {
            self.note(finish.clone());
        }
        send_finishes(open, finishes, 0).await
    }

    /// A lease that it does not name when it comes back, so that it is lost, but tries to finish all the same.
    fn forget_one(&mut self) -> Option<v1::Lease> {
        let token = self.held.keys().next().copied()?;
        self.held.remove(&token).map(|held| held.lease)
    }

    fn note(&mut self, finish: v1::Finish) {
        let ending = ending_of(&finish);
        let (job, token) = (finish.job_id.clone(), finish.token);
        let index = self.recorder.finishing(Finished { job, token, ending, answer: None });
        self.unanswered.insert(token, Unanswered { finish, index, again_at: None });
    }

    /// Takes a message; how many slots it frees.
    fn hear(&mut self, message: v1::WorkResponse) -> Result<u32, Status> {
        let answers = message.acks.iter().filter_map(|ack| {
            let told = self.unanswered.remove(&ack.token)?;
            assert_ne!(ack.outcome(), v1::FinishOutcome::Invalid, "{ack:?}");
            let index = told.index;
            if ack.outcome() == v1::FinishOutcome::RetryLater {
                let again_at = Some(Instant::now() + RETRY_AFTER);
                self.unanswered.insert(ack.token, Unanswered { again_at, ..told });
            }
            Some((index, ack.outcome))
        });
        let answers: Vec<(usize, i32)> = answers.collect();
        let payload = |lease: &v1::Lease| String::from_utf8_lossy(&lease.payload).into_owned();
        let leases: Vec<Leased> = message
            .leases
            .iter()
            .map(|lease| Leased {
                worker: self.name.clone(),
                job: lease.job_id.clone(),
                token: lease.token,
                attempt: lease.attempt,
                payload: payload(lease),
            })
            .collect();
        let seen = [Saw::Answered(answers), Saw::Leased(leases)];
        let news = |saw: &Saw| {
            !matches!(saw, Saw::Answered(none) if none.is_empty())
                && !matches!(saw, Saw::Leased(none) if none.is_empty())
        };
        let seen: Vec<Saw> = seen.into_iter().filter(news).collect();
        let received = self.link.receive(&seen);
        received.map_err(|_doubtful| ended())?;
        for lease in message.leases {
            let slow = plan::parse(&payload(&lease)).is_some_and(plan::Plan::is_slow);
            let most_ms = if slow { 1_500 } else { 20 };
            let takes = Duration::from_millis(u64::from(self.chance.next_u32() % most_ms));
            self.held.insert(lease.token, Held { lease, done_at: Instant::now() + takes });
        }
        let cancelled = message.cancels.iter().filter(|cancel| self.held.remove(&cancel.token).is_some());
        Ok(u32::try_from(cancelled.count()).expect("few slots"))
    }

    fn finish_due(&mut self) -> Vec<v1::Finish> {
        let now = Instant::now();
        let due: Vec<v1::Lease> =
            self.held.extract_if(|_, held| held.done_at <= now).map(|(_, held)| held.lease).collect();
        let finish = |lease: &v1::Lease| {
            let payload = String::from_utf8_lossy(&lease.payload);
            let plan = plan::parse(&payload).unwrap_or(plan::Plan::Quick);
            finish_of(lease, plan.ending(lease.attempt))
        };
        let finishes: Vec<v1::Finish> = due.iter().map(finish).collect();
        for finish in &finishes {
            self.note(finish.clone());
        }
        finishes
    }

    /// What the server had no space for, and is told again.
    fn again_due(&mut self) -> Vec<v1::Finish> {
        let now = Instant::now();
        let due = self.unanswered.values().filter(|told| told.again_at.is_some_and(|at| at <= now));
        let finishes: Vec<v1::Finish> = due.map(|told| told.finish.clone()).collect();
        for finish in &finishes {
            self.note(finish.clone());
        }
        finishes
    }

    /// Finishes of leases that it has lost.
    fn lost_due(&mut self) -> Vec<v1::Finish> {
        let now = Instant::now();
        let due = self.lost.extract_if(.., |(at, _)| *at <= now);
        let finishes: Vec<v1::Finish> = due.map(|(_, lease)| finish_of(&lease, Ending::Completed)).collect();
        for finish in &finishes {
            self.note(finish.clone());
        }
        finishes
    }

    /// Ends the stream in good order: what it holds is released, and the finishes before are answered.
    async fn say_bye(&mut self, open: Open) -> Result<(), Status> {
        let release = |held: Held| finish_of(&held.lease, Ending::Released);
        let releases: Vec<v1::Finish> = self.held.drain().map(|(_, held)| release(held)).collect();
        for release in releases {
            let token = release.token;
            self.note(release);
            // The good-bye itself releases it, and is not answered.
            self.unanswered.remove(&token);
        }
        let bye = Some(v1::Bye { reason: "planned".to_owned() });
        send(&open, v1::WorkRequest { bye, ..v1::WorkRequest::default() }).await?;
        let Open { outbound, mut inbound, .. } = open;
        drop(outbound);
        while let Some(message) = inbound.message().await? {
            let missed: Vec<v1::Lease> = message.leases.clone();
            self.hear(message)?;
            // A lease that crossed the good-bye is released by it.
            for lease in missed {
                self.held.remove(&lease.token);
                self.note(finish_of(&lease, Ending::Released));
                self.unanswered.remove(&lease.token);
            }
        }
        Ok(())
    }
}

fn held_of(lease: &v1::Lease) -> v1::HeldLease {
    v1::HeldLease { job_id: lease.job_id.clone(), token: lease.token, handle: lease.handle }
}

/// The message that ends a lease like this.
pub(crate) fn finish_of(lease: &v1::Lease, ending: Ending) -> v1::Finish {
    let payload = String::from_utf8_lossy(&lease.payload);
    let fail = |kind: v1::FailureKind, retryable: v1::Retryable| {
        let failure =
            Some(v1::Failure { kind: kind.into(), message: "planned".to_owned(), ..v1::Failure::default() });
        v1::finish::Outcome::Fail(v1::Fail { failure, retryable: retryable.into() })
    };
    let outcome = match ending {
        Ending::Completed => v1::finish::Outcome::Complete(v1::Complete {
            result: plan::result(&payload).into(),
            ..v1::Complete::default()
        }),
        Ending::Failed => fail(v1::FailureKind::Failed, v1::Retryable::Yes),
        Ending::FailedForGood => fail(v1::FailureKind::Failed, v1::Retryable::No),
        Ending::Crashed => fail(v1::FailureKind::Crashed, v1::Retryable::Yes),
        Ending::Released => v1::finish::Outcome::Release(v1::Release::default()),
    };
    v1::Finish {
        job_id: lease.job_id.clone(),
        token: lease.token,
        handle: lease.handle,
        outcome: Some(outcome),
    }
}

fn ending_of(finish: &v1::Finish) -> Ending {
    match finish.outcome.as_ref().expect("we set it") {
        v1::finish::Outcome::Complete(_) => Ending::Completed,
        v1::finish::Outcome::Release(_) => Ending::Released,
        v1::finish::Outcome::Fail(fail) if fail.retryable() == v1::Retryable::No => Ending::FailedForGood,
        v1::finish::Outcome::Fail(fail) => match fail.failure.as_ref().map(v1::Failure::kind) {
            Some(v1::FailureKind::Crashed) => Ending::Crashed,
            Some(v1::FailureKind::Unspecified | v1::FailureKind::Failed) | None => Ending::Failed,
            Some(v1::FailureKind::TimedOut | v1::FailureKind::Lost) => panic!("no worker of ours says so"),
        },
    }
}

/// Tells of finishes in as many messages as they need: what a full disk had no space for adds up.
async fn send_finishes(open: &Open, finishes: Vec<v1::Finish>, free_slots: u32) -> Result<(), Status> {
    let mut message = v1::WorkRequest { free_slots, ..v1::WorkRequest::default() };
    let mut bytes = 0;
    for finish in finishes {
        bytes += finish.encoded_len();
        if bytes > FINISHES_BYTES_MAX && !message.finishes.is_empty() {
            bytes = finish.encoded_len();
            send(open, std::mem::take(&mut message)).await?;
        }
        message.finishes.push(finish);
    }
    send(open, message).await
}

async fn send(open: &Open, request: v1::WorkRequest) -> Result<(), Status> {
    open.outbound.send(request).await.map_err(|_closed| ended())
}

fn ended() -> Status {
    Status::unavailable("the stream ended")
}
