//! Retention, as operators set it and as readers notice it.

use crate::harness::Server;
use crate::harness::until;
use crate::verbs::ask;
use crate::verbs::complete;
use crate::verbs::fail;
use crate::verbs::finish;
use crate::verbs::submit;
use crate::verbs::told;

/// A finished, a cancelled, a dead and a waiting job of a queue.
struct Jobs {
    succeeded: String,
    cancelled: String,
    dead: String,
    waiting: String,
}

impl Jobs {
    async fn of(server: &Server, queue: &str) -> Jobs {
        let succeeded = submit(server, &["x", "--queue", queue]);
        finish(server, queue, complete("done")).await;
        let dead = submit(server, &["x", "--queue", queue, "--max-attempts", "1"]);
        finish(server, queue, fail("broken")).await;
        let cancelled = submit(server, &["x", "--queue", queue]);
        told(server, &["cancel", &cancelled]);
        let waiting = submit(server, &["x", "--queue", queue, "--priority", "-1"]);
        Jobs { succeeded, cancelled, dead, waiting }
    }
}

fn is_there(server: &Server, id: &str) -> bool {
    match ask(server, &["get", id]).status.code() {
        Some(0) => true,
        Some(3) => false,
        other => panic!("get {id} exits with {other:?}"),
    }
}

/// Ids of the jobs that the log says were deleted.
fn deleted(server: &Server) -> Vec<String> {
    let text = told(server, &["tail", "--no-follow", "--kind", "deleted", "--json"]);
    let update = |line: &str| serde_json::from_str::<serde_json::Value>(line).expect("a JSON object a line");
    text.lines().map(|line| update(line)["job_id"].as_str().expect("an id").to_owned()).collect()
}

#[tokio::test]
async fn a_queue_forgets_what_has_finished_when_its_time_is_over_and_nothing_else() {
    let server = Server::start(&[]);
    let kept = Jobs::of(&server, "kept").await;
    let brief = Jobs::of(&server, "brief").await;
    told(&server, &["queues", "set", "kept", "--retention", "1h"]);
    told(&server, &["queues", "set", "brief", "--retention", "1s"]);
    until("the finished jobs are forgotten", || {
        (!is_there(&server, &brief.succeeded) && !is_there(&server, &brief.cancelled)).then_some(())
    });
    assert_eq!(deleted(&server), [&*brief.succeeded, &*brief.cancelled], "each once, and nothing else");
    for id in [&brief.dead, &brief.waiting, &kept.succeeded, &kept.cancelled, &kept.dead, &kept.waiting] {
        assert!(is_there(&server, id));
    }
    assert_eq!(
        told(&server, &["ls", "--queue", "brief", "--ids"]),
        format!("{}\n{}\n", brief.dead, brief.waiting)
    );

    // A job that ends later has its time, too; and a shorter one counts at once, also for what has finished before.
    told(&server, &["cancel", &brief.waiting]);
    told(&server, &["queues", "set", "kept", "--retention", "1s"]);
    until("all that has finished is forgotten", || (deleted(&server).len() == 5).then_some(()));
    let gone = [brief.succeeded, brief.cancelled, kept.succeeded, kept.cancelled, brief.waiting];
    assert!(gone.iter().all(|id| deleted(&server).contains(id) && !is_there(&server, id)));
}

#[tokio::test]
async fn a_queue_forgets_across_a_crash_and_a_new_work_tree() {
    let mut server = Server::start(&[]);
    let first = Jobs::of(&server, "brief").await;
    told(&server, &["queues", "set", "brief", "--retention", "1s"]);
    until("the first jobs are forgotten", || (deleted(&server).len() == 2).then_some(()));
    told(&server, &["queues", "set", "brief", "--retention", "0s"]);
    let second = Jobs::of(&server, "brief").await;
    told(&server, &["queues", "set", "brief", "--retention", "2s"]);
    server.kill();
    std::fs::remove_dir_all(server.place().data().join("work")).expect("it can be deleted at any time");
    let server = server.again();
    until("the others are forgotten", || (deleted(&server).len() == 4).then_some(()));
    let gone = [first.succeeded, first.cancelled, second.succeeded, second.cancelled];
    assert_eq!(deleted(&server), gone, "each once");
    for id in [first.dead, first.waiting, second.dead, second.waiting] {
        assert!(is_there(&server, &id));
    }
}
