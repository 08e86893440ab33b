use crate::clock::Clock;
use crate::engine::Engine;
use crate::engine::Handle;
use crate::engine::Keeping;
use crate::engine::LAG_BYTES_MAX;
use crate::engine::Parts;
use crate::engine::command::Command;
use crate::engine::command::FinishRequest;
use crate::engine::command::Reply;
use crate::engine::command::WorkerMessage;
use crate::engine::core::Options;
use crate::engine::workers::rig::attaching;
use crate::job::decide::finish::Finish;
use crate::job::decide::finish::Holder;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::id::JobId;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::log::Archive;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::work;
use crate::work::Filter;
use crate::work::Place;
use crate::work::WorkTree;
use std::path::Path;
use std::time::Duration;

fn start(dir: &Path) -> Engine {
    start_with(dir, Options::default())
}

fn start_with(dir: &Path, options: Options) -> Engine {
    let directory =
        DirectoryOptions { segment_bytes: 1 << 20, reserve_bytes: 0, ..DirectoryOptions::default() };
    let log = Directory::open(dir, directory).unwrap().log;
    let place =
        Place { dir: dir.join("work"), store: log.archive().store_id(), boot: work::boot_id().unwrap() };
    let parts = Parts {
        tree: WorkTree::new(place, work::Options::default()),
        options,
        keeping: Keeping { checkpoint_bytes: 64 << 10, retention_bytes: 1 << 20, ..Keeping::default() },
        clock: Clock::system(),
    };
    Engine::start(log, parts).unwrap()
}

fn job(payload: usize) -> NewJob {
    NewJob {
        queue: "q".parse().unwrap(),
        priority: 0,
        run_at: crate::clock::Timestamp(0),
        policy: None,
        extra: None,
        payload: Payload(vec![7; payload].into()),
    }
}

/// Submits `count` jobs and completes them all with a worker of 64 slots; the ids in order.
async fn run_jobs(engine: &Engine, count: usize) -> Vec<JobId> {
    let handle = engine.handle();
    let (attach, mut output) = attaching("worker", &["q"], 64);
    let welcome = handle.call(0, |reply| Command::Attach(attach, reply)).await.unwrap();
    let mut ids = Vec::new();
    for chunk in (0..count).collect::<Vec<_>>().chunks(100) {
        let batch = Batch { jobs: vec![job(100); chunk.len()], origin: Origin::Anonymous };
        let accepted = handle.call(chunk.len() * 200, |reply| Command::Submit(batch, reply)).await.unwrap();
        ids.extend(
            accepted.ranges.iter().flat_map(|range| (0..range.jobs).map(|step| range.first.plus(step))),
        );
    }
    let mut finished = 0;
    while finished < count {
        let output = output.recv().await.unwrap();
        finished += output.acks.iter().filter(|ack| ack.outcome.is_ok()).count();
        let finishes: Vec<FinishRequest> = output
            .grants
            .iter()
            .map(|grant| FinishRequest {
                holder: Holder { id: grant.id, token: grant.token, hint: Some(grant.slot) },
                finish: Finish::Complete {
                    result: Payload(vec![9; 100].into()),
                    content_type: "".into(),
                    usage: None,
                },
            })
            .collect();
        let free = u32::try_from(finishes.len()).unwrap();
        let message = WorkerMessage { finishes, free, ..WorkerMessage::default() };
        handle.send(0, Command::Work(welcome.session, message)).await.unwrap();
    }
    ids
}

/// A job that nobody works on.
fn idle() -> NewJob {
    NewJob { queue: "idle".parse().unwrap(), ..job(10) }
}

/// The log alone says what the work tree says, as soon as that is up to date and trimming is over. [LOG-3]
async fn compare(handle: &Handle) {
    let told = |page: work::Page| {
        let records = page.records.into_iter();
        records.map(|record| (record.id, record.state, record.last)).collect::<Vec<_>>()
    };
    let both = |after| {
        let log = handle.retrace_list(after, &Filter::ALL, 700).unwrap();
        let tree = handle.query().list(after, &Filter::ALL, 700).unwrap();
        (log.next, told(log), told(tree))
    };
    let mut after = JobId::MIN;
    loop {
        let (mut log, mut tree) = (Vec::new(), Vec::new());
        let mut next = None;
        for _ in 0..200 {
            (next, log, tree) = both(after);
            if log == tree {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(log, tree);
        for (id, state, last) in log.into_iter().step_by(300) {
            let record = handle.retrace(id).unwrap().unwrap();
            assert_eq!((record.state, record.last), (state, last));
        }
        match next.or(tree.last().map(|(id, ..)| *id)) {
            Some(id) if tree.len() == 700 => after = id,
            _ => return,
        }
    }
}

#[tokio::test]
async fn finished_jobs_are_found_in_the_work_tree_through_checkpoints_trims_and_restarts() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let mut all = Vec::new();
    for _ in 0..3 {
        let engine = start(&data);
        all.extend(run_jobs(&engine, 2_000).await);
        let handle = engine.handle();
        let mut applied = handle.view().follow_applied();
        applied.wait_for(|applied| *applied >= handle.view().seen().position).await.unwrap();
        assert!(
            handle.view().job(*all.last().unwrap()).is_none(),
            "the overlay let go of what the tree answers"
        );
        for id in &all {
            let record = handle.query().get(*id).unwrap().unwrap();
            assert_eq!(record.state, work::State::Succeeded);
        }
        let idle = Batch { jobs: vec![idle(); 100], origin: Origin::Anonymous };
        handle.call(0, |reply| Command::Submit(idle, reply)).await.unwrap();
        compare(&handle).await;
        tokio::task::spawn_blocking(|| engine.stop()).await.unwrap().unwrap();
    }
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 6_000);
}

/// More log than the work tree may be behind, much of it applied when memory held it no longer.
#[tokio::test]
async fn submits_go_on_when_the_work_tree_caught_up_from_the_log() {
    const FRAME_BYTES: usize = 400_000;
    let dir = tempfile::tempdir().unwrap();
    let engine = start_with(&dir.path().join("data"), Options { ring_bytes: 1, ..Options::default() });
    let handle = engine.handle();
    let frames = 2 * usize::try_from(LAG_BYTES_MAX).unwrap() / FRAME_BYTES;
    let (sender, mut answers) = tokio::sync::mpsc::unbounded_channel();
    let submitting = async {
        for tag in 0..frames as u64 {
            handle.let_work_tree_follow().await;
            let batch = Batch { jobs: vec![job(FRAME_BYTES)], origin: Origin::Anonymous };
            let reply = Reply::Stream(sender.clone(), tag);
            handle.send(FRAME_BYTES, Command::Submit(batch, reply)).await.unwrap();
        }
        for _ in 0..frames {
            answers.recv().await.unwrap().1.unwrap();
        }
    };
    tokio::time::timeout(Duration::from_secs(40), submitting).await.expect("the tree is not behind for ever");
    let view = handle.view();
    let mut applied = view.follow_applied();
    applied.wait_for(|applied| *applied >= view.seen().position).await.unwrap();
    assert_eq!(view.lag_bytes(), 0);
    tokio::task::spawn_blocking(|| engine.stop()).await.unwrap().unwrap();
}
