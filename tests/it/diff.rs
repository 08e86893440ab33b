//! `gangline diff`: copies, two places of one history, two histories that forked, and damage.

use crate::harness::Place;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::history;
use gangline::cli::exit::Exit;
use gangline::job::event::Event;
use gangline::job::id::QueueNo;
use gangline::job::id::Sequence;
use gangline::job::spec::QueueSettings;
use serde_json::Value;
use std::process::Output;

fn diff(places: &[&Place], more: &[&str]) -> Output {
    let paths: Vec<String> = places.iter().map(|place| place.data().display().to_string()).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    run(&[&["diff"], paths.as_slice(), more].concat())
}

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

/// What it printed, without what is random: paths and store ids.
fn shown(output: &Output, places: &[&Place]) -> String {
    let mut text = stdout(output);
    for (place, name) in places.iter().zip(["DIR_A", "DIR_B"]) {
        text = text.replace(&place.data().display().to_string(), name);
    }
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    for line in &mut lines {
        if let Some((before, after)) = line.split_once("store ")
            && after.len() > 32
        {
            *line = format!("{before}store [store_id]{}", &after[32..]);
        }
    }
    lines.join("\n")
}

fn json(output: &Output) -> Vec<Value> {
    let mut objects: Vec<Value> = stdout(output)
        .lines()
        .map(|line| serde_json::from_str(line).expect("a JSON object a line"))
        .collect();
    let summary = objects.last_mut().expect("a summary");
    for side in ["a", "b"] {
        summary[side]["store_id"] = Value::from("[store_id]");
    }
    objects
}

/// The history up to its seventh frame, and another end.
fn forked() -> Place {
    let place = Place::new();
    let mut frames = history::frames();
    frames.truncate(7);
    let settings = QueueSettings { paused: true, max_pending: Some(100), ..QueueSettings::default() };
    frames.push(vec![
        Event::QueueMade { queue: QueueNo(2), name: "new".parse().expect("a name") },
        Event::QueueSet { queue: QueueNo(1), settings },
        Event::CursorSet { name: "archive".into(), sequence: Sequence(9) },
        history::submitted(5, 2, "elk.jpg"),
        history::started(0, 0, 2),
    ]);
    history::write(&place, &frames);
    place
}

#[test]
fn what_was_written_twice_is_the_same() {
    let (one, other) = (history::written(), history::written());
    let output = diff(&[&one, &other], &[]);
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()), "{}", stdout(&output));
    insta::assert_snapshot!("same", shown(&output, &[&one, &other]));
    assert_eq!(diff(&[&one], &["--at", "5", "--at", "5"]).status.code(), Some(0));
}

#[test]
fn two_places_of_one_history_differ_by_what_happened_between() {
    let place = history::written();
    let output = diff(&[&place], &["--at", "3", "--at", "12"]);
    assert_eq!((output.status.code(), stderr(&output)), (code(Exit::DIFFERENT), String::new()));
    insta::assert_snapshot!("places", shown(&output, &[&place]));
    insta::assert_json_snapshot!(
        "places_json",
        json(&diff(&[&place], &["--at", "3", "--at", "12", "--json"]))
    );
    let back = stdout(&diff(&[&place], &["--at", "12", "--at", "3"]));
    assert!(back.contains("A goes on from frame"), "{back}");
    assert!(back.contains(&format!("+ {}  waiting  pictures  succeeded in A", history::id(2))), "{back}");
}

#[test]
fn a_fork_is_named_with_both_of_its_frames() {
    let (one, other) = (history::written(), forked());
    let output = diff(&[&one, &other], &[]);
    assert_eq!((output.status.code(), stderr(&output)), (code(Exit::DIFFERENT), String::new()));
    insta::assert_snapshot!("forked", shown(&output, &[&one, &other]));
    insta::assert_json_snapshot!("forked_json", json(&diff(&[&one, &other], &["--json"])));
    // Up to there they are one.
    assert_eq!(diff(&[&one, &other], &["--at", "10"]).status.code(), Some(0));
    assert_eq!(diff(&[&one, &other], &["--at", "11"]).status.code(), code(Exit::DIFFERENT));
}

#[test]
fn damage_goes_before_difference_and_bad_arguments_before_both() {
    let (one, other) = (history::written(), history::written());
    let segment = other.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    let at = bytes.windows(7).position(|window| window == b"dog.jpg").expect("a payload");
    bytes[at] ^= 1;
    std::fs::write(&segment, bytes).expect("it is ours");
    let output = diff(&[&one, &other], &[]);
    assert_eq!(output.status.code(), code(Exit::DAMAGED), "{}", stdout(&output));
    assert!(
        stdout(&output).contains("only in A") && stderr(&output).contains("1 fault"),
        "{}",
        stderr(&output)
    );
    assert_eq!(diff(&[&one], &[]).status.code(), code(Exit::USAGE));
    let thrice = ["--at", "1", "--at", "2", "--at", "3"];
    assert_eq!(diff(&[&one, &other], &thrice).status.code(), code(Exit::USAGE));
    assert_eq!(diff(&[&one, &other], &["--at", "99"]).status.code(), code(Exit::NOT_FOUND));
    assert_eq!(diff(&[&one, &Place::new()], &[]).status.code(), code(Exit::UNUSABLE));
}
