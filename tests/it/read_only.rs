//! `gangline serve --read-only`: a stopped directory, one under a live server, a damaged one, one that cannot be written to.

use crate::harness::Place;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::tree;
use crate::harness::until;
use crate::history;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::path::PathBuf;
use std::process::Output;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect()
}

/// A client command, whatever it ends with.
fn ask(server: &crate::harness::Server, arguments: &[&str]) -> Output {
    let mut command = gangline(arguments);
    command.env("GANGLINE_SERVER", server.address().to_string());
    command.output().expect("it starts")
}

/// Every file with its content.
fn content(place: &Place) -> Vec<(PathBuf, Option<Vec<u8>>)> {
    tree(&place.data()).into_iter().map(|path| (path.clone(), std::fs::read(path).ok())).collect()
}

#[tokio::test]
async fn every_read_is_answered_and_every_change_refused_and_no_byte_is_written() {
    let place = history::written();
    let before = content(&place);
    let mut server = place.serve(&["--read-only"]);
    let id = |number| history::id(number).to_string();
    let ids = |more: &[&str]| -> Vec<String> {
        let listed = told(&server, &[["ls", "--ids", "--all"].as_slice(), more].concat());
        listed.lines().map(str::to_owned).collect()
    };
    assert_eq!(ids(&[]), (0..5).map(id).collect::<Vec<_>>());
    assert_eq!(ids(&["--state", "succeeded"]), [id(2)]);
    assert_eq!(ids(&["--state", "dead,waiting", "--queue", "mail"]), [id(0), id(1)]);
    assert_eq!(told(&server, &["get", &id(2), "--result"]), "small.jpg");
    assert_eq!(told(&server, &["get", &id(4), "--payload"]), "owl.jpg");
    let dead = json(&told(&server, &["get", &id(1), "--json"])).remove(0);
    assert_eq!(dead["failures"][0]["message"], "killed by signal 11");
    let updates = json(&told(&server, &["tail", "--no-follow", "--json"]));
    assert_eq!(updates.len(), 13);
    let rest = json(&told(&server, &["tail", "--no-follow", "--json", "--after", "9"]));
    assert_eq!(rest[0]["sequence"], 10);
    let queues = json(&told(&server, &["queues", "--json"]));
    assert_eq!(
        (&queues[0]["name"], &queues[0]["ready"], &queues[1]["ready"]),
        (&"mail".into(), &1.into(), &1.into())
    );
    assert!(told(&server, &["cursors"]).contains("archive"));
    assert_eq!(told(&server, &["workers", "--json"]), "");
    let info = json(&told(&server, &["info", "--json"])).remove(0);
    assert_eq!((&info["read_only"], &info["head_sequence"]), (&true.into(), &13.into()));
    assert!(info.get("damage").is_none());

    for change in [
        ["submit", "text"].as_slice(),
        &["cancel", &id(4)],
        &["retry", &id(1)],
        &["delete", &id(1)],
        &["queues", "pause", "mail"],
        &["queues", "purge", "mail", "--dead"],
        &["cursors", "commit", "archive", "end"],
    ] {
        let refused = ask(&server, change);
        assert_eq!(
            refused.status.code(),
            code(Exit::CONFLICT),
            "{change:?}: {}{}",
            stdout(&refused),
            stderr(&refused)
        );
        assert!(stderr(&refused).contains("this server is read-only"), "{change:?}: {}", stderr(&refused));
    }
    let mut health = server.health().await;
    for (service, wanted) in [("", ServingStatus::Serving), ("gangline.submits", ServingStatus::NotServing)] {
        let answer = health.check(HealthCheckRequest { service: service.to_owned() }).await;
        assert_eq!(answer.expect("it is known").into_inner().status(), wanted, "{service:?}");
    }
    assert!(server.terminate().success());
    assert!(content(&place) == before, "it was written to");
}

/// Under a server that writes, and by several at once: each shows what there was at its start.
#[test]
fn it_looks_at_the_directory_of_a_live_server_without_its_lock() {
    let place = Place::new();
    let live = place.serve(&[]);
    let first = submit(&live, &["one"]);
    let one = place.serve(&["--read-only"]);
    let second = submit(&live, &["two"]);
    let other = place.serve(&["--read-only"]);
    let ids = |server| told(server, &["ls", "--ids"]);
    assert_eq!(ids(&one), format!("{first}\n"));
    assert_eq!(ids(&other), format!("{first}\n{second}\n"));
    let unknown = ask(&one, &["get", &second]);
    assert_eq!(unknown.status.code(), code(Exit::NOT_FOUND), "{}", stderr(&unknown));
    assert_eq!(told(&other, &["get", &second, "--payload"]), "two");
}

/// What lies before the damage is served, by the command that the refused start names; who comes to it is told.
#[test]
fn a_damaged_directory_is_served_up_to_the_damage_and_readers_are_told_where_it_is() {
    let place = history::written();
    let segment = place.data().join("log/0000000001.seg");
    let mut bytes = std::fs::read(&segment).expect("it is there");
    let at = bytes.windows(7).position(|window| window == b"dog.jpg").expect("a payload");
    bytes[at] ^= 1;
    std::fs::write(&segment, &bytes).expect("it is ours");
    let refused = place.refused(&[]);
    let before = content(&place);
    let data = place.data().display().to_string();
    let named = format!("`gangline serve --read-only --data {data}` serves what is before the damage");
    assert!(stderr(&refused).contains(&named), "{}", stderr(&refused));

    let mut server = place.serve(&["--read-only"]);
    until("it is said", || server.stderr().contains("read-only, up to the damage").then_some(()));
    let listed = json(&told(&server, &["ls", "--json"]));
    let states: Vec<&str> = listed.iter().map(|job| job["state"].as_str().expect("a state")).collect();
    assert_eq!(states, ["waiting", "dead", "succeeded"]);
    assert_eq!(told(&server, &["get", &history::id(2).to_string(), "--result"]), "small.jpg");
    let info = told(&server, &["info"]);
    assert!(
        info.contains("updates     1 to 10") && info.contains("damage      log/0000000001.seg at byte"),
        "{info}"
    );
    // Following or not, and from its very end too: all updates, then that there was more.
    for arguments in [
        ["tail", "--json"].as_slice(),
        &["tail", "--no-follow", "--json"],
        &["tail", "--after", "10", "--json"],
    ] {
        let tail = ask(&server, arguments);
        assert_eq!(tail.status.code(), code(Exit::DAMAGED), "{arguments:?}: {}", stderr(&tail));
        let wanted = if arguments.contains(&"--after") { 0 } else { 10 };
        assert_eq!(json(&stdout(&tail)).len(), wanted, "{arguments:?}");
        let said = stderr(&tail);
        assert!(!said.contains(&data), "where the data lies is the server's own business: {said}");
        assert!(
            said.contains("frame 8, update 11") && said.contains("gangline verify"),
            "{arguments:?}: {said}"
        );
    }
    let verified = run(&["verify", &data]);
    assert_eq!(verified.status.code(), code(Exit::DAMAGED));
    assert!(server.terminate().success());
    assert!(content(&place) == before, "it was written to");
}

#[test]
fn it_starts_where_nothing_can_be_written_and_not_where_there_is_nothing() {
    let place = history::written();
    for path in tree(&place.data()) {
        let mode = if path.is_dir() { 0o555 } else { 0o444 };
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(mode))
            .expect("it is ours");
    }
    let server = place.serve(&["--read-only"]);
    assert_eq!(told(&server, &["ls", "--ids"]).lines().count(), 5);
    drop(server);
    for path in tree(&place.data()).iter().filter(|path| path.is_dir()) {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o700))
            .expect("it is ours");
    }
    let nowhere = Place::new();
    let refused = nowhere.refused(&["--read-only"]);
    assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
    assert!(!nowhere.data().exists(), "nothing is made");
}
