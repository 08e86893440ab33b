use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use crate::job::spec::QueueChange;
use crate::proto::dosomething::Item;
use crate::proto::dosomething::State;
use crate::proto::dosomething::Update;
use crate::proto::dosomething::do_something_service_client::DoSomethingServiceClient;
use crate::service::named::CursorLag;
use std::time::Duration;
use tokio::time::timeout;
use tonic::Request;
use tonic::Status;
use tonic::Streaming;
use tonic::transport::Channel;

const DEADLINE: Duration = Duration::from_secs(20);

fn client(rig: &Rig) -> DoSomethingServiceClient<Channel> {
    DoSomethingServiceClient::new(rig.channel())
}

fn item(number: usize) -> Item {
    Item { name: format!("item {number}"), payload: vec![1; 20].into(), queue: String::new() }
}

async fn send(rig: &Rig, items: Vec<Item>) -> Result<(), Status> {
    client(rig).do_something(tokio_stream::iter(items)).await.map(|_| ())
}

async fn read(rig: &Rig, cursor: Option<&str>) -> Streaming<Update> {
    let mut request = Request::new(());
    if let Some(cursor) = cursor {
        request.metadata_mut().insert("gangline-cursor", cursor.parse().unwrap());
    }
    timeout(DEADLINE, client(rig).get_updates(request)).await.unwrap().unwrap().into_inner()
}

async fn next(stream: &mut Streaming<Update>) -> Result<Update, Status> {
    let update = timeout(DEADLINE, stream.message()).await.expect("an update comes in time");
    update.map(|update| update.expect("the stream does not end by itself"))
}

async fn take(stream: &mut Streaming<Update>, count: usize) -> Vec<Update> {
    let mut updates = Vec::new();
    for _ in 0..count {
        updates.push(next(stream).await.unwrap());
    }
    updates
}

#[tokio::test]
async fn items_go_in_and_their_updates_come_out_with_headers_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    // Nothing has happened yet, and still the call is answered.
    let mut stream = read(&rig, None).await;
    send(&rig, (0..2_500).map(item).collect()).await.unwrap();
    assert_eq!(rig.head(), 2_500);
    rig.work("default", 2_500, 5).await;
    let updates = take(&mut stream, 7_500).await;
    assert!(updates.iter().map(|update| update.sequence).eq(1..=7_500));
    let submitted: Vec<_> = updates.iter().filter(|update| update.state() == State::Submitted).collect();
    assert!(submitted.iter().map(|update| update.name.clone()).eq((0..2_500).map(|n| item(n).name)));
    assert!(submitted.iter().all(|update| update.payload.len() == 20));
    let succeeded = updates.iter().filter(|update| update.state() == State::Succeeded);
    assert_eq!(succeeded.map(|update| update.result.len()).sum::<usize>(), 2_500 * 5);
    drop(stream);
    rig.stop().await;
}

#[tokio::test]
async fn a_full_queue_holds_the_sender_back_and_an_item_that_is_not_allowed_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    let change = QueueChange { max_pending: Some(Some(10)), ..QueueChange::default() };
    rig.service().update_queue("default".parse().unwrap(), change).await.unwrap();
    let sending = send(&rig, (0..100).map(item).collect());
    let (sent, ()) = tokio::join!(sending, rig.work("default", 100, 5));
    sent.unwrap();
    let info = rig.service().get_queue(&"default".parse().unwrap()).await.unwrap();
    assert_eq!(info.view.counts.succeeded_total, 100);

    let refused = send(&rig, vec![Item { queue: "not a name".into(), ..item(1) }]).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::InvalidQueueName));
    rig.stop().await;
}

#[tokio::test]
async fn a_reader_that_comes_back_repeats_a_short_tail_and_skips_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let cursor_lag = CursorLag { time: Duration::from_millis(50), updates: 1_000 };
    let setup = Setup { cursor_lag, ..Setup::default() };
    let rig = rig::start(dir.path(), setup.clone()).await;
    rig.submit("q", 2_000, 10).await;
    rig.submit("q", 1_500, 10).await;
    let mut stream = read(&rig, Some("mine")).await;
    assert!(take(&mut stream, 3_500).await.iter().map(|update| update.sequence).eq(1..=3_500));
    let committed = || rig.handle().view().cursor("mine").map_or(0, |cursor| cursor.sequence.0);
    let mut seen = rig.handle().view().follow();
    while committed() != 2_500 {
        timeout(DEADLINE, seen.changed()).await.expect("the cursor is committed in time").unwrap();
    }
    // The newer of two readers goes on; the older one is told.
    let mut newer = read(&rig, Some("mine")).await;
    assert_eq!(reason_of(&next(&mut stream).await.unwrap_err()), Some(Reason::ReaderReplaced));
    assert_eq!(next(&mut newer).await.unwrap().sequence, 2_501);
    drop((stream, newer));
    rig.stop().await;

    let rig = rig::start(dir.path(), setup).await;
    assert_eq!(next(&mut read(&rig, Some("mine")).await).await.unwrap().sequence, 2_501);
    assert_eq!(next(&mut read(&rig, None).await).await.unwrap().sequence, 1);
    rig.stop().await;
}
