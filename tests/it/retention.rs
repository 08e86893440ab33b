//! Retention, as operators set it and as readers notice it.

use crate::harness::Server;
use crate::harness::stderr;
use crate::harness::until;
use crate::verbs::ask;
use crate::verbs::complete;
use crate::verbs::fail;
use crate::verbs::finish;
use crate::verbs::submit;
use crate::verbs::told;
use std::collections::HashSet;

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

/// Far more than one page of the work tree and one command hold, and between them those of a queue that keeps its own.
#[test]
fn thousands_of_finished_jobs_are_forgotten_each_once() {
    const JOBS: usize = 10_000;
    let server = Server::start(&[]);
    let lines = server.place().write("lines", &"x\n".repeat(JOBS));
    let lines = lines.to_str().expect("a path of ours");
    // By the time a shorter one is set, the pruner rests for this one: that must not hold it up.
    told(&server, &["queues", "set", "kept", "--retention", "1h"]);
    for queue in ["brief", "kept", "brief"] {
        told(&server, &["submit", "--lines", "--file", lines, "--queue", queue]);
    }
    for queue in ["brief", "kept"] {
        told(&server, &["queues", "purge", queue, "--waiting"]);
    }
    told(&server, &["queues", "set", "brief", "--retention", "1s"]);
    until("all of the queue are forgotten", || {
        told(&server, &["ls", "--queue", "brief", "--ids", "--limit", "1"]).is_empty().then_some(())
    });
    let deleted = deleted(&server);
    let once: HashSet<&String> = deleted.iter().collect();
    assert_eq!((deleted.len(), once.len()), (2 * JOBS, 2 * JOBS));
    let kept = told(&server, &["ls", "--queue", "kept", "--ids", "--all"]);
    assert_eq!(kept.lines().count(), JOBS);
}

/// A log of small files, so that a megabyte fills several of them, of which little is still in memory.
const SMALL: [&str; 6] = [
    "--segment-bytes=256KiB",
    "--transport-request-bytes-max=192KiB",
    "--payload-bytes-max=64KiB",
    "--result-bytes-max=64KiB",
    "--checkpoint-bytes=64KiB",
    "--ring-bytes=64KiB",
];

/// Writes some files of log, of jobs that finish at once.
fn fill(server: &Server) {
    let file = server.place().write("payload", &"x".repeat(60_000));
    let file = file.to_str().expect("a path of ours");
    for _ in 0..16 {
        submit(server, &["--file", file, "--queue", "bulk"]);
    }
    told(server, &["queues", "purge", "bulk", "--waiting"]);
}

fn info(server: &Server) -> serde_json::Value {
    serde_json::from_str(&told(server, &["info", "--json"])).expect("a JSON object")
}

fn floor(server: &Server) -> u64 {
    info(server)["floor_sequence"].as_u64().expect("a number")
}

fn checkpoints(server: &Server) -> usize {
    server.stderr().matches("checkpoint made").count()
}

/// [LOG-2]
#[test]
fn log_that_is_too_old_frees_its_files_and_whoever_had_not_read_it_is_told() {
    let server = Server::start(&[&SMALL[..], &["--retention-age=2s", "--lag-budget-bytes=0"]].concat());
    let first = submit(&server, &["x"]);
    told(&server, &["cancel", &first]);
    told(&server, &["cursors", "commit", "slow", "1"]);
    fill(&server);
    let oldest = server.place().data().join("log/0000000001.seg");
    until("the oldest file is freed", || {
        submit(&server, &["a trickle"]);
        (!oldest.exists()).then_some(())
    });
    let floor = floor(&server);
    assert!(floor > 2 && info(&server)["floor_time"].is_string(), "{floor}");
    assert!(!is_there(&server, &first), "its end is no longer in the log");

    for reader in [["tail", "--no-follow", "--after", "1"], ["tail", "--no-follow", "--cursor", "slow"]] {
        let refused = ask(&server, &reader);
        assert_eq!(refused.status.code(), Some(3), "{}", stderr(&refused));
        assert!(stderr(&refused).contains("the log begins with update"), "{}", stderr(&refused));
    }
    let listed = ask(&server, &["cursors"]);
    assert!(String::from_utf8_lossy(&listed.stdout).contains("lost"), "{listed:?}");
    assert!(stderr(&listed).contains("1 lost"), "{listed:?}");
    until("the operator is warned", || {
        server.stderr().contains("a named cursor has lost its place").then_some(())
    });
    told(&server, &["cursors", "commit", "slow", "start"]);
    told(&server, &["tail", "--no-follow", "--cursor", "slow"]);
    assert!(told(&server, &["cursors"]).contains("kept"));
}

#[test]
fn a_named_cursor_holds_old_log_back_within_its_budget_until_it_moves() {
    let server = Server::start(&[&SMALL[..], &["--retention-age=1s"]].concat());
    submit(&server, &["x"]);
    told(&server, &["cursors", "commit", "slow", "1"]);
    fill(&server);
    let seen = checkpoints(&server);
    until("several checkpoints are made of log that is too old", || {
        fill(&server);
        (checkpoints(&server) >= seen + 4).then_some(())
    });
    assert_eq!(floor(&server), 1, "it is kept for the cursor");
    told(&server, &["cursors", "commit", "slow", "end"]);
    until("the log goes", || {
        submit(&server, &["a trickle"]);
        (floor(&server) > 1).then_some(())
    });
}

/// [DEAD-1]
#[tokio::test]
async fn an_operator_is_warned_once_before_dead_jobs_go_and_sees_it_in_the_list() {
    let server = Server::start(&[]);
    told(&server, &["queues", "set", "mail", "--dead-max", "10"]);
    let mut died = Vec::new();
    let mut die = async |deaths: usize| {
        for _ in 0..deaths {
            died.push(submit(&server, &["x", "--queue", "mail", "--max-attempts", "1"]));
            finish(&server, "mail", fail("broken")).await;
        }
        died.clone()
    };
    die(8).await;
    assert!(!stderr(&ask(&server, &["queues"])).contains("dead"));
    die(1).await;
    until("the warning", || server.stderr().contains("dead jobs nearly fill a queue").then_some(()));
    assert!(stderr(&ask(&server, &["queues", "--json"])).contains("mail keeps 9 dead jobs, and 10 at most"));
    let died = die(2).await;
    until("the next one", || server.stderr().contains("a queue is full of dead jobs").then_some(()));
    assert!(!is_there(&server, &died[0]) && is_there(&server, &died[1]));
    for warning in ["dead jobs nearly fill a queue", "a queue is full of dead jobs"] {
        assert_eq!(server.stderr().matches(warning).count(), 1, "{warning}");
    }
}
