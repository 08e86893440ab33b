//! A pool goes on while its server is restored from a backup. What it works on belongs to a lost future; the restored server may
//! give it the same attempt of the same job again, under a lease with the same token. [LEASE-1]

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::run;
use crate::harness::stderr;
use crate::harness::until;
use crate::verbs::submit;
use crate::work::crew::Crew;
use crate::work::crew::ended;
use crate::work::crew::gone;
use crate::work::crew::kinds;
use crate::work::crew::noting;
use crate::work::crew::pid_in;
use crate::work::crew::result;
use std::path::PathBuf;

/// A job that is executed twice, and each time goes on until the test says so, whoever tells it to stop.
struct Twice {
    place: Place,
}

impl Twice {
    fn new() -> Twice {
        Twice { place: Place::new() }
    }

    fn file(&self, what: &str, number: &str) -> PathBuf {
        self.place.data().with_file_name(format!("{what}-{number}"))
    }

    fn script(&self) -> String {
        let [begun, stop, go] =
            ["begun", "stop", "go"].map(|what| self.file(what, "$n").display().to_string());
        let wait = format!("until test -e {go}; do sleep 0.02; done; echo $n");
        let once = self.file("once", "for-all");
        let number = format!("n=1; mkdir {} 2> /dev/null || n=2", once.display());
        format!("{number}; trap ': > {stop}' TERM; {}", noting(begun.as_ref(), &wait))
    }

    /// Waits until this execution runs.
    fn begun(&self, number: &str) -> u32 {
        pid_in(&self.file("begun", number))
    }

    fn is_told_to_stop(&self, number: &str) -> bool {
        self.file("stop", number).exists()
    }

    /// Lets an execution end, and waits until its process is gone.
    fn finish(&self, number: &str) {
        let child = self.begun(number);
        std::fs::write(self.file("go", number), "").expect("the directory is ours");
        gone(child);
    }
}

/// What succeeds, or says why it did not.
fn done(arguments: &[&str]) {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", stderr(&output));
}

/// A server with one job, a backup of it from before the lease, and a pool that works on the job.
fn leased_after_the_backup(submitted: &[&str], twice: &Twice) -> (Server, String, Crew) {
    let server = Server::start(&[]);
    let id = submit(&server, submitted);
    done(&["backup", "--data", &server.place().data().display().to_string(), &backup(&server)]);
    let held = ["-j2", "--kill-grace=30s", "--each", "--", "sh", "-c", &twice.script()];
    let crew = Crew::start(&server, &held);
    twice.begun("1");
    (server, id, crew)
}

fn backup(server: &Server) -> String {
    server.place().data().with_file_name("backup").display().to_string()
}

/// The server that comes in the place of one that is gone.
fn restored(gone: &Server) -> Server {
    let place = Place::new();
    done(&["restore", &backup(gone), &place.data().display().to_string()]);
    place.serve(&[&format!("--listen={}", gone.address())])
}

fn ended_as_the_second_did(server: &Server, id: &str) {
    assert_eq!(ended(server, id)["attempts"], 1);
    assert_eq!(result(server, id), b"2\n");
    assert_eq!(kinds(server, id), ["submitted", "started", "succeeded"]);
}

#[test]
fn an_execution_that_a_restored_server_gave_is_not_taken_for_the_one_of_the_lost_future() {
    let twice = Twice::new();
    let (mut server, id, _crew) = leased_after_the_backup(&["x"], &twice);
    server.kill();
    let server = restored(&server);
    twice.begun("2");
    until("the first is told to stop", || twice.is_told_to_stop("1").then_some(()));
    twice.finish("1");
    twice.finish("2");
    ended_as_the_second_did(&server, &id);
    assert!(!twice.is_told_to_stop("2"), "only the first is of the lost future");
}

/// The process ends for another reason than that its lease is gone, so the pool has something to tell; but nobody to tell it to.
#[test]
fn what_became_of_an_execution_of_a_lost_future_is_not_told_to_the_restored_server() {
    let twice = Twice::new();
    let (mut server, id, _crew) = leased_after_the_backup(&["--timeout", "4s", "x"], &twice);
    server.kill();
    until("the time of the first is over", || twice.is_told_to_stop("1").then_some(()));
    let server = restored(&server);
    twice.begun("2");
    twice.finish("1");
    twice.finish("2");
    ended_as_the_second_did(&server, &id);
}
