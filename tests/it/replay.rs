//! `gangline replay`: the state as of a place, of a stopped directory, a damaged one, and one under a server at work.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::history;
use crate::verbs::submit;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::process::Output;

fn replay(place: &Place, more: &[&str]) -> Output {
    let data = place.data().display().to_string();
    run(&[&["replay", &data], more].concat())
}

/// What it printed; it must have found nothing wrong.
fn told(place: &Place, more: &[&str]) -> String {
    let output = replay(place, more);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{more:?}");
    stdout(&output)
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

/// What it printed without the store id, which is random.
fn without_store(text: &str) -> String {
    let (store, rest) = text.split_once('\n').expect("lines");
    assert!(store.starts_with("store       ") && store.len() == 12 + 32, "{store}");
    rest.to_owned()
}

#[test]
fn the_state_is_printed_as_of_the_end_an_update_and_a_time() {
    let place = history::written();
    insta::assert_snapshot!("end", without_store(&told(&place, &[])));
    insta::assert_snapshot!("until_7", without_store(&told(&place, &["--until", "7"])));
    let by_time = told(&place, &["--until", "2025-08-14T00:00:49.999Z"]);
    assert!(by_time.contains("as of       frame 5, update 7,"), "{by_time}");
    let mut objects = json(&told(&place, &["--until", "7", "--json"]));
    objects.last_mut().expect("a summary")["store_id"] = Value::from("[store_id]");
    insta::assert_json_snapshot!("until_7_json", objects);
    let nothing = json(&told(&place, &["--until", "0", "--json"]));
    assert_eq!((nothing.len(), &nothing[0]["live_jobs"]), (1, &Value::from(0)));
}

#[test]
fn jobs_are_chosen_by_queue_and_state_and_bounded_for_people() {
    let place = history::written();
    let ids = |more: &[&str]| -> Vec<String> {
        let mut objects = json(&told(&place, &[&["--json"], more].concat()));
        objects.pop();
        objects.iter().map(|job| job["id"].as_str().expect("an id").to_owned()).collect()
    };
    let id = |number| history::id(number).to_string();
    assert_eq!(ids(&[]), [id(0), id(1), id(4)]);
    assert_eq!(ids(&["--queue", "mail"]), [id(0), id(1)]);
    assert_eq!(ids(&["--state", "dead"]), [id(1)]);
    assert_eq!(ids(&["--until", "5", "--state", "running"]), [id(0), id(2)]);
    let bounded = replay(&place, &["-n", "1"]);
    assert!(!stdout(&bounded).contains(&id(1)), "{}", stdout(&bounded));
    assert_eq!(stderr(&bounded), "gangline: 2 more jobs; --all or --limit shows more\n");
    assert_eq!(told(&place, &["-n", "3"]), told(&place, &["--all"]));
}

#[test]
fn a_place_that_the_log_does_not_reach_is_not_found() {
    let place = history::written();
    let ahead = replay(&place, &["--until", "14"]);
    assert_eq!((ahead.status.code(), stdout(&ahead)), (code(Exit::NOT_FOUND), String::new()));
    assert!(stderr(&ahead).contains("ends with update 13, before update 14"), "{}", stderr(&ahead));
    assert_eq!(replay(&place, &["--until", "13"]).status.code(), Some(0));
    assert_eq!(replay(&place, &["--until", "soon"]).status.code(), code(Exit::USAGE));
    let nowhere = Place::new();
    assert_eq!(replay(&nowhere, &[]).status.code(), code(Exit::UNUSABLE));
}

#[test]
fn of_a_damaged_log_the_rest_is_told_and_the_command_that_tells_more_can_be_pasted() {
    let place = history::written();
    let moved = place.data().with_file_name("it's mine");
    std::fs::rename(place.data(), &moved).expect("it is ours");
    let segment = moved.join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    let at = bytes.windows(7).position(|window| window == b"cat.jpg").expect("a payload");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    let output = run(&["replay", &moved.display().to_string(), "--json"]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED), "{}", stderr(&output));
    let summary = json(&stdout(&output)).pop().expect("a summary");
    assert_eq!((&summary["partial"], &summary["faults"]), (&Value::from(true), &Value::from(1)));
    let said = stderr(&output);
    let quoted = moved.display().to_string().replace('\'', r"'\''");
    assert!(said.contains(&format!("`gangline verify '{quoted}'`")), "{said}");
    assert!(said.contains("something that led to this state is lost"), "{said}");
}

/// While a server writes, on a copy, and after a stop: the same place has the same hash on every machine.
#[test]
fn the_hash_of_a_place_is_the_same_under_a_server_on_a_copy_and_after_it() {
    let mut server = Server::start(&[]);
    for text in ["one", "two", "three"] {
        submit(&server, &[text]);
    }
    let place = server.place().clone();
    let at = |data: &std::path::Path| {
        let output = run(&["replay", &data.display().to_string(), "--until", "3", "--json"]);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let summary = json(&stdout(&output)).pop().expect("a summary");
        assert_eq!(summary["live_jobs"], 3);
        summary["state_hash"].as_str().expect("a hash").to_owned()
    };
    let live = at(&place.data());
    submit(&server, &["four"]);
    assert_eq!(at(&place.data()), live);
    let copy = place.data().with_file_name("copy");
    // A copy fails if a file gets another name under it.
    server.await_files();
    let copied = std::process::Command::new("cp").arg("-a").arg(place.data()).arg(&copy).status();
    assert!(copied.expect("it starts").success());
    assert_eq!(at(&copy), live);
    assert!(server.terminate().success());
    assert_eq!(at(&place.data()), live);
}

/// The jobs of a directory at a server: nothing at first, then each once, however often it is asked for.
#[test]
fn jobs_are_submitted_again_once_in_their_old_order() {
    let old = history::written();
    let mut server = Server::start(&[]);
    let address = server.address().to_string();
    let id = |number| history::id(number).to_string();
    let to = |more: &[&str]| replay(&old, &[&["--to", &address, "--json"], more].concat());
    let told_by = |output: &Output| {
        assert_eq!(output.status.code(), Some(0), "{}", stderr(output));
        json(&stdout(output))
    };
    let count = |server: &Server| crate::verbs::told(server, &["ls", "--ids", "--all"]).lines().count();

    let dry = to(&[]);
    assert!(
        stderr(&dry).contains("the server has no queue mail: the first of its 2 jobs makes it"),
        "{}",
        stderr(&dry)
    );
    let objects = told_by(&dry);
    let ids: Vec<&str> = objects[..5].iter().map(|job| job["job_id"].as_str().expect("an id")).collect();
    assert_eq!(ids, [id(0), id(1), id(2), id(3), id(4)]);
    assert_eq!((&objects[0]["outcome"], &objects[5]["dry_run"]), (&"would submit".into(), &true.into()));
    assert_eq!(count(&server), 0, "nothing was submitted");

    // Two of them, then all: those two are known.
    let some = told_by(&to(&["--state", "dead,cancelled", "--yes"]));
    let states: Vec<&str> = some[..2].iter().map(|job| job["state"].as_str().expect("a state")).collect();
    assert_eq!(states, ["dead", "cancelled"]);
    let all = told_by(&to(&["--yes"]));
    let summary = &all[5];
    assert_eq!((&summary["submitted"], &summary["submitted_before"]), (&3.into(), &2.into()));
    assert_eq!(all[1]["new_job_id"], some[0]["new_job_id"]);
    // A server that was killed has not forgotten the keys.
    server.kill();
    let server = server.again();
    let address = server.address().to_string();
    let again = replay(&old, &["--to", &address, "--json", "--yes"]);
    let again = told_by(&again);
    assert_eq!((&again[5]["submitted"], &again[5]["submitted_before"]), (&0.into(), &5.into()));
    assert_eq!(count(&server), 5);
    let payload = |number: usize| {
        let new = again[number]["new_job_id"].as_str().expect("an id").to_owned();
        crate::verbs::told(&server, &["get", &new, "--payload"])
    };
    assert_eq!((payload(0), payload(2)), ("to: a".to_owned(), "cat.jpg".to_owned()));
    let by_place =
        replay(&old, &["--to", &address, "--json", "--submitted-from", "3", "--submitted-to", "11"]);
    let ids: Vec<Value> = told_by(&by_place)[..2].iter().map(|job| job["job_id"].clone()).collect();
    assert_eq!(ids, [id(2), id(3)]);
    let one = replay(&old, &["--to", &address, "--job", &id(3), "--until", "12"]);
    assert_eq!(stdout(&one), format!("would submit  {}  waiting  pictures  7 bytes\n", id(3)));
}

#[test]
fn what_the_server_does_not_take_or_that_it_is_not_there_is_told_and_nothing_is_lost() {
    let old = history::written();
    let server = Server::start(&["--payload-bytes-max=6"]);
    let address = server.address().to_string();
    let refused = replay(&old, &["--to", &address, "--yes"]);
    assert_eq!(refused.status.code(), code(Exit::CONFLICT), "{}", stderr(&refused));
    let said = stderr(&refused);
    assert!(said.contains(&format!("job {} was refused: ", history::id(2))), "{said}");
    assert!(said.contains("2 submitted, 0 submitted before, 3 refused, 0 without a submission"), "{said}");
    drop(server);
    let gone = replay(&old, &["--to", &address, "--yes"]);
    assert_eq!((gone.status.code(), stdout(&gone)), (code(Exit::UNAVAILABLE), String::new()));
    assert!(stderr(&gone).contains(&format!("no server answers at {address}")), "{}", stderr(&gone));
    assert_eq!(replay(&old, &["--yes"]).status.code(), code(Exit::USAGE));
    assert_eq!(replay(&old, &["--to", "nowhere"]).status.code(), code(Exit::USAGE));

    // Of a damaged directory those are submitted whose submission can be read.
    let server = Server::start(&[]);
    let address = server.address().to_string();
    let segment = old.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    let at = bytes.windows(7).position(|window| window == b"cat.jpg").expect("a payload");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    let output = replay(&old, &["--to", &address, "--yes", "--json"]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED), "{}", stderr(&output));
    let summary = json(&stdout(&output)).pop().expect("a summary");
    // Of one only the end is left, and one is in a queue whose name is lost.
    assert_eq!((&summary["submitted"], &summary["without_submission"]), (&3.into(), &1.into()), "{summary}");
}
