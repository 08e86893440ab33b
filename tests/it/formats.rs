//! The committed directory of every format, opened by the real binary: all its jobs, through the public surface; and what
//! the binary says of formats that it does not serve. [FMT-1]

use crate::harness::Place;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::tree;
use crate::verbs::told;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::path::PathBuf;

/// Its leases are not taken away while the test looks.
const PATIENT: [&str; 2] = ["--reconnect-grace=1h", "--lease-period=1h"];

fn copy(from: &Path, to: &Path) {
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("a new place");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let (path, target) = {
            let entry = entry.expect("it can be listed");
            (entry.path(), to.join(entry.file_name()))
        };
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(&path, target).expect("there is room");
        }
    }
}

/// A copy of the fixture of format 1.
fn fixture() -> Place {
    let place = Place::new();
    copy(Path::new("tests/fixtures/format-1/data"), &place.data());
    place
}

fn objects(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// What the release that wrote the fixture said of its jobs.
fn jobs() -> Vec<Value> {
    objects(&std::fs::read_to_string("tests/fixtures/format-1/jobs.jsonl").expect("it is committed"))
}

fn said_of(data: &Path, arguments: &[&str]) -> String {
    let data = data.display().to_string();
    let output = run(&[&arguments[..1], &[data.as_str()], &arguments[1..]].concat());
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    stdout(&output)
}

#[test]
fn the_fixture_of_format_1_is_read_whole_without_a_server() {
    let place = fixture();
    assert!(said_of(&place.data(), &["verify"]).ends_with("no fault\n"));
    assert_eq!(objects(&said_of(&place.data(), &["export"])), jobs());
    let check = said_of(&place.data(), &["migrate", "--check"]);
    assert!(check.contains("has format 1;") && check.contains("no step is to be taken"), "{check}");
    let done = said_of(&place.data(), &["migrate", "--json"]);
    assert_eq!((&objects(&done)[0]["found"], &objects(&done)[0]["format"]), (&1.into(), &1.into()));
}

#[test]
fn the_fixture_of_format_1_is_served_with_all_its_jobs() {
    let place = fixture();
    let mut server = place.serve(&PATIENT);
    let listed = objects(&told(&server, &["ls", "--all", "--json"]));
    assert_eq!(listed.len(), jobs().len());
    // One of each state, and every tenth: each is a process.
    let mut states = std::collections::BTreeMap::new();
    for (number, mut job) in jobs().into_iter().enumerate() {
        let of_state: &mut u32 = states.entry(job["state"].to_string()).or_default();
        *of_state += 1;
        if *of_state > 3 && number % 10 != 0 {
            continue;
        }
        let id = job["id"].as_str().expect("an id").to_owned();
        let mut found = objects(&told(&server, &["get", &id, "--json"])).remove(0);
        // The log tells it, and the work tree does not.
        for job in [&mut job, &mut found] {
            job.as_object_mut().expect("an object").remove("started_at");
        }
        assert_eq!(found, job);
    }
    assert_eq!(states.len(), 6, "{states:?}");
    let updates = objects(&told(&server, &["tail", "--no-follow", "--json"]));
    let sequences: Vec<u64> = updates.iter().filter_map(|update| update["sequence"].as_u64()).collect();
    assert_eq!((sequences.first(), sequences.last()), (Some(&106), Some(&505)));
    assert_eq!(sequences.len(), 400);
    assert!(server.terminate().success());
    assert!(said_of(&place.data(), &["verify"]).ends_with("no fault\n"));
}

fn set_format(data: &Path, from: &str, to: &str) {
    let format = data.join("format");
    let text = std::fs::read_to_string(&format).expect("it is there");
    std::fs::write(format, text.replace(from, to)).expect("it is ours");
}

#[test]
fn an_older_format_is_not_served_and_the_command_that_migrates_is_named() {
    let place = fixture();
    set_format(&place.data(), "format 1", "format 0");
    let bytes = |path: PathBuf| (path.clone(), std::fs::read(path).ok());
    let files = || tree(&place.data()).into_iter().map(bytes).collect::<Vec<_>>();
    let before = files();
    let refused = place.refused(&[]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::UNUSABLE.code())));
    let said = stderr(&refused);
    let command = format!("gangline migrate {}", place.data().display());
    assert!(said.contains("has format 0;") && said.contains(&command), "{said}");
    let data = place.data().display().to_string();
    for command in [["inspect", "log"].as_slice(), &["verify"], &["export"]] {
        let refused = run(&[command, &[data.as_str()]].concat());
        assert_eq!(refused.status.code(), Some(i32::from(Exit::UNUSABLE.code())), "{command:?}");
        assert!(stderr(&refused).contains("gangline migrate"), "{command:?}: {}", stderr(&refused));
    }
    // No release ever wrote it.
    let none = run(&["migrate", &data]);
    assert_eq!(none.status.code(), Some(i32::from(Exit::UNUSABLE.code())));
    assert!(stderr(&none).contains("no step of this release leads from there"), "{}", stderr(&none));
    assert!(files() == before, "it was touched");
}

#[test]
fn a_migration_that_was_interrupted_behind_its_switch_is_finished_by_the_next_start() {
    let place = fixture();
    let data = place.data();
    std::fs::create_dir(data.join("migrating")).expect("it is ours");
    std::fs::rename(data.join("checkpoints"), data.join("migrating/checkpoints")).expect("it is ours");
    let text = std::fs::read_to_string(data.join("format")).expect("it is there");
    std::fs::write(data.join("format"), format!("{text}moving\n")).expect("it is ours");
    let path = data.display().to_string();
    let refused = run(&["verify", &path]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::UNUSABLE.code())));
    assert!(
        stderr(&refused).contains(&format!("`gangline migrate {path}` finishes it")),
        "{}",
        stderr(&refused)
    );
    let check = said_of(&data, &["migrate", "--check"]);
    assert!(check.contains("interrupted after its switch"), "{check}");
    assert!(place.serve(&PATIENT).terminate().success());
    assert!(data.join("checkpoints").exists() && !data.join("migrating").exists());
    assert!(said_of(&data, &["verify"]).ends_with("no fault\n"));
}
