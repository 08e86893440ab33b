//! Stopping a remote pool: in good order, at once, and while its server is away.

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::until;
use crate::verbs::submit;
use crate::verbs::told;
use crate::work::crew::Crew;
use crate::work::crew::ended;
use crate::work::crew::gone;
use crate::work::crew::job;
use crate::work::crew::kinds;
use crate::work::crew::noting;
use crate::work::crew::pid_in;
use crate::work::crew::result;
use crate::work::crew::updates;
use gangline::cli::exit::Exit;
use rustix::process::Signal;
use serde_json::Value;

fn stopping(crew: &Crew) {
    until("it says that it stops", || crew.stderr().contains("stopping: ").then_some(()));
}

/// The job that runs finishes, and the one that waits behind it goes back unused.
#[test]
fn sigterm_lets_what_runs_finish_and_hands_the_rest_back() {
    let server = Server::start(&[]);
    let place = Place::new();
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let wait = format!("until test -e {}; do sleep 0.02; done; echo done", go.display());
    let mut crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &noting(&note, &wait)]);
    let first = submit(&server, &["x"]);
    pid_in(&note);
    let behind = submit(&server, &["y"]);
    crew.signal(Signal::TERM);
    stopping(&crew);
    until("what waits is handed back", || (job(&server, &behind)["state"] == "waiting").then_some(()));
    std::fs::write(&go, "").expect("the directory is ours");
    assert!(crew.wait().success(), "{}", crew.stderr());
    assert_eq!(ended(&server, &first)["attempts"], 1);
    assert_eq!(result(&server, &first), b"done\n");
    let rest = job(&server, &behind);
    assert!(rest["failures"].is_null(), "handing back is no failure: {rest}");
}

/// Slots that were free when it was told to stop stay free.
#[test]
fn a_stopping_pool_takes_no_new_lease() {
    let server = Server::start(&[]);
    let place = Place::new();
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let wait = format!("until test -e {}; do sleep 0.02; done; echo done", go.display());
    let mut crew = Crew::start(&server, &["-j3", "--each", "--", "sh", "-c", &noting(&note, &wait)]);
    let running = submit(&server, &["x"]);
    pid_in(&note);
    crew.signal(Signal::TERM);
    let free = || {
        let listed = told(&server, &["workers", "--json"]);
        let worker: Value = serde_json::from_str(&listed).expect("one JSON object");
        worker["free_slots"].as_u64()
    };
    until("it offers no slot any more", || (free() == Some(0)).then_some(()));
    let late = submit(&server, &["y"]);
    std::fs::write(&go, "").expect("the directory is ours");
    assert!(crew.wait().success(), "{}", crew.stderr());
    assert_eq!(kinds(&server, &running), ["submitted", "started", "succeeded"]);
    assert_eq!(kinds(&server, &late), ["submitted"]);
}

/// What does not finish in the grace is ended and handed back; no budget is used.
#[test]
fn what_outlives_the_grace_is_handed_back() {
    let server = Server::start(&[]);
    let place = Place::new();
    let script = noting(&place.data(), "exec sleep 1000");
    let graces = ["--stop-grace=300ms", "--kill-grace=2s"];
    let mut crew =
        Crew::start(&server, &[&graces[..], &["-j1", "--each", "--", "sh", "-c", &script]].concat());
    let id = submit(&server, &["x"]);
    let child = pid_in(&place.data());
    crew.signal(Signal::TERM);
    assert!(crew.wait().success(), "{}", crew.stderr());
    gone(child);
    assert_eq!(kinds(&server, &id), ["submitted", "started", "released"]);
}

#[test]
fn a_second_signal_kills_what_runs_and_hands_it_back_at_once() {
    let server = Server::start(&[]);
    let place = Place::new();
    let script = noting(&place.data(), "trap '' TERM; while :; do sleep 1; done");
    let mut crew = Crew::start(&server, &["-j1", "--each", "--", "sh", "-c", &script]);
    let id = submit(&server, &["x"]);
    let child = pid_in(&place.data());
    crew.signal(Signal::TERM);
    stopping(&crew);
    // The first one that is not taken for an echo of the first counts.
    let status = until("it ends", || {
        if crew.is_running() {
            crew.signal(Signal::TERM);
        }
        crew.ended()
    });
    assert_eq!(status.code(), Some(i32::from(Exit::INTERRUPTED.code())), "{}", crew.stderr());
    gone(child);
    assert_eq!(kinds(&server, &id), ["submitted", "started", "released"]);
    assert_eq!(updates(&server, &id)[2]["reason"], "its worker stopped");
}

#[test]
fn without_its_server_a_pool_stops_at_once_if_it_has_nothing_to_tell() {
    let mut server = Server::start(&[]);
    let mut crew = Crew::start(&server, &["--each", "--", "cat"]);
    server.kill();
    crew.signal(Signal::TERM);
    assert!(crew.wait().success(), "{}", crew.stderr());
}

/// There is nobody yet who could give a second sign of life on its stream.
#[test]
fn a_pool_whose_server_dies_as_soon_as_it_is_ready_waits_for_the_next() {
    let mut server = Server::start(&[]);
    let crew = Crew::start(&server, &["--each", "--", "cat"]);
    let address = server.address().to_string();
    server.kill();
    until("it notices", || crew.stderr().contains("the link to").then_some(()));
    let _next = server.place().serve(&[&format!("--listen={address}")]);
    crew.ready_again(2);
}

/// A result that cannot be told is waited for as long as the graces allow, and then it is said.
#[test]
fn results_that_could_not_be_told_are_said() {
    let mut server = Server::start(&[]);
    let place = Place::new();
    let (note, go) = (place.data(), place.data().with_extension("go"));
    let wait = format!("until test -e {}; do sleep 0.02; done; echo done", go.display());
    let graces = ["--stop-grace=300ms", "--kill-grace=300ms"];
    let script = noting(&note, &wait);
    let mut crew =
        Crew::start(&server, &[&graces[..], &["-j1", "--each", "--", "sh", "-c", &script]].concat());
    submit(&server, &["x"]);
    let child = pid_in(&note);
    server.kill();
    std::fs::write(&go, "").expect("the directory is ours");
    gone(child);
    crew.signal(Signal::TERM);
    assert_eq!(crew.wait().code(), Some(i32::from(Exit::UNAVAILABLE.code())), "{}", crew.stderr());
    assert!(crew.stderr().contains("1 results could not be told"), "{}", crew.stderr());
}
