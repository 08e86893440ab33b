//! `gangline bench --server`: it measures a server that runs on, so a run must neither take an earlier one's jobs for its own
//! nor anybody else's, and it must end.

use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::harness::until;
use crate::verbs::ask;
use crate::verbs::submit;
use crate::verbs::told;
use gangline::proto::v1;
use serde_json::Value;
use std::process::Child;
use std::process::Output;
use std::process::Stdio;

/// A bench that is ended when the test gives up on it.
struct Running(Option<Child>);

impl Running {
    fn start(server: &Server, arguments: &[&str]) -> Running {
        let mut command = gangline(&["bench", "--json", "--server", &server.address().to_string()]);
        // What it writes besides is beside the server's data, and goes with it.
        command.arg("--data").arg(server.place().data().parent().expect("it lies in a directory"));
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        Running(Some(command.spawn().expect("the binary starts")))
    }

    fn end(mut self, what: &str) -> Output {
        let child = self.0.as_mut().expect("it is taken once");
        until(&format!("{what} ends"), || child.try_wait().expect("it is our child"));
        let child = self.0.take().expect("it is taken once");
        child.wait_with_output().expect("its output is read")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            child.kill().ok();
            child.wait().ok();
        }
    }
}

/// Runs a part of the bench to its end; the objects that it printed.
fn measure(server: &Server, part: &str, sizes: &[&str]) -> Vec<Value> {
    let output = Running::start(server, &[&["--only", part], sizes].concat()).end(part);
    assert!(output.status.success(), "{part}: {}", stderr(&output));
    stdout(&output).lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

/// How many updates the server's log holds.
fn updates(server: &Server) -> u64 {
    let info: Value = serde_json::from_str(&told(server, &["info", "--json"])).expect("one object");
    info["head_sequence"].as_u64().expect("a number")
}

/// The jobs that are ready, scheduled or running in each queue that has some.
fn unfinished(server: &Server) -> Vec<(String, u64)> {
    let queues = told(server, &["queues", "--json"]);
    let queues = queues.lines().map(|line| serde_json::from_str::<Value>(line).expect("one object a line"));
    let jobs = |queue: &Value| {
        let count = |what: &str| queue[what].as_u64().expect("a number");
        let name = queue["name"].as_str().expect("a name").to_owned();
        (name, count("ready") + count("scheduled") + count("running"))
    };
    queues.map(|queue| jobs(&queue)).filter(|(_, jobs)| *jobs > 0).collect()
}

/// Every job is a new one in each run, which the server's log shows: a second run whose submits were taken for repeats of the
/// first either waited for ever or told of a speed at which nothing had happened.
#[test]
fn a_part_measures_new_jobs_each_time_it_is_run_against_the_same_server() {
    let server = Server::start(&[]);
    for queue in ["bench", "idle"] {
        submit(&server, &["--queue", queue, "a user's own"]);
    }
    let jobs = ["--jobs", "400", "--updates", "400", "--latency-jobs", "10"];
    for round in 1..=2 {
        for (part, made) in
            [("submit", 2 * 2 * 400), ("lifecycle", 2 * 3 * 400), ("latency", 3 * 60), ("tail", 800)]
        {
            let before = updates(&server);
            let figures = measure(&server, part, &jobs);
            assert_eq!(updates(&server) - before, made, "round {round} of {part}: {figures:?}");
            assert!(figures.iter().all(|figures| figures["jobs"] != 0), "{figures:?}");
        }
        // What waited is cancelled, but nobody else's jobs were worked on or cancelled.
        assert_eq!(unfinished(&server), [("bench".to_owned(), 1), ("idle".to_owned(), 1)], "round {round}");
    }
    assert_eq!(measure(&server, "tail", &jobs)[0]["jobs"], 400, "the updates of earlier runs are not read");
}

/// Readers first one and then fifty, jobs first in one queue and then in ten thousand: each is a run after another already.
#[test]
fn readers_and_many_queues_take_nothing_of_a_run_before_for_theirs() {
    let server = Server::start(&[]);
    for (part, made) in [("tail", 800), ("readers", 2 * 60_000), ("queues", 2 * 3 * 2_000)] {
        let before = updates(&server);
        let figures = measure(&server, part, &["--updates", "400", "--jobs", "2000"]);
        assert!(updates(&server) - before >= made, "{part}: {figures:?}");
    }
    assert_eq!(unfinished(&server), []);
}

/// The disk is measured ten times a second meanwhile: that is no progress, and the wait does not begin anew with it.
#[test]
fn a_bench_whose_jobs_do_not_finish_ends_and_says_how_far_it_came() {
    let server = Server::start(&[]);
    told(&server, &["queues", "pause", "gangline-bench"]);
    for part in ["lifecycle", "latency", "paced"] {
        let bench = Running::start(&server, &["--only", part, "--jobs", "300", "--patience", "1s"]);
        let output = bench.end(part);
        assert_eq!(output.status.code(), Some(5), "{part}: {}", stderr(&output));
        let said = stderr(&output);
        assert!(said.contains("no job finished for 1s; 0 of "), "{part}: {said}");
        assert!(said.contains("gangline queues"), "{part}: {said}");
    }
    told(&server, &["queues", "resume", "gangline-bench"]);
    assert_eq!(measure(&server, "lifecycle", &["--jobs", "300"]).len(), 2, "what was left is not in the way");
}

#[test]
fn a_bench_that_is_stopped_half_way_leaves_nothing_in_the_way_of_the_next() {
    let server = Server::start(&[]);
    let stopped = Running::start(&server, &["--only", "lifecycle", "--jobs", "100000000"]);
    until("its jobs are there", || (updates(&server) > 0).then_some(()));
    drop(stopped);
    let before = updates(&server);
    assert_eq!(measure(&server, "submit", &["--jobs", "400"]).len(), 2);
    assert!(updates(&server) > before);
    assert_eq!(unfinished(&server), []);
}

#[tokio::test]
async fn a_bench_does_not_begin_while_somebody_works_on_its_queues() {
    let server = Server::start(&[]);
    submit(&server, &["--queue", "gangline-bench", "worked on"]);
    let claim = v1::ClaimJobsRequest {
        worker_id: "of another bench".to_owned(),
        queues: vec!["gangline-bench".to_owned()],
        jobs_max: 1,
        ..v1::ClaimJobsRequest::default()
    };
    let claimed = server.workers().await.claim_jobs(claim).await.expect("a job is ready");
    assert_eq!(claimed.into_inner().leases.len(), 1);
    let output = Running::start(&server, &["--only", "submit", "--patience", "300ms"]).end("the bench");
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
    assert!(stderr(&output).contains("1 jobs run in queues that benches use"), "{}", stderr(&output));
}

#[test]
fn a_part_that_needs_a_server_of_its_own_is_refused_before_anything_is_done() {
    let server = Server::start(&[]);
    let address = server.address().to_string();
    for part in ["pending", "backlog", "filtered", "watchers", "restart"] {
        let output = ask(&server, &["bench", "--server", &address, "--only", "submit", "--only", part]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(&format!("the bench {part} measures a server that it starts")));
    }
    for flag in ["--jobs", "--connections", "--batch", "--slots"] {
        assert_eq!(ask(&server, &["bench", "--only", "submit", flag, "0"]).status.code(), Some(2), "{flag}");
    }
    assert_eq!(updates(&server), 0);
}
