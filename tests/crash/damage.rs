//! Damage to a directory that no server runs on: bits flipped, ends cut off, blocks zeroed and swapped, in every file.
//! Either a server does not start and `verify` names the damage, or what it serves is the truth to the last byte; and what
//! `salvage` makes of it starts and holds nothing that was not there. [ACK-1] [LOG-3]

use crate::check::Final;
use crate::figures;
use crate::history::digest;
use crate::load;
use crate::load::Load;
use crate::plan;
use crate::server;
use crate::server::Server;
use crate::tier;
use gangline::cli::exit::Exit;
use gangline::engine::chance::Chance;
use gangline::proto::v1;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

/// Small, so that copies are cheap, and with checkpoints.
const FLAGS: [&str; 12] = [
    "--segment-bytes",
    "1MiB",
    "--checkpoint-bytes",
    "64KiB",
    "--reserve-bytes",
    "64KiB",
    "--transport-request-bytes-max",
    "256KiB",
    "--payload-bytes-max",
    "128KiB",
    "--result-bytes-max",
    "128KiB",
];
const ACKS: usize = 1_500;
const BLOCK: usize = 4_096;

/// What was in the directory when it was whole.
struct Truth {
    last: Final,
    digests: Vec<u64>,
    jobs: HashMap<String, v1::Job>,
    payloads: HashMap<String, String>,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_anywhere_is_named_or_healed_and_never_served() {
    let seed = tier::seed("damage");
    let mut chance = Chance::from_seed(seed);
    let place = tempfile::tempdir().expect("a temporary directory");
    let whole = place.path().join("whole");
    let truth = fill(&whole, &place.path().join("stderr"), seed).await;
    let files = files(&whole);
    let rounds = tier::number("GANGLINE_DAMAGES", 16);
    let mut outcomes: HashMap<&'static str, u64> = HashMap::new();
    for round in 0..rounds {
        let copy = place.path().join("copy");
        copy_all(&whole, &copy);
        // Each kind of file has its turn, however many there are of it.
        let file = &files[(round as usize) % files.len()];
        let what = harm(&copy.join(file), &mut chance);
        let told = format!("seed {seed}, round {round}: {} {what}", file.display());
        let outcome = judge(&copy, &truth, &told, &place.path().join("salvaged")).await;
        *outcomes.entry(outcome).or_default() += 1;
        std::fs::remove_dir_all(&copy).expect("it is ours");
    }
    eprintln!("{rounds} damages in {} files: {outcomes:?}", files.len());
    figures::note("damages", seed, &[("damages", rounds)]);
    assert!(outcomes.contains_key("refused") && outcomes.contains_key("served"), "{outcomes:?}");
}

/// A directory with a life behind it, stopped in good order.
async fn fill(data: &Path, stderr: &Path, seed: u64) -> Truth {
    let mut server = Server::new(data, stderr, &FLAGS);
    let mut load = Load::start("damage", &server.address(), seed);
    server.start().await;
    load.more(ACKS).await;
    let last = load.assert_kept("a directory before it is damaged").await.last;
    server.stop().await;
    let payload = |update: &v1::Update| {
        let spec = update.spec.as_ref()?;
        Some((update.job_id.clone(), String::from_utf8_lossy(&spec.payload).into_owned()))
    };
    Truth {
        digests: last.updates.iter().map(digest).collect(),
        jobs: last.listed.iter().map(|job| (job.id.clone(), job.clone())).collect(),
        payloads: last.updates.iter().filter_map(payload).collect(),
        last,
    }
}

/// Every file of the directory, relative to it, but for the lock, which holds nothing.
fn files(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("it is there") {
            let path = entry.expect("it can be listed").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.metadata().is_ok_and(|file| file.len() > 0) && !path.ends_with("lock") {
                found.push(path.strip_prefix(root).expect("it is below").to_owned());
            }
        }
    }
    found.sort();
    found
}

fn copy_all(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-r").arg(from).arg(to).status().expect("cp runs");
    assert!(copied.success());
}

/// Damages a file; says how. What is not changed by one way is by another.
fn harm(path: &Path, chance: &mut Chance) -> String {
    let before = std::fs::read(path).expect("it is there");
    let used = before.iter().rposition(|byte| *byte != 0).map_or(1, |last| last + 1);
    loop {
        let mut bytes = before.clone();
        // Mostly where something is.
        let end = if chance.next_u32().is_multiple_of(8) { bytes.len() } else { used };
        let at = (chance.next_u64() % end as u64) as usize;
        let block = |at: usize| (at / BLOCK * BLOCK)..(at / BLOCK * BLOCK + BLOCK).min(before.len());
        let what = match chance.next_u32() % 4 {
            0 => {
                bytes[at] ^= 1 << (chance.next_u32() % 8);
                format!("has a bit flipped in byte {at}")
            }
            1 => {
                bytes.truncate(at);
                format!("ends at byte {at}")
            }
            2 => {
                bytes[block(at)].fill(0);
                format!("has zeros in the block of byte {at}")
            }
            _ => {
                let other = (chance.next_u64() % used as u64) as usize;
                let (one, two) = (block(at), block(other));
                if one.len() == two.len() {
                    bytes[one.clone()].copy_from_slice(&before[two.clone()]);
                    bytes[two].copy_from_slice(&before[one]);
                }
                format!("has the blocks of bytes {at} and {other} swapped")
            }
        };
        if bytes != before {
            std::fs::write(path, bytes).expect("it is ours");
            return what;
        }
    }
}

fn run(arguments: &[&str], path: &Path) -> (i32, String) {
    let mut command = Command::new(server::binary());
    command.args(arguments).arg(path).stdin(Stdio::null());
    let output = command.output().expect("the binary runs");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked"), "{arguments:?}: {said}");
    (output.status.code().unwrap_or(-1), said)
}

/// What is told of a job, but for failures of one that has succeeded: these are told only while it is in memory.
type Told = (String, i32, u32, u32, u64, u64, Vec<u8>, Vec<u8>);

fn told_of(job: &v1::Job) -> Told {
    let payload = job.spec.as_ref().map(|spec| spec.payload.to_vec()).unwrap_or_default();
    let (submitted, last) = (job.submitted_sequence, job.last_sequence);
    (job.id.clone(), job.state, job.attempts, job.generation, submitted, last, payload, job.result.to_vec())
}

async fn judge(copy: &Path, truth: &Truth, told: &str, salvaged: &Path) -> &'static str {
    let exit = |exit: Exit| i32::from(exit.code());
    let (verified, said) = run(&["verify"], copy);
    let known = [exit(Exit::OK), exit(Exit::DAMAGED), exit(Exit::UNUSABLE)];
    assert!(known.contains(&verified), "{told}: verify ends with {verified}: {said}");
    if verified != exit(Exit::OK) {
        salvage(copy, salvaged, truth, told).await;
    }
    let mut server = Server::new(copy, &copy.with_extension("stderr"), &FLAGS);
    std::fs::remove_file(copy.with_extension("stderr")).ok();
    if !server.try_start().await {
        let said = server.said();
        assert!(!said.contains("panicked"), "{told}: {said}");
        assert_ne!(
            verified,
            exit(Exit::OK),
            "{told}: verify finds nothing, and a server does not start: {said}"
        );
        return "refused";
    }
    let served = load::read_back(server.channel().await).await;
    let digests: Vec<u64> = served.updates.iter().map(digest).collect();
    assert!(digests == truth.digests, "{told}: other updates are served; verify: {said}");
    let same = served.listed.iter().map(told_of).eq(truth.last.listed.iter().map(told_of));
    assert!(same, "{told}: other jobs are served; verify: {said}");
    let got = |last: &Final| -> Vec<Option<Told>> {
        last.got.iter().map(|got| got.as_ref().ok().map(told_of)).collect()
    };
    let same = got(&served) == got(&truth.last) && served.got.iter().all(Result::is_ok);
    assert!(same, "{told}: other payloads are served; verify: {said}");
    server.kill();
    if verified == exit(Exit::OK) { "served" } else { "healed" }
}

/// What can be saved starts, and holds only what was there.
async fn salvage(copy: &Path, out: &Path, truth: &Truth, told: &str) {
    let output = Command::new(server::binary()).arg("salvage").arg(copy).arg(out).output();
    let output = output.expect("the binary runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let saved = [Exit::OK, Exit::DAMAGED].map(|exit| Some(i32::from(exit.code())));
    assert!(saved.contains(&output.status.code()), "{told}: salvage ends with {:?}: {said}", output.status);
    let mut server = Server::new(out, &out.with_extension("stderr"), &FLAGS);
    server.start().await;
    let served = load::read_back(server.channel().await).await;
    server.kill();
    let mut seen = HashSet::new();
    for job in served.got.iter().map(|got| got.as_ref().expect("what is listed can be had")) {
        let payload = job.spec.as_ref().map(|spec| spec.payload.to_vec()).unwrap_or_default();
        let payload = String::from_utf8_lossy(&payload).into_owned();
        let was = truth.payloads.get(&job.id);
        assert!(
            payload.is_empty() || was == Some(&payload),
            "{told}: {} has the payload {payload:?}",
            job.id
        );
        let result = plan::result(&payload);
        let right = job.result.is_empty() || payload.is_empty() || job.result == result.as_bytes();
        assert!(right, "{told}: {} has another result", job.id);
        seen.insert(&job.id);
    }
    let unknown = served.listed.iter().find(|job| !truth.jobs.contains_key(&job.id));
    assert!(unknown.is_none(), "{told}: salvage made up {unknown:?}");
    std::fs::remove_dir_all(out).expect("it is ours");
}
