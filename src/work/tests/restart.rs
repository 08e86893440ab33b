//! What is kept over a restart, and what is rebuilt.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Error;
use crate::work::Mark;
use crate::work::Record;
use crate::work::State;
use crate::work::slice;
use crate::work::tests::rig::Rig;
use crate::work::tests::rig::SMALL;
use crate::work::tests::rig::succeeded;
use std::fs;
use std::sync::Arc;

/// A tree with a few hundred jobs, some of them finished.
fn rig() -> Rig {
    let mut rig = Rig::new(SMALL);
    for _ in 0..6 {
        let jobs = rig.submit(50);
        let ends =
            jobs.iter().step_by(2).filter_map(|job| job.job()).map(|(id, queue)| succeeded(id, queue, 1));
        let ends = ends.collect();
        rig.append(jobs);
        rig.append(ends);
    }
    rig.apply(3).unwrap();
    rig
}

#[test]
fn a_clean_stop_folds_everything_and_is_kept_even_in_another_boot() {
    let mut rig = rig();
    rig.close();
    rig.boot = "boot two".to_owned();
    rig.open();
    assert_eq!(rig.rebuilt, None);
    assert_eq!(rig.next, rig.head().next());
    rig.check(100);
    // The mark is gone: the same files are good for this boot only.
    assert!(!rig.home(1).join("clean").exists());
    rig.kill();
    rig.boot = "boot three".to_owned();
    rig.open();
    assert_eq!(rig.rebuilt.as_deref(), Some("the machine was restarted without a clean stop"));
    rig.apply(2).unwrap();
    rig.check(100);
    // The one that was not kept goes once there is time.
    rig.tend();
    assert!(!rig.home(1).exists() && rig.home(2).exists());
}

#[test]
fn a_kill_is_survived_within_the_boot_and_replays_from_the_folded_position() {
    let mut rig = rig();
    rig.kill();
    rig.open();
    assert_eq!(rig.rebuilt, None);
    assert!(rig.next <= rig.head(), "some changes were in memory only");
    let id = JobId::from_u128(u128::MAX);
    assert!(matches!(rig.query.get(id), Err(Error::Rebuilding { .. })));
    rig.apply(1).unwrap();
    assert_eq!(rig.query.get(id).unwrap(), None);
    rig.check(10);
}

#[test]
fn a_log_that_was_cut_behind_the_tree_or_trimmed_before_it_makes_a_new_tree() {
    let mut cut = rig();
    cut.close();
    cut.frames.truncate(5);
    cut.open();
    assert_eq!(cut.rebuilt.as_deref(), Some("it is at frame 12, and the log ends at 5"));
    cut.apply(2).unwrap();
    cut.check(100);

    let mut trimmed = rig();
    trimmed.close();
    trimmed.floor = Position(14);
    trimmed.frames.resize(20, Vec::new());
    trimmed.open();
    assert_eq!(trimmed.rebuilt.as_deref(), Some("it needs frame 13, and the log begins at 14"));
    trimmed.apply(2).unwrap();
    trimmed.check(100);
}

#[test]
fn a_tree_of_another_history_or_layout_is_not_kept() {
    for (what, with) in [("layout 1", "layout 2"), ("store 07", "store 08")] {
        let mut rig = rig();
        rig.close();
        let path = rig.home(1).join("made-by");
        let made_by = fs::read_to_string(&path).unwrap();
        assert!(made_by.contains(what));
        fs::write(&path, made_by.replacen(what, with, 1)).unwrap();
        rig.open();
        assert_eq!(rig.rebuilt.as_deref(), Some("it has another layout or belongs to another history"));
        rig.apply(2).unwrap();
        rig.check(100);
    }
}

#[test]
fn a_mark_that_does_not_fit_the_tree_makes_a_new_tree() {
    let mut rig = rig();
    rig.close();
    fs::write(rig.home(1).join("clean"), "applied 3\nfolded 3\n").unwrap();
    rig.open();
    assert_eq!(rig.rebuilt.as_deref(), Some("it is not what was closed"));
}

#[test]
fn what_half_written_snapshots_would_break_is_swept_away() {
    let mut rig = rig();
    rig.close();
    rig.open();
    rig.close();
    let tree = rig.home(1).join("tree");
    fs::write(tree.join("snap.0000000000000ABC.generating"), "").unwrap();
    fs::write(tree.join("snap.FFFFFFFFFFFFFFFF"), "nonsense").unwrap();
    rig.open();
    assert_eq!(rig.rebuilt, None);
    rig.check(100);
}

#[test]
fn slices_that_a_kill_left_beyond_the_stored_position_are_trimmed() {
    let mut rig = rig();
    // The process dies after it wrote the slices of a batch, before it stored how far it is.
    let jobs = rig.submit(150);
    rig.append(jobs);
    let stop: Arc<crate::work::view::Provoke> = Arc::new(|action: &str| match action {
        "writing the positions" => Err(Error::Broken("the test pulled the plug".to_owned())),
        _ => Ok(()),
    });
    rig.applier().pulse().set_provocation(stop);
    assert!(matches!(rig.apply(1), Err(Error::Broken(_))));
    rig.kill();
    // The log, cut there and written on, has other jobs in that frame: fewer, and others a slice.
    rig.frames.pop();
    let mut jobs = rig.submit(30);
    rig.open();
    assert_eq!(rig.rebuilt, None);
    let rest = jobs.split_off(7);
    rig.append(jobs);
    rig.append(rest);
    rig.apply(1).unwrap();
    rig.check(100);
}

#[test]
fn an_abandoned_tree_is_not_kept_and_its_directory_goes() {
    let mut rig = rig();
    let old = rig.applier.take().unwrap();
    rig.rebuild();
    assert!(!rig.home(1).exists() && rig.home(2).exists());
    assert!(matches!(rig.query.get(JobId::MAX), Err(Error::Rebuilding { applied: Position(0), .. })));
    rig.apply(2).unwrap();
    rig.check(100);
    let mut old = old;
    assert!(matches!(old.tend(crate::clock::Tick(0)), Err(Error::Abandoned)));
    rig.check(100);
}

#[test]
fn a_rebuild_keeps_seeded_jobs_and_those_whose_end_alone_is_retained() {
    let mut rig = Rig::new(SMALL);
    let jobs = rig.submit(130);
    let of = |at: usize| jobs[at].job().unwrap();
    let ends: Vec<_> = (0..130).step_by(3).map(|at| succeeded(of(at).0, of(at).1, 1)).collect();
    rig.append(jobs.clone());
    rig.append(Vec::new());
    rig.append(ends);
    let jobs = rig.submit(10);
    rig.append(jobs);
    rig.apply(1).unwrap();
    rig.floor = Position(2);
    rig.rebuild();
    assert!(matches!(
        rig.query.list(JobId::MIN, &crate::work::Filter::ALL, 1),
        Err(Error::Rebuilding { .. })
    ));
    rig.apply(1).unwrap();
    rig.check(9);
    let known: Vec<_> = rig.list(&crate::work::Filter::ALL, 1_000);
    assert_eq!(known.iter().filter(|job| job.submitted.is_none()).count(), 44);
    // They are the same once they are in slices.
    rig.close();
    rig.open();
    assert_eq!(rig.rebuilt, None);
    rig.check(9);
    assert_eq!(rig.list(&crate::work::Filter::ALL, 1_000), known);
}

#[test]
fn a_tree_killed_before_its_first_frame_is_begun_anew() {
    let mut rig = rig();
    rig.floor = Position(3);
    let opened = rig.tree.rebuild(rig.span(), "the test says so").unwrap();
    assert!(opened.applier.wants_seed());
    drop(opened);
    rig.kill();
    rig.open();
    assert_eq!(rig.rebuilt.as_deref(), Some("it holds no positions"));
    rig.apply(2).unwrap();
    rig.check(100);
}

#[test]
fn what_comes_out_of_order_is_refused_by_name() {
    let mut rig = rig();
    let jobs = rig.submit(3);
    rig.append(vec![jobs[1].clone(), jobs[0].clone()]);
    let refused = rig.apply(1).unwrap_err();
    assert!(refused.to_string().contains("came after job"), "{refused}");
    assert!(matches!(rig.apply(1), Err(Error::Abandoned)));

    rig.frames.pop();
    rig.kill();
    rig.open();
    rig.apply(1).unwrap();
    rig.append(Vec::new());
    rig.append(Vec::new());
    rig.next = rig.next.next();
    assert!(matches!(rig.apply(1), Err(Error::Disorder(_))));
}

#[test]
fn a_record_and_a_slice_round_trip_and_damage_is_noticed() {
    let rig = rig();
    let mut records: Vec<Record> = rig.model(rig.head()).into_values().take(slice::RECORDS_MAX).collect();
    records[3].submitted = None;
    records[4] = Record {
        state: State::Expired,
        attempts: 255,
        generation: 65_535,
        last: Mark { sequence: crate::job::id::Sequence(u64::MAX), ..records[4].last },
        ..records[4]
    };
    let mut bytes = Vec::new();
    slice::encode(&records, &mut bytes);
    assert_eq!(bytes.len(), 3_500);
    assert_eq!(slice::decode(records[0].id, &bytes).unwrap(), records);
    for bit in (0..bytes.len() * 8).step_by(97) {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(slice::decode(records[0].id, &damaged).is_err(), "bit {bit}");
    }
    assert!(slice::decode(records[0].id, &[]).is_err());
}
