//! The commands of an operator: queues, cursors, workers and the server itself.

use crate::harness::Server;
use crate::harness::stderr;
use crate::verbs::ask;
use crate::verbs::shape;
use crate::verbs::submit;
use crate::verbs::told;

#[test]
fn queues_are_made_paused_changed_and_purged() {
    let server = Server::start(&[]);
    assert_eq!(ask(&server, &["queues", "show", "mail"]).status.code(), Some(3));
    submit(&server, &["x", "--queue", "mail"]);
    told(&server, &["queues", "pause", "mail"]);
    told(&server, &["queues", "set", "mail", "--max-pending", "7", "--retention", "2days"]);
    insta::assert_json_snapshot!(shape(&server, &["queues", "--json"]), @r#"
    [
      {
        "dead": 0,
        "dead_max": 10000,
        "max_pending": 7,
        "name": "mail",
        "oldest_due": "[oldest_due]",
        "paused": true,
        "ready": 1,
        "retention_ms": 172800000,
        "running": 0,
        "scheduled": 0
      }
    ]
    "#);
    assert!(told(&server, &["queues"]).contains("paused max-pending=7 dead-max=10000 retention=2days"));
    assert!(!told(&server, &["queues", "resume", "mail"]).contains("paused"));
    assert_eq!(told(&server, &["queues", "purge", "mail", "--waiting", "--json"]), "{\"jobs\":1}\n");
    assert_eq!(ask(&server, &["queues", "purge", "mail"]).status.code(), Some(2), "say which jobs");
    assert_eq!(ask(&server, &["queues", "set", "mail"]).status.code(), Some(2), "say what");
}

#[test]
fn the_server_and_its_workers_are_shown() {
    let server = Server::start(&[]);
    let info = told(&server, &["info"]);
    assert!(info.starts_with("server      gangline 0."), "{info}");
    let json = shape(&server, &["info", "--json"]);
    assert_eq!((&json[0]["durability"], &json[0]["epoch"]), (&"synced".into(), &1.into()));
    assert!(told(&server, &["workers"]).starts_with("WORKER"));
    assert_eq!(told(&server, &["workers", "--json"]), "");
}

#[test]
fn a_cursor_is_moved_by_hand_but_not_past_the_log() {
    let server = Server::start(&[]);
    for _ in 0..3 {
        submit(&server, &["x"]);
    }
    let count = || told(&server, &["tail", "--no-follow", "--cursor", "mine"]).lines().count();
    told(&server, &["cursors", "commit", "mine", "2"]);
    assert_eq!(count(), 1);
    told(&server, &["cursors", "commit", "mine", "start"]);
    assert_eq!(count(), 3);
    told(&server, &["cursors", "commit", "mine", "end"]);
    assert_eq!(count(), 0);
    let future = ask(&server, &["cursors", "commit", "mine", "99"]);
    assert_eq!(future.status.code(), Some(4), "{}", stderr(&future));
}
