//! `gangline salvage`: what a server refuses to start on, saved by the commands that it names, and served again.

use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::history;
use crate::verbs::complete;
use crate::verbs::finish;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::path::Path;

/// Small files, so that the damage is in one that is sealed.
const SMALL: [&str; 4] = [
    "--segment-bytes=256KiB",
    "--transport-request-bytes-max=192KiB",
    "--payload-bytes-max=64KiB",
    "--result-bytes-max=64KiB",
];

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// Flips a byte in the body of the frame that holds this update.
fn harm(data: &Path, sequence: u64) {
    let path = data.display().to_string();
    let frames = json(&stdout(&run(&["inspect", "frames", &path, "--json"])));
    let holds = |frame: &&Value| {
        let first = frame["first_sequence"].as_u64().expect("a number");
        (first..first + frame["updates"].as_u64().expect("a number")).contains(&sequence)
    };
    let frame = frames.iter().find(holds).expect("it is there");
    let segment = data.join(format!("log/{:010}.seg", frame["segment"].as_u64().expect("a number")));
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[usize::try_from(frame["offset"].as_u64().expect("a number")).expect("small") + 100] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
}

/// Damage in a sealed segment of a real server's directory: it refuses and names commands; they work as they are named, and
/// the new directory is served.
#[tokio::test]
async fn a_damaged_directory_is_saved_by_the_commands_that_the_server_names_and_served_again() {
    let mut server = Server::start(&SMALL);
    let payload = "p".repeat(20_000);
    let done = submit(&server, &["first", "--queue", "q"]);
    finish(&server, "q", complete("its result")).await;
    let lost = submit(&server, &["lost", "--queue", "q"]);
    let kept: Vec<String> = (0..20).map(|_| submit(&server, &[&payload, "--queue", "q"])).collect();
    let store = json(&told(&server, &["info", "--json"])).remove(0)["store_id"].clone();
    assert!(server.terminate().success());
    let place = server.place().clone();
    harm(&place.data(), 4);

    let refused = place.refused(&SMALL);
    assert_eq!(refused.status.code(), code(Exit::DAMAGED));
    let said = stderr(&refused);
    let named = |verb: &str| -> String {
        let from = said.find(&format!("`gangline {verb} ")).expect("it is named") + 1;
        said[from..].split('`').next().expect("it is closed").to_owned()
    };
    let pasted = |verb: &str| {
        let rest = named(verb).strip_prefix("gangline ").expect("it begins so").to_owned();
        let mut shell = std::process::Command::new("sh");
        let script = format!("exec \"$0\" {rest}");
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_gangline")]).output().expect("it runs")
    };
    let verified = pasted("verify");
    assert_eq!(verified.status.code(), code(Exit::DAMAGED), "{}", stderr(&verified));
    let salvaged = pasted("salvage");
    assert_eq!(salvaged.status.code(), code(Exit::DAMAGED), "{}", stderr(&salvaged));
    let saved = place.data().with_file_name("data-salvaged");
    let text = stdout(&salvaged);
    assert!(text.contains("frame") && text.contains("update 4"), "{text}");
    assert!(text.contains(&format!("next: gangline serve --data {}", saved.display())), "{text}");

    let verified = run(&["verify", &saved.display().to_string()]);
    assert_eq!(verified.status.code(), Some(0), "{}{}", stdout(&verified), stderr(&verified));

    std::fs::rename(place.data(), place.data().with_file_name("damaged")).expect("it is ours");
    std::fs::rename(&saved, place.data()).expect("it was made");
    let server = place.serve(&[]);
    let updates = json(&told(&server, &["tail", "--no-follow", "--json"]));
    let sequences: Vec<u64> =
        updates.iter().map(|update| update["sequence"].as_u64().expect("one")).collect();
    assert_eq!(sequences, (1..=sequences.len() as u64).collect::<Vec<u64>>());
    assert_ne!(json(&told(&server, &["info", "--json"])).remove(0)["store_id"], store);
    assert_eq!(told(&server, &["get", &done, "--result"]), "its result");
    let waiting = told(&server, &["ls", "--queue", "q", "--state", "waiting", "--ids"]);
    assert_eq!(waiting.lines().collect::<Vec<_>>(), kept, "without {lost}");
    assert_eq!(told(&server, &["get", &kept[0], "--payload"]), payload);
    finish(&server, "q", complete("after")).await;
    assert_eq!(told(&server, &["get", &kept[0], "--result"]), "after");
}

#[test]
fn what_is_missing_is_said_to_programs_and_by_the_exit_code() {
    let place = history::written();
    let data = place.data().display().to_string();
    let out = |name: &str| place.data().with_file_name(name).display().to_string();
    let whole = run(&["salvage", &data, &out("whole")]);
    assert_eq!(whole.status.code(), Some(0), "{}{}", stdout(&whole), stderr(&whole));
    assert!(stdout(&whole).contains("nothing is missing"), "{}", stdout(&whole));
    let again = run(&["salvage", &data, &out("whole")]);
    assert_eq!(again.status.code(), code(Exit::UNUSABLE));
    assert!(stderr(&again).contains("it is not empty"), "{}", stderr(&again));

    // The frame with the submission of the third job and the start of its attempt: it succeeds later.
    harm(&place.data(), 3);
    let partial = run(&["salvage", &data, &out("partial"), "--json"]);
    assert_eq!(partial.status.code(), code(Exit::DAMAGED), "{}", stderr(&partial));
    let objects = json(&stdout(&partial));
    assert_eq!((&objects[0]["fault"], &objects[0]["sequence"]), (&Value::from("frame"), &Value::from(3)));
    assert_eq!(objects[0]["lost_updates"], 2);
    let id = history::id(2).to_string();
    let without = objects.iter().find(|object| object["missing"] == "payload").expect("a job");
    assert_eq!(without["job_id"], id.as_str());
    let summary = objects.last().expect("the summary");
    assert_eq!((&summary["complete"], &summary["updates_kept"]), (&Value::from(false), &Value::from(11)));
    let job = stdout(&run(&["inspect", "job", &out("partial"), &id]));
    assert!(job.contains("succeeded") && job.contains("small.jpg"), "its result is kept: {job}");
    assert!(job.contains("lost; written by salvage"), "{job}");

    let nowhere = run(&["salvage", &out("no-such"), &out("new")]);
    assert_eq!(nowhere.status.code(), code(Exit::UNUSABLE));
    assert!(!Path::new(&out("new")).exists() && !Path::new(&out("new.salvaging")).exists());
    assert_eq!(run(&["salvage", &data]).status.code(), code(Exit::USAGE));
}

/// It needs no lock, and says that one is held: what is read while it is written need not be the last word.
#[test]
fn a_directory_that_a_server_runs_on_is_salvaged_with_a_warning() {
    let server = Server::start(&[]);
    let id = submit(&server, &["mine", "--queue", "q"]);
    let data = server.place().data();
    let out = data.with_file_name("out").display().to_string();
    let salvaged = run(&["salvage", &data.display().to_string(), &out]);
    assert_eq!(salvaged.status.code(), Some(0), "{}{}", stdout(&salvaged), stderr(&salvaged));
    let said = stderr(&salvaged);
    assert!(said.contains(&format!("is in use by process {} on ", server.pid())), "{said}");
    assert_eq!(run(&["verify", &out]).status.code(), Some(0));
    let job = stdout(&run(&["inspect", "job", &out, &id, "--payload"]));
    assert_eq!(job, "mine");
    assert_eq!(told(&server, &["get", &id, "--payload"]), "mine", "the server goes on");
}
