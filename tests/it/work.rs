//! `gangline work`: pools on other machines, with the real binary on both sides.

mod crew;
mod death;
mod full;
mod link;
mod python;
mod restored;
mod stop;
mod wire;

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::stdout;
use crate::verbs::ask;
use crate::verbs::submit;
use crate::verbs::told;
use crate::work::crew::Crew;
use crate::work::crew::ended;
use crate::work::crew::result;
use gangline::cli::exit::Exit;
use gangline::proto::v1;
use serde_json::Value;

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

/// What `ps`, `top` and `pgrep` call them.
#[test]
fn the_server_the_pool_and_what_stands_between_it_and_its_workers_are_called_gangline() {
    let server = Server::start(&[]);
    let named = std::fs::read_to_string(format!("/proc/{}/comm", server.pid())).expect("it runs");
    assert_eq!(named, "gangline\n");
    let names = "pid=$PPID; for _ in spawner warden pool; do cat /proc/$pid/comm; \
                 read -r _ _ _ pid _ < /proc/$pid/stat; done";
    let _crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", names]);
    assert_eq!(told(&server, &["submit", "--wait", "who"]), "gangline\n".repeat(3));
}

/// Pools of the server and of other machines are listed alike, with what they work on.
#[test]
fn pools_are_listed_with_their_slots_their_jobs_and_their_last_sign_of_life() {
    let place = Place::new();
    let pool = "[[pools]]\nname = \"inside\"\nqueues = [\"other\"]\nmode = \"each\"\ncommand = [\"cat\"]\nprocesses = 5\n";
    let file = place.write("gangline.toml", pool).display().to_string();
    let server = place.serve(&["--config", &file]);
    let _crew = Crew::start(&server, &["--name", "outside", "-j2", "--each", "--", "sleep", "1000"]);
    let running = submit(&server, &["x"]);
    crew::began(&server, &running, 1);
    let listed = told(&server, &["workers", "--json"]);
    let workers: Vec<Value> = listed.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let [inside, outside] = &workers[..] else { panic!("two pools: {listed}") };
    assert_eq!((&inside["worker_id"], &inside["slots"]), (&"@inside".into(), &5.into()));
    assert_eq!(inside["description"], "cat, in the server");
    assert_eq!((&outside["worker_id"], &outside["slots"]), (&"outside".into(), &2.into()));
    assert_eq!((&outside["leases"], &outside["free_slots"]), (&1.into(), &3.into()));
    assert_eq!(outside["job_ids"], Value::from(vec![running]));
    for worker in &workers {
        let heard: jiff::Timestamp =
            worker["last_heard_at"].as_str().expect("a time").parse().expect("a time");
        assert!((0..6_000).contains(&(crew::now_ms() - heard.as_millisecond())), "{worker}");
    }
    let table = told(&server, &["workers"]);
    assert!(table.lines().any(|line| line.starts_with("outside  default  2      1")), "{table}");
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

/// A unary claim is answered with as many leases as fit; the others go back unused, and are claimed next.
#[tokio::test]
async fn a_claim_of_many_large_jobs_is_answered_in_parts() {
    let server = Server::start(&[]);
    let payload = server.place().write("large", &"x".repeat(1_000_000)).display().to_string();
    let mut jobs: Vec<String> = (0..5).map(|_| submit(&server, &["--file", &payload])).collect();
    let mut workers = server.workers().await.max_decoding_message_size(16 << 20);
    let mut claimed = Vec::new();
    while claimed.len() < jobs.len() {
        let request = v1::ClaimJobsRequest {
            worker_id: "unary".to_owned(),
            jobs_max: 10,
            wait: Some(prost_types::Duration { seconds: 20, nanos: 0 }),
            ..v1::ClaimJobsRequest::default()
        };
        let answer = workers.claim_jobs(request).await.expect("it is below every limit").into_inner();
        assert!((1..=2).contains(&answer.leases.len()), "{} leases", answer.leases.len());
        claimed.extend(answer.leases.into_iter().map(|lease| lease.job_id));
    }
    claimed.sort();
    jobs.sort();
    assert_eq!(claimed, jobs);
}

#[test]
fn the_help_says_all_there_is_to_say() {
    insta::assert_snapshot!("help", stdout(&run(&["work", "--help"])));
}

/// The server's limit is not the pool's: the job fails with the reason, and the pool goes on.
#[test]
fn a_result_that_the_server_does_not_take_is_a_failure_of_its_job() {
    let small =
        ["--result-bytes-max=1KiB", "--payload-bytes-max=1KiB", "--transport-request-bytes-max=128KiB"];
    let server = Server::start(&small);
    let _crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", "read n; head -c $n /dev/zero"]);
    let job = submit(&server, &["--max-attempts", "1", "900000\n"]);
    let dead = ended(&server, &job);
    assert_eq!(dead["state"], "dead");
    let message = dead["failures"][0]["message"].as_str().unwrap_or_default();
    assert!(message.contains("did not take the result") && message.contains("1024"), "{dead}");
    assert_eq!(told(&server, &["submit", "--wait", "10\n"]).len(), 10);
}

/// A pool's table means the same inside a server and on another machine.
#[test]
fn a_pool_of_a_configuration_file_runs_with_all_its_settings() {
    let server = Server::start(&[]);
    // A limit holds a moment after the start: the job waits for it.
    let limited = "until test $(ulimit -n) = 77; do :; done";
    let table = |name: &str| {
        format!(
            "[[pools]]\nname = \"{name}\"\nqueues = [\"{name}\"]\nmode = \"each\"\nprocesses = 3\nopen_files = 77\n\
             command = [\"sh\", \"-c\", \"{limited}; echo $LEAD of {name}\"]\nenvironment = {{ LEAD = \"rex\" }}\n"
        )
    };
    let one = server.place().write("one.toml", &table("a")).display().to_string();
    let two = server.place().write("two.toml", &[table("a"), table("b")].concat()).display().to_string();
    let _one = Crew::start(&server, &["--config", &one]);
    let _two = Crew::start(&server, &["--config", &two, "--pool", "b"]);
    for queue in ["a", "b"] {
        let said = told(&server, &["submit", "--queue", queue, "--wait", "x"]);
        assert_eq!(said, format!("rex of {queue}\n"));
    }
    for wrong in [&["--config", &two][..], &["--config", &two, "--pool", "c"]] {
        let refused = ask(&server, &[&["work"], wrong].concat());
        assert_eq!(refused.status.code(), Some(i32::from(Exit::USAGE.code())));
        assert!(stderr(&refused).contains("one of: a, b"), "{}", stderr(&refused));
    }
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
    let cases: [(&[&str], &str); 13] = [
        (&["--each"], "<COMMAND>"),
        (&["--", "cat"], "--each|--serve|--python"),
        (&["--each", "--serve", "--", "cat"], "cannot be used with '--serve'"),
        (&["--python", "tasks", "--", "cat"], "cannot be used with"),
        (&["--each", "--", "no-such-program"], "no-such-program"),
        (&["--each", "--queue", "no name", "--", "cat"], "no name"),
        (&["--each", "--processes", "0", "--", "cat"], "--processes"),
        (&["--each", "--name", "@mine", "--", "cat"], "a server's own pools"),
        (&["--each", "--log-filter", "x=?", "--", "cat"], "log.filter"),
        (&["--config", "no-such-file.toml"], "no-such-file.toml"),
        (&["--config", "a.toml", "--queue", "b"], "cannot be used with"),
        (&["--each", "--pool", "b", "--", "cat"], "cannot be used with"),
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
