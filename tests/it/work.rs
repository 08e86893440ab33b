//! `gangline work`: pools on other machines, with the real binary on both sides.

mod crew;
mod death;
mod link;
mod stop;
mod wire;

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::verbs::ask;
use crate::verbs::submit;
use crate::verbs::told;
use crate::work::crew::Crew;
use crate::work::crew::ended;
use crate::work::crew::result;
use gangline::cli::exit::Exit;

#[test]
fn a_pool_works_on_the_queues_it_names_in_both_ways() {
    let server = Server::start(&[]);
    let each = ["--queue", "a", "--queue", "b", "-j2", "--each", "--", "sh", "-c", "tr a-z A-Z"];
    let _each = Crew::start(&server, &each);
    let echo = "while read -r line; do id=${line#*id\\\":\\\"}; id=${id%%\\\"*}; \
                echo \"{\\\"id\\\":\\\"$id\\\",\\\"result\\\":\\\"served\\\"}\"; done";
    let _serve = Crew::start(&server, &["-q", "c", "-j1", "--serve", "--", "sh", "-c", echo]);
    for (queue, wanted) in [("a", "WORD"), ("b", "WORD"), ("c", "served")] {
        assert_eq!(told(&server, &["submit", "--queue", queue, "--wait", "word"]), wanted);
    }
    let other = submit(&server, &["--queue", "d", "word"]);
    assert!(told(&server, &["get", &other]).contains("ready"), "nobody works on it");
}

/// Together they are over what one message may hold, in both directions.
#[test]
fn many_large_payloads_and_results_go_through() {
    let server = Server::start(&[]);
    let payload = server.place().write("large", &"x".repeat(1_000_000)).display().to_string();
    let jobs: Vec<String> = (0..12).map(|_| submit(&server, &["--file", &payload])).collect();
    let crew = Crew::start(&server, &["-j8", "--each", "--", "cat"]);
    for job in &jobs {
        assert_eq!(ended(&server, job)["state"], "succeeded", "{}", crew.stderr());
        assert_eq!(result(&server, job).len(), 1_000_000);
    }
    assert_eq!(crew.times_ready(), 1, "the stream did not break: {}", crew.stderr());
}

/// The server's limit is not the pool's: the job fails with the reason, and the pool goes on.
#[test]
fn a_result_that_the_server_does_not_take_is_a_failure_of_its_job() {
    let server = Server::start(&["--result-bytes-max=1KiB"]);
    let _crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", "read n; head -c $n /dev/zero"]);
    let job = submit(&server, &["--max-attempts", "1", "2000\n"]);
    let dead = ended(&server, &job);
    assert_eq!(dead["state"], "dead");
    let message = dead["failures"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("did not take the result") && message.contains("1024"), "{dead}");
    assert_eq!(told(&server, &["submit", "--wait", "10\n"]).len(), 10);
}

#[test]
fn a_cancelled_job_is_stopped_where_it_runs() {
    let server = Server::start(&[]);
    let place = Place::new();
    let pid = place.data();
    let script =
        format!("test $GANGLINE_ATTEMPT; echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000", pid.display());
    let _crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &script]);
    let job = submit(&server, &["x"]);
    let child = crew::pid_in(&pid);
    told(&server, &["cancel", &job]);
    crew::gone(child);
    assert_eq!(ended(&server, &job)["state"], "cancelled");
}

#[test]
fn what_is_wrong_is_told_before_anything_starts() {
    let usage = Some(i32::from(Exit::USAGE.code()));
    let cases: [(&[&str], &str); 9] = [
        (&["--each"], "<COMMAND>"),
        (&["--", "cat"], "--each|--serve|--python"),
        (&["--each", "--serve", "--", "cat"], "cannot be used with '--serve'"),
        (&["--python", "tasks", "--", "cat"], "cannot be used with"),
        (&["--each", "--", "no-such-program"], "no-such-program"),
        (&["--each", "--queue", "no name", "--", "cat"], "no name"),
        (&["--each", "--processes", "0", "--", "cat"], "--processes"),
        (&["--each", "--name", "@mine", "--", "cat"], "a server's own pools"),
        (&["--each", "--server", "https://here:1", "--", "cat"], "host:port"),
    ];
    for (arguments, wanted) in cases {
        let refused = run(&[&["work"], arguments].concat());
        assert_eq!(refused.status.code(), usage, "{arguments:?}: {}", stderr(&refused));
        assert!(stderr(&refused).contains(wanted), "{arguments:?}: {}", stderr(&refused));
    }
}

#[test]
fn that_no_server_is_there_is_told_at_once() {
    let mut server = Server::start(&[]);
    server.kill();
    let refused = ask(&server, &["work", "--each", "--", "cat"]);
    assert_eq!(refused.status.code(), Some(i32::from(Exit::UNAVAILABLE.code())));
    let said = stderr(&refused);
    assert!(said.contains("no server answers") && said.contains("to do:"), "{said}");
}

/// Two pools must not take turns in throwing each other out.
#[test]
fn a_pool_whose_name_is_taken_by_another_ends_and_says_why() {
    let server = Server::start(&[]);
    let named = ["--name", "mine", "--each", "--", "cat"];
    let mut first = Crew::start(&server, &named);
    let _second = Crew::start(&server, &named);
    assert_eq!(first.wait().code(), Some(i32::from(Exit::CONFLICT.code())), "{}", first.stderr());
    assert!(first.stderr().contains("a newer stream of this worker"), "{}", first.stderr());
    assert_eq!(told(&server, &["submit", "--wait", "x"]), "x");
}
