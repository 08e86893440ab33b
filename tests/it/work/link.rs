//! Links that break: between a finish and its answer, and in silence. [LEASE-1] [LEASE-2]

use crate::harness::Place;
use crate::harness::Server;
use crate::harness::until;
use crate::verbs::submit;
use crate::work::crew::Crew;
use crate::work::crew::alive;
use crate::work::crew::began;
use crate::work::crew::ended;
use crate::work::crew::gone;
use crate::work::crew::kinds;
use crate::work::crew::noting;
use crate::work::crew::now_ms;
use crate::work::crew::pid_in;
use crate::work::crew::result;
use crate::work::wire::Wire;
use std::path::PathBuf;
use std::process::Command;

/// A job that runs until a file is there.
struct Held {
    place: Place,
}

impl Held {
    fn new() -> Held {
        Held { place: Place::new() }
    }

    fn note(&self) -> PathBuf {
        self.place.data()
    }

    fn script(&self) -> String {
        let wait = format!("until test -e {}; do sleep 0.02; done; echo done", self.go().display());
        noting(&self.note(), &wait)
    }

    fn go(&self) -> PathBuf {
        self.place.data().with_extension("go")
    }

    /// Lets it end, and waits until its process is gone.
    fn finish(&self) {
        let child = pid_in(&self.note());
        std::fs::write(self.go(), "").expect("the directory is ours");
        gone(child);
    }
}

const ONE: [&str; 5] = ["-j1", "--each", "--", "sh", "-c"];

fn one_run(server: &Server, id: &str) {
    assert_eq!(ended(server, id)["attempts"], 1);
    assert_eq!(result(server, id), b"done\n");
    assert_eq!(kinds(server, id), ["submitted", "started", "succeeded"]);
}

/// The server has accepted it; the pool does not know, comes back, and works on.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_whose_answer_was_lost_is_accepted_once() {
    let server = Server::start(&[]);
    let (wire, held) = (Wire::to(server.address()).await, Held::new());
    let crew = Crew::at(&wire.address(), &[&ONE[..], &[&held.script()]].concat());
    let id = submit(&server, &["x"]);
    pid_in(&held.note());
    wire.hold_answers();
    held.finish();
    one_run(&server, &id);
    wire.cut();
    crew.ready_again(2);
    let next = submit(&server, &["y"]);
    one_run(&server, &next);
    one_run(&server, &id);
}

/// The finish never reached the server: it is told again on the next stream, and no budget is used.
#[tokio::test(flavor = "multi_thread")]
async fn a_finish_that_was_lost_with_its_link_is_told_again() {
    let server = Server::start(&[]);
    let (wire, held) = (Wire::to(server.address()).await, Held::new());
    let crew = Crew::at(&wire.address(), &[&ONE[..], &[&held.script()]].concat());
    let id = submit(&server, &["x"]);
    pid_in(&held.note());
    wire.hold_requests();
    held.finish();
    until("the pool has told it in vain", || (wire.held_bytes() > 0).then_some(()));
    assert_eq!(kinds(&server, &id), ["submitted", "started"]);
    wire.cut();
    crew.ready_again(2);
    one_run(&server, &id);
}

/// [LEASE-2]: nothing moves any more and nothing is closed. The lease lapses after its period, another pool gets the job, and
/// the first one drops it when it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_silent_link_is_noticed_after_a_lease_period() {
    let server = Server::start(&["--lease-period=1s", "--reconnect-grace=500ms"]);
    let (wire, held) = (Wire::to(server.address()).await, Held::new());
    let first = Crew::at(&wire.address(), &[&ONE[..], &[&held.script()]].concat());
    let id = submit(&server, &["x"]);
    let child = pid_in(&held.note());
    wire.hold_requests();
    wire.hold_answers();
    let silent = now_ms();
    let _second = Crew::start(&server, &["-j1", "--each", "--", "echo", "done"]);
    let took = began(&server, &id, 2) - silent;
    assert!(
        (300..=1_700).contains(&took),
        "the period is 1 s, a sign is a third of it old, but it took {took} ms"
    );
    assert_eq!(result(&server, ended(&server, &id)["id"].as_str().expect("an id")), b"done\n");
    assert!(alive(child), "the first pool cannot know yet");
    wire.cut();
    gone(child);
    first.ready_again(2);
    assert_eq!(kinds(&server, &id), ["submitted", "started", "retrying", "started", "succeeded"]);
}

/// A network namespace with a link to this machine: what a cable is between two machines.
struct Cable {
    name: String,
    here: String,
}

impl Cable {
    /// `Err` says why there cannot be one.
    fn lay() -> Result<Cable, String> {
        let number = std::process::id();
        let name = format!("gl{number}");
        let (third, fourth) = (number / 64 % 256, number % 64 * 4);
        let (here, there) =
            (format!("10.222.{third}.{}", fourth + 1), format!("10.222.{third}.{}", fourth + 2));
        ip(&["netns", "add", &name])?;
        let cable = Cable { name, here };
        let (near, far) = (cable.near(), format!("{}f", cable.name));
        ip(&["link", "add", &near, "type", "veth", "peer", "name", &far, "netns", &cable.name])?;
        ip(&["addr", "add", &format!("{}/30", cable.here), "dev", &near])?;
        ip(&["link", "set", &near, "up"])?;
        ip(&["-n", &cable.name, "addr", "add", &format!("{there}/30"), "dev", &far])?;
        ip(&["-n", &cable.name, "link", "set", &far, "up"])?;
        Ok(cable)
    }

    fn near(&self) -> String {
        format!("{}n", self.name)
    }

    fn set(&self, state: &str) {
        ip(&["link", "set", &self.near(), state]).expect("it is ours");
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        ip(&["link", "del", &self.near()]).ok();
        ip(&["netns", "del", &self.name]).ok();
    }
}

fn ip(arguments: &[&str]) -> Result<(), String> {
    let output = Command::new("ip").args(arguments).output().map_err(|error| format!("ip: {error}"))?;
    if output.status.success() {
        Ok(())
    } else {
        Err(format!("ip {}: {}", arguments.join(" "), String::from_utf8_lossy(&output.stderr).trim_end()))
    }
}

/// [LEASE-2] with every default: a machine whose cable is pulled is noticed after 15 s, and its pool works again when the
/// cable is back.
#[test]
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn a_pulled_cable_is_noticed_after_15_seconds() {
    let cable = match Cable::lay() {
        Ok(cable) => cable,
        Err(why) => {
            eprintln!("SKIPPED a_pulled_cable_is_noticed_after_15_seconds: no network namespace: {why}");
            return;
        }
    };
    let server = Server::start(&[&format!("--listen={}:0", cable.here), "--allow-remote"]);
    let address = server.address().to_string();
    let held = Held::new();
    let first = Crew::of(there(&cable, &address, &held.script()));
    first.ready_again(1);
    let id = submit(&server, &["x"]);
    let child = pid_in(&held.note());
    cable.set("down");
    let silent = now_ms();
    let second = Crew::start(&server, &["-j1", "--each", "--", "echo", "done"]);
    let took = began(&server, &id, 2) - silent;
    assert!((9_000..=16_000).contains(&took), "a sign of life is at most 5 s old, but it took {took} ms");
    assert_eq!(ended(&server, &id)["attempts"], 2);
    cable.set("up");
    gone(child);
    first.ready_again(2);
    drop(second);
    std::fs::write(held.go(), "").expect("the directory is ours");
    let next = submit(&server, &["y"]);
    one_run(&server, &next);
}

/// A pool on the other end of the cable.
fn there(cable: &Cable, address: &str, script: &str) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", &cable.name, env!("CARGO_BIN_EXE_gangline"), "work", "--server", address]);
    command.args(ONE).arg(script);
    command
}
