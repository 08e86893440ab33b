//! Backups over a real connection: what a caller that takes nothing keeps back, and for how long.

use crate::clock::Clock;
use crate::grpc::rig;
use crate::grpc::rig::Setup;
use crate::grpc::status::Reason;
use crate::grpc::status::reason_of;
use crate::job::id::Position;
use crate::log::Archive;
use crate::proto::v1;
use std::time::Duration;
use tempfile::TempDir;

/// How long a caller may take nothing.
const STALL: Duration = Duration::from_millis(100);

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_takes_nothing_loses_its_backup_so_that_log_can_go() {
    let place = TempDir::new().unwrap();
    let setup = Setup { segment_bytes: 1 << 20, backup_stall: STALL, ..Setup::default() };
    let rig = rig::start(place.path(), setup).await;
    for _ in 0..20 {
        rig.submit("q", 10, 50_000).await;
    }
    let mut admin = rig.admin();
    let clock = Clock::system();
    let begun = clock.now().tick;
    let mut pieces = admin.get_backup(v1::GetBackupRequest::default()).await.unwrap().into_inner();
    let begin = pieces.message().await.unwrap().unwrap();
    assert!(
        matches!(begin.piece, Some(v1::get_backup_response::Piece::Begin(begin)) if begin.bytes > 9_000_000)
    );
    let archive = rig.service().settings().archive.clone().unwrap();
    let trim = || archive.trim(archive.durable(), &mut std::iter::empty()).unwrap().position;
    while trim() == Position(1) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert!(clock.now().tick.since(begun) >= STALL, "until then it keeps the log");
    let ended = loop {
        match pieces.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it looks complete"),
            Err(status) => break status,
        }
    };
    assert_eq!(reason_of(&ended), Some(Reason::BackupStalled), "{ended}");
    drop(archive);
    rig.stop().await;
}
