//! The commands that look at jobs and change them, against a real server without workers of its own.

use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::stderr;
use crate::harness::stdout;
use gangline::client::Client;
use gangline::client::Options;
use gangline::proto::v1;
use serde_json::Value;
use std::process::Output;

const UNKNOWN: &str = "0198a5c2-6f00-7000-8000-000000000001";

/// Runs a command against the server.
pub(crate) fn ask(server: &Server, arguments: &[&str]) -> Output {
    gangline(arguments).env("GANGLINE_SERVER", server.address().to_string()).output().expect("it runs")
}

/// Runs a command that must succeed; what it printed.
pub(crate) fn told(server: &Server, arguments: &[&str]) -> String {
    let output = ask(server, arguments);
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", stderr(&output));
    stdout(&output)
}

/// The same as JSON, without what differs from run to run.
pub(crate) fn shape(server: &Server, arguments: &[&str]) -> Vec<Value> {
    let text = told(server, arguments);
    let mut values: Vec<Value> =
        text.lines().map(|line| serde_json::from_str(line).expect("a JSON object a line")).collect();
    values.iter_mut().for_each(redact);
    values
}

fn redact(value: &mut Value) {
    const CHANGING: [&str; 12] = [
        "id",
        "job_id",
        "store_id",
        "time",
        "submitted_at",
        "started_at",
        "finished_at",
        "due",
        "run_at",
        "oldest_due",
        "uptime_ms",
        "data_filesystem",
    ];
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                if CHANGING.contains(&name.as_str()) && !field.is_null() {
                    *field = Value::from(format!("[{name}]"));
                } else {
                    redact(field);
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(redact),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Submits a job and gives its id.
pub(crate) fn submit(server: &Server, arguments: &[&str]) -> String {
    let id = told(server, &[&["submit"], arguments].concat());
    id.trim_end().to_owned()
}

/// Works on the next job of a queue as a worker would, and ends it.
pub(crate) async fn finish(server: &Server, queue: &str, outcome: v1::finish::Outcome) {
    let mut workers = server.workers().await;
    let claimed = workers
        .claim_jobs(v1::ClaimJobsRequest {
            worker_id: "tester".to_owned(),
            queues: vec![queue.to_owned()],
            jobs_max: 1,
            wait: None,
        })
        .await
        .expect("it may claim")
        .into_inner();
    let lease = claimed.leases.first().expect("a job waits");
    let finish = v1::Finish {
        job_id: lease.job_id.clone(),
        token: lease.token,
        handle: lease.handle,
        outcome: Some(outcome),
    };
    let request = v1::FinishJobsRequest { worker_id: "tester".to_owned(), finishes: vec![finish] };
    let acks = workers.finish_jobs(request).await.expect("it may finish").into_inner().acks;
    assert_eq!(acks[0].outcome(), v1::FinishOutcome::Accepted);
}

pub(crate) fn complete(result: &'static str) -> v1::finish::Outcome {
    v1::finish::Outcome::Complete(v1::Complete { result: result.into(), ..v1::Complete::default() })
}

pub(crate) fn fail(message: &str) -> v1::finish::Outcome {
    let failure = v1::Failure { message: message.to_owned(), ..v1::Failure::default() };
    v1::finish::Outcome::Fail(v1::Fail { failure: Some(failure), ..v1::Fail::default() })
}

#[tokio::test]
async fn a_job_is_submitted_shown_and_its_result_printed() {
    let server = Server::start(&[]);
    let id = submit(&server, &["hello", "--queue", "greet", "--priority", "-3", "--label", "a=b"]);
    let waiting = shape(&server, &["get", &id, "--json"]);
    insta::assert_json_snapshot!(waiting, @r#"
    [
      {
        "attempts": 0,
        "due": "[due]",
        "id": "[id]",
        "last_sequence": 1,
        "payload_bytes": 5,
        "queue": "greet",
        "spec": {
          "labels": {
            "a": "b"
          },
          "payload": "hello",
          "priority": -3
        },
        "state": "waiting",
        "submitted_at": "[submitted_at]",
        "submitted_sequence": 1
      }
    ]
    "#);
    finish(&server, "greet", complete("world")).await;
    assert_eq!(told(&server, &["get", &id, "--result"]), "world");
    assert_eq!(told(&server, &["get", &id, "--payload"]), "hello");
    assert_eq!(told(&server, &["get", &id, "--wait", "--result"]), "world");
    let shown = told(&server, &["get", &id]);
    for wanted in
        ["state      succeeded", "label      a=b", "result     5 bytes  world", "attempt 1 succeeded"]
    {
        assert!(shown.contains(wanted), "{wanted} is not in\n{shown}");
    }
}

#[tokio::test]
async fn a_dead_job_tells_its_timeline_and_is_retried_cancelled_and_deleted() {
    let server = Server::start(&[]);
    let id = submit(&server, &["x", "--max-attempts", "1"]);
    finish(&server, "default", fail("no such planet")).await;
    let shown = told(&server, &["get", &id]);
    assert!(shown.contains("attempt 1 failed: no such planet"), "{shown}");
    let waited = ask(&server, &["get", &id, "--wait", "--result"]);
    assert_eq!((waited.status.code(), stdout(&waited)), (Some(1), String::new()));

    assert_eq!(told(&server, &["ls", "--state", "dead", "--ids"]), format!("{id}\n"));
    let retried = shape(&server, &["retry", &id, "--json"]);
    assert_eq!((&retried[0]["outcome"], &retried[0]["state"]), (&"done".into(), &"waiting".into()));
    assert_eq!(ask(&server, &["retry", &id]).status.code(), Some(4), "it is not dead any more");
    assert_eq!(ask(&server, &["delete", &id]).status.code(), Some(4), "it has not ended");
    told(&server, &["cancel", &id, "--reason", "enough"]);
    assert!(told(&server, &["get", &id]).contains("cancelled enough"));
    told(&server, &["delete", &id]);
    let gone = ask(&server, &["get", &id]);
    assert_eq!(gone.status.code(), Some(3), "{}", stderr(&gone));
}

#[test]
fn many_jobs_are_one_call_and_the_worst_outcome_is_the_exit_code() {
    let server = Server::start(&[]);
    let id = submit(&server, &["x"]);
    let mixed = ask(&server, &["cancel", &id, UNKNOWN]);
    assert_eq!(mixed.status.code(), Some(3));
    assert!(stdout(&mixed).contains(&format!("{id}  done       cancelled")), "{}", stdout(&mixed));
    assert!(stdout(&mixed).contains(&format!("{UNKNOWN}  not found  -")), "{}", stdout(&mixed));
}

#[test]
fn lists_are_filtered_limited_and_say_that_there_is_more() {
    let server = Server::start(&[]);
    for number in 0..5 {
        submit(&server, &[&number.to_string(), "--queue", "q", "--label", &format!("n={number}")]);
    }
    submit(&server, &["later", "--queue", "r", "--delay", "1h"]);
    assert_eq!(told(&server, &["ls", "--ids"]).lines().count(), 6);
    assert_eq!(told(&server, &["ls", "--ids", "--queue", "q"]).lines().count(), 5);
    assert_eq!(told(&server, &["ls", "--ids", "--label", "n=3"]).lines().count(), 1);
    assert_eq!(told(&server, &["ls", "--ids", "--state", "dead,running"]), "");
    let two = ask(&server, &["ls", "-n2"]);
    assert_eq!(stdout(&two).lines().count(), 3, "a header and two jobs");
    assert!(stderr(&two).contains("only the first 2"), "{}", stderr(&two));
    assert!(told(&server, &["ls", "--queue", "r"]).contains("scheduled"));
}

/// Right after a start the server may still read the history of finished jobs: that is waited for, by the first call too.
#[test]
fn finished_jobs_are_told_also_while_a_server_that_has_just_started_reads_its_history() {
    let mut server = Server::start(&[]);
    let lines = server.place().write("lines", &"x\n".repeat(40_000)).display().to_string();
    let ids = told(&server, &["submit", "--lines", "--file", &lines]);
    told(&server, &["queues", "purge", "default", "--waiting"]);
    let last = ids.lines().last().expect("an id");
    server.kill();
    std::fs::remove_dir_all(server.place().data().join("work")).expect("it can be deleted at any time");
    let server = server.again();
    assert!(told(&server, &["get", last]).contains("cancelled"));
}

#[test]
fn wrong_arguments_are_refused_before_the_server_is_asked() {
    let cases: [(&[&str], &str); 10] = [
        (&["get", "no-id"], "is not a job id"),
        (&["cancel", "no-id"], "is not a job id"),
        (&["ls", "--queue", "a b"], "is not a queue name"),
        (&["ls", "--state", "ded"], "dead"),
        (&["submit", "x", "--priority", "101"], "-100"),
        (&["submit", "x", "--label", "nothing"], "write name=value"),
        (&["submit", "x", "--delay", "1h", "--run-at", "2027-01-31T08:00:00Z"], "cannot be used with"),
        (&["submit", "x", "--run-at", "tomorrow"], "2027-01-31T08:00:00Z"),
        (&["tail", "--after", "yesterday"], "start, end or the sequence"),
        (&["info", "--server", "localhost"], "host:port"),
    ];
    for (arguments, wanted) in cases {
        // Nobody listens there: whoever asks ends with another exit code.
        let output = gangline(arguments).env("GANGLINE_SERVER", "127.0.0.1:1").output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(wanted), "{arguments:?}: {}", stderr(&output));
    }
}

#[test]
fn a_server_that_is_not_there_is_told_at_once_with_what_to_do() {
    let output = gangline(&["info", "--server", "127.0.0.1:1"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(5));
    let said = stderr(&output);
    assert!(said.contains("no server answers at 127.0.0.1:1") && said.contains("gangline serve"), "{said}");
}

#[test]
fn a_misspelt_command_is_answered_with_what_was_meant() {
    let output = gangline(&["sumbit"]).output().expect("it runs");
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'submit'"), "{}", stderr(&output));
}

/// The client as a library: refusals carry the server's reason. [ID-1]
#[tokio::test]
async fn a_key_makes_a_repeat_harmless_and_another_job_under_it_is_refused() {
    let server = Server::start(&[]);
    let client = Client::connect(&server.address().to_string(), Options::default()).expect("an address");
    let job = |payload: &'static str| v1::JobSpec { payload: payload.into(), ..v1::JobSpec::default() };
    let first = client.submit(vec![job("a")], Some("k")).await.expect("submitted");
    let second = client.submit(vec![job("a")], Some("k")).await.expect("a repeat");
    assert_eq!((first.repeat, second.repeat, &first.ids), (false, true, &second.ids));
    let refused = client.submit(vec![job("b")], Some("k")).await.expect_err("another job");
    assert_eq!(refused.reason(), Some(gangline::grpc::status::Reason::KeyReused));
    let output = ask(&server, &["submit", "b", "--key", "k"]);
    assert_eq!(output.status.code(), Some(4), "{}", stderr(&output));
}
