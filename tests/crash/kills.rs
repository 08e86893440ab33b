//! kill -9 in a row, under load, at random moments; a quarter of them while the server starts or recovers.

use crate::figures;
use crate::load::Load;
use crate::server::Server;
use crate::tier;
use gangline::engine::chance::Chance;
use std::time::Duration;

/// Small segments and checkpoints: the campaign also meets roll-overs, checkpoints and their loading.
pub(crate) const FLAGS: [&str; 10] = [
    "--segment-bytes",
    "8MiB",
    "--checkpoint-bytes",
    "2MiB",
    "--reserve-bytes",
    "1MiB",
    "--lease-period",
    "2s",
    "--threads",
    "2",
];

/// Kills that one history holds at most: what is to be judged stays small.
const ROUND: u64 = 250;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_a_row_lose_and_double_nothing() {
    let seed = tier::seed("kills");
    let mut left = tier::number("GANGLINE_KILLS", 100);
    let mut chance = Chance::from_seed(seed);
    while left > 0 {
        let kills = left.min(ROUND);
        round(kills, chance.next_u64()).await;
        left -= kills;
    }
}

async fn round(kills: u64, seed: u64) {
    let mut chance = Chance::from_seed(seed);
    let place = tempfile::tempdir().expect("a temporary directory");
    let mut server = Server::within(place.path(), &FLAGS);
    let mut load = Load::start("kills", &server.address(), seed);
    let mut while_starting = 0;
    for kill in 0..kills {
        server.spawn();
        if chance.next_u32().is_multiple_of(4) {
            while_starting += 1;
            wait(&mut chance, 50).await;
        } else {
            server.listening().await;
            wait(&mut chance, 700).await;
        }
        assert!(!server.has_ended(), "it ended by itself before kill {kill}: {}", server.said());
        server.kill();
        load.look();
    }
    server.start().await;
    let faults = format!("{kills} kills, {while_starting} of them while starting");
    let account = load.assert_kept(&faults).await;
    let acknowledged = account.acknowledged();
    assert!(acknowledged >= kills, "too little happened between the kills: {acknowledged} acknowledged jobs");
    let counts = [("kills", kills), ("while_starting", while_starting), ("acknowledged", acknowledged)];
    figures::note("kills", seed, &counts);
}

/// A random moment.
async fn wait(chance: &mut Chance, most_ms: u32) {
    tokio::time::sleep(Duration::from_millis(u64::from(chance.next_u32() % most_ms))).await;
}
