//! Starts, stops and sudden deaths of the pool, the spawner and the server.

use crate::rig::PATIENCE;
use crate::rig::Rig;
use crate::rig::alive;
use crate::rig::attempt;
use crate::rig::config;
use crate::rig::each;
use crate::rig::failed;
use crate::rig::gone;
use crate::rig::job;
use crate::rig::serve;
use crate::rig::text;
use crate::rig::until;
use gangline::clock::Clock;
use gangline::job::event::FailureKind;
use gangline::pool::Command;
use gangline::pool::Config;
use gangline::pool::Error;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Pool;
use gangline::pool::Recycle;
use gangline::pool::Spawner;
use gangline::shutdown::Shutdown;
use gangline::shutdown::Waited;
use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::kill_process;
use std::num::NonZeroUsize;
use std::path::Path;
use std::process::Stdio;

fn signal(pid: u32, signal: Signal) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal).expect("the process is there");
}

#[tokio::test]
async fn a_command_that_does_not_exist_is_found_out_at_the_start() {
    let shutdown = Shutdown::new();
    let spawner = Spawner::start_from(env!("CARGO_BIN_EXE_gangline"), &shutdown).unwrap();
    for mode in [Mode::Each as fn(Command) -> Mode, |command| Mode::Serve(command, Recycle::default())] {
        let config = Config::new(mode(Command::new(["no-such-worker"])));
        let error = Pool::start(config, &spawner, &Clock::system(), &shutdown).expect_err("there is none");
        assert!(matches!(error, Error::NoSuchCommand { .. }), "{error}");
    }
    drop(spawner);
    assert_eq!(shutdown.wait(PATIENCE).await, Waited::Ended);
}

#[tokio::test]
async fn at_the_stop_what_runs_may_finish_and_what_waits_is_released() {
    let mut rig = Rig::of(each("echo begun >&2; sleep 0.1; echo done"));
    rig.give(job(1, ""));
    rig.give(job(2, ""));
    until("the first has begun", || rig.pool.waiting() == 1).await;
    rig.shutdown.begin();
    assert!(matches!(rig.ended().await, (id, Outcome::Released { .. }) if id == attempt(2)));
    let (id, outcome) = rig.ended().await;
    assert_eq!((id, text(outcome)), (attempt(1), "done\n".to_owned()));
    let late = job(3, "");
    assert_eq!(rig.pool.give(vec![late.clone()]), [late], "a stopped pool takes nothing");
    rig.end().await;
}

#[tokio::test]
async fn what_outlives_the_stop_grace_is_ended_and_released() {
    for mode in [each("exec sleep 1000"), serve("read -r line; exec sleep 1000")] {
        let mut rig = Rig::of(mode);
        rig.give(job(1, ""));
        until("it has begun", || rig.pool.waiting() == 0).await;
        rig.shutdown.begin();
        let released = Outcome::Released { reason: "the pool stopped".into() };
        assert_eq!(rig.ended().await, (attempt(1), released));
        rig.end().await;
    }
}

#[tokio::test]
async fn jobs_beyond_the_bound_come_back_and_waiting_ones_can_be_taken_back() {
    let rig = Rig::of(serve("sleep 1000"));
    let bound = u128::try_from(Pool::WAITING_MAX).unwrap();
    let excess = rig.pool.give((0..bound + 10).map(|number| job(number, "")).collect());
    assert_eq!(excess.len(), 10);
    // The slot may have begun one.
    assert!(rig.pool.take_back().len() >= Pool::WAITING_MAX - 1);
    rig.end().await;
}

#[tokio::test]
async fn the_spawner_outlives_the_signals_that_are_meant_for_the_server() {
    let mut rig = Rig::of(each("echo ok"));
    let spawner = rig.spawner.pid();
    assert_eq!(text(rig.run(job(1, "")).await), "ok\n");
    for polite in [Signal::INT, Signal::TERM, Signal::HUP] {
        signal(spawner, polite);
    }
    assert_eq!(text(rig.run(job(2, "")).await), "ok\n");
    assert!(alive(spawner) && rig.spawner.pid() == spawner);
    rig.end().await;
}

#[tokio::test]
async fn a_dead_spawner_is_replaced_and_its_jobs_crashed() {
    let directory = tempfile::tempdir().unwrap();
    let begun = directory.path().join("pid");
    let mut rig = Rig::of(each(&format!(
        "read -r word; test $word = quick || {{ echo $$ > {0}.new; mv {0}.new {0}; exec sleep 1000; }}",
        begun.display()
    )));
    let spawner = rig.spawner.pid();
    rig.give(job(1, "slow\n"));
    until("the job has begun", || begun.exists()).await;
    let worker: u32 = std::fs::read_to_string(&begun).unwrap().trim().parse().unwrap();
    signal(spawner, Signal::KILL);
    let (id, outcome) = rig.ended().await;
    assert_eq!(id, attempt(1));
    assert!(failed(outcome, FailureKind::Crashed).0.message.contains("spawner died"));
    gone(worker).await;
    assert_eq!(text(rig.run(job(2, "quick\n")).await), "");
    assert_ne!(rig.spawner.pid(), spawner);
    rig.end().await;
}

/// Names the directory for the pids of `doomed_server`, and makes it one.
const DOOMED: &str = "GANGLINE_TEST_DOOMED_SERVER";

/// Not a test by itself: the server that `kill_9_of_the_server_leaves_no_process` kills.
#[tokio::test]
async fn doomed_server() {
    let Some(directory) = std::env::var_os(DOOMED) else { return };
    let note = format!("echo $$ > {}/$$.pid", Path::new(&directory).display());
    let three = |mode| Config { processes: NonZeroUsize::new(3).unwrap(), ..config(mode) };
    let stubborn = "trap '' TERM INT HUP; sleep 1000 & while :; do wait; done";
    let _serving = Rig::new(three(serve(&format!("{note}; {stubborn}"))));
    let running = Rig::new(three(each(&format!("{note}; {stubborn}"))));
    for number in 0..3 {
        running.give(job(number, ""));
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn kill_9_of_the_server_leaves_no_process() {
    let directory = tempfile::tempdir().unwrap();
    let mut server = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "life::doomed_server"])
        .env(DOOMED, directory.path())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let pids = || -> Vec<u32> {
        let files = std::fs::read_dir(directory.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter_map(|name| name.strip_suffix(".pid")?.parse().ok()).collect()
    };
    until("six workers run", || pids().len() == 6).await;
    assert!(pids().into_iter().all(alive));
    server.kill().unwrap();
    server.wait().unwrap();
    for pid in pids() {
        gone(pid).await;
    }
}
