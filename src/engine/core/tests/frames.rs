use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Reply;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::job;
use crate::engine::view::Health;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::id::Position;
use crate::log::Archive;
use std::time::Duration;

#[test]
fn an_idle_writer_vouches_once_and_the_readers_frames_have_no_gap() {
    let mut rig = Rig::new();
    rig.one();
    let (written, at) = (rig.core.archive().durable(), rig.now.tick);
    assert_eq!(rig.core.next_step(), Some(at.after(Duration::from_millis(20))));
    rig.live(10_000);
    let view = rig.core.view();
    assert_eq!(view.seen().position, written, "a vouch is no news");
    assert_eq!(rig.core.archive().durable(), written, "and waits for the next sync");
    rig.one();
    let next = Position(written.0 + 2);
    assert_eq!(rig.core.archive().durable(), next, "one frame vouched, whatever time passed");
    let frames = view.frames(written, 10).unwrap();
    let positions: Vec<u64> = frames.iter().map(|frame| frame.position.0).collect();
    assert_eq!(positions, [written.0, written.0 + 1, written.0 + 2]);
    assert_eq!(frames[1].updates, 0);
    assert_eq!(view.frames(next.next(), 10).unwrap().len(), 0);
}

/// [ACK-1] [ACK-2]
#[test]
fn when_the_sync_fails_nobody_hears_of_the_frame() {
    let mut rig = Rig::new();
    let mut hand = rig.attach("w", &["q"], 1);
    let before = rig.core.view().seen();
    rig.disk.fail_sync(1);
    let (reply, mut answer) = Reply::once();
    let batch = Batch { jobs: vec![job("q")], origin: Origin::Anonymous };
    assert!(rig.core.step([Command::Submit(batch, reply)], rig.now).is_err());
    assert_eq!(answer.try_recv().unwrap().unwrap_err(), Error::OutcomeUnknown);
    assert_eq!(rig.core.view().seen(), before);
    assert_eq!(rig.core.view().health(), Health::Poisoned);
    assert!(hand.hear().grants.is_empty(), "no lease leaves before it is durable");
}

#[tokio::test]
async fn a_watcher_misses_no_frame_between_two_looks() {
    let mut rig = Rig::new();
    let id = rig.one();
    let mut watch = rig.core.view().watch(id);
    let _hand = rig.attach("w", &["q"], 1);
    // The job was started after the watch began and before anybody waited.
    tokio::time::timeout(Duration::from_secs(5), watch.changed()).await.unwrap();
    drop(watch);
    assert!(rig.core.view().read().watched.is_empty(), "nothing is kept for jobs that nobody watches");
}
