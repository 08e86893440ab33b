//! Who may open a directory, and what is left alone. [DIR-1] [FMT-1]

use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::log::directory::tests::place::Files;
use crate::log::directory::tests::place::options;
use crate::log::suite::append;
use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::MetadataExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::path::PathBuf;

/// Every file below `path` with its content and modification time, every directory with its time.
fn snapshot(path: &Path) -> BTreeMap<PathBuf, (Option<Vec<u8>>, i64, i64)> {
    let mut found = BTreeMap::new();
    let metadata = std::fs::metadata(path).unwrap();
    let content = metadata.is_file().then(|| std::fs::read(path).unwrap());
    found.insert(path.to_owned(), (content, metadata.mtime(), metadata.mtime_nsec()));
    if metadata.is_dir() {
        for entry in std::fs::read_dir(path).unwrap() {
            found.extend(snapshot(&entry.unwrap().path()));
        }
    }
    found
}

fn unusable(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result {
        Err(Error::Unusable { reason, .. }) => reason,
        other => panic!("{other:?}"),
    }
}

/// [DIR-1]
#[test]
fn a_second_opening_is_refused_and_names_the_holder_until_the_last_handle_is_gone() {
    let files = Files::new();
    let log = files.opened().log;
    let archive = log.archive();
    for held in [Some(log), None] {
        let Err(Error::InUse { place, holder }) = files.try_open() else { panic!() };
        assert_eq!(place, files.root().display().to_string());
        assert!(holder.contains(&format!("process {} on ", std::process::id())), "{holder}");
        assert!(holder.contains(" since 2"), "{holder}");
        drop(held);
    }
    drop(archive);
    files.opened();
}

/// [FMT-1]
#[test]
fn a_newer_format_is_refused_and_not_a_byte_is_touched() {
    let files = Files::new();
    append(&mut files.opened().log, 1);
    let format = files.root().join("format");
    let text = std::fs::read_to_string(&format).unwrap();
    std::fs::write(&format, text.replace("format 1", "format 2").replace("store ", "shop ")).unwrap();
    std::fs::remove_file(files.root().join("lock")).unwrap();
    let before = snapshot(&files.root());
    let Err(Error::NewerFormat { found: 2, known: 1, .. }) = files.try_open() else { panic!() };
    assert_eq!(snapshot(&files.root()), before);
}

#[test]
fn the_store_keeps_its_identity_and_others_have_another() {
    use crate::log::Archive;
    let (one, other) = (Files::new(), Files::new());
    let id = one.opened().log.archive().store_id();
    assert_eq!(one.opened().log.archive().store_id(), id);
    assert_ne!(other.opened().log.archive().store_id(), id);
    std::fs::copy(other.segment(1), one.segment(1)).unwrap();
    let Err(Error::Damaged { what, .. }) = one.try_open() else { panic!() };
    assert!(what.contains("belongs to the store"), "{what}");
}

#[test]
fn everything_is_for_the_owner_only() {
    let files = Files::new();
    let deep = files.root().join("a/b");
    let opened = Directory::open(&deep, options()).unwrap();
    append(&mut { opened.log }, 1);
    for path in snapshot(&files.root()).keys() {
        let mode = std::fs::metadata(path).unwrap().mode() & 0o777;
        assert_eq!(mode, if path.is_dir() { 0o700 } else { 0o600 }, "{}", path.display());
    }
}

#[test]
fn a_directory_that_others_may_write_to_is_refused() {
    let files = Files::new();
    std::fs::create_dir(files.root()).unwrap();
    for mode in [0o770, 0o702] {
        std::fs::set_permissions(files.root(), Permissions::from_mode(mode)).unwrap();
        let reason = unusable(files.try_open());
        assert!(reason.contains("chmod 700"), "{reason}");
    }
    assert_eq!(snapshot(&files.root()).len(), 1);
}

#[test]
fn a_directory_of_another_user_is_refused() {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: only root can give a directory to another user");
        return;
    }
    let files = Files::new();
    drop(files.opened());
    std::os::unix::fs::chown(files.root(), Some(12_345), None).unwrap();
    let reason = unusable(files.try_open());
    assert!(reason.contains("12345"), "{reason}");
}

#[test]
fn a_place_that_holds_other_things_is_refused() {
    let files = Files::new();
    std::fs::create_dir(files.root()).unwrap();
    std::fs::set_permissions(files.root(), Permissions::from_mode(0o700)).unwrap();
    std::fs::write(files.root().join("thesis.tex"), "words").unwrap();
    let before = snapshot(&files.root());
    let reason = unusable(files.try_open());
    assert!(reason.contains("thesis.tex"), "{reason}");
    assert_eq!(snapshot(&files.root()), before);
    let reason = unusable(Directory::open(&files.root().join("thesis.tex"), options()));
    assert!(reason.contains("not a directory"), "{reason}");
}

#[test]
fn an_interrupted_creation_is_finished() {
    let files = Files::new();
    std::fs::create_dir(files.root()).unwrap();
    std::fs::set_permissions(files.root(), Permissions::from_mode(0o700)).unwrap();
    std::fs::write(files.root().join("lock"), "").unwrap();
    std::fs::write(files.root().join("format.new"), "gangl").unwrap();
    append(&mut files.opened().log, 1);
    let leftover = files.root().join("log").join("0000000009.seg.new");
    std::fs::write(&leftover, "half").unwrap();
    assert_eq!(files.opened().log.head().position.0, 1);
    assert!(!leftover.exists());
}

#[test]
fn impossible_segment_sizes_are_refused_before_anything_is_made() {
    let files = Files::new();
    for segment_bytes in [0, 8_192, 100_000] {
        let options = DirectoryOptions { segment_bytes, ..options() };
        let reason = unusable(Directory::open(&files.root(), options));
        assert!(reason.contains("4096"), "{reason}");
    }
    assert!(!files.root().exists());
}

/// A segment size is no part of the format: old segments are read as they are, new ones are made as told.
#[test]
fn the_segment_size_may_change() {
    let files = Files::new();
    let mut written = Vec::new();
    for segment_bytes in [32 * 1024, 256 * 1024, 16 * 1024] {
        let options = DirectoryOptions { segment_bytes, ..options() };
        let mut log = Directory::open(&files.root(), options).unwrap().log;
        let largest = crate::log::frame::Frame {
            body: vec![3; log.limits().frame_bytes_max].into(),
            ..crate::log::suite::frame_after(log.head(), &[])
        };
        log.append(&largest).unwrap();
        written.push(largest);
        written.extend((0..10).map(|_| append(&mut log, 30)));
        log.sync().unwrap();
    }
    assert_eq!(crate::log::suite::all(&files.opened().log.archive()), written);
}
