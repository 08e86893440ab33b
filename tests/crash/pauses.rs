//! Processes that stand still: a server that was away longer than a lease period does not end leases whose workers could
//! not be heard; a worker that was away does lose its lease, and its late finish is refused. [LEASE-1] [LEASE-2]

use crate::load::work::finish_of;
use crate::plan;
use crate::plan::Ending;
use crate::plan::Plan;
use crate::server::PATIENCE;
use crate::server::Server;
use gangline::proto::v1;
use gangline::proto::v1::job_service_client::JobServiceClient;
use gangline::proto::v1::update_service_client::UpdateServiceClient;
use gangline::proto::v1::worker_service_client::WorkerServiceClient;
use rustix::process::Signal;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

const FLAGS: [&str; 4] = ["--lease-period", "1s", "--reconnect-grace", "500ms"];
/// More than two lease periods.
const AWAY: Duration = Duration::from_millis(2_500);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_stood_still_hears_its_workers_before_it_ends_leases() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &FLAGS);
    server.start().await;
    submit(&server, 2).await;
    let mut hand = Hand::open(&server, "w", 2).await;
    let first = hand.lease().await;
    let second = hand.lease().await;
    server.signal(Signal::STOP);
    // The one speaks while nobody hears it, the other only when the server is back.
    tokio::time::sleep(AWAY).await;
    hand.finish(&first, Ending::Completed).await;
    server.signal(Signal::CONT);
    assert_eq!(hand.ack(first.token).await, v1::FinishOutcome::Accepted);
    hand.finish(&second, Ending::Completed).await;
    assert_eq!(hand.ack(second.token).await, v1::FinishOutcome::Accepted);
    let kinds = kinds(&server).await;
    assert!(!kinds.contains(&v1::UpdateKind::Retrying), "no lease lapsed: {kinds:?}");
}

/// To a server a stopped process is one that says nothing while its kernel still answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_that_stood_still_loses_its_lease_and_its_late_finish_is_refused() {
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &FLAGS);
    server.start().await;
    submit(&server, 1).await;
    let mut still = Hand::open(&server, "still", 1).await;
    let lost = still.lease().await;
    let mut other = Hand::open(&server, "other", 1).await;
    // It must be heard, or it would lose its place too.
    let held = loop {
        let alive = Duration::from_millis(200);
        match timeout(alive, other.lease()).await {
            Ok(lease) => break lease,
            Err(_silence) => other.say(v1::WorkRequest::default()).await,
        }
    };
    assert_eq!((&held.job_id, held.attempt), (&lost.job_id, 2));
    let late = v1::FinishJobsRequest {
        worker_id: "still".to_owned(),
        finishes: vec![finish_of(&lost, Ending::Completed)],
    };
    let mut workers = WorkerServiceClient::new(server.channel().await);
    let answer = workers.finish_jobs(late).await.expect("it is answered").into_inner();
    assert_eq!(answer.acks[0].outcome(), v1::FinishOutcome::StaleLease, "{answer:?}");
    other.finish(&held, Ending::Completed).await;
    assert_eq!(other.ack(held.token).await, v1::FinishOutcome::Accepted);
    let expected = [
        v1::UpdateKind::Submitted,
        v1::UpdateKind::Started,
        v1::UpdateKind::Retrying,
        v1::UpdateKind::Started,
        v1::UpdateKind::Succeeded,
    ];
    assert_eq!(kinds(&server).await, expected);
}

async fn submit(server: &Server, count: u64) {
    let jobs =
        (1..=count).map(|number| plan::spec("a", &plan::payload("pause", number, Plan::Quick))).collect();
    let request = v1::SubmitJobsRequest { jobs, ..v1::SubmitJobsRequest::default() };
    JobServiceClient::new(server.channel().await).submit_jobs(request).await.expect("it is accepted");
}

async fn kinds(server: &Server) -> Vec<v1::UpdateKind> {
    updates(server).await.iter().map(v1::Update::kind).collect()
}

/// What happened, from the beginning.
pub(crate) async fn updates(server: &Server) -> Vec<v1::Update> {
    let request = v1::GetUpdatesRequest {
        follow: v1::FollowMode::StopAtHead.into(),
        ..v1::GetUpdatesRequest::default()
    };
    let mut client = UpdateServiceClient::new(server.channel().await);
    let mut stream = client.get_updates(request).await.expect("the log can be read").into_inner();
    let mut updates = Vec::new();
    while let Some(response) = stream.message().await.expect("the log can be read") {
        updates.extend(response.updates().expect("the batch is one"));
    }
    updates
}

/// A worker's stream, message by message.
pub(crate) struct Hand {
    outbound: mpsc::Sender<v1::WorkRequest>,
    inbound: Streaming<v1::WorkResponse>,
    leases: Vec<v1::Lease>,
    acks: Vec<v1::FinishAck>,
}

impl Hand {
    pub(crate) async fn open(server: &Server, name: &str, free_slots: u32) -> Hand {
        let (outbound, requests) = mpsc::channel(16);
        let hello =
            v1::Hello { worker_id: name.to_owned(), queues: vec!["a".to_owned()], ..v1::Hello::default() };
        let first = v1::WorkRequest { hello: Some(hello), free_slots, ..v1::WorkRequest::default() };
        outbound.send(first).await.expect("we hold the other end");
        let mut client = WorkerServiceClient::new(server.channel().await);
        let inbound = client.work(ReceiverStream::new(requests)).await.expect("it is welcome").into_inner();
        Hand { outbound, inbound, leases: Vec::new(), acks: Vec::new() }
    }

    pub(crate) async fn say(&self, request: v1::WorkRequest) {
        self.outbound.send(request).await.expect("the stream is open");
    }

    pub(crate) async fn finish(&self, lease: &v1::Lease, ending: Ending) {
        self.say(v1::WorkRequest { finishes: vec![finish_of(lease, ending)], ..v1::WorkRequest::default() })
            .await;
    }

    async fn hear(&mut self) {
        let message = timeout(PATIENCE, self.inbound.message()).await.expect("it answers in time");
        let message = message.expect("the stream goes on").expect("the stream goes on");
        self.leases.extend(message.leases);
        self.acks.extend(message.acks);
    }

    /// The next lease.
    pub(crate) async fn lease(&mut self) -> v1::Lease {
        while self.leases.is_empty() {
            self.hear().await;
        }
        self.leases.remove(0)
    }

    /// What became of a finish.
    pub(crate) async fn ack(&mut self, token: u64) -> v1::FinishOutcome {
        loop {
            if let Some(ack) = self.acks.iter().find(|ack| ack.token == token) {
                return ack.outcome();
            }
            self.hear().await;
        }
    }
}
