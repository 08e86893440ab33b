//! Salvage of a directory with a trimmed log, of which whole files, blocks or ends are gone or wrong: what it prints is held
//! against what the directory held before.

use crate::job::id::JobId;
use crate::job::id::Sequence;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::Kind;
use crate::offline::Until;
use crate::offline::Verified;
use crate::offline::fold;
use crate::offline::salvage::Gap;
use crate::offline::salvage::Report;
use crate::offline::salvage::salvage;
use crate::offline::tests::rig::Copy;
use crate::offline::tests::rig::Rig;
use crate::offline::tests::rig::SEGMENT_BYTES;
use crate::offline::tests::rig::block;
use crate::offline::tests::rig::flip;
use crate::offline::tests::rig::overwrite;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;

/// The live jobs of a state: what matters of each.
fn live(state: &State) -> BTreeMap<JobId, (bool, u32)> {
    let jobs = state.jobs().iter().map(|(_, job)| job);
    jobs.map(|job| (job.id, (job.state() == JobState::Dead, job.payload_bytes))).collect()
}

/// Every job that something readable tells of: a frame, a carried event, a checkpoint.
fn told_of(copy: &Copy) -> BTreeSet<JobId> {
    let directory = copy.directory();
    let frames = copy.walked().frames;
    let mut told: BTreeSet<JobId> = frames
        .iter()
        .flat_map(|located| located.frame.events().unwrap())
        .filter_map(|event| Some(event.job()?.0))
        .collect();
    for at in directory.checkpoints().unwrap() {
        if let Ok((_, state)) = fold::load(&directory, at).unwrap() {
            told.extend(state.jobs().iter().map(|(_, job)| job.id));
        }
    }
    if let Some(carried) = directory.carried() {
        let events = carried.pointers().filter_map(|at| carried.event(at.unwrap()).ok()?);
        told.extend(events.filter_map(|event| Some(event.job()?.0)));
    }
    told
}

/// A directory before it is harmed.
struct Before {
    rig: Rig,
    whole: Copy,
    /// Segments that hold frames, oldest first.
    segments: Vec<u64>,
}

impl Before {
    fn new() -> Before {
        let rig = Rig::trimmed();
        let whole = rig.copy();
        let mut segments: Vec<u64> = whole.walked().frames.iter().map(|located| located.segment).collect();
        segments.dedup();
        assert!(segments.len() >= 3, "{segments:?}");
        Before { rig, whole, segments }
    }

    fn file(&self, folder: &str, ending: &str, number: usize) -> PathBuf {
        let entries = std::fs::read_dir(self.whole.root().join(folder)).unwrap();
        let paths = entries.map(|entry| Path::new(folder).join(entry.unwrap().file_name()));
        let mut paths: Vec<PathBuf> =
            paths.filter(|path| path.extension().is_some_and(|found| found == ending)).collect();
        paths.sort();
        paths.swap_remove(number)
    }

    fn as_of(&self, until: Until) -> BTreeMap<JobId, (bool, u32)> {
        live(&AsOf::of(&self.whole.directory(), until).unwrap().state)
    }

    /// Salvages a copy that `harm` was done to, and checks every word of the report that can be checked.
    #[track_caller]
    fn salvaged(&self, what: &str, harm: impl FnOnce(&Copy)) -> Report {
        let copy = self.rig.copy();
        harm(&copy);
        let out = copy.root().with_extension("out");
        let report = salvage(&copy.directory(), &out).unwrap();
        let new = DataDirectory::open(&out).unwrap();
        let verified = Verified::of(&new, &mut |fault| panic!("{what}: the new directory: {fault}")).unwrap();
        assert_eq!((verified.live, verified.faults), (report.waiting + report.dead, 0), "{what}");
        let saved = live(&AsOf::of(&new, Until::End).unwrap().state);
        let readable: u64 = copy.walked().frames.iter().map(|located| u64::from(located.frame.updates)).sum();
        let kept = report.updates_kept + report.left_out;
        assert!(kept >= readable, "{what}: {readable} updates can be read: {report:#?}");
        let told = self.as_of(Until::Sequence(report.tail.sequence.max(Sequence(1))));
        let end = self.as_of(Until::End);
        let known = told_of(&copy);
        let lost: u64 = report.faults.kept().iter().map(|fault| fault.lost.updates).sum();
        assert!(told.keys().all(|id| known.contains(id)) || lost > 0, "{what}: {report:#?}");
        // Of what something readable tells, nothing is missing silently; and nothing else lives.
        for (id, job) in &told {
            let same = saved.get(id) == Some(job);
            let (found, named) = (saved.get(id), report.jobs.contains_key(id));
            assert!(same || named || !known.contains(id), "{what}: {id} {job:?} {found:?}: {report:#?}");
        }
        for id in saved.keys() {
            let doubt = report.jobs.get(id) == Some(&Gap::Doubt);
            assert!(told.contains_key(id) || doubt, "{what}: {id} is run again: {report:#?}");
        }
        for (id, gap) in &report.jobs {
            let lives = saved.get(id).is_some_and(|(dead, _)| !dead);
            assert_eq!(lives, *gap == Gap::Doubt, "{what}: {id} {gap:?}");
        }
        if report.is_complete() {
            assert!(saved == told && report.keys_forgotten == 0, "{what}: {report:#?}");
            let lost = end.iter().any(|(id, job)| told.get(id) != Some(job));
            assert!(!lost || report.tail.torn_bytes > 0, "{what}: the end is gone without a word");
        }
        report
    }
}

#[track_caller]
fn names(report: &Report, kind: Kind, file: &Path) {
    let found = report.faults.kept().iter().any(|fault| fault.kind == kind && fault.file == file);
    assert!(found, "{} is not named: {:#?}", file.display(), report.faults);
}

#[test]
fn a_damaged_checkpoint_is_named_and_costs_only_what_it_alone_knew() {
    let before = Before::new();
    let (older, newer) = (before.file("checkpoints", "ckpt", 0), before.file("checkpoints", "ckpt", 1));
    let bytes = |file: &Path| std::fs::metadata(before.whole.root().join(file)).unwrap().len();
    for harmed in [vec![&older], vec![&newer], vec![&older, &newer]] {
        for offset in [0, 20, 40, bytes(&older) / 2, bytes(&older) - 10] {
            let what = format!("{harmed:?} byte {offset}");
            let report = before.salvaged(&what, |copy| {
                harmed.iter().for_each(|file| flip(&copy.root().join(file), offset));
            });
            for file in &harmed {
                names(&report, Kind::Checkpoint, file);
            }
            // What was let go is known to both; with neither it cannot be said that nothing is missing.
            assert_eq!(report.is_complete(), harmed.len() == 1, "{what}: {report:#?}");
        }
        for length in [0, 31, 60, bytes(&older) - 1] {
            let report = before.salvaged(&format!("{harmed:?} cut to {length}"), |copy| {
                for file in &harmed {
                    let file = std::fs::OpenOptions::new().write(true).open(copy.root().join(file)).unwrap();
                    file.set_len(length).unwrap();
                }
            });
            names(&report, Kind::Checkpoint, harmed[0]);
        }
        let report = before.salvaged(&format!("without {harmed:?}"), |copy| {
            harmed.iter().for_each(|file| std::fs::remove_file(copy.root().join(file)).unwrap());
        });
        assert_eq!(report.is_complete(), harmed.len() == 1, "{report:#?}");
    }
}

#[test]
fn a_damaged_carry_file_is_named_and_each_payload_that_is_lost_with_it() {
    let before = Before::new();
    let carry = before.file("log", "carry", 0);
    let bytes = std::fs::metadata(before.whole.root().join(&carry)).unwrap().len();
    let mut single = 0;
    for offset in (0..bytes).step_by(397).chain([bytes - 1, bytes - 30, bytes - 48]) {
        let what = format!("carry byte {offset} of {bytes}");
        let report = before.salvaged(&what, |copy| flip(&copy.root().join(&carry), offset));
        names(&report, Kind::Carry, &carry);
        assert!(!report.is_complete() && report.gaps[Gap::Payload as usize] > 0, "{what}: {report:#?}");
        single += u64::from(report.gaps[Gap::Payload as usize] == 1);
    }
    assert!(single > 10, "a damaged event costs one payload: {single}");
    for length in [0, 10, 47, bytes / 2, bytes - 1] {
        let report = before.salvaged(&format!("carry cut to {length}"), |copy| {
            let file = std::fs::OpenOptions::new().write(true).open(copy.root().join(&carry)).unwrap();
            file.set_len(length).unwrap();
        });
        names(&report, Kind::Carry, &carry);
        assert!(report.gaps[Gap::Payload as usize] > 1, "{length}: {report:#?}");
    }
    let report = before.salvaged("no carry", |copy| std::fs::remove_file(copy.root().join(&carry)).unwrap());
    assert!(!report.is_complete() && report.gaps[Gap::Payload as usize] > 1, "{report:#?}");
}

#[test]
fn segments_that_are_cut_short_missing_or_headless_are_named_with_what_is_lost() {
    let before = Before::new();
    for number in &before.segments {
        let file = PathBuf::from(format!("log/{number:010}.seg"));
        for length in [0, 100, 4_095, 4_096, 4_200, 8_192, SEGMENT_BYTES - 4_096, SEGMENT_BYTES - 1] {
            let report = before.salvaged(&format!("{number} cut to {length}"), |copy| {
                let file = std::fs::OpenOptions::new().write(true).open(copy.segment(*number)).unwrap();
                file.set_len(length).unwrap();
            });
            names(&report, Kind::Segment, &file);
        }
        let report = before.salvaged(&format!("{number} is missing"), |copy| {
            std::fs::remove_file(copy.segment(*number)).unwrap();
        });
        if before.segments.last() != Some(number) {
            names(&report, Kind::Segment, &file);
            assert!(!report.is_complete(), "{number}: {report:#?}");
        }
        for zeros in [4_096, 64, 8] {
            let report = before.salvaged(&format!("header of {number}: {zeros} zeros"), |copy| {
                overwrite(&copy.segment(*number), 0, &vec![0; zeros]);
            });
            names(&report, Kind::Segment, &file);
            assert!(!report.is_complete(), "{number}, {zeros} zeros: it cannot be told: {report:#?}");
            // Its salt is what tells frames from anything else.
            assert!(zeros > 8 || report.jobs.is_empty(), "{number}: {report:#?}");
        }
    }
}

#[test]
fn swapped_blocks_cost_what_was_in_them() {
    let before = Before::new();
    let places: Vec<(u64, u64)> = before
        .segments
        .iter()
        .flat_map(|segment| (0..SEGMENT_BYTES / 4_096).map(move |block| (*segment, block)))
        .collect();
    for step in [1, 3, 4] {
        for (one, other) in places.iter().zip(places.iter().skip(step)) {
            before.salvaged(&format!("{one:?} and {other:?}"), |copy| {
                let (first, second) =
                    (block(&copy.segment(one.0), one.1), block(&copy.segment(other.0), other.1));
                overwrite(&copy.segment(one.0), one.1 * 4_096, &second);
                overwrite(&copy.segment(other.0), other.1 * 4_096, &first);
            });
        }
    }
}
