//! Power cuts: the file system forgets what was not synced, the server dies, and is started again on what is left.
//! Whatever arrives from the moment of the cut on counts as unknown, because a sync that races with it may lie.

use crate::figures;
use crate::history::Saw;
use crate::kills;
use crate::load::Load;
use crate::server::Server;
use crate::tier;
use crate::volume::Volume;
use gangline::engine::chance::Chance;
use std::fs::File;
use std::time::Duration;

/// Submits that are acknowledged in each round at least, before the cut.
const ACKS_MIN: usize = 50;

/// Cuts that one history holds at most.
const ROUND: u64 = 100;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_cuts_lose_nothing_that_was_acknowledged() {
    let seed = tier::seed("cuts");
    let mut left = tier::number("GANGLINE_CUTS", 10);
    let mut chance = Chance::from_seed(seed);
    while left > 0 {
        let cuts = left.min(ROUND);
        if let Err(why) = round(cuts, chance.next_u64()).await {
            return eprintln!("SKIPPED: no power can be cut here: {why}");
        }
        left -= cuts;
    }
}

async fn round(cuts: u64, seed: u64) -> Result<(), String> {
    let volume = Volume::ext4(512 << 20)?;
    let mut chance = Chance::from_seed(seed);
    let mut server = Server::on(&volume, &kills::FLAGS);
    let mut load = Load::start("cuts", &server.address(), seed);
    for _ in 0..cuts {
        server.start().await;
        load.more(ACKS_MIN).await;
        tokio::time::sleep(Duration::from_millis(u64::from(chance.next_u32() % 1_000))).await;
        cut(&volume, &mut server, &load);
        load.look();
    }
    server.start().await;
    let acknowledged = load.assert_kept(&format!("{cuts} power cuts")).await.acknowledged();
    figures::note("cuts", seed, &[("cuts", cuts), ("acknowledged", acknowledged)]);
    server.kill();
    Ok(())
}

/// The power goes while the server runs, and is back.
pub(crate) fn cut(volume: &Volume, server: &mut Server, load: &Load) {
    let cut = volume.prepare_cut();
    load.recorder.note(&Saw::PowerChanges);
    cut.now();
    server.kill();
    volume.remount().expect("nobody uses it any more");
    load.recorder.note(&Saw::PowerChanges);
}

/// The harness bites: without this a cut that cuts nothing would prove nothing.
#[test]
fn a_cut_forgets_what_was_not_synced_and_keeps_what_was() {
    let volume = match Volume::ext4(64 << 20) {
        Ok(volume) => volume,
        Err(why) => return eprintln!("SKIPPED: no power can be cut here: {why}"),
    };
    let (synced, unsynced) = (volume.path().join("synced"), volume.path().join("unsynced"));
    std::fs::write(&synced, "here").expect("there is space");
    File::open(&synced).and_then(|file| file.sync_all()).expect("it syncs");
    File::open(volume.path()).and_then(|directory| directory.sync_all()).expect("it syncs");
    std::fs::write(&unsynced, "gone").expect("there is space");
    volume.prepare_cut().now();
    volume.unmount().expect("nobody uses it");
    volume.mount().expect("it mounts again");
    assert_eq!(std::fs::read(&synced).expect("it was synced"), b"here");
    assert_ne!(std::fs::read(&unsynced).unwrap_or_default(), b"gone");
}
