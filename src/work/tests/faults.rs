//! Real damage to sled's files, a disk that is full, and a sled that fails, panics or hangs.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Error;
use crate::work::Filter;
use crate::work::tests::rig::Rig;
use crate::work::tests::rig::SMALL;
use crate::work::tests::rig::succeeded;
use crate::work::view::Provoke;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

fn rig(frames: u64) -> Rig {
    let mut rig = Rig::new(SMALL);
    for _ in 0..frames {
        let jobs = rig.submit(50);
        let ends =
            jobs.iter().step_by(3).filter_map(|job| job.job()).map(|(id, queue)| succeeded(id, queue, 1));
        let ends = ends.collect();
        rig.append(jobs);
        rig.append(ends);
    }
    rig.apply(3).unwrap();
    rig
}

/// What a supervisor does: catch up, let readers read everything, and rebuild when something breaks on the way.
fn heal(rig: &mut Rig) {
    for _ in 0..2 {
        let broke = rig.apply(4).and_then(|()| read_all(rig)).is_err();
        if !broke {
            break;
        }
        rig.rebuild();
    }
    rig.apply(4).unwrap();
    rig.check(1_000);
}

fn read_all(rig: &Rig) -> Result<(), Error> {
    let mut after = JobId::MIN;
    while let Some(next) = rig.query.list(after, &Filter::ALL, 100)?.next {
        after = next;
    }
    rig.model(rig.head()).keys().try_for_each(|id| rig.query.get(*id).map(drop))
}

#[test]
fn a_flipped_bit_in_any_file_is_never_answered_from() {
    let mut rebuilt = 0;
    for round in 0_usize..24 {
        let mut rig = rig(8);
        if round % 2 == 0 {
            rig.close();
        } else {
            rig.kill();
        }
        let tree = rig.home(1).join("tree");
        flip(&tree.join(if round == 0 { "conf" } else { "db" }), round * 7_919 + 13, round);
        rig.open();
        heal(&mut rig);
        rebuilt += usize::from(rig.home(2).exists());
    }
    assert!(rebuilt > 0, "no flip hit anything");
}

fn flip(path: &Path, seed: usize, bit: usize) {
    let mut bytes = fs::read(path).unwrap();
    let written = bytes.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    bytes[seed % written] ^= 1 << (bit % 8);
    fs::write(path, bytes).unwrap();
}

#[test]
fn lost_cut_and_foreign_files_lead_to_a_new_tree_or_none_the_worse() {
    let damages: [fn(&Path); 5] = [
        |home| fs::remove_file(home.join("tree/db")).unwrap(),
        |home| fs::remove_file(home.join("tree/conf")).unwrap(),
        |home| fs::remove_dir_all(home.join("tree")).unwrap(),
        |home| fs::write(home.join("tree/conf"), "nonsense").unwrap(),
        |home| {
            fs::OpenOptions::new().write(true).open(home.join("tree/db")).unwrap().set_len(10_000).unwrap()
        },
    ];
    for damage in damages {
        let mut rig = rig(6);
        rig.close();
        damage(&rig.home(1));
        rig.open();
        heal(&mut rig);
    }
}

#[test]
fn a_directory_deleted_under_a_running_tree_costs_a_rebuild_at_most() {
    let mut rig = rig(6);
    fs::remove_dir_all(rig.dir.path().join("work")).unwrap();
    let jobs = rig.submit(300);
    rig.append(jobs);
    heal(&mut rig);
    rig.kill();
    rig.open();
    assert!(rig.rebuilt.is_some());
    heal(&mut rig);
}

#[test]
fn an_error_and_a_panic_of_sled_stop_the_applier_and_nothing_else() {
    let provocations: [Arc<Provoke>; 2] = [
        Arc::new(|_: &str| Err(Error::Broken("no space left".to_owned()))),
        Arc::new(|_: &str| panic!("sled lost its way")),
    ];
    for (provocation, text) in
        provocations.into_iter().zip(["no space left", "it panicked: sled lost its way"])
    {
        let mut rig = rig(3);
        rig.applier().pulse().set_provocation(provocation);
        let jobs = rig.submit(10);
        rig.append(jobs);
        let error = rig.apply(1).unwrap_err();
        assert!(error.to_string().contains(text), "{error}");
        assert!(matches!(rig.apply(1), Err(Error::Abandoned)));
        rig.rebuild();
        heal(&mut rig);
    }
}

#[test]
fn a_breakage_that_a_reader_meets_reaches_the_applier() {
    let mut rig = rig(3);
    let reads: Arc<Provoke> = Arc::new(|action: &str| match action {
        "reading" => Err(Error::Broken("a page is damaged".to_owned())),
        _ => Ok(()),
    });
    let now = rig.now;
    rig.applier().pulse().set_provocation(reads);
    assert!(matches!(rig.query.get(JobId::MIN), Err(Error::Broken(_))));
    assert!(matches!(rig.applier().tend(now), Err(Error::Broken(what)) if what == "a page is damaged"));
}

#[test]
fn a_hung_applier_is_seen_by_its_pulse_and_when_it_wakes_it_touches_nothing() {
    let mut rig = rig(4);
    let (entered, has_entered) = mpsc::channel();
    let (wake, woken) = mpsc::channel::<()>();
    let woken = std::sync::Mutex::new(woken);
    let hang: Arc<Provoke> = Arc::new(move |_: &str| {
        entered.send(()).ok();
        woken.lock().unwrap().recv_timeout(PATIENCE).ok();
        Ok(())
    });
    let jobs = rig.submit(60);
    rig.append(jobs);
    let mut old = rig.applier.take().unwrap();
    let pulse = old.pulse();
    assert!(!pulse.reading().busy);
    pulse.set_provocation(hang);
    let (events, head) = (rig.frames.last().unwrap().clone(), rig.head());
    let thread = std::thread::spawn(move || {
        let frame = crate::work::AppliedFrame {
            position: head,
            time: crate::clock::Timestamp(0),
            first_sequence: crate::job::id::Sequence(1),
            events: &events,
        };
        let first = old.apply(&[frame], crate::clock::Tick(0));
        (first, old.tend(crate::clock::Tick(0)))
    });
    has_entered.recv_timeout(PATIENCE).unwrap();
    let stuck = pulse.reading();
    assert!(stuck.busy);
    assert_eq!(stuck, pulse.reading());

    rig.rebuild();
    assert_eq!(rig.query.applied(), Position(0));
    // The old applier wakes up and goes on with its own tree, then finds that nobody wants it.
    drop(wake);
    let (_, second) = thread.join().unwrap();
    assert!(matches!(second, Err(Error::Abandoned)));
    assert_eq!(rig.query.applied(), Position(0));
    heal(&mut rig);
}
