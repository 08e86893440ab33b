use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::updates::tests::after;
use crate::grpc::updates::tests::fact;
use crate::grpc::updates::tests::forgetful;
use crate::grpc::updates::tests::next;
use crate::grpc::updates::tests::open;
use crate::grpc::updates::tests::read_all;
use crate::grpc::updates::tests::reason;
use crate::grpc::updates::tests::sequences;
use crate::proto::v1;
use crate::proto::v1::get_updates_request::After;
use proptest::prelude::*;
use std::time::Duration;

/// What happens to a reader and its server.
#[derive(Clone, Debug)]
enum Turn {
    Submit(usize),
    Work(usize),
    Read(usize),
    Disconnect,
    Restart,
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        4 => (1..200usize).prop_map(Turn::Submit),
        2 => (1..50usize).prop_map(Turn::Work),
        4 => (1..5usize).prop_map(Turn::Read),
        2 => Just(Turn::Disconnect),
        1 => Just(Turn::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn a_reader_that_resumes_at_its_cursor_gets_each_update_once_in_order(
        turns in prop::collection::vec(turn(), 5..25),
        ring_bytes in prop_oneof![Just(1usize << 10), Just(1 << 20)],
    ) {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(resume_through(turns, Setup { ring_bytes, ..forgetful() }));
    }
}

/// [LOG-2]
async fn resume_through(turns: Vec<Turn>, setup: Setup) {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = rig::start(dir.path(), setup.clone()).await;
    let (mut got, mut cursor, mut waiting) = (Vec::new(), 0, 0);
    let mut stream = None;
    for turn in turns {
        match turn {
            Turn::Submit(count) => {
                rig.submit("q", count, 20).await;
                waiting += count;
            }
            Turn::Work(count) => {
                // The worker takes up to 64 jobs at once, so it must not leave leases behind.
                rig.work("q", if waiting <= count { waiting } else { 0 }, 20).await;
                waiting = if waiting <= count { 0 } else { waiting };
            }
            Turn::Read(count) => {
                let mut open = match stream.take() {
                    Some(open) => open,
                    None => open_at(&rig, cursor).await,
                };
                for _ in 0..count {
                    if cursor < rig.head() {
                        let response = next(&mut open).await.unwrap().unwrap();
                        got.extend(sequences(&response.updates().unwrap()));
                        cursor = response.cursor_sequence;
                    }
                }
                stream = Some(open);
            }
            Turn::Disconnect => stream = None,
            Turn::Restart => {
                stream = None;
                rig.stop().await;
                rig = rig::start(dir.path(), setup.clone()).await;
            }
        }
    }
    drop(stream);
    let rest = read_all(&rig, after(cursor)).await.unwrap();
    got.extend(sequences(&rest));
    assert_eq!(got, (1..=rig.head()).collect::<Vec<_>>());
    rig.stop().await;
}

async fn open_at(rig: &Rig, cursor: u64) -> tonic::Streaming<crate::proto::GetUpdatesResponse> {
    open(rig, after(cursor)).await.unwrap()
}

#[tokio::test]
async fn a_cursor_of_the_future_or_of_another_store_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 5, 10).await;
    let status = open(&rig, after(6)).await.unwrap_err();
    assert_eq!((reason(&status), fact(&status, "head_sequence").as_str()), (Reason::CursorFromFuture, "5"));
    let cursor = v1::Cursor { store_id: "0123456789abcdef0123456789abcdef".into(), sequence: 1 };
    let other = v1::GetUpdatesRequest { after: Some(After::Cursor(cursor.clone())), ..after(0) };
    assert_eq!(reason(&open(&rig, other).await.unwrap_err()), Reason::CursorOfOtherStore);

    let mut client = rig.updates();
    let commit = |cursor| v1::CommitCursorRequest { name: "c".into(), cursor: Some(cursor) };
    let status = client.commit_cursor(commit(cursor)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CursorOfOtherStore);
    let ahead = v1::Cursor { store_id: rig.service().store_id().to_string(), sequence: 6 };
    let status = client.commit_cursor(commit(ahead)).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CursorFromFuture);
    rig.stop().await;
}

#[tokio::test]
async fn trimming_raises_the_floor_and_overtakes_a_reader_with_a_refusal_that_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { segment_bytes: 256 << 10, retention_bytes: 256 << 10, ..forgetful() };
    let rig = rig::start(dir.path(), setup).await;
    // Ten MB are trimmed in the end: twice what the windows and buffers of HTTP/2 let through to a reader that does not read.
    let request = v1::GetUpdatesRequest { include_payload: true, ..after(0) };
    let mut slow = open(&rig, request).await.unwrap();
    assert_eq!(next(&mut slow).await.unwrap().unwrap().cursor_sequence, 0);
    let floor = || rig.handle().history().floor().sequence.0;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(60);
    while floor() < 6_000 {
        rig.submit("q", 20, 5_000).await;
        rig.work("q", 20, 100).await;
        assert!(tokio::time::Instant::now() < deadline, "nothing is trimmed");
    }
    let status = open(&rig, after(1)).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (tonic::Code::OutOfRange, Reason::CursorBelowFloor));
    assert!(fact(&status, "floor_sequence").parse::<u64>().unwrap() >= 6_000);
    let kept = read_all(&rig, v1::GetUpdatesRequest::default()).await.unwrap();
    let first = kept[0].sequence;
    assert!(first >= 6_000);
    assert_eq!(sequences(&kept), (first..=rig.head()).collect::<Vec<_>>());
    // The slow reader gets what was on its way, without a gap, and then the refusal.
    let mut got = Vec::new();
    let status = loop {
        match next(&mut slow).await {
            Ok(response) => got.extend(sequences(&response.expect("it follows").updates().unwrap())),
            Err(status) => break status,
        }
    };
    assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>());
    assert_eq!(reason(&status), Reason::CursorBelowFloor);
    assert_eq!(fact(&status, "cursor_sequence"), got.len().to_string());
    rig.stop().await;
}

#[tokio::test]
async fn a_named_cursor_is_kept_through_a_restart_and_a_reader_resumes_there() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 10, 10).await;
    let store = rig.service().store_id().to_string();
    let mut client = rig.updates();
    for (name, sequence) in [("b", 4), ("a", 9), ("c", 0)] {
        let cursor = Some(v1::Cursor { store_id: store.clone(), sequence });
        client.commit_cursor(v1::CommitCursorRequest { name: name.into(), cursor }).await.unwrap();
    }
    client.delete_cursor(v1::DeleteCursorRequest { name: "c".into() }).await.unwrap();
    let status = client.delete_cursor(v1::DeleteCursorRequest { name: "c".into() }).await.unwrap_err();
    assert_eq!(reason(&status), Reason::CursorNotFound);
    drop(client);
    rig.stop().await;

    let rig = rig::start(dir.path(), Setup::default()).await;
    let mut client = rig.updates();
    let page = |token: &str| v1::ListCursorsRequest { page_size: 1, page_token: token.into() };
    let first = client.list_cursors(page("")).await.unwrap().into_inner();
    let second = client.list_cursors(page(&first.next_page_token)).await.unwrap().into_inner();
    assert_eq!((second.next_page_token.as_str(), second.head_sequence), ("", 10));
    let listed = first.cursors.iter().chain(&second.cursors);
    let listed: Vec<_> =
        listed.map(|cursor| (cursor.name.as_str(), cursor.cursor.as_ref().unwrap().sequence)).collect();
    assert_eq!(listed, [("a", 9), ("b", 4)]);
    let named = |name: &str| v1::GetUpdatesRequest {
        after: Some(After::NamedCursor(name.into())),
        ..v1::GetUpdatesRequest::default()
    };
    assert_eq!(sequences(&read_all(&rig, named("b")).await.unwrap()), [5, 6, 7, 8, 9, 10]);
    assert_eq!(read_all(&rig, named("unknown")).await.unwrap().len(), 10);
    drop(client);
    rig.stop().await;
}
