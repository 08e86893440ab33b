//! A disk that is full, and has space again.

use crate::job::id::Position;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::log::directory::tests::place::wait_until;
use crate::log::suite;
use crate::log::suite::append;
use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A small file system of its own, unmounted at the end.
struct Mount(TempDir);

impl Mount {
    /// `None`, with the reason printed, where nothing can be mounted.
    fn new(kib: u64) -> Option<Mount> {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: only root can mount a small file system");
            return None;
        }
        let mount = Mount(TempDir::new().unwrap());
        let option = format!("size={kib}k,mode=700");
        let done =
            Command::new("mount").args(["-t", "tmpfs", "-o", &option, "tmpfs"]).arg(mount.0.path()).output();
        match done {
            Ok(output) if output.status.success() => Some(mount),
            other => {
                eprintln!("skipped: no small file system can be mounted here: {other:?}");
                std::mem::forget(mount);
                None
            }
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn resize(&self, kib: u64) {
        let option = format!("remount,size={kib}k");
        assert!(Command::new("mount").args(["-o", &option]).arg(self.path()).status().unwrap().success());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        assert!(Command::new("umount").arg(self.path()).status().unwrap().success());
    }
}

fn options() -> DirectoryOptions {
    DirectoryOptions { segment_bytes: 256 * 1024, reserve_bytes: 64 * 1024, retry_ms: 10 }
}

/// [ACK-2]: a full disk is seen before anything fails, poisons nothing, and is over when there is space.
#[test]
fn a_full_disk_refuses_frames_and_takes_them_again_when_there_is_space() {
    let Some(mount) = Mount::new(700) else { return };
    let mut log = Directory::open(mount.path(), options()).unwrap().log;
    let mut written = Vec::new();
    let refused = loop {
        let frame = suite::frame_after(log.head(), &[suite::submitted(1, &[5; 30_000])]);
        match log.append(&frame) {
            Ok(()) => written.push(frame),
            Err(Error::Full { .. }) => break frame,
            Err(error) => panic!("{error}"),
        }
        log.sync().unwrap();
    };
    assert!((8..=16).contains(&written.len()), "two segments fit, not {} frames", written.len());
    assert!(log.room().disk_full && log.room().spares == 0);
    // What is left of the segment is still good for smaller frames.
    written.push(append(&mut log, 1));
    log.sync().unwrap();
    let archive = log.archive();
    assert_eq!(suite::all(&archive), written);
    mount.resize(2_000);
    wait_until(|| log.room().spares == 1 && !log.room().disk_full);
    let again = suite::frame_after(log.head(), &[suite::submitted(1, &[5; 30_000])]);
    assert_eq!(again.body, refused.body);
    log.append(&again).unwrap();
    written.push(again);
    log.sync().unwrap();
    drop((log, archive));
    assert_eq!(suite::all(&Directory::open(mount.path(), options()).unwrap().log.archive()), written);
}

/// The reserve pays for the checkpoint and the carry file that let old segments go, and comes back afterwards.
#[test]
fn a_full_disk_is_freed_by_a_checkpoint_written_into_the_reserve() {
    let Some(mount) = Mount::new(700) else { return };
    let mut log = Directory::open(mount.path(), options()).unwrap().log;
    let reserve = mount.path().join("reserve");
    wait_until(|| reserve.exists());
    loop {
        let frame = suite::frame_after(log.head(), &[suite::submitted(1, &[5; 20_000])]);
        if log.append(&frame).is_err() {
            break;
        }
        log.sync().unwrap();
    }
    // Nothing is left but the reserve.
    let filler = mount.path().join("work");
    let full = std::fs::write(&filler, vec![1; 4 << 20]).unwrap_err();
    assert_eq!(full.kind(), std::io::ErrorKind::StorageFull);
    let archive = log.archive();
    let head = log.head().position;
    archive.put_checkpoint(head, &mut |out| out.write_all(&[9; 40_000])).unwrap();
    assert_eq!(archive.checkpoints().unwrap(), [head]);
    assert!(!reserve.exists());
    let live = crate::job::id::Pointer { position: Position(1), index: 0 };
    let floor = archive.trim(head, &mut [live].into_iter()).unwrap();
    assert!(floor.position > Position(1));
    archive.event(live).unwrap();
    wait_until(|| log.room().spares == 1);
    std::fs::remove_file(filler).unwrap();
    wait_until(|| reserve.exists());
    append(&mut log, 1);
    log.sync().unwrap();
}

#[test]
fn without_space_for_the_first_segment_opening_says_so() {
    let Some(mount) = Mount::new(100) else { return };
    let Err(Error::Full { bytes }) = Directory::open(mount.path(), options()) else { panic!() };
    assert_eq!(bytes, 256 * 1024);
    mount.resize(2_000);
    append(&mut Directory::open(mount.path(), options()).unwrap().log, 1);
}
