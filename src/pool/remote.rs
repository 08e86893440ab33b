//! A pool for a server somewhere else: the leases come over a worker's stream, which is opened again whenever it broke. What
//! ran meanwhile goes on, and its result is told if the lease is still held. [LEASE-1] [LEASE-2]

use crate::client;
use crate::client::Client;
use crate::client::Worker;
use crate::clock::Clock;
use crate::engine::command::WorkerMessage;
use crate::grpc::convert::finish::to_finish;
use crate::grpc::convert::finish::to_held_lease;
use crate::grpc::convert::finish::to_progress_report;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::id::LeaseToken;
use crate::job::table::Slot;
use crate::pool::Assignment;
use crate::pool::Error;
use crate::pool::Spawner;
use crate::pool::claims::Claims;
use crate::pool::claims::Left;
use crate::pool::claims::PoolSpec;
use crate::pool::claims::slots;
use crate::pool::source::Answer;
use crate::pool::source::Heard;
use crate::pool::source::News;
use crate::pool::source::Source;
use crate::proto::v1;
use crate::shutdown::Shutdown;
use bytes::Bytes;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long the server has to hear a good-bye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Who the pool is to the server.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Its name, one for each living pool; the same name comes back for the same leases.
    pub name: String,
    /// For people; may be empty.
    pub description: String,
}

/// How a remote pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// There is no stream: running jobs go on, no lease is taken.
    Away,
    /// The stream is open and its free slots are offered.
    Ready,
}

/// A running remote pool.
#[derive(Debug)]
pub struct Remote {
    /// How it ended: with what it could not tell, or because going on makes no sense.
    pub ended: JoinHandle<Result<Left, client::Error>>,
    /// How it stands.
    pub standing: watch::Receiver<Standing>,
    now: CancellationToken,
}

impl Remote {
    /// Stops it at once: what runs is killed and handed back, which uses no budget.
    pub fn stop_now(&self) {
        self.now.cancel();
    }
}

/// Starts a pool for the server of `client`. When the shutdown begins it takes no more leases; running jobs get their grace,
/// the rest is released without using a budget.
///
/// # Errors
/// A command that does not exist, and the like: see [`Pool::start`](crate::pool::Pool::start).
pub fn start(
    client: &Client,
    identity: Identity,
    spec: PoolSpec,
    spawner: &Spawner,
    clock: &Clock,
    shutdown: &Shutdown,
) -> Result<Remote, Error> {
    let now = CancellationToken::new();
    let slots = slots(&spec.config);
    let (claims, reports) = Claims::start(spec.config, spawner, clock, shutdown, now.clone())?;
    let hello = v1::Hello {
        worker_id: identity.name,
        queues: spec.queues.iter().map(ToString::to_string).collect(),
        description: identity.description,
        slots,
        ..v1::Hello::default()
    };
    let (stands, standing) = watch::channel(Standing::Away);
    let mut worker = client.worker(hello);
    worker.open(Vec::new());
    let stream =
        Stream { client: client.clone(), worker, result_bytes_max: usize::MAX, refused: Vec::new(), stands };
    let ended = shutdown.spawn(claims.run(stream, reports));
    Ok(Remote { ended, standing, now })
}

#[derive(Debug)]
struct Stream {
    client: Client,
    worker: Worker,
    /// The largest result that the server takes, as it says itself.
    result_bytes_max: usize,
    /// Finishes that were not even sent, and why.
    refused: Vec<(LeaseToken, Answer)>,
    stands: watch::Sender<Standing>,
}

impl Source for Stream {
    type Error = client::Error;

    async fn hear(&mut self) -> Result<Heard, client::Error> {
        if !self.refused.is_empty() {
            let acks = std::mem::take(&mut self.refused);
            return Ok(Heard::News(News { acks, ..News::default() }));
        }
        loop {
            match self.worker.next().await? {
                client::Heard::Message(response) => {
                    if let Some(welcome) = &response.welcome {
                        let most = usize::try_from(welcome.result_bytes_max).unwrap_or(0);
                        self.result_bytes_max = if most == 0 { usize::MAX } else { most };
                    }
                    let news = news(response);
                    return news
                        .map(Heard::News)
                        .ok_or_else(|| self.client.odd("it gives leases that are none"));
                }
                client::Heard::Told => {
                    self.stands.send_replace(Standing::Ready);
                }
                client::Heard::Broke(error) => {
                    let error: &dyn std::error::Error = &error;
                    // Said once, not at every try: the link is opened again until it stands.
                    if self.stands.send_replace(Standing::Away) == Standing::Ready {
                        tracing::warn!(error, "the link to the server broke; running jobs go on");
                    } else {
                        tracing::debug!(error, "the server does not answer yet");
                    }
                    return Ok(Heard::Away);
                }
                // Only after `close`, which waits for it itself.
                client::Heard::Closed => {}
            }
        }
    }

    async fn tell(&mut self, message: WorkerMessage) -> Result<(), client::Error> {
        // One of them is larger than the largest message of a server, perhaps, and would end each new stream.
        let most = self.result_bytes_max;
        let (too_large, finishes): (Vec<_>, Vec<_>) =
            message.finishes.into_iter().partition(|request| result_bytes(&request.finish) > most);
        self.refused.extend(too_large.iter().map(|request| {
            let bytes = result_bytes(&request.finish);
            let why = format!("it has {bytes} bytes, and the server takes at most {most}");
            (request.holder.token, Answer::Invalid(why))
        }));
        let finishes = finishes.into_iter();
        let progress = message.progress.iter();
        self.worker.tell(v1::WorkRequest {
            finishes: finishes.map(|request| to_finish(&request.holder, request.finish)).collect(),
            progress: progress.map(|(holder, progress)| to_progress_report(holder, progress)).collect(),
            free_slots: message.free,
            ..v1::WorkRequest::default()
        });
        Ok(())
    }

    fn come_back(&mut self, held: Vec<Holder>) {
        self.worker.open(held.iter().map(to_held_lease).collect());
    }

    fn stop_leases(&mut self) {
        let bye = Some(v1::Bye { reason: "the pool stops".to_owned() });
        self.worker.tell(v1::WorkRequest { bye, ..v1::WorkRequest::default() });
    }

    async fn close(mut self) {
        self.stop_leases();
        self.worker.close();
        let heard = async {
            // An answer that comes so late is of no use any more; a link that broke is not mended.
            while let Ok(client::Heard::Message(_) | client::Heard::Told) = self.worker.next().await {}
        };
        if tokio::time::timeout(GOODBYE, heard).await.is_err() {
            tracing::debug!("the server did not hear the good-bye in time");
        }
    }
}

fn result_bytes(finish: &Finish) -> usize {
    match finish {
        Finish::Complete { result, .. } => result.0.len(),
        Finish::Fail { .. } | Finish::Release { .. } => 0,
    }
}

/// What a message says; `None` if it does not keep to the API.
fn news(response: v1::WorkResponse) -> Option<News> {
    let token = |held: v1::HeldLease| LeaseToken(held.token);
    let cancels = response.cancels.into_iter();
    Some(News {
        joined: response.welcome.map(|welcome| welcome.held.into_iter().map(token).collect()),
        acks: response.acks.into_iter().map(|ack| (LeaseToken(ack.token), answer(ack))).collect(),
        leases: response.leases.into_iter().map(leased).collect::<Option<_>>()?,
        unusable: Vec::new(),
        cancels: cancels
            .map(|cancel| Some((cancel.job_id.parse().ok()?, LeaseToken(cancel.token))))
            .collect::<Option<_>>()?,
    })
}

fn answer(ack: v1::FinishAck) -> Answer {
    match ack.outcome() {
        v1::FinishOutcome::RetryLater => Answer::Later,
        v1::FinishOutcome::Invalid => Answer::Invalid(ack.message),
        v1::FinishOutcome::StaleLease | v1::FinishOutcome::JobNotFound => {
            tracing::info!(
                token = ack.token,
                why = ack.message,
                "a finish came too late: the lease was gone"
            );
            Answer::Settled
        }
        v1::FinishOutcome::Unspecified | v1::FinishOutcome::Accepted => Answer::Settled,
    }
}

fn leased(lease: v1::Lease) -> Option<(Holder, Assignment)> {
    let id = lease.job_id.parse().ok()?;
    let hint = lease.handle.checked_sub(1).map(Slot);
    let assignment = Assignment {
        id,
        attempt: lease.attempt,
        queue: lease.queue.parse().ok()?,
        // A copy: a slice would keep the whole message, with other payloads, for as long as the job runs. [MEM-1]
        payload: Bytes::copy_from_slice(&lease.payload),
        content_type: lease.content_type.into(),
        traceparent: lease.traceparent.into(),
        labels: lease.labels.into_iter().map(|(name, value)| (name.into(), value.into())).collect(),
        timeout: lease.timeout.map(Duration::try_from).transpose().ok()?,
    };
    Some((Holder { id, token: LeaseToken(lease.token), hint }, assignment))
}
