//! `gangline verify` and `gangline export`: clean, damaged, under load, after kill -9, and where nothing can be written.

use crate::harness::Place;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::history;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::cli::exit::Exit;
use gangline::client::Client;
use gangline::client::Options;
use gangline::proto::v1;
use serde_json::Value;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

fn verify(place: &Place, more: &[&str]) -> Output {
    let data = place.data().display().to_string();
    run(&[&["verify", &data], more].concat())
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

fn json(output: &Output) -> Vec<Value> {
    stdout(output).lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// A directory with a flipped bit in the payload of a job that is cancelled later.
fn damaged() -> Place {
    let place = history::written();
    let segment = place.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    let at = bytes.windows(7).position(|window| window == b"dog.jpg").expect("a payload");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    place
}

#[test]
fn a_clean_directory_is_told_as_clean() {
    let place = history::written();
    let output = verify(&place, &[]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    insta::assert_snapshot!("clean", stdout(&output));
    insta::assert_json_snapshot!("clean_json", json(&verify(&place, &["--json"])));
}

#[test]
fn every_fault_is_named_with_file_place_and_loss() {
    let place = damaged();
    let output = verify(&place, &[]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED), "{}", stderr(&output));
    insta::assert_snapshot!("damaged", stdout(&output).replace(&place.data().display().to_string(), "DIR"));
    let output = verify(&place, &["--json"]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED));
    insta::assert_json_snapshot!("damaged_json", json(&output));
}

#[test]
fn a_second_end_of_a_job_is_named_where_nothing_is_lost() {
    let place = Place::new();
    let mut frames = history::frames();
    frames.push(vec![frames[6][0].clone()]);
    history::write(&place, &frames);
    let output = verify(&place, &[]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED));
    let said = stdout(&output);
    let id = history::id(2);
    assert!(
        said.contains(&format!("frame 11, update 14, job {id}: succeeded of job {id} does not fit")),
        "{said}"
    );
}

/// The jobs as `get --json` has them.
#[test]
fn jobs_are_exported_with_all_that_is_known_of_them() {
    let place = history::written();
    let data = place.data().display().to_string();
    let output = run(&["export", &data, "--format", "jsonl"]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
    insta::assert_json_snapshot!("export", json(&output));
    let some = run(&["export", &data, "--state", "dead,succeeded", "--without-payload"]);
    let states: Vec<Value> = json(&some).into_iter().map(|mut job| job["state"].take()).collect();
    assert_eq!(states, ["succeeded", "dead"]);
    assert!(!stdout(&some).contains("cat.jpg"));
    assert_eq!(run(&["export", &data, "--queue", "none"]).stdout, b"");

    let place = damaged();
    let output = run(&["export", &place.data().display().to_string()]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED));
    let states: Vec<Value> = json(&output).into_iter().map(|mut job| job["state"].take()).collect();
    assert_eq!(
        states,
        ["succeeded", "cancelled", "waiting", "dead"],
        "of one only the end is left, of one nothing"
    );
    assert!(stderr(&output).contains("1 frame with 2 updates lost"), "{}", stderr(&output));
}

/// No byte can be written to any file: the disk is as good as full. The directory is read-only besides.
#[test]
fn nothing_needs_to_be_written() {
    let place = history::written();
    for path in crate::harness::tree(&place.data()) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("it is ours");
    }
    for arguments in [
        "verify",
        "export",
        "inspect log",
        "inspect stats",
        "inspect frames",
        "replay",
        "diff --at 13 --at 13",
    ] {
        let script = format!("ulimit -f 0; exec \"$0\" {arguments} \"$1\"");
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_gangline")])
            .arg(place.data())
            .output()
            .expect("it starts");
        assert_eq!(output.status.code(), Some(0), "{arguments}: {}", stderr(&output));
        assert!(!output.stdout.is_empty());
    }
    // So that it can be removed.
    for path in crate::harness::tree(&place.data()).iter().filter(|path| path.is_dir()) {
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o700)).expect("it is ours");
    }
}

/// A server that works, rolls over and trims is never found damaged, nor is what kill -9 leaves of it.
#[test]
fn a_server_under_load_and_after_kill_is_clean() {
    let place = Place::new();
    let mut server = place.serve(&["--segment-bytes", "16MiB"]);
    let lines: String = (0..120_000).map(|number| format!("{number:0>200}\n")).collect();
    let input = place.write("lines", &lines);
    let mut load = gangline(&["submit", "--lines", "--queue", "load"])
        .env("GANGLINE_SERVER", server.address().to_string())
        .stdin(std::fs::File::open(input).expect("it was just written"))
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut read = 0;
    while load.try_wait().expect("it is our child").is_none() {
        let output = verify(&place, &["--json"]);
        assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
        read += 1;
    }
    assert!(load.wait().expect("it is our child").success());
    assert!(read > 0);
    server.kill();
    let output = verify(&place, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(&output), stderr(&output));
    let summary = json(&output).pop().expect("a summary");
    assert_eq!(summary["live_jobs"], 120_000);
    assert_eq!(server.again().terminate().code(), Some(0));
    let summary = json(&verify(&place, &["--json"])).pop().expect("a summary");
    assert_eq!((&summary["faults"], &summary["live_jobs"]), (&Value::from(0), &Value::from(120_000)));
}

/// The work tree is compared with the log on a copy: only of a stopped directory, which stays as it is.
#[tokio::test]
async fn the_work_tree_of_a_stopped_directory_is_compared_with_the_log() {
    let place = Place::new();
    let mut server = place.serve(&[]);
    for text in ["one", "two", "three"] {
        submit(&server, &[text]);
    }
    let refused = verify(&place, &["--work"]);
    assert_eq!(refused.status.code(), code(Exit::IN_USE), "{}", stdout(&refused));
    assert!(stderr(&refused).contains(&format!("process {}", server.pid())), "{}", stderr(&refused));
    let work = |place: &Place, exit: Exit| {
        let before = crate::harness::tree(&place.data());
        let output = verify(place, &["--work", "--json"]);
        assert_eq!(output.status.code(), code(exit), "{}{}", stdout(&output), stderr(&output));
        assert_eq!(crate::harness::tree(&place.data()), before, "nothing was made or removed");
        json(&output).pop().expect("a summary")["work_tree"].take()
    };
    server.kill();
    let same = serde_json::json!({"compared": "same", "jobs": 3});
    // Killed before sled flushed it may hold nothing yet; the next start would know.
    work(&place, Exit::OK);
    assert!(server.again().terminate().success());
    assert_eq!(work(&place, Exit::OK), same);

    // Another future of the same history, with this one's work tree in its place.
    let other = Place::new();
    let copied = Command::new("cp").arg("-a").arg(place.data()).arg(other.data()).status();
    assert!(copied.expect("it starts").success());
    for (place, texts, commits) in [(&place, ["four", "five"], 3), (&other, ["six", "seven"], 12)] {
        let mut server = place.serve(&[]);
        // In one frame, which the tree must not meet when it is brought up to the end of the other log: it is beyond that
        // frame, and the other log is the longer one, however many frames each server added to vouch for others.
        let client = Client::connect(&server.address().to_string(), Options::default()).expect("an address");
        let job = |text: &'static str| v1::JobSpec { payload: text.into(), ..v1::JobSpec::default() };
        client.submit(texts.map(job).into(), None).await.expect("submitted");
        for reader in 0..commits {
            told(&server, &["cursors", "commit", &format!("reader-{reader}"), "1"]);
        }
        assert!(server.terminate().success());
    }
    std::fs::remove_dir_all(other.data().join("work")).expect("it is ours");
    let none = work(&other, Exit::OK);
    assert_eq!(none, serde_json::json!({"compared": "rebuilt at the next start", "why": "there was none"}));
    std::fs::rename(place.data().join("work"), other.data().join("work")).expect("one file system");
    let differs = work(&other, Exit::DAMAGED);
    assert_eq!(
        differs,
        serde_json::json!({"compared": "differs", "jobs": 4}),
        "two it knows, two it does not"
    );
}
