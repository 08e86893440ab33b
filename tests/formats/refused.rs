//! What a migration refuses, before it has changed anything.

use crate::contents;
use crate::steps;
use crate::steps::STEPS;
use gangline::log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::directory::migrate;
use gangline::log::directory::migrate::Error;
use gangline::log::directory::migrate::Moment;
use gangline::log::directory::migrate::New;
use gangline::log::directory::migrate::Step;
use std::path::Path;
use std::path::PathBuf;
use tempfile::TempDir;

fn directory(format: u32) -> (TempDir, PathBuf) {
    let place = tempfile::tempdir().expect("a temporary directory");
    let data = place.path().join("data");
    steps::directory(format, &data);
    (place, data)
}

/// Tries it, and sees to it that nothing was changed.
#[track_caller]
fn refused(data: &Path, steps: &[&dyn Step], to: Option<u32>) -> Error {
    let before = contents::bytes(data);
    let error = migrate::migrate(data, steps, to, &mut |_| {}).expect_err("it is refused");
    assert!(contents::bytes(data) == before, "{error}");
    assert!(!data.join("migrating").exists(), "{error}");
    error
}

#[test]
fn a_newer_format_an_unknown_one_and_the_way_back_are_refused() {
    let (_place, data) = directory(1);
    let Error::NoWay { found: 1, to: 0, newest: 2, .. } = refused(&data, &STEPS, Some(0)) else { panic!() };
    let Error::NoWay { to: 3, .. } = refused(&data, &STEPS, Some(3)) else { panic!() };
    let Error::NoWay { to: 2, newest: 1, .. } = refused(&data, migrate::STEPS, Some(2)) else { panic!() };
    let (_place, data) = directory(0);
    let Error::NoWay { found: 0, to: 1, .. } = refused(&data, migrate::STEPS, None) else { panic!() };
    let Error::NoWay { found: 0, to: 2, .. } = refused(&data, &STEPS[1..], None) else { panic!() };
    let format = std::fs::read_to_string(data.join("format")).expect("it is there");
    std::fs::write(data.join("format"), format.replace("format 0", "format 9")).expect("it is ours");
    let error = refused(&data, &STEPS, None);
    let Error::Log(log::Error::NewerFormat { found: 9, known: 2, .. }) = error else { panic!("{error}") };
    assert!(!data.join("lock").exists(), "it is not even locked");
}

#[test]
fn an_empty_place_and_one_that_is_in_use_are_refused() {
    let (place, data) = directory(1);
    let empty = place.path().join("empty");
    let Err(Error::Log(log::Error::Unusable { .. })) = migrate::plan(&empty, &STEPS, None).map(|_| ()) else {
        panic!()
    };
    let options = DirectoryOptions { reserve_bytes: 0, ..DirectoryOptions::default() };
    let opened = Directory::open(&data, options).expect("it is whole");
    let refused = migrate::migrate(&data, &STEPS, None, &mut |_| {});
    let Err(Error::Log(log::Error::InUse { .. })) = refused else { panic!("{refused:?}") };
    drop(opened);
}

/// A step that says what it needs, and fails behind its first file.
struct Failing(u64);

impl Step for Failing {
    fn from(&self) -> u32 {
        1
    }

    fn what(&self) -> &str {
        "nothing"
    }

    fn bytes_max(&self, old_bytes: u64) -> u64 {
        old_bytes.saturating_mul(self.0)
    }

    fn write(&self, _: &Path, new: &mut New<'_>) -> Result<(), Error> {
        new.put("log/0000000001.seg", &mut |out| out.write_all(b"some"))?;
        let full = || Err(std::io::ErrorKind::StorageFull.into());
        Ok(new.put("log/0000000002.seg", &mut |out| out.write_all(b"more").and_then(|()| full()))?)
    }
}

#[test]
fn without_room_nothing_is_begun_and_if_the_room_ends_nothing_is_left() {
    let (_place, data) = directory(1);
    let plan = migrate::plan(&data, &[&Failing(1)], None).expect("it can be looked at");
    let files = contents::bytes(&data);
    let own = |file: &PathBuf| file.parent() != Some(&data);
    let bytes: usize = files.iter().filter(|(file, _)| own(file)).map(|(_, bytes)| bytes.len()).sum();
    assert_eq!((plan.bytes_needed, plan.has_room()), (bytes as u64, true));
    let error = refused(&data, &[&Failing(u64::MAX)], None);
    let Error::NoRoom { needed: u64::MAX, .. } = error else { panic!("{error}") };
    let error = refused(&data, &[&Failing(1)], None);
    let Error::Log(log::Error::Io { .. }) = error else { panic!("{error}") };
}

#[test]
fn a_damaged_directory_is_named_and_left_to_its_release() {
    let (_place, data) = directory(1);
    let segment = data.join("log/0000000003.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[5_000] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    let error = refused(&data, &STEPS, None);
    let Error::Unreadable { file, format: 1, .. } = &error else { panic!("{error}") };
    assert_eq!(*file, segment);
}

#[test]
fn what_an_interrupted_migration_had_written_is_removed_and_counts_as_room() {
    let (_place, data) = directory(1);
    std::fs::create_dir_all(data.join("migrating/log")).expect("it is ours");
    std::fs::write(data.join("migrating/log/0000000001.seg.new"), [7; 10_000]).expect("it is ours");
    let mut seen = Vec::new();
    let format = migrate::migrate(&data, &STEPS, None, &mut |moment| seen.push(moment.clone()));
    assert_eq!((format.expect("it begins again"), seen.first()), (2, Some(&Moment::Cleared)));
}
