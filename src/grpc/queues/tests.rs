use crate::clock::Timestamp;
use crate::engine::command::Command;
use crate::grpc::rig;
use crate::grpc::rig::Rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::proto::v1;
use crate::proto::v1::admin_service_client::AdminServiceClient;
use crate::proto::v1::queue_service_client::QueueServiceClient;
use tonic::transport::Channel;

fn queues(rig: &Rig) -> QueueServiceClient<Channel> {
    QueueServiceClient::new(rig.channel())
}

fn change(name: &str, settings: v1::QueueSettings) -> v1::UpdateQueueRequest {
    v1::UpdateQueueRequest { name: name.into(), settings: Some(settings) }
}

async fn get(rig: &Rig, name: &str) -> v1::Queue {
    let request = v1::GetQueueRequest { name: name.into() };
    queues(rig).get_queue(request).await.unwrap().into_inner().queue.unwrap()
}

async fn purge(rig: &Rig, name: &str, target: v1::PurgeTarget) -> u64 {
    let request = v1::PurgeQueueRequest { name: name.into(), target: target.into() };
    queues(rig).purge_queue(request).await.unwrap().into_inner().jobs
}

#[tokio::test]
async fn changes_of_different_settings_at_the_same_time_all_survive() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    for round in 1..=20 {
        let (mut a, mut b, mut c) = (queues(&rig), queues(&rig), queues(&rig));
        let paused = v1::QueueSettings { paused: Some(round % 2 == 0), ..v1::QueueSettings::default() };
        let pending = v1::QueueSettings { max_pending: Some(round), ..v1::QueueSettings::default() };
        let dead = v1::QueueSettings { dead_max: Some(round as u32), ..v1::QueueSettings::default() };
        let (a, b, c) = tokio::join!(
            a.update_queue(change("q", paused)),
            b.update_queue(change("q", pending)),
            c.update_queue(change("q", dead)),
        );
        assert!(a.is_ok() && b.is_ok() && c.is_ok());
        let settings = get(&rig, "q").await.settings.unwrap();
        assert_eq!(
            (settings.paused, settings.max_pending, settings.dead_max),
            (Some(round % 2 == 0), Some(round), Some(round as u32))
        );
    }
    let nothing = queues(&rig).update_queue(change("q", v1::QueueSettings::default())).await.unwrap_err();
    assert_eq!(reason_of(&nothing), Some(Reason::InvalidField));
    rig.stop().await;
}

#[tokio::test]
async fn queues_are_listed_by_name_with_ready_and_scheduled_jobs_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    for name in ["c", "a", "b"] {
        rig.submit(name, 2, 10).await;
    }
    let later = NewJob {
        queue: "b".parse().unwrap(),
        priority: 0,
        run_at: Timestamp(4_000_000_000_000),
        policy: None,
        extra: None,
        payload: Payload(Vec::new().into()),
    };
    let batch = Batch { jobs: vec![later; 3], origin: Origin::Anonymous };
    rig.handle().call(1_000, |reply| Command::Submit(batch, reply)).await.unwrap();
    let page = |token: &str| v1::ListQueuesRequest { page_size: 2, page_token: token.into() };
    let first = queues(&rig).list_queues(page("")).await.unwrap().into_inner();
    let second = queues(&rig).list_queues(page(&first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let all: Vec<_> = first.queues.iter().chain(&second.queues).collect();
    let told: Vec<_> = all.iter().map(|q| (q.name.as_str(), q.ready, q.scheduled)).collect();
    assert_eq!(told, [("a", 2, 0), ("b", 2, 3), ("c", 2, 0)]);
    assert!(all.iter().all(|queue| queue.oldest_due.is_some()));

    assert_eq!(purge(&rig, "b", v1::PurgeTarget::Waiting).await, 5);
    let b = get(&rig, "b").await;
    assert_eq!((b.ready, b.scheduled, b.oldest_due), (0, 0, None));
    let none = queues(&rig).get_queue(v1::GetQueueRequest { name: "none".into() }).await.unwrap_err();
    assert_eq!(reason_of(&none), Some(Reason::QueueNotFound));
    rig.stop().await;
}

#[tokio::test]
async fn a_purge_takes_what_it_names_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    for _ in 0..3 {
        rig.submit("q", 800, 10).await;
    }
    rig.submit("other", 70, 10).await;
    rig.work("other", 70, 10).await;
    assert_eq!(purge(&rig, "q", v1::PurgeTarget::Dead).await, 0);
    assert_eq!(purge(&rig, "q", v1::PurgeTarget::Finished).await, 0);
    assert_eq!(purge(&rig, "q", v1::PurgeTarget::Waiting).await, 2_400);
    // They are cancelled, so finished: more than one part of them is forgotten now, once.
    assert_eq!(purge(&rig, "q", v1::PurgeTarget::Finished).await, 2_400);
    assert_eq!(purge(&rig, "q", v1::PurgeTarget::Finished).await, 0);
    assert_eq!(purge(&rig, "other", v1::PurgeTarget::Finished).await, 70);
    let unsaid = v1::PurgeQueueRequest { name: "q".into(), target: 0 };
    let refused = queues(&rig).purge_queue(unsaid).await.unwrap_err();
    assert_eq!(reason_of(&refused), Some(Reason::InvalidField));
    rig.stop().await;
}

#[tokio::test]
async fn the_server_tells_how_it_stands_and_who_works() {
    let dir = tempfile::tempdir().unwrap();
    let rig = rig::start(dir.path(), Setup::default()).await;
    rig.submit("q", 3, 10).await;
    let _first = rig.worker("q").await;
    let _second = rig.worker("r").await;
    let mut admin = AdminServiceClient::new(rig.channel());
    let info = admin.get_server_info(v1::GetServerInfoRequest {}).await.unwrap().into_inner();
    assert_eq!(info.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(info.store_id, rig.service().store_id().to_string());
    assert_eq!((info.floor_sequence, info.epoch), (1, 1));
    assert!(info.head_sequence >= 3 && info.head_position >= 2 && info.time.is_some());
    assert_eq!(info.durability(), v1::Durability::Synced);

    let page = |token: &str| v1::ListWorkersRequest { page_size: 1, page_token: token.into() };
    let first = admin.list_workers(page("")).await.unwrap().into_inner();
    let second = admin.list_workers(page(&first.next_page_token)).await.unwrap().into_inner();
    assert_eq!(second.next_page_token, "");
    let (q, r) = (&first.workers[0], &second.workers[0]);
    assert_eq!((q.worker_id.as_str(), r.worker_id.as_str()), ("worker of q", "worker of r"));
    assert_eq!((q.leases, q.free_slots, r.leases, r.free_slots), (3, 61, 0, 64));
    assert_eq!((q.queues.as_slice(), q.description.as_str()), (["q".to_owned()].as_slice(), "of the test"));
    assert!(q.connected_at.is_some() && q.last_heard_at.is_some());
    drop(admin);
    rig.stop().await;
}
