use crate::engine::command::Bye;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Grant;
use crate::engine::command::Reply;
use crate::engine::command::WorkerMessage;
use crate::engine::core::tests::Rig;
use crate::engine::core::tests::completed;
use crate::engine::core::tests::job;
use crate::engine::core::tests::with;
use crate::engine::view::Health;
use crate::engine::workers::rig::attaching;
use crate::job::decide::finish::Finish;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::retry::Retryable;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use crate::job::state::JobState;

const MIB: u64 = 1 << 20;

/// [ACK-2]
#[test]
fn with_most_of_the_last_segment_left_only_submits_and_retries_are_refused() {
    let mut rig = Rig::new();
    let dead =
        rig.submit(vec![with(Policy { max_attempts: 1, ..Policy::default() })]).unwrap().ranges[0].first;
    let mut hand = rig.attach("w", &["q"], 1);
    let grants = hand.hear().grants;
    let mut message = completed(&grants);
    let failure = Failure { kind: FailureKind::Failed, message: "".into(), process: None };
    message.finishes[0].finish = Finish::Fail { failure, retryable: Retryable::Yes };
    rig.work(&hand, message);
    let waits = rig.one();
    rig.disk.fill_but(40 * MIB);
    assert_eq!(rig.submit(vec![job("q")]), Err(Error::DiskFull));
    assert_eq!(rig.core.view().health(), Health::DiskFull);
    let retried = rig.call(|reply| Command::Retry(vec![dead], reply)).unwrap();
    assert_eq!(retried, [Err(Error::DiskFull)]);
    rig.work(&hand, WorkerMessage { free: 1, ..WorkerMessage::default() });
    assert_eq!(hand.hear().grants[0].id, waits, "claims go on");
}

/// [ACK-2]
#[test]
fn under_half_a_segment_claims_stop_finishes_go_on_and_all_comes_back_by_itself() {
    let mut rig = Rig::new();
    let mut hand = rig.attach("w", &["q"], 1);
    let running = rig.one();
    let grants = hand.hear().grants;
    let waits = rig.one();
    rig.disk.fill_but(20 * MIB);
    rig.work(&hand, WorkerMessage { free: 1, ..completed(&grants) });
    assert_eq!(rig.core.view().job(running).unwrap().state, JobState::Succeeded);
    let output = hand.hear();
    assert!(output.acks[0].outcome.is_ok());
    assert!(output.grants.is_empty(), "what is left is for those that run");
    assert!(rig.call(|reply| Command::CommitCursor("c".into(), crate::job::id::Sequence(1), reply)).is_ok());
    rig.disk.empty();
    rig.live(300);
    assert_eq!(hand.hear().grants[0].id, waits, "nobody had to ask again");
    assert_eq!(rig.core.view().health(), Health::Serving);
    assert!(rig.submit(vec![job("q")]).is_ok());
}

/// It lives, and cannot be told what it holds. [LEASE-2]
#[test]
fn a_worker_that_a_full_disk_refuses_keeps_its_leases_for_a_whole_period() {
    let mut rig = Rig::new();
    let _hand = rig.attach("w", &["q"], 1);
    let id = rig.one();
    rig.disk.fill();
    let (attach, _outputs) = attaching("w", &[], 0);
    assert_eq!(rig.call(|reply| Command::Attach(attach, reply)).err(), Some(Error::DiskFull));
    rig.disk.empty();
    rig.live(14_900);
    assert_eq!(rig.core.view().job(id).unwrap().state, JobState::Running);
    rig.live(200);
    assert_ne!(rig.core.view().job(id).unwrap().state, JobState::Running);
}

/// [ACK-2]
#[test]
fn without_any_room_nothing_is_decided_and_nothing_breaks() {
    let mut rig = Rig::new();
    let mut hand = rig.attach("w", &["q"], 2);
    let (first, second) = (rig.one(), rig.one());
    let grants = hand.hear().grants;
    rig.disk.fill();
    rig.work(&hand, completed(&grants[..1]));
    assert_eq!(hand.hear().acks[0].outcome, Err(Error::DiskFull));
    let cancelled = rig.call(|reply| Command::Cancel(vec![second], "".into(), reply));
    assert_eq!(cancelled, Ok(vec![Err(Error::DiskFull)]));
    rig.step(vec![Command::Detach(hand.session, Bye::Said)]);
    rig.live(60_000);
    let state_of = |rig: &Rig, id| rig.core.view().job(id).unwrap().state;
    assert_eq!((state_of(&rig, first), state_of(&rig, second)), (JobState::Running, JobState::Running));
    rig.disk.empty();
    rig.live(300);
    let (first, second) = (state_of(&rig, first), state_of(&rig, second));
    assert_eq!((first, second), (JobState::Waiting, JobState::Waiting), "the worker had said that it goes");
}

/// Ends need their own bytes and a little reserve, however small the segments are. [ACK-2]
#[test]
fn in_the_last_kilobytes_attempts_still_end_one_by_one() {
    let mut rig = Rig::new();
    let mut hand = rig.attach("w", &["q"], 3);
    let ids = [rig.one(), rig.one(), rig.one()];
    let mut grants = Vec::new();
    while grants.len() < ids.len() {
        grants.extend(hand.hear().grants);
    }
    let mut message = completed(&grants);
    let large = Payload(vec![7; 200_000].into());
    message.finishes[1].finish = Finish::Complete { result: large, content_type: "".into(), usage: None };
    rig.disk.fill_but(100 << 10);
    rig.work(&hand, message);
    let acks = hand.hear().acks;
    assert_eq!(
        acks.into_iter().map(|ack| ack.outcome).collect::<Vec<_>>(),
        [Ok(()), Err(Error::DiskFull), Ok(())]
    );
    let states = ids.map(|id| rig.core.view().job(id).unwrap().state);
    assert_eq!(states, [JobState::Succeeded, JobState::Running, JobState::Succeeded]);
    rig.disk.empty();
    rig.work(&hand, completed(&grants[1..2]));
    assert_eq!(hand.hear().acks[0].outcome, Ok(()));
}

/// However many workers ask, what is left is enough for the largest ends of all that run, and readers that commit their
/// cursors again and again leave it to them. [ACK-2]
#[test]
fn on_a_full_disk_only_so_many_run_as_can_surely_finish() {
    let mut rig = Rig::new();
    let mut hand = rig.attach("w", &["q"], 0);
    rig.submit(vec![job("q"); 100]).unwrap();
    rig.disk.fill_but(40 * MIB + MIB / 2);
    rig.work(&hand, WorkerMessage { free: 100, ..WorkerMessage::default() });
    let grants = hand.hear().grants;
    assert_eq!(grants.len(), 40, "1 MiB for each, and some for what nobody asks for");
    let commit = |number| {
        let sequence = crate::job::id::Sequence(number);
        Command::CommitCursor("c".repeat(128).into(), sequence, Reply::once().0)
    };
    for _ in 0..100 {
        rig.step((1..=100).flat_map(|number| [commit(number), commit(101)]).collect());
    }
    let mut message = completed(&grants);
    for finish in &mut message.finishes {
        let large = Payload(vec![7; MIB as usize].into());
        finish.finish = Finish::Complete { result: large, content_type: "".into(), usage: None };
    }
    let (first, rest) = message.finishes.split_at(10);
    rig.work(&hand, WorkerMessage { finishes: first.to_vec(), ..WorkerMessage::default() });
    let more = hand.hear();
    assert!(more.acks.iter().all(|ack| ack.outcome.is_ok()));
    assert!(more.grants.is_empty(), "as much is left as those that run may need");
    rig.work(&hand, WorkerMessage { finishes: rest.to_vec(), ..WorkerMessage::default() });
    assert_eq!(hand.hear().acks.iter().filter(|ack| ack.outcome.is_ok()).count(), 30);
}

/// Whatever is asked for, the space that was counted on is there, and what is due waits for it. [ACK-2]
#[test]
fn the_last_bytes_go_without_a_failed_write() {
    for left_kib in 64..76 {
        let mut rig = Rig::new();
        let mut hand = rig.attach("w", &["q"], 400);
        let jobs = rig.submit(vec![job("q"); 400]).unwrap().ranges[0].first;
        let grants = hand.hear().grants;
        assert_eq!(grants.len(), 400);
        rig.disk.fill_but(left_kib << 10);
        rig.work(&hand, completed(&grants[..20]));
        let cancels = (20..60).map(|step| jobs.plus(step)).collect();
        rig.call(|reply| Command::Cancel(cancels, "a reason".into(), reply)).unwrap();
        rig.step(vec![Command::Detach(hand.session, Bye::Said)]);
        rig.live(60_000);
        rig.disk.empty();
        rig.live(300);
        let view = rig.core.view();
        let running = |grant: &&Grant| view.job(grant.id).is_some_and(|job| job.state == JobState::Running);
        assert_eq!(grants.iter().filter(running).count(), 0, "{left_kib} KiB");
    }
}
