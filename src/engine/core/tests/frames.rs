use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Reply;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::job;
use crate::engine::recover::recover;
use crate::engine::view::Health;
use crate::job::decide::submit::Accepted;
use crate::job::decide::submit::Batch;
use crate::job::decide::submit::Origin;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::spec::NewJob;
use crate::job::spec::Payload;
use crate::job::state::JobState;
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

/// What one call has shown, the next one's head includes: it is looked at while frames are being published.
#[test]
fn nothing_shows_that_is_newer_than_the_head() {
    let mut rig = Rig::new();
    let view = rig.core.view();
    let until = Position(rig.next_position().0 + 2_000);
    let reader = std::thread::spawn(move || {
        loop {
            let shown = view.read().newest;
            let seen = view.seen().position;
            assert!(seen >= shown, "{seen:?} is behind what {shown:?} shows");
            if shown >= until {
                return;
            }
        }
    });
    while rig.next_position() <= until {
        rig.one();
    }
    reader.join().unwrap();
}

/// [ACK-1] [LOG-1]
#[test]
fn more_than_a_frame_holds_goes_into_several_with_one_sync() {
    let mut rig = Rig::new();
    let ids = |accepted: Accepted| -> Vec<JobId> {
        accepted.ranges.iter().flat_map(|range| (0..range.jobs).map(|step| range.first.plus(step))).collect()
    };
    let mut jobs = ids(rig.submit(vec![job("q"); 9_000]).unwrap());
    jobs.extend(ids(rig.submit(vec![job("q"); 9_000]).unwrap()));
    let (from, reason) = (rig.next_position(), "x".repeat(1_024));
    let outcomes = rig.call(|reply| Command::Cancel(jobs.clone(), reason.into(), reply)).unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let frames = rig.core.archive().read(from, usize::MAX).unwrap();
    assert!(frames.len() > 2 && frames.iter().all(|frame| frame.body.len() <= 8 << 20), "{}", frames.len());
    let view = rig.core.view();
    assert_eq!(view.seen().position, rig.core.archive().durable());
    assert_eq!(view.seen().sequence.0, *outcomes.last().unwrap().as_ref().map(|last| &last.0).unwrap());
    assert!(jobs.iter().all(|id| view.job(*id).unwrap().state == JobState::Cancelled));
    let replayed = recover(&rig.core.archive()).unwrap().state;
    assert_eq!(replayed.digest(), rig.core.state().digest(), "[LOG-3]");
}

/// [ACK-2]
#[test]
fn when_the_second_of_several_frames_fails_nobody_hears_of_the_first() {
    let mut rig = Rig::new();
    let before = rig.core.view().seen();
    let large = || NewJob { payload: Payload(vec![7; 3 << 20].into()), ..job("q") };
    rig.disk.fail_append(2);
    let (replies, answers): (Vec<_>, Vec<_>) = (0..4).map(|_| Reply::once()).unzip();
    let submits = replies
        .into_iter()
        .map(|reply| Command::Submit(Batch { jobs: vec![large()], origin: Origin::Anonymous }, reply));
    assert!(rig.core.step(submits, rig.now).is_err());
    for mut answer in answers {
        assert_eq!(answer.try_recv().unwrap().unwrap_err(), Error::OutcomeUnknown);
    }
    assert_eq!(rig.core.view().seen(), before);
}

/// [MEM-1]
#[test]
fn the_payloads_that_readers_find_in_memory_lie_in_one_piece_as_they_were_stored() {
    let mut rig = Rig::new();
    let payload = |byte: u8| Payload(vec![byte; 100 + usize::from(byte)].into());
    let jobs = (0..50).map(|byte| NewJob { payload: payload(byte), ..job("q") }).collect();
    let from = rig.next_position();
    rig.submit(jobs).unwrap();
    let frame = rig.core.view().frames(from, 1).unwrap().remove(0);
    let stored = rig.core.archive().read(from, 0).unwrap().remove(0).events().unwrap();
    assert_eq!(frame.events, stored);
    let mut payloads = Vec::new();
    for event in &frame.events {
        if let Event::Submitted(submitted) = event {
            payloads.push(submitted.payload.clone());
        }
    }
    assert_eq!(payloads, (0..50).map(payload).collect::<Vec<_>>());
    let place = |payload: &Payload| payload.0.as_ptr() as usize;
    let span = place(&payloads[49]) + payloads[49].0.len() - place(&payloads[0]);
    assert!(span < frame.body_bytes, "{span} bytes apart in a frame of {}", frame.body_bytes);
    assert_ne!(place(&payloads[7].apart()), place(&payloads[7]));
}
