//! Starts, stops and sudden deaths of the pool, the spawner and the server.

use crate::rig::PATIENCE;
use crate::rig::Rig;
use crate::rig::alive;
use crate::rig::children;
use crate::rig::config;
use crate::rig::each;
use crate::rig::execution;
use crate::rig::execution_no;
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
use std::fs::Permissions;
use std::num::NonZeroUsize;
use std::os::unix::fs::PermissionsExt;
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
    let mut patient = config(each("sleep 0.1; echo done"));
    patient.stop_grace = PATIENCE;
    let mut rig = Rig::new(patient);
    rig.give(job(1, ""));
    rig.give(job(2, ""));
    until("the first has begun", || rig.pool.waiting() == 1).await;
    rig.shutdown.begin();
    assert!(matches!(rig.ended().await, (id, Outcome::Released { .. }) if id == execution_no(2)));
    let (id, outcome) = rig.ended().await;
    assert_eq!((id, text(outcome)), (execution_no(1), "done\n".to_owned()));
    let late = execution(job(3, ""));
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
        assert_eq!(rig.ended().await, (execution_no(1), released));
        rig.end().await;
    }
}

#[tokio::test]
async fn jobs_beyond_the_bound_come_back_and_waiting_ones_can_be_taken_back() {
    let rig = Rig::of(serve("sleep 1000"));
    let bound = u128::try_from(Pool::WAITING_MAX).unwrap();
    let excess = rig.pool.give((0..bound + 10).map(|number| execution(job(number, ""))).collect());
    assert_eq!(excess.len(), 10);
    // The slot may have begun one.
    assert!(rig.pool.take_back(0).len() >= Pool::WAITING_MAX - 1);
    rig.end().await;
}

/// The warden and the spawner of the only slot.
fn above(rig: &Rig) -> [u32; 2] {
    let warden = rig.spawner.pid();
    let spawners = children(warden);
    assert_eq!(spawners.len(), 1, "one slot, one spawner");
    [warden, spawners[0]]
}

#[tokio::test]
async fn warden_and_spawner_outlive_the_signals_that_are_meant_for_the_server() {
    let mut rig = Rig::of(each("echo ok"));
    assert_eq!(text(rig.run(job(1, "")).await), "ok\n");
    let above_it = above(&rig);
    for polite in [Signal::INT, Signal::TERM, Signal::HUP] {
        above_it.into_iter().for_each(|pid| signal(pid, polite));
    }
    assert_eq!(text(rig.run(job(2, "")).await), "ok\n");
    assert_eq!(above(&rig), above_it);
    rig.end().await;
}

#[tokio::test]
async fn a_dead_spawner_or_warden_is_replaced_and_its_jobs_crashed() {
    for (place, dead) in ["warden", "spawner"].into_iter().enumerate() {
        let directory = tempfile::tempdir().unwrap();
        let begun = directory.path().join("pid");
        let mut rig = Rig::of(each(&format!(
            "read -r word; test $word = quick || {{ setsid sleep 1000 & echo $$ $! > {0}.new; mv {0}.new {0}; wait; }}",
            begun.display()
        )));
        rig.give(job(1, "slow\n"));
        until("the job has begun", || begun.exists()).await;
        let killed = above(&rig)[place];
        signal(killed, Signal::KILL);
        let (id, outcome) = rig.ended().await;
        assert_eq!(id, execution_no(1));
        let message = failed(outcome, FailureKind::Crashed).0.message;
        assert!(message.contains("spawner died"), "{dead}: {message}");
        for pid in std::fs::read_to_string(&begun).unwrap().split_whitespace() {
            gone(pid.parse().unwrap()).await;
        }
        assert_eq!(text(rig.run(job(2, "quick\n")).await), "");
        assert_ne!(above(&rig)[place], killed);
        rig.end().await;
    }
}

/// The binary is started again for every slot, so what happens to its file while the server runs matters.
#[tokio::test]
async fn a_job_that_is_queued_when_its_spawner_dies_has_not_begun() {
    let script = "read -r word; case $word in quick | third) ;; *) exec sleep 1000 ;; esac";
    let mut rig = Rig::of(each(script));
    for round in 0..10 {
        let [first, second, third] = [1, 2, 3].map(|number| 10 * round + number);
        for (number, word) in [(first, "quick\n"), (second, "slow\n"), (third, "third\n")] {
            rig.give(job(number, word));
        }
        assert_eq!(rig.ended().await.0, execution_no(first));
        signal(above(&rig)[1], Signal::KILL);
        // The second may not have begun either, and then tries again with the next spawner.
        let ended = rig.ended().await;
        assert_eq!(ended.0, execution_no(second));
        if !matches!(ended.1, Outcome::Released { .. }) {
            failed(ended.1, FailureKind::Crashed);
        }
        let (id, outcome) = rig.ended().await;
        assert_eq!(id, execution_no(third));
        assert!(matches!(outcome, Outcome::Completed { .. } | Outcome::Released { .. }), "{outcome:?}");
    }
    rig.end().await;
}

#[tokio::test]
async fn a_spawner_that_cannot_be_started_is_told_with_its_path_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let binary = directory.path().join("gangline");
    let shutdown = Shutdown::new();
    let missing = Spawner::start_from(&binary, &shutdown).unwrap_err().to_string();
    let path = binary.display().to_string();
    assert!(
        missing.contains(&path) && missing.contains("No such file") && missing.contains("has to be there"),
        "{missing}"
    );

    std::fs::copy(env!("CARGO_BIN_EXE_gangline"), &binary).unwrap();
    let mut rig = Rig::started_from(&binary, config(each("echo ok")));
    let allow = |mode| std::fs::set_permissions(&binary, Permissions::from_mode(mode)).unwrap();
    allow(0o600);
    let Outcome::Released { reason } = rig.run(job(1, "")).await else { panic!("no job runs") };
    for said in [&*path, "Permission denied", "stay executable"] {
        assert!(reason.contains(said), "{reason}");
    }
    allow(0o700);
    assert_eq!(text(rig.run(job(2, "")).await), "ok\n");
    rig.end().await;
}

/// Names the directory for the pids of `doomed_server`, and makes it one.
const DOOMED: &str = "GANGLINE_TEST_DOOMED_SERVER";

/// Not a test by itself: the server that `no_process_outlives_a_server_that_is_killed` kills.
#[tokio::test]
async fn doomed_server() {
    let Some(directory) = std::env::var_os(DOOMED) else { return };
    let directory = Path::new(&directory);
    let note = |who: &str, pid: &str| format!("echo {who} > {}/{pid}.pid", directory.display());
    let three = |mode| Config { processes: NonZeroUsize::new(3).unwrap(), ..config(mode) };
    let stubborn = format!(
        "trap '' TERM INT HUP; {}; setsid sh -c '{}; exec sleep 1000' & while :; do wait; done",
        note("worker", "$$"),
        note("escaped", "$$")
    );
    let serving = Rig::new(three(serve(&stubborn)));
    let running = Rig::new(three(each(&stubborn)));
    for number in 0..3 {
        running.give(job(number, ""));
    }
    for rig in [&serving, &running] {
        let warden = rig.spawner.pid();
        until("the spawners run", || children(warden).len() == 3).await;
        for (who, pids) in [("warden", vec![warden]), ("spawner", children(warden))] {
            for pid in pids {
                std::fs::write(directory.join(format!("{pid}.pid")), format!("{who}\n")).unwrap();
            }
        }
    }
    std::future::pending::<()>().await;
}

#[tokio::test]
async fn no_process_outlives_a_server_that_is_killed() {
    let hits: [&[&str]; 3] = [&[], &["spawner"], &["warden"]];
    for hit_with_it in hits {
        let directory = tempfile::tempdir().unwrap();
        let mut server = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "life::doomed_server"])
            .env(DOOMED, directory.path())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let noted = || -> Vec<(u32, String)> {
            let files = std::fs::read_dir(directory.path()).unwrap().map(Result::unwrap);
            let note = |file: std::fs::DirEntry| {
                let pid = file.file_name().into_string().unwrap().strip_suffix(".pid")?.parse().ok()?;
                let who = std::fs::read_to_string(file.path()).ok()?;
                Some((pid, who.trim().to_owned()))
            };
            files.filter_map(note).filter(|(_, who)| !who.is_empty()).collect()
        };
        // Two wardens, and for each of six slots a spawner, a worker and one that left the worker's session.
        until("all run", || noted().len() == 2 + 3 * 6).await;
        assert!(noted().into_iter().all(|(pid, _)| alive(pid)));
        let stopped: Vec<u32> = noted()
            .into_iter()
            .filter(|(_, who)| hit_with_it.contains(&who.as_str()))
            .map(|(pid, _)| pid)
            .collect();
        let server_pid = server.id();
        // Stopped first, so that nobody of them can react before all are hit.
        stopped.iter().for_each(|pid| signal(*pid, Signal::STOP));
        signal(server_pid, Signal::STOP);
        stopped.iter().for_each(|pid| signal(*pid, Signal::KILL));
        server.kill().unwrap();
        server.wait().unwrap();
        for (pid, who) in noted() {
            until(&format!("{who} {pid} goes away with the server and {hit_with_it:?}"), || !alive(pid))
                .await;
        }
    }
}
