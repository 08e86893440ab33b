//! `gangline backup` and `gangline restore` on real servers: under load, killed half-way, damaged, on a full disk.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::verbs::complete;
use crate::verbs::finish;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::cli::exit::Exit;
use serde_json::Value;
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;

/// Many segments.
const SMALL: [&str; 4] = [
    "--segment-bytes=256KiB",
    "--transport-request-bytes-max=192KiB",
    "--payload-bytes-max=64KiB",
    "--result-bytes-max=64KiB",
];

fn code(exit: Exit) -> Option<i32> {
    Some(i32::from(exit.code()))
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

fn beside(place: &Place, name: &str) -> PathBuf {
    place.data().with_file_name(name)
}

/// What a command that must succeed says of itself.
fn summary(output: &Output) -> Value {
    assert_eq!(output.status.code(), Some(0), "{}{}", stdout(output), stderr(output));
    serde_json::from_str(stdout(output).lines().last().expect("a line")).expect("an object")
}

fn number(summary: &Value, name: &str) -> u64 {
    summary[name].as_u64().expect("a number")
}

fn back_up(place: &Place, out: &Path) -> Value {
    summary(&run(&["backup", "--data", &text(&place.data()), &text(out), "--json"]))
}

/// Serves what is restored from `backup`, in a place of its own.
fn restored(backup: &Path) -> (Server, Value) {
    let place = Place::new();
    let summary = summary(&run(&["restore", &text(backup), &text(&place.data()), "--json"]));
    (place.serve(&SMALL), summary)
}

fn waiting(server: &Server) -> Vec<String> {
    told(server, &["ls", "--state", "waiting", "--ids"]).lines().map(str::to_owned).collect()
}

fn fill(server: &Server, jobs: u32) {
    let payload = "p".repeat(20_000);
    for _ in 0..jobs {
        submit(server, &[&payload]);
    }
}

/// On the machine of a running server: everything acknowledged before is there, named cursors too, and what a reader has of
/// the lost future is refused.
#[tokio::test]
async fn a_running_server_is_backed_up_from_its_files_and_restored_as_another_store() {
    let server = Server::start(&SMALL);
    let out = beside(server.place(), "out");
    let done = submit(&server, &["first", "--queue", "q"]);
    finish(&server, "q", complete("its result")).await;
    fill(&server, 40);
    told(&server, &["cursors", "commit", "reader", "3"]);
    let before = waiting(&server);
    let first = back_up(server.place(), &out);
    assert!(number(&first, "bytes_linked") > 0 && number(&first, "sequence") >= 43, "{first}");
    submit(&server, &["lost with the machine"]);

    let (again, summary) = restored(&out);
    assert_eq!(waiting(&again), before);
    assert_eq!(told(&again, &["get", &done, "--result"]), "its result");
    assert!(told(&again, &["cursors"]).contains("reader"));
    assert_eq!(summary["old_store_id"], first["store_id"]);
    let store = told(&again, &["info", "--json"]);
    assert!(store.contains(summary["store_id"].as_str().expect("an id")), "{store}");
    let cursor = gangline::proto::v1::Cursor {
        store_id: first["store_id"].as_str().expect("an id").to_owned(),
        sequence: number(&first, "sequence"),
    };
    let request = gangline::proto::v1::CommitCursorRequest { name: "old".to_owned(), cursor: Some(cursor) };
    let status = again.updates().await.commit_cursor(request).await.expect_err("it is of the old store");
    let reason = gangline::grpc::status::reason_of(&status);
    assert_eq!(reason, Some(gangline::grpc::status::Reason::CursorOfOtherStore), "{status}");
}

#[test]
fn a_server_refuses_a_backup_and_says_what_to_do() {
    let server = Server::start(&[]);
    submit(&server, &["x"]);
    let out = beside(server.place(), "out");
    back_up(server.place(), &out);
    let refused = run(&["serve", "--data", &text(&out), "--listen", "127.0.0.1:0"]);
    assert_eq!(refused.status.code(), code(Exit::UNUSABLE), "{}", stderr(&refused));
    assert!(stderr(&refused).contains(&format!("gangline restore {} DIR", out.display())));
    // Everything that only looks at a data directory looks at a backup, too.
    for verb in ["verify", "inspect stats", "export"] {
        let words: Vec<&str> = verb.split(' ').collect();
        let looked = run(&[&words[..], &[&text(&out)]].concat());
        assert_eq!(looked.status.code(), Some(0), "{verb}: {}", stderr(&looked));
    }
}

#[test]
fn a_damaged_backup_is_refused_and_the_fault_named() {
    let server = Server::start(&SMALL);
    fill(&server, 30);
    let (out, to) = (beside(server.place(), "out"), beside(server.place(), "restored"));
    back_up(server.place(), &out);
    let segment = out.join("log/0000000002.seg");
    // The file is the server's, too.
    let mut bytes = std::fs::read(&segment).expect("it is there");
    bytes[100_000] ^= 1;
    std::fs::remove_file(&segment).expect("it is ours");
    std::fs::write(&segment, bytes).expect("it is ours");
    let refused = run(&["restore", &text(&out), &text(&to)]);
    assert_eq!(refused.status.code(), code(Exit::DAMAGED), "{}", stderr(&refused));
    assert!(stdout(&refused).contains("log/0000000002.seg at byte"), "{}", stdout(&refused));
    assert!(stderr(&refused).contains("gangline salvage"), "{}", stderr(&refused));
    assert!(!to.exists() && !to.with_extension("restoring").exists());
}

#[test]
fn a_restore_up_to_an_update_leaves_out_what_came_later() {
    let server = Server::start(&[]);
    let first = submit(&server, &["first"]);
    let second = submit(&server, &["second"]);
    let out = beside(server.place(), "out");
    let summary = back_up(server.place(), &out);
    assert_eq!(number(&summary, "sequence"), 2);
    let place = Place::new();
    let data = text(&place.data());
    let beyond = run(&["restore", &text(&out), &data, "--until", "3"]);
    assert_eq!(beyond.status.code(), code(Exit::UNUSABLE), "{}", stderr(&beyond));
    assert!(stderr(&beyond).contains("ends with update 2"), "{}", stderr(&beyond));
    let restored = run(&["restore", &text(&out), &data, "--until", "1"]);
    assert_eq!(restored.status.code(), Some(0), "{}", stderr(&restored));
    let again = place.serve(&[]);
    assert_eq!(waiting(&again), [first]);
    assert_eq!(
        gangline(&["get", &second, "--server", &again.address().to_string()])
            .output()
            .expect("it runs")
            .status
            .code(),
        code(Exit::NOT_FOUND)
    );
}
