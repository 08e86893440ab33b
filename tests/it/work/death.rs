//! What becomes of jobs whose worker dies, stands still, or loses its server. [LEASE-1] [LEASE-2]

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::until;
use crate::verbs::submit;
use crate::verbs::told;
use crate::work::crew::Crew;
use crate::work::crew::alive;
use crate::work::crew::began;
use crate::work::crew::ended;
use crate::work::crew::gone;
use crate::work::crew::job;
use crate::work::crew::kinds;
use crate::work::crew::noting;
use crate::work::crew::now_ms;
use crate::work::crew::pid_in;
use crate::work::crew::result;
use crate::work::crew::signal;
use crate::work::crew::updates;
use gangline::client::Client;
use gangline::client::Options;
use gangline::proto::v1;
use rustix::process::Signal;

/// Beyond what is promised: the time a busy machine takes for everything else.
const SLACK_MS: i64 = 500;

/// [LEASE-2]: a process that is killed is noticed at once, and the job is claimed again within a second.
#[tokio::test]
async fn a_killed_worker_process_leads_to_a_new_claim_within_a_second() {
    let server = Server::start(&[]);
    let place = Place::new();
    let note = place.data();
    let script = noting(&note, "test $GANGLINE_ATTEMPT = 2 || exec sleep 1000; echo again");
    let _crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &script]);
    // The pause before the next attempt is the job's own policy, and not what is measured.
    let backoff = v1::Backoff { initial: Some(prost_types::Duration::default()), ..v1::Backoff::default() };
    let policy = v1::RetryPolicy { backoff: Some(backoff), ..v1::RetryPolicy::default() };
    let spec = v1::JobSpec { retry_policy: Some(policy), ..v1::JobSpec::default() };
    let client = Client::connect(&server.address().to_string(), Options::default()).expect("an address");
    let submitted = client.submit(vec![spec], None).await.expect("it is taken");
    let id = &submitted.ids[0].to_string();
    let child = pid_in(&note);
    let killed = now_ms();
    signal(child, Signal::KILL);
    let took = began(&server, id, 2) - killed;
    assert!(took <= 1_000, "it took {took} ms");
    assert_eq!(result(&server, ended(&server, id)["id"].as_str().expect("an id")), b"again\n");
    assert_eq!(kinds(&server, id), ["submitted", "started", "retrying", "started", "succeeded"]);
    assert_eq!(updates(&server, id)[2]["failure"]["kind"], "crashed");
}

/// [LEASE-2]: the connection of a killed pool closes, and its leases outlive that by the reconnect grace only.
#[test]
fn a_killed_pool_leads_to_a_new_claim_after_the_grace_and_leaves_no_child() {
    let server = Server::start(&[]);
    let place = Place::new();
    let note = place.data();
    let doomed = noting(&note, "sleep 1000 & wait");
    let mut first = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &doomed]);
    let id = submit(&server, &["x"]);
    let child = pid_in(&note);
    let _second = Crew::start(&server, &["-j1", "--each", "--", "echo", "other"]);
    let killed = now_ms();
    first.signal(Signal::KILL);
    first.wait();
    gone(child);
    let took = began(&server, &id, 2) - killed;
    assert!((900..=2_000 + SLACK_MS).contains(&took), "the grace is 1 s, but it took {took} ms");
    assert_eq!(ended(&server, &id)["attempts"], 2);
    assert_eq!(result(&server, &id), b"other\n");
    assert_eq!(updates(&server, &id)[2]["failure"]["kind"], "lost");
}

/// A pool that starts again under its own name after it was killed says what it holds, so nothing has to be waited for.
#[test]
fn a_pool_that_comes_back_under_its_name_gives_up_what_it_lost_at_once() {
    let server = Server::start(&["--reconnect-grace=10s"]);
    let place = Place::new();
    let script = noting(&place.data(), "test $GANGLINE_ATTEMPT = 2 || exec sleep 1000; echo again");
    let named = ["--name", "mine", "-j1", "--each", "--", "sh", "-c", &script];
    let mut crew = Crew::start(&server, &named);
    let id = submit(&server, &["x"]);
    pid_in(&place.data());
    crew.signal(Signal::KILL);
    crew.wait();
    let back = now_ms();
    let _again = Crew::start(&server, &named);
    let took = began(&server, &id, 2) - back;
    assert!(took <= 1_000 + SLACK_MS, "it took {took} ms");
    assert_eq!(ended(&server, &id)["state"], "succeeded");
}

/// [LEASE-2]: liveness is kept by the pool, not by the job.
#[test]
fn a_job_that_computes_for_many_lease_periods_without_a_word_is_not_disturbed() {
    let server = Server::start(&["--lease-period=600ms", "--reconnect-grace=200ms"]);
    let _crew = Crew::start(&server, &["-j2", "--each", "--", "sh", "-c", "sleep 3; echo done"]);
    let ids = [submit(&server, &["x"]), submit(&server, &["x"])];
    for id in &ids {
        assert_eq!(ended(&server, id)["attempts"], 1);
        assert_eq!(kinds(&server, id), ["submitted", "started", "succeeded"]);
    }
}

/// [LEASE-1]: a pool that stood still until its lease was given to another cannot finish the job; and then it works again.
#[test]
fn a_pool_that_stood_still_cannot_finish_what_was_given_to_another() {
    let server = Server::start(&["--lease-period=600ms", "--reconnect-grace=200ms"]);
    let place = Place::new();
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let wait = format!("until test -e {}; do sleep 0.02; done; echo first", go.display());
    let first = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &noting(&note, &wait)]);
    let id = submit(&server, &["x"]);
    let child = pid_in(&note);
    first.freeze();
    // The job itself goes on, and ends while its pool stands still.
    std::fs::write(&go, "").expect("the directory is ours");
    gone(child);
    let second = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", "sleep 0.5; echo second"]);
    began(&server, &id, 2);
    first.signal(Signal::CONT);
    assert_eq!(ended(&server, &id)["attempts"], 2);
    assert_eq!(result(&server, &id), b"second\n");
    assert_eq!(kinds(&server, &id), ["submitted", "started", "retrying", "started", "succeeded"]);
    drop(second);
    first.ready_again(2);
    assert_eq!(told(&server, &["submit", "--wait", "y"]), "first\n", "it works again");
}

/// The server is killed and comes back while jobs run: they go on, and each result is accepted once. No budget is used.
#[test]
fn jobs_go_on_while_their_server_is_killed_and_started_again() {
    let mut server = Server::start(&[]);
    let place = Place::new();
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let wait = format!(
        "read name; echo $$ > {}.$name; until test -e {}.$name; do sleep 0.02; done; echo $name",
        note.display(),
        go.display()
    );
    let crew = Crew::start(&server, &["-j3", "--each", "--", "sh", "-c", &wait]);
    let names = ["before", "while", "after"];
    let ids = names.map(|name| submit(&server, &[&format!("{name}\n")]));
    let children = names.map(|name| pid_in(&note.with_extension(name)));
    let finish =
        |name: &str| std::fs::write(go.with_extension(format!("go.{name}")), "").expect("it is ours");
    let address = server.address().to_string();
    finish("before");
    assert_eq!(ended(&server, &ids[0])["state"], "succeeded");
    server.kill();
    finish("while");
    gone(children[1]);
    assert!(alive(children[2]), "what runs goes on");
    let server = server.place().serve(&[&format!("--listen={address}")]);
    crew.ready_again(2);
    finish("after");
    for (id, name) in ids.iter().zip(names) {
        assert_eq!(ended(&server, id)["attempts"], 1, "{}", crew.stderr());
        assert_eq!(result(&server, id), format!("{name}\n").into_bytes());
        assert_eq!(kinds(&server, id), ["submitted", "started", "succeeded"]);
    }
    let late = submit(&server, &["late\n"]);
    finish("late");
    assert_eq!(ended(&server, &late)["state"], "succeeded", "it takes new jobs after the restart");
}

/// What ran for a server that gave the job to another meanwhile is dropped, with its processes.
#[test]
fn what_is_no_longer_its_own_is_killed_when_the_server_is_back() {
    let mut server = Server::start(&["--lease-period=500ms", "--reconnect-grace=100ms"]);
    let place = Place::new();
    let note = place.data();
    let mut crew =
        Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &noting(&note, "exec sleep 1000")]);
    let id = submit(&server, &["x"]);
    let child = pid_in(&note);
    crew.freeze();
    let address = server.address().to_string();
    server.kill();
    let flags = ["--lease-period=500ms", "--reconnect-grace=100ms", &format!("--listen={address}")];
    let server = server.place().serve(&flags);
    // Nobody came for the lease after the restart, so it has lapsed.
    until("the lease lapses", || kinds(&server, &id).contains(&"retrying".to_owned()).then_some(()));
    assert!(alive(child));
    told(&server, &["cancel", &id]);
    crew.signal(Signal::CONT);
    gone(child);
    crew.ready_again(2);
    assert_eq!(job(&server, &id)["state"], "cancelled");
    crew.signal(Signal::TERM);
    assert!(crew.wait().success());
}
