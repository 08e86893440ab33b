//! Whether filling segments with zeros ahead of need holds up syncs: the log of a directory, whose next segments are filled
//! all the while, against a plain file with nothing beside it.

use crate::cli::bench::figures::Figures;
use crate::cli::bench::figures::percentile;
use crate::cli::bench::setup::Bench;
use crate::clock::Timestamp;
use crate::job::id::Epoch;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::log::frame::Frame;
use bytes::Bytes;
use std::time::Duration;

/// Small, so that one is filled at every moment.
const SEGMENT_BYTES: u64 = 16 << 20;
/// Bytes of a frame: about 60 jobs.
const FRAME_BYTES: usize = 16 << 10;
/// For how long each of the two is measured.
const TIME: Duration = Duration::from_secs(5);

pub(in crate::cli::bench) fn measure(bench: &Bench) -> anyhow::Result<Figures> {
    let mut disk = bench.disk()?;
    let plain = repeat(bench, || Ok(disk.sync()?))?;
    let options = DirectoryOptions { segment_bytes: SEGMENT_BYTES, ..DirectoryOptions::default() };
    let mut log = Directory::open(&bench.dir().join("log"), options)?.log;
    let body = Bytes::from(vec![0x5a; FRAME_BYTES]);
    let synced = repeat(bench, || {
        let head = log.head();
        log.append(&Frame {
            position: head.position.next(),
            epoch: Epoch(1),
            first_sequence: head.sequence.plus(1),
            updates: 0,
            time: Timestamp(1),
            previous: head.hash,
            body: body.clone(),
        })?;
        let before = bench.clock.now().tick;
        log.sync()?;
        Ok(bench.clock.now().tick.since(before))
    })?;
    Ok(Figures {
        p50_ms: percentile(&synced, 50),
        p99_ms: percentile(&synced, 99),
        max_ms: percentile(&synced, 100),
        sync_p50_ms: percentile(&plain, 50),
        sync_p99_ms: percentile(&plain, 99),
        sync_max_ms: percentile(&plain, 100),
        ..bench.figures("fill")
    })
}

/// How long each sync took.
fn repeat(
    bench: &Bench,
    mut sync: impl FnMut() -> anyhow::Result<Duration>,
) -> anyhow::Result<Vec<Duration>> {
    let until = bench.clock.now().tick.after(TIME);
    let mut times = Vec::new();
    while bench.clock.now().tick < until {
        times.push(sync()?);
    }
    Ok(times)
}
