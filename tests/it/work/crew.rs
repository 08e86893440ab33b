//! A remote pool under test: the real binary. It is killed when the test ends, and what it said is printed if the test
//! failed.

use crate::harness::Heard;
use crate::harness::Server;
use crate::harness::gangline;
use crate::harness::until;
use crate::verbs::ask;
use crate::verbs::told;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use serde_json::Value;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;

pub(super) struct Crew {
    child: Child,
    stderr: Heard,
}

impl Crew {
    /// A pool of the server that is ready.
    pub(super) fn start(server: &Server, arguments: &[&str]) -> Crew {
        Crew::at(&server.address().to_string(), arguments)
    }

    /// A pool of whoever serves at this address, when it is ready.
    pub(super) fn at(address: &str, arguments: &[&str]) -> Crew {
        let mut command = gangline(&["work", "--server", address]);
        command.args(arguments);
        let crew = Crew::of(command);
        crew.ready_again(1);
        crew
    }

    /// A pool that this command starts.
    pub(super) fn of(mut command: Command) -> Crew {
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("it starts");
        let stderr = Heard::from(child.stderr.take().expect("piped"));
        Crew { child, stderr }
    }

    /// What it has said on stderr so far; once it was waited for, all of it.
    pub(super) fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// How often it has said that it is ready.
    pub(super) fn times_ready(&self) -> usize {
        self.stderr().lines().filter(|line| line.starts_with("gangline: ready: ")).count()
    }

    /// Waits until it has said so this often.
    pub(super) fn ready_again(&self, times: usize) {
        until("the pool is ready", || (self.times_ready() >= times).then_some(()));
    }

    pub(super) fn signal(&self, signal: Signal) {
        self::signal(self.child.id(), signal);
    }

    /// Stops it where it is; returns when every thread of it stands still, which the signal alone does not wait for.
    pub(super) fn freeze(&self) {
        self.signal(Signal::STOP);
        let tasks = format!("/proc/{}/task", self.child.id());
        until("the pool stands still", || {
            let mut tasks = std::fs::read_dir(&tasks).expect("it runs");
            tasks.all(|task| stands_still(&task.expect("it can be listed").path())).then_some(())
        });
    }

    pub(super) fn is_running(&mut self) -> bool {
        self.ended().is_none()
    }

    /// How it ended, if it has.
    pub(super) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("it is our child")
    }

    /// Waits for its end.
    pub(super) fn wait(&mut self) -> ExitStatus {
        let status = until("the pool ends", || self.child.try_wait().expect("it is our child"));
        self.stderr.await_last_word();
        status
    }
}

impl Drop for Crew {
    #[allow(clippy::print_stderr, reason = "a failed test shows what its pool said")]
    fn drop(&mut self) {
        // It may have ended by itself, or stand still.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() {
            eprintln!("--- stderr of a pool ---\n{}---", self.stderr());
        }
    }
}

/// Whether a thread is stopped, or has ended.
fn stands_still(task: &Path) -> bool {
    let stat = std::fs::read_to_string(task.join("stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 'Z', 'X']))
}

pub(super) fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("it runs");
}

/// A script of a job that notes its process in the file, and then goes on as the second script says.
pub(super) fn noting(file: &Path, then: &str) -> String {
    let file = file.display();
    format!("echo $$ > {file}.$$ && mv {file}.$$ {file}; {then}")
}

/// The process that a job noted in this file.
pub(super) fn pid_in(file: &Path) -> u32 {
    let read = || std::fs::read_to_string(file).ok()?.trim().parse().ok();
    until(&format!("a job notes its process in {}", file.display()), read)
}

/// Waits until a process is gone, or only waits to be reaped.
pub(super) fn gone(pid: u32) {
    until(&format!("process {pid} goes away"), || (!alive(pid)).then_some(()));
}

pub(super) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The job as it is now.
pub(super) fn job(server: &Server, id: &str) -> Value {
    serde_json::from_str(&told(server, &["get", id, "--json"])).expect("a JSON object")
}

/// The job when it has ended.
pub(super) fn ended(server: &Server, id: &str) -> Value {
    let output = ask(server, &["get", id, "--wait=25s", "--json"]);
    let job: Value = serde_json::from_slice(&output.stdout).expect("a JSON object");
    assert!(job["finished_at"].is_string(), "it has not ended in time: {job}");
    job
}

/// The result of a job that succeeded.
pub(super) fn result(server: &Server, id: &str) -> Vec<u8> {
    told(server, &["get", id, "--result"]).into_bytes()
}

/// Every update of a job, oldest first.
pub(super) fn updates(server: &Server, id: &str) -> Vec<Value> {
    let text = told(server, &["tail", "--no-follow", "--json", "--result", "--job", id]);
    text.lines().map(|line| serde_json::from_str(line).expect("a JSON object")).collect()
}

/// The kinds of its updates.
pub(super) fn kinds(server: &Server, id: &str) -> Vec<String> {
    let kind = |update: &Value| update["kind"].as_str().unwrap_or_default().to_owned();
    updates(server, id).iter().map(kind).collect()
}

/// When its `number`th attempt began, in milliseconds since the epoch, as soon as it has.
pub(super) fn began(server: &Server, id: &str, number: usize) -> i64 {
    until(&format!("attempt {number} begins"), || {
        let updates = updates(server, id);
        let started = updates.iter().filter(|update| update["kind"] == "started").nth(number - 1)?;
        let time: jiff::Timestamp = started["time"].as_str()?.parse().ok()?;
        Some(time.as_millisecond())
    })
}

/// This moment, on the same clock.
pub(super) fn now_ms() -> i64 {
    i64::try_from(gangline::clock::Clock::system().now().wall.0).expect("before the year 9999")
}
