//! `gangline inspect`: a directory without a server, a damaged one, and one under a server at work.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::until;
use crate::history;
use crate::verbs::submit;
use crate::verbs::told as ask_server;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::io::BufRead;
use std::io::BufReader;
use std::process::Output;
use std::process::Stdio;

/// Runs `inspect WHAT DATA MORE…`.
fn inspect(place: &Place, what: &str, more: &[&str]) -> Output {
    let data = place.data().display().to_string();
    run(&[&["inspect", what, &data], more].concat())
}

/// What it printed; it must have found nothing wrong.
fn told(place: &Place, what: &str, more: &[&str]) -> String {
    let output = inspect(place, what, more);
    assert_eq!(output.status.code(), Some(0), "{what} {more:?}: {}", stderr(&output));
    assert_eq!(stderr(&output), "", "{what} {more:?}");
    stdout(&output)
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

#[test]
fn the_log_is_printed_as_tail_prints_it() {
    let place = history::written();
    insta::assert_snapshot!("log", told(&place, "log", &["--payload", "--result"]));
    insta::assert_snapshot!("log_all", told(&place, "log", &["--all", "--to-frame", "3"]));
    let updates = json(&told(&place, "log", &["--json", "--from", "7", "--to", "10", "--result"]));
    insta::assert_json_snapshot!("log_json", updates);
    insta::assert_snapshot!(
        "log_json_other",
        told(&place, "log", &["--json", "--kind", "opened,key-taken,cursor-set"])
    );
}

#[test]
fn the_log_is_filtered_by_place_time_queue_job_and_kind() {
    let place = history::written();
    let id = history::id(2).to_string();
    let lines = |more: &[&str]| -> Vec<u64> {
        json(&told(&place, "log", &[&["--json"], more].concat()))
            .iter()
            .map(|update| update["sequence"].as_u64().expect("an update"))
            .collect()
    };
    assert_eq!(lines(&[]), (1..=13).collect::<Vec<u64>>());
    assert_eq!(lines(&["--from", "3", "--to", "5"]), [3, 4, 5]);
    assert_eq!(lines(&["--from-frame", "6", "--to-frame", "7"]), [8, 9, 10]);
    assert_eq!(lines(&["--since", "2025-08-14T00:01:00Z", "--until", "2025-08-14T00:01:10Z"]), [10, 11, 12]);
    assert_eq!(lines(&["--queue", "mail", "--kind", "submitted,dead"]), [1, 2, 9]);
    assert_eq!(lines(&["--job", &id]), [3, 4, 7, 10]);
    assert_eq!(lines(&["--queue", "no-such-queue"]), [0; 0]);
}

#[test]
fn a_jobs_life_is_told_with_payload_and_result_on_request() {
    let place = history::written();
    let id = |number| history::id(number).to_string();
    insta::assert_snapshot!("job_succeeded", told(&place, "job", &[&id(2)]));
    insta::assert_snapshot!("job_dead", told(&place, "job", &[&id(1)]));
    insta::assert_json_snapshot!("job_json", json(&told(&place, "job", &[&id(0), "--json"])));
    assert_eq!(told(&place, "job", &[&id(2), "--payload"]), "cat.jpg");
    assert_eq!(told(&place, "job", &[&id(2), "--result"]), "small.jpg");
    let none = inspect(&place, "job", &[&id(1), "--result"]);
    assert_eq!((none.status.code(), stdout(&none)), (code(Exit::NOT_FOUND), String::new()));
    assert!(stderr(&none).contains("it is dead"), "{}", stderr(&none));
    let unknown = inspect(&place, "job", &[&id(99)]);
    assert_eq!(unknown.status.code(), code(Exit::NOT_FOUND));
    assert!(stderr(&unknown).contains("tells nothing of job"), "{}", stderr(&unknown));
}

#[test]
fn stats_count_jobs_segments_and_time() {
    let place = history::written();
    let text = told(&place, "stats", &[]);
    let (store, rest) = text.split_once('\n').expect("lines");
    assert!(store.starts_with("store      ") && store.len() == 11 + 32, "{store}");
    insta::assert_snapshot!("stats", rest);
    let mut object = json(&told(&place, "stats", &["--json"])).remove(0);
    object["store_id"] = Value::from("[store_id]");
    insta::assert_json_snapshot!("stats_json", object);
}

#[test]
fn frames_tell_how_updates_were_grouped() {
    let place = history::written();
    insta::assert_snapshot!("frames", told(&place, "frames", &[]));
    let objects = json(&told(&place, "frames", &["--json", "--from-frame", "7", "--to-frame", "7"]));
    insta::assert_json_snapshot!("frames_json", objects);
    assert_eq!(told(&place, "frames", &["--summary"]).lines().count(), 2);
}

#[test]
fn damage_is_told_on_stderr_and_by_the_exit_code_and_the_rest_is_printed() {
    let place = history::written();
    let frames = json(&told(&place, "frames", &["--json"]));
    let offset = frames[3]["offset"].as_u64().expect("a number");
    let segment = place.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[usize::try_from(offset).expect("small") + 90] ^= 1;
    std::fs::write(&segment, &bytes).expect("it is ours");
    let id = history::id(0).to_string();
    for (what, more, last) in [
        ("log", vec![], "not needed"),
        ("frames", vec![], "most 2"),
        ("stats", vec![], "live jobs"),
        ("job", vec![id.as_str()], "no route to host"),
    ] {
        let output = inspect(&place, what, &more);
        assert_eq!(output.status.code(), code(Exit::DAMAGED), "{what}");
        let said = stderr(&output);
        let wanted = format!(
            "log/0000000001.seg at byte {offset}, frame 4, update 5: the frame's body is not what was written; 1 frame with 2 \
             updates lost"
        );
        assert!(said.contains(&wanted), "{what}: {said}");
        assert!(said.contains("1 fault; `gangline verify "), "{what}: {said}");
        assert!(stdout(&output).contains(last), "{what}: {}", stdout(&output));
    }
    assert!(std::fs::read(&segment).expect("it is there") == bytes, "nothing was written");
}

#[test]
fn what_is_no_data_directory_is_refused() {
    let place = history::written();
    for (path, says) in
        [("nowhere", "does not exist"), ("format", "not a directory"), ("checkpoints", "holds no log")]
    {
        let path = place.data().join(path).display().to_string();
        for what in ["log", "stats", "frames"] {
            let output = run(&["inspect", what, &path]);
            assert_eq!(output.status.code(), code(Exit::UNUSABLE), "{what} {path}");
            assert!(stderr(&output).contains(says), "{}", stderr(&output));
        }
    }
    let format = place.data().join("format");
    let text = std::fs::read_to_string(&format).expect("it is there");
    std::fs::write(&format, text.replace("format 1", "format 7")).expect("it is ours");
    let output = inspect(&place, "log", &[]);
    assert_eq!(output.status.code(), code(Exit::UNUSABLE));
    assert!(
        stderr(&output).contains("has format 7; this release reads formats up to 1"),
        "{}",
        stderr(&output)
    );
    assert_eq!(inspect(&place, "job", &["not-an-id"]).status.code(), code(Exit::USAGE));
}

/// While the server runs, after kill -9, and after the next start.
#[test]
fn a_directory_is_read_under_a_server_and_after_its_end() {
    let mut server = Server::start(&[]);
    let id = submit(&server, &["hello", "--queue", "greet"]);
    let place = server.place().clone();
    let mut following = gangline(&["inspect", "log", "--follow", "--json"])
        .arg(place.data())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let mut lines = BufReader::new(following.stdout.take().expect("piped")).lines();
    let mut next = || json(&lines.next().expect("more to come").expect("text")).remove(0);
    assert_eq!((&next()["job_id"], 1), (&Value::from(id.as_str()), 1));
    let running = told(&place, "log", &["--json"]);
    assert_eq!(json(&running)[0]["job_id"], id.as_str());

    let second = submit(&server, &["again", "--queue", "greet"]);
    assert_eq!(next()["job_id"], second.as_str(), "it is followed");
    ask_server(&server, &["cancel", &id]);
    assert_eq!(next()["kind"], "cancelled");

    server.kill();
    let killed = json(&told(&place, "log", &["--json"]));
    assert_eq!(killed.len(), 3);
    let server = server.again();
    let third = submit(&server, &["more", "--queue", "greet"]);
    assert_eq!(next()["job_id"], third.as_str(), "over a restart");
    let job = until("the update is in the log", || {
        Some(told(&place, "job", &[&third])).filter(|text| text.contains("state      waiting"))
    });
    assert!(job.contains("payload    4 bytes  more"), "{job}");
    following.kill().expect("it follows");
    following.wait().expect("it is our child");
}
