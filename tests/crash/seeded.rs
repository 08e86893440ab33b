//! The campaign bites: a server with a bug put in on purpose, the fault that brings it out, and a checker that must name
//! the promise it breaks. It needs a binary with the feature `seeded-bugs`, which `scripts/campaign --bugs` makes; what
//! the simulation can find of them it finds in every test run (`src/engine/simulation/seeded.rs`).

use crate::brittle::Brittle;
use crate::check::Violation;
use crate::check::check;
use crate::cuts;
use crate::failing;
use crate::history::file::Account;
use crate::kills;
use crate::load::Load;
use crate::server::Server;
use crate::server::until;
use crate::strace;
use crate::strace::Harm;
use crate::tier;
use crate::volume::Volume;
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

/// What brings the bug out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    Kill,
    PowerCut,
    /// The same, and each sync takes long: what is told before it is told in vain.
    SlowPowerCut,
    /// A sync that really fails, and then a power cut.
    FailedSync,
}

/// Each bug, its fault, and the promises of which one at least must be named.
const BUGS: [(&str, Fault, &[&str]); 7] = [
    ("skip-sync", Fault::PowerCut, &["ACK-1"]),
    ("publish-before-sync", Fault::SlowPowerCut, &["LOG-1"]),
    ("accept-stale-token", Fault::Kill, &["LEASE-1", "JOB-3"]),
    ("two-terminals", Fault::Kill, &["JOB-1"]),
    ("drop-update-at-resume", Fault::Kill, &["LOG-2"]),
    ("reuse-sequence", Fault::Kill, &["LOG-1", "ACK-1"]),
    ("trust-page-cache", Fault::FailedSync, &["ACK-1", "LOG-1"]),
];

/// A bug that is not found in so many rounds is not found.
const ROUNDS_MAX: usize = 6;
/// Faults in a round.
const FAULTS: usize = 4;
/// Acknowledged submits before each of them, if they come in time.
const ACKS: usize = 60;
/// How much longer each sync takes.
const SLOW_SYNC_US: u64 = 20_000;
/// A server with a bug need not bring its jobs to an end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The binary with the bugs in it, if there is one.
fn with_bugs() -> Option<PathBuf> {
    let binary = std::env::var_os("GANGLINE_SEEDED_BINARY").map(PathBuf::from);
    if binary.is_none() {
        eprintln!(
            "SKIPPED: GANGLINE_SEEDED_BINARY names no binary with bugs; scripts/campaign --bugs makes one"
        );
    }
    binary
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_seeded_bug_is_found_by_the_promise_it_breaks() {
    let Some(binary) = with_bugs() else { return };
    let mut seed = tier::seed("seeded");
    let only = std::env::var("GANGLINE_BUG").ok();
    let mut missed = Vec::new();
    for (bug, fault, promises) in BUGS.iter().filter(|(bug, ..)| only.as_ref().is_none_or(|only| only == bug))
    {
        let mut found = Vec::new();
        let mut rounds = 0;
        let is_named = |violation: &Violation| promises.contains(&violation.promise);
        while rounds < ROUNDS_MAX && !found.iter().any(is_named) {
            (rounds, seed) = (rounds + 1, seed.wrapping_add(1));
            let account = match round(&binary, bug, *fault, seed).await {
                Ok(account) => account,
                Err(why) => return eprintln!("SKIPPED: no {fault:?} can be had here: {why}"),
            };
            found = check(&account.history, &account.last);
        }
        let named = found.iter().find(|violation| is_named(violation));
        eprintln!("{bug}: {} violations after {rounds} rounds of {fault:?}: {named:?}", found.len());
        if named.is_none() {
            missed.push(bug);
        }
    }
    assert!(missed.is_empty(), "the campaign does not find {missed:?}");
}

/// The binary that users get has none of it.
#[test]
fn an_ordinary_binary_holds_no_bug_on_purpose() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_gangline")).expect("it was built");
    let holds = |name: &[u8]| memchr::memmem::find(&binary, name).is_some();
    assert!(!holds(b"SEEDED_BUG") && !holds(b"publish-before-sync"), "built with the feature seeded-bugs");
    let Some(with_bugs) = with_bugs() else { return };
    let binary = std::fs::read(with_bugs).expect("it was built");
    assert!(memchr::memmem::find(&binary, b"SEEDED_BUG").is_some(), "built without the feature seeded-bugs");
}

/// Where the data lies.
enum Ground {
    Folder(tempfile::TempDir),
    Volume(Volume),
    Brittle(Brittle),
}

impl Ground {
    fn of(fault: Fault) -> Result<Ground, String> {
        match fault {
            Fault::Kill => tempfile::tempdir().map(Ground::Folder).map_err(|error| error.to_string()),
            Fault::PowerCut | Fault::SlowPowerCut => Volume::ext4(256 << 20).map(Ground::Volume),
            Fault::FailedSync => Brittle::new().map(Ground::Brittle),
        }
    }

    fn server(&self) -> Server {
        match self {
            Ground::Folder(folder) => Server::within(folder.path(), &kills::FLAGS),
            Ground::Volume(volume) => Server::on(volume, &kills::FLAGS),
            Ground::Brittle(brittle) => Server::on(&brittle.volume, &kills::FLAGS),
        }
    }
}

async fn round(binary: &Path, bug: &str, fault: Fault, seed: u64) -> Result<Account, String> {
    let ground = Ground::of(fault)?;
    let mut server = ground.server();
    server.set_binary(binary);
    server.set_variable("GANGLINE_SEEDED_BUG", bug);
    let mut load = Load::start(bug, &server.address(), seed);
    load.patience = PATIENCE;
    if fault == Fault::SlowPowerCut {
        strace::usable()?;
        server.set_under(strace::harming("fdatasync", Harm::DelayUs(SLOW_SYNC_US), Path::new("/dev/null")));
    }
    server.start().await;
    for _ in 0..FAULTS {
        let wanted = load.recorder.look(|sum| sum.acks) + ACKS;
        let acks = || load.recorder.look(|sum| sum.acks >= wanted).then_some(());
        // With some bugs nothing goes on after the first fault.
        let goes_on = until(PATIENCE / 2, acks).await.is_some();
        match &ground {
            Ground::Folder(_) => server.kill(),
            Ground::Volume(volume) => cuts::cut(volume, &mut server, &load),
            Ground::Brittle(brittle) => {
                failing::fail_really(brittle, &mut server, &mut load).await;
                if !server.try_start().await {
                    return Ok(load.abandon(&server.said()));
                }
                cuts::cut(&brittle.volume, &mut server, &load);
            }
        }
        if !server.try_start().await {
            return Ok(load.abandon(&server.said()));
        }
        if !goes_on {
            break;
        }
    }
    let account = load.settle().await;
    server.kill();
    Ok(account)
}
