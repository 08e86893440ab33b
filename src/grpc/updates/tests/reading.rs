use crate::grpc::rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::updates::tests::DEADLINE;
use crate::grpc::updates::tests::after;
use crate::grpc::updates::tests::fact;
use crate::grpc::updates::tests::forgetful;
use crate::grpc::updates::tests::next;
use crate::grpc::updates::tests::open;
use crate::grpc::updates::tests::read_all;
use crate::grpc::updates::tests::read_until;
use crate::grpc::updates::tests::reason;
use crate::grpc::updates::tests::sequences;
use crate::proto::v1;
use crate::proto::v1::UpdateKind;
use crate::proto::v1::get_updates_request::After;
use std::time::Duration;
use tokio::time::timeout;

#[tokio::test]
async fn twenty_readers_get_the_same_bytes_and_all_parts_are_independent() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 300, 50).await;
    rig.work("q", 300, 60).await;
    let head = rig.head();
    assert_eq!(head, 900);
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(open(&rig, v1::GetUpdatesRequest::default()).await.unwrap());
    }
    let mut all = Vec::new();
    for stream in &mut streams {
        let mut bytes = Vec::new();
        loop {
            let response = next(stream).await.unwrap().unwrap();
            bytes.extend_from_slice(&response.batch);
            if response.cursor_sequence == head {
                break;
            }
        }
        all.push(bytes);
    }
    assert!(all.iter().all(|bytes| !bytes.is_empty() && *bytes == all[0]));
    for (include_payload, include_result) in [(false, false), (true, false), (false, true), (true, true)] {
        let request =
            v1::GetUpdatesRequest { include_payload, include_result, ..v1::GetUpdatesRequest::default() };
        let updates = read_all(&rig, request).await.unwrap();
        assert_eq!(sequences(&updates), (1..=head).collect::<Vec<_>>());
        let payloads =
            updates.iter().filter_map(|update| update.spec.as_ref()).map(|spec| spec.payload.len());
        assert_eq!(payloads.sum::<usize>(), if include_payload { 300 * 50 } else { 0 });
        let results = updates.iter().map(|update| update.result.len());
        assert_eq!(results.sum::<usize>(), if include_result { 300 * 60 } else { 0 });
    }
    drop(streams);
    rig.stop().await;
}

#[tokio::test]
async fn filters_by_queue_job_and_kind_pass_the_same_updates_from_memory_and_from_the_log() {
    for setup in [Setup::default(), forgetful()] {
        let dir = tempfile::tempdir().unwrap();
        let rig = rig::start(dir.path(), setup).await;
        // The queue is made long after the filter named it.
        let late = v1::GetUpdatesRequest { queues: vec!["late".into()], ..v1::GetUpdatesRequest::default() };
        let mut following = open(&rig, late.clone()).await.unwrap();
        let ids = rig.submit("q", 200, 10).await;
        rig.work("q", 200, 10).await;
        rig.submit("late", 3, 10).await;
        let head = rig.head();

        let all = read_all(&rig, v1::GetUpdatesRequest::default()).await.unwrap();
        assert_eq!(sequences(&all), (1..=head).collect::<Vec<_>>());
        let of_late: Vec<_> = all.iter().filter(|update| update.queue == "late").cloned().collect();
        assert_eq!(of_late.len(), 3);
        assert_eq!(read_all(&rig, late).await.unwrap(), of_late);
        assert_eq!(read_until(&mut following, head).await, of_late);

        let some: Vec<String> = ids.iter().step_by(20).map(ToString::to_string).collect();
        let request = v1::GetUpdatesRequest {
            job_ids: some.clone(),
            kinds: vec![UpdateKind::Succeeded.into(), UpdateKind::Started.into()],
            ..v1::GetUpdatesRequest::default()
        };
        let wanted =
            |update: &&v1::Update| some.contains(&update.job_id) && update.kind() != UpdateKind::Submitted;
        let expected: Vec<_> = all.iter().filter(wanted).cloned().collect();
        assert_eq!(expected.len(), 20);
        assert_eq!(read_all(&rig, request.clone()).await.unwrap(), expected);
        // Wherever in a frame it begins.
        for cursor in [expected[0].sequence - 1, expected[0].sequence, expected[13].sequence, head] {
            let rest: Vec<_> = expected.iter().filter(|update| update.sequence > cursor).cloned().collect();
            let request = v1::GetUpdatesRequest { after: after(cursor).after, ..request.clone() };
            assert_eq!(read_all(&rig, request).await.unwrap(), rest, "after {cursor}");
        }
        drop(following);
        rig.stop().await;
    }
}

#[tokio::test]
async fn a_watcher_of_one_job_gets_its_updates_only_and_no_heartbeat() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { heartbeat: Duration::from_millis(20), ..forgetful() };
    let rig = rig::start(dir.path(), setup).await;
    let id = rig.submit("watched", 1, 10).await[0];
    let request = v1::GetUpdatesRequest { job_ids: vec![id.to_string()], ..after(0) };
    let mut stream = open(&rig, request).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().cursor_sequence, 0);
    assert_eq!(sequences(&next(&mut stream).await.unwrap().unwrap().updates().unwrap()), [1]);
    // Much happens that it is not told of, and the frames leave memory.
    for _ in 0..3 {
        rig.submit("other", 200, 10).await;
        rig.work("other", 200, 10).await;
    }
    assert!(timeout(Duration::from_millis(100), stream.message()).await.is_err(), "it was told something");
    rig.work("watched", 1, 10).await;
    let updates = read_until(&mut stream, rig.head()).await;
    assert_eq!(
        updates.iter().map(v1::Update::kind).collect::<Vec<_>>(),
        [UpdateKind::Started, UpdateKind::Succeeded]
    );
    drop(stream);
    rig.stop().await;
}

#[tokio::test]
async fn an_idle_reader_hears_of_the_head_and_a_filtered_one_of_its_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { heartbeat: Duration::from_millis(20), ..Setup::default() };
    let rig = rig::start(dir.path(), setup).await;
    let mut stream = open(&rig, v1::GetUpdatesRequest::default()).await.unwrap();
    let first = next(&mut stream).await.unwrap().unwrap();
    assert_eq!(first.store_id, rig.service().store_id().to_string());
    let second = next(&mut stream).await.unwrap().unwrap();
    assert_eq!((second.store_id.as_str(), second.batch.len(), second.head_sequence), ("", 0, 0));

    let nobody = v1::GetUpdatesRequest { queues: vec!["nobody".into()], ..v1::GetUpdatesRequest::default() };
    let mut filtered = open(&rig, nobody).await.unwrap();
    rig.submit("q", 10, 10).await;
    assert_eq!(read_until(&mut filtered, 10).await, []);
    drop((stream, filtered));
    rig.stop().await;
}

#[tokio::test]
async fn a_reader_that_begins_at_the_head_gets_what_comes_and_one_that_stops_there_ends() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 10, 10).await;
    let at_head = Some(After::End(v1::LogEnd::Head.into()));
    let request = v1::GetUpdatesRequest { after: at_head, ..v1::GetUpdatesRequest::default() };
    assert_eq!(read_all(&rig, request.clone()).await.unwrap(), []);
    let mut stream = open(&rig, request).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().cursor_sequence, 10);
    rig.submit("q", 2, 10).await;
    assert_eq!(sequences(&read_until(&mut stream, 12).await), [11, 12]);
    drop(stream);
    rig.stop().await;
}

#[tokio::test]
async fn a_reader_that_does_not_read_catches_up_from_the_log_in_bounded_batches() {
    let dir = tempfile::tempdir().unwrap();
    let setup = Setup { segment_bytes: 16 << 20, ring_bytes: 64 << 10, ..Setup::default() };
    let rig = rig::start(dir.path(), setup).await;
    let request = v1::GetUpdatesRequest { include_payload: true, ..v1::GetUpdatesRequest::default() };
    let mut stream = open(&rig, request.clone()).await.unwrap();
    assert_eq!(next(&mut stream).await.unwrap().unwrap().cursor_sequence, 0);
    // 20 MiB, in frames of 2 MiB, is more than the windows of HTTP/2 and the memory for readers hold.
    for _ in 0..10 {
        rig.submit("q", 20, 100 << 10).await;
    }
    let updates = read_until(&mut stream, 200).await;
    assert_eq!(sequences(&updates), (1..=200).collect::<Vec<_>>());
    assert_eq!(read_all(&rig, request).await.unwrap(), updates);
    drop(stream);
    rig.stop().await;
}

#[tokio::test]
async fn the_end_of_the_server_ends_a_stream_with_its_cursor() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 7, 10).await;
    let mut stream = open(&rig, v1::GetUpdatesRequest::default()).await.unwrap();
    assert_eq!(read_until(&mut stream, 7).await.len(), 7);
    let stopping = tokio::task::spawn_blocking({
        let shutdown = rig.service().shutdown().clone();
        move || shutdown.begin()
    });
    let status = next(&mut stream).await.unwrap_err();
    assert_eq!((status.code(), reason(&status)), (tonic::Code::Unavailable, Reason::ShuttingDown));
    assert_eq!(fact(&status, "cursor_sequence"), "7");
    stopping.await.unwrap();
    drop(stream);
    timeout(DEADLINE, rig.stop()).await.unwrap();
}
