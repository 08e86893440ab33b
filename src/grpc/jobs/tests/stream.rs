use crate::engine::command::Command;
use crate::grpc::jobs::tests::reason;
use crate::grpc::jobs::tests::soon;
use crate::grpc::jobs::tests::spec;
use crate::grpc::jobs::tests::start;
use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::job::spec::QueueChange;
use crate::proto::v1;
use crate::proto::v1::stream_submit_request::Request;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;
use tonic::Streaming;

struct Producer {
    sender: mpsc::Sender<v1::StreamSubmitRequest>,
    answers: Streaming<v1::StreamSubmitResponse>,
    last: u64,
}

impl Producer {
    async fn begin(rig: &Rig, name: &str) -> Producer {
        let mut producer = Producer::open(rig).await;
        producer.say(Request::Start(v1::SubmitStart { producer_id: name.into() })).await;
        let first = soon(producer.answers.message()).await.unwrap().unwrap();
        Producer { last: first.resumed.unwrap().last_ordinal, ..producer }
    }

    async fn open(rig: &Rig) -> Producer {
        let (sender, receiver) = mpsc::channel(64);
        // The headers come before anything is said.
        let answers = soon(rig.jobs().stream_submit(ReceiverStream::new(receiver))).await.unwrap();
        Producer { sender, answers: answers.into_inner(), last: 0 }
    }

    async fn say(&mut self, request: Request) {
        self.sender.send(v1::StreamSubmitRequest { request: Some(request) }).await.unwrap();
    }

    async fn submit(&mut self, queue: &str, first_ordinal: u64, count: usize) {
        self.say(Request::Batch(v1::SubmitJobBatch { first_ordinal, jobs: vec![spec(queue); count] })).await;
    }

    /// Reads answers until `ordinal` is accepted; the ranges.
    async fn accepted_to(&mut self, ordinal: u64) -> Vec<v1::AcceptedRange> {
        let mut ranges: Vec<v1::AcceptedRange> = Vec::new();
        while ranges.last().is_none_or(|range| range.first_ordinal + range.count <= ordinal) {
            ranges.extend(soon(self.answers.message()).await.unwrap().unwrap().accepted);
        }
        ranges
    }

    /// How the stream ends.
    async fn ended(&mut self) -> Result<(), Status> {
        loop {
            if soon(self.answers.message()).await?.is_none() {
                return Ok(());
            }
        }
    }
}

/// Ordinals in order, without a gap, from `first` on.
fn follow(ranges: &[v1::AcceptedRange], first: u64) -> bool {
    let mut next = first;
    ranges
        .iter()
        .all(|range| std::mem::replace(&mut next, range.first_ordinal + range.count) == range.first_ordinal)
}

#[tokio::test]
async fn a_producer_resumes_across_a_restart_without_losing_or_doubling_a_job() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("data");
    let rig = rig::start(&path, Setup::default()).await;
    let mut producer = Producer::begin(&rig, "p").await;
    assert_eq!(producer.last, 0);
    for batch in 0..100 {
        producer.submit("q", 1 + batch * 10, 10).await;
    }
    let ranges = producer.accepted_to(1_000).await;
    assert!(follow(&ranges, 1) && ranges.iter().map(|range| range.count).sum::<u64>() == 1_000);
    rig.stop().await;

    let rig = rig::start(&path, Setup::default()).await;
    let mut producer = Producer::begin(&rig, "p").await;
    assert_eq!(producer.last, 1_000);
    // What was answered is sent again, as by a producer that had not heard the answer.
    producer.submit("q", 991, 20).await;
    let again = producer.accepted_to(1_010).await;
    assert!(follow(&again, 991) && again[0].first_job_id > ranges[0].first_job_id);
    drop(producer.sender);
    assert!(
        soon(producer.answers.message()).await.unwrap().is_none(),
        "all is accepted, so the stream ends well"
    );
    assert_eq!(rig.head(), 1_010, "ten jobs were new");
    rig.stop().await;
}

#[tokio::test]
async fn of_two_streams_the_newer_goes_on_and_a_gap_ends_a_stream() {
    let (_dir, rig) = start().await;
    let mut older = Producer::begin(&rig, "p").await;
    older.submit("q", 1, 3).await;
    older.accepted_to(3).await;
    let mut newer = Producer::begin(&rig, "p").await;
    assert_eq!(newer.last, 3);
    assert_eq!(reason(older.ended().await), Reason::ProducerReplaced);
    newer.submit("q", 4, 2).await;
    newer.accepted_to(5).await;
    newer.submit("q", 7, 1).await;
    assert_eq!(reason(newer.ended().await), Reason::OrdinalGap);
    assert_eq!(rig.head(), 5);
    assert_eq!(Producer::begin(&rig, "p").await.last, 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_queue_holds_the_producer_until_there_is_room() {
    let (_dir, rig) = start().await;
    let change = QueueChange { max_pending: Some(Some(25)), ..QueueChange::default() };
    let name = "small".parse().unwrap();
    rig.handle().call(0, |reply| Command::SetQueue(name, change, reply)).await.unwrap();
    let mut producer = Producer::begin(&rig, "p").await;
    // Batches on other queues wait their turn, because ordinals are accepted in order.
    for batch in 0..10 {
        producer.submit(if batch == 7 { "other" } else { "small" }, 1 + batch * 10, 10).await;
    }
    let ranges = producer.accepted_to(25).await;
    assert!(follow(&ranges, 1));
    assert_eq!(
        ranges.iter().map(|range| range.count).sum::<u64>(),
        25,
        "not one more than there is room for"
    );
    let rest = soon(async {
        let work = async {
            rig.work("small", 90, 1).await;
        };
        tokio::join!(producer.accepted_to(100), work).0
    })
    .await;
    assert!(follow(&rest, 26));
    rig.stop().await;
}

#[tokio::test]
async fn a_stream_out_of_turn_or_with_a_wrong_job_is_refused_and_keeps_what_came_before() {
    let (_dir, rig) = start().await;
    let mut producer = Producer::open(&rig).await;
    producer.submit("q", 1, 1).await;
    assert_eq!(reason(producer.ended().await), Reason::UnexpectedMessage);
    let mut producer = Producer::open(&rig).await;
    producer.say(Request::Start(v1::SubmitStart::default())).await;
    assert_eq!(reason(producer.ended().await), Reason::InvalidField);
    let mut producer = Producer::begin(&rig, "p").await;
    producer.submit("q", 1, 2).await;
    producer.submit("no queue", 3, 1).await;
    assert_eq!(reason(producer.ended().await), Reason::InvalidQueueName);
    assert_eq!(rig.head(), 2);
    let mut producer = Producer::begin(&rig, "p").await;
    assert_eq!(producer.last, 2);
    producer.say(Request::Start(v1::SubmitStart { producer_id: "p".into() })).await;
    assert_eq!(reason(producer.ended().await), Reason::UnexpectedMessage);
    rig.stop().await;
}

#[tokio::test]
async fn a_shutdown_ends_a_stream_with_its_reason() {
    let (_dir, rig) = start().await;
    let mut producer = Producer::begin(&rig, "p").await;
    rig.service().shutdown().begin();
    assert_eq!(reason(producer.ended().await), Reason::ShuttingDown);
    rig.stop().await;
}
