//! Calls that fail where nothing is acknowledged: in the threads behind the writer, which make checkpoints, prepare segments
//! and keep the work tree, and while the server starts. It ends with its own exit code, or says what failed and goes on;
//! then the power goes, so that nothing can rest on what failed. [ACK-2]

use crate::cuts;
use crate::failing::ordinals;
use crate::figures;
use crate::load::Load;
use crate::server;
use crate::server::PATIENCE;
use crate::server::Server;
use crate::server::until;
use crate::strace;
use crate::strace::Harm;
use crate::tier;
use crate::volume::Volume;
use gangline::cli::exit::Exit;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;
use tokio::time::Instant;

/// Small segments and checkpoints, so that those behind the writer have much to do.
const FLAGS: [&str; 18] = [
    "--segment-bytes",
    "256KiB",
    "--checkpoint-bytes",
    "64KiB",
    "--reserve-bytes",
    "1MiB",
    "--lease-period",
    "2s",
    "--threads",
    "2",
    "--transport-request-bytes-max",
    "192KiB",
    "--payload-bytes-max",
    "64KiB",
    "--result-bytes-max",
    "64KiB",
    "--log-filter",
    "info",
];
/// How many of its calls fail behind the writer, in the long tier.
const ORDINAL_MAX: u64 = 6;
/// A call that was not made so often until then is not waited for any longer.
const MET_WITHIN: Duration = Duration::from_secs(20);
/// Submits that are acknowledged after the fault, by a server that goes on.
const MORE: usize = 40;
/// What EIO is called in what the server says.
const EIO: &str = "Input/output error";

/// Checkpoints, the segments that are prepared ahead, and the work tree, which sled writes in threads of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_fails_behind_the_writer_is_told_and_costs_nothing() {
    behind(
        "behind",
        &[("checkpointer", "fsync", &[2]), ("log-preparer", "fsync", &[2]), ("sled-io", "pwrite64", &[1])],
    )
    .await;
}

/// The same, each call of each of them; the short tier has no time for it. Their calls repeat themselves after a few.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whatever_fails_behind_the_writer_is_told_and_costs_nothing() {
    let ordinals: Vec<u64> = (1..=tier::number("GANGLINE_ORDINALS", 0).min(ORDINAL_MAX)).collect();
    if ordinals.is_empty() {
        return eprintln!("SKIPPED: a part of the long tier, which GANGLINE_ORDINALS asks for");
    }
    for (name, calls) in [
        ("checkpointer", &["write", "fsync", "rename", "openat", "unlink"][..]),
        ("log-preparer", &["pwrite64", "fdatasync", "fsync", "rename", "openat"]),
        ("sled-io", &["pwrite64", "sync_file_range"]),
    ] {
        for call in calls {
            behind(&format!("{name}, {call}"), &[(name, call, &ordinals)]).await;
        }
    }
}

/// Whoever makes them, from the first thing that a start does on: file contents, names of files, directories.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_nth_sync_or_naming_of_a_file_fails_and_nothing_acknowledged_is_lost() {
    whole("named", &[("fsync", &[2, 5]), ("rename", &[1])]).await;
}

/// A server under load, on a disk whose power can be cut if there is one.
struct Rig {
    server: Server,
    load: Load,
    volume: Option<Volume>,
    place: TempDir,
    /// Where what it says since the newest start begins.
    said_from: usize,
    rounds: u64,
    went_on: u64,
    ended: u64,
}

/// What became of a server after a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Became {
    Ended,
    WentOn,
}

impl Rig {
    fn new(part: &str, seed: u64) -> Rig {
        let place = tempfile::tempdir().expect("a temporary directory");
        let volume = Volume::ext4(512 << 20)
            .inspect_err(|why| {
                eprintln!("{part}: no power can be cut here, so the server is killed instead: {why}")
            })
            .ok();
        let data = volume.as_ref().map_or(place.path().to_owned(), Volume::path).join("data");
        let server = Server::new(&data, &place.path().join("stderr"), &FLAGS);
        let load = Load::start(part, &server.address(), seed);
        Rig { server, load, volume, place, said_from: 0, rounds: 0, went_on: 0, ended: 0 }
    }

    fn trace(&self) -> PathBuf {
        self.place.path().join(format!("trace-{}", self.rounds))
    }

    fn said(&self) -> String {
        let said = std::fs::read(self.place.path().join("stderr")).unwrap_or_default();
        String::from_utf8_lossy(&said[self.said_from..]).into_owned()
    }

    /// The first call that was made to fail, as strace tells of it.
    fn fault(&self) -> Option<String> {
        strace::harmed(&self.trace()).into_iter().next()
    }

    /// How many calls have failed.
    fn met(&self) -> u64 {
        self.went_on + self.ended
    }

    /// Waits for the fault and judges what comes of it; says whether it was met: some calls are not made so often in the
    /// time there is.
    async fn judge(&mut self, what: &str) -> bool {
        let began = Instant::now();
        let met =
            until(MET_WITHIN, || self.fault().or_else(|| self.server.has_ended().then(String::new))).await;
        let Some(fault) = met else {
            eprintln!("{what}: not met");
            return false;
        };
        let acks = |load: &Load| load.recorder.look(|sum| sum.acks);
        let wanted = acks(&self.load) + MORE;
        let came = until(PATIENCE, || {
            let ended = self.server.has_ended().then_some(Became::Ended);
            ended.or_else(|| (acks(&self.load) >= wanted).then_some(Became::WentOn))
        });
        let Some(became) = came.await else {
            panic!("{what}: it neither ends nor goes on after {fault}; it said: {}", self.said());
        };
        match became {
            Became::Ended => {
                let status = self.server.ended().await;
                assert_eq!(status.code(), Some(i32::from(Exit::DISK.code())), "{what}: {}", self.said());
                self.ended += 1;
            }
            Became::WentOn => self.went_on += 1,
        }
        // What cannot be written to stderr cannot be told.
        if !fault.contains("write(2,") {
            let told = || self.said().lines().any(is_told).then_some(());
            assert!(
                until(PATIENCE, told).await.is_some(),
                "{what}: nobody was told of {fault}: {}",
                self.said()
            );
        }
        eprintln!("{what}: {became:?}, {:?} after the start", began.elapsed());
        true
    }

    /// The power goes, or at least the server.
    fn cut(&mut self) {
        match &self.volume {
            Some(volume) => cuts::cut(volume, &mut self.server, &self.load),
            None => self.server.kill(),
        }
        self.load.look();
        self.rounds += 1;
        self.said_from += self.said().len();
    }

    /// All is well again: everything acknowledged is there, and the directory is sound.
    async fn end(mut self, part: &str, seed: u64) {
        self.server.set_under(Vec::new());
        self.server.start().await;
        let (met, went_on, ended) = (self.met(), self.went_on, self.ended);
        let faults = format!("{part}: {met} failed calls, {went_on} survived, {ended} that ended the server");
        let account = self.load.assert_kept(&faults).await;
        self.server.stop().await;
        let verified = Command::new(server::binary()).arg("verify").arg(self.server.data()).output();
        let verified = verified.expect("the binary runs");
        assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
        let counts = [("failed_calls", met), ("survived", went_on), ("acknowledged", account.acknowledged())];
        figures::note(part, seed, &counts);
    }
}

/// Whether a line of the server's log, or its last words, tells of the fault to somebody who should look.
fn is_told(line: &str) -> bool {
    let level = ["\"WARN\"", "\"ERROR\"", "because: "];
    line.contains(EIO) && level.iter().any(|level| line.contains(level))
}

/// The n-th of each call fails in the threads of a name, counted from when the server serves.
async fn behind(part: &str, faults: &[(&str, &str, &[u64])]) {
    if let Err(why) = strace::usable() {
        return eprintln!("SKIPPED: nothing can be made to fail here: {why}");
    }
    let seed = tier::seed(part);
    let mut rig = Rig::new(part, seed);
    for (name, call, ordinals) in faults {
        let met = rig.met();
        for n in ordinals.iter().copied() {
            rig.server.start().await;
            let threads = threads(&rig.server, name).await;
            let mut tracer = strace::attach(&threads, call, Harm::FailNth(n), &rig.trace()).await;
            let is_met = rig.judge(&format!("{name}: {call} {n}")).await;
            rig.cut();
            // It ends with what it traces.
            tracer.wait().expect("it is our child");
            if !is_met {
                break;
            }
        }
        assert!(rig.met() > met, "{name}: no {call} failed");
    }
    rig.end(part, seed).await;
}

/// The ids of the running server's threads of this name.
async fn threads(server: &Server, name: &str) -> Vec<String> {
    let tasks = PathBuf::from(format!("/proc/{}/task", server.process_id()));
    let is_named = |task: &PathBuf| {
        // A thread that has ended meanwhile has no name.
        std::fs::read_to_string(task.join("comm")).is_ok_and(|found| found.starts_with(name))
    };
    let named = || {
        let tasks =
            std::fs::read_dir(&tasks).expect("it runs").map(|task| task.expect("it can be listed").path());
        let ids = tasks.filter(is_named).filter_map(|task| Some(task.file_name()?.to_str()?.to_owned()));
        Some(ids.collect::<Vec<_>>()).filter(|ids| !ids.is_empty())
    };
    until(PATIENCE, named).await.unwrap_or_else(|| panic!("there is a thread {name}"))
}

/// The n-th of each call fails in every thread, counted from the start.
async fn whole(part: &str, faults: &[(&str, &[u64])]) {
    if let Err(why) = strace::usable() {
        return eprintln!("SKIPPED: nothing can be made to fail here: {why}");
    }
    let seed = tier::seed(part);
    let mut rig = Rig::new(part, seed);
    rig.server.start().await;
    rig.load.more(1).await;
    rig.cut();
    for (call, sample) in faults {
        let went_on = rig.went_on;
        for n in ordinals(sample) {
            rig.server.set_under(strace::harming(call, Harm::FailNth(n), &rig.trace()));
            rig.server.spawn();
            let is_met = rig.judge(&format!("{call} {n}")).await;
            rig.cut();
            if !is_met {
                break;
            }
        }
        assert!(rig.went_on > went_on, "no {call} failed under a server that goes on");
    }
    rig.end(part, seed).await;
}
