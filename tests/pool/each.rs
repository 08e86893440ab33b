//! One process a job.

use crate::rig::PATIENCE;
use crate::rig::Rig;
use crate::rig::config;
use crate::rig::each;
use crate::rig::execution_no;
use crate::rig::failed;
use crate::rig::gone;
use crate::rig::job;
use crate::rig::text;
use crate::rig::until;
use gangline::job::event::Failure;
use gangline::job::event::FailureKind;
use gangline::job::event::Usage;
use gangline::job::retry::Retryable;
use gangline::pool::Assignment;
use gangline::pool::Command;
use gangline::pool::Config;
use gangline::pool::Execution;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Report;
use gangline::pool::limits::Limits;
use std::num::NonZeroUsize;
use std::time::Duration;

#[tokio::test]
async fn stdin_is_the_payload_and_stdout_the_result() {
    let mut rig = Rig::of(Mode::Each(Command::new(["cat"])));
    let payload: Vec<u8> = (0..1_000_000_u32).map(|n| n.to_le_bytes()[1]).collect();
    let outcome = rig.run(job(1, payload.clone())).await;
    let Outcome::Completed { result, usage: Some(Usage { rss_kib, .. }), .. } = outcome else {
        panic!("{outcome:?}");
    };
    assert_eq!(result, payload);
    assert!((100..100_000).contains(&rss_kib), "peak memory of cat is {rss_kib} KiB");
    rig.end().await;
}

#[tokio::test]
async fn arguments_reach_the_program_as_they_are() {
    let mut rig = Rig::of(Mode::Each(Command::new(["printf", "%s|", "$HOME", "a b", "`id`", "'"])));
    assert_eq!(text(rig.run(job(1, "")).await), "$HOME|a b|`id`|'|");
    rig.end().await;
}

#[tokio::test]
async fn the_environment_is_scrubbed_and_names_the_job() {
    let mut rig = Rig::of(each("env"));
    let mut traced = job(0x77, "");
    traced.traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into();
    let env = text(rig.run(traced).await);
    assert!(env.contains("GANGLINE_JOB_ID=00000000-0000-0000-0000-000000000077\n"), "{env}");
    assert!(env.contains("GANGLINE_ATTEMPT=1\n") && env.contains("GANGLINE_QUEUE=zoo\n"), "{env}");
    assert!(env.contains("TRACEPARENT=00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\n"), "{env}");
    assert!(env.contains("\nPATH=") || env.starts_with("PATH="), "{env}");
    assert!(!env.contains("CARGO") && !env.contains("GANGLINE_SPAWNER"), "{env}");
    rig.end().await;
}

#[tokio::test]
async fn the_working_directory_and_limits_are_the_configured_ones() {
    let directory = tempfile::tempdir().unwrap();
    let command = Command {
        directory: Some(directory.path().to_owned()),
        limits: Limits { open_files: Some(77), core_bytes: Some(0), ..Limits::default() },
        // Limits are set just after the start, so the program waits for them.
        ..Command::new(["sh", "-c", "until test $(ulimit -n) = 77 && test $(ulimit -c) = 0; do :; done; pwd"])
    };
    let mut rig = Rig::of(Mode::Each(command));
    let expected = format!("{}\n", directory.path().display());
    assert_eq!(text(rig.run(job(1, "")).await), expected);
    rig.end().await;
}

#[tokio::test]
async fn an_exit_status_is_a_failure_with_the_last_words() {
    let mut rig = Rig::of(each("echo first >&2; echo the disk is on fire >&2; exit 3"));
    let (failure, retry) = failed(rig.run(job(1, "")).await, FailureKind::Failed);
    assert_eq!(&*failure.message, "exit status 3: the disk is on fire");
    assert_eq!(retry, Retryable::Yes);
    let process = failure.process.unwrap();
    assert_eq!((process.exit_code, process.signal), (Some(3), None));
    assert_eq!(&*process.stderr, "first\nthe disk is on fire\n");
    rig.end().await;
}

#[tokio::test]
async fn exit_status_100_says_do_not_retry() {
    let mut rig = Rig::of(each("exit 100"));
    assert_eq!(failed(rig.run(job(1, "")).await, FailureKind::Failed).1, Retryable::No);
    rig.end().await;
}

#[tokio::test]
async fn death_by_signal_is_a_crash() {
    let mut rig = Rig::of(each("ulimit -c 0; kill -SEGV $$"));
    let (failure, _) = failed(rig.run(job(1, "")).await, FailureKind::Crashed);
    assert_eq!(failure.process.unwrap().signal, Some(11));
    assert!(failure.message.contains("SIGSEGV"), "{}", failure.message);
    rig.end().await;
}

#[tokio::test]
async fn endless_output_is_cut_off_and_its_group_killed() {
    let mut rig = Rig::of(each("yes & echo $! >&2; wait"));
    let (failure, _) = failed(rig.run(job(1, "")).await, FailureKind::Failed);
    assert!(failure.message.contains("result over limit"), "{}", failure.message);
    gone(failure.process.unwrap().stderr.trim().parse().unwrap()).await;
    rig.end().await;
}

#[tokio::test]
async fn a_result_of_exactly_the_limit_is_accepted_and_one_byte_more_is_not() {
    let mut limited = config(Mode::Each(Command::new(["cat"])));
    limited.result_bytes_max = 1_000;
    let mut rig = Rig::new(limited);
    assert_eq!(text(rig.run(job(1, vec![b'x'; 1_000])).await).len(), 1_000);
    failed(rig.run(job(2, vec![b'x'; 1_001])).await, FailureKind::Failed);
    rig.end().await;
}

#[tokio::test]
async fn stdout_may_be_closed_early_and_stdin_left_unread() {
    let mut rig = Rig::of(each("echo done; exec >&- 2>&- <&-; sleep 0.05"));
    assert_eq!(text(rig.run(job(1, vec![b'x'; 1 << 20])).await), "done\n");
    rig.end().await;
}

#[tokio::test]
async fn a_time_out_ends_also_what_ignores_sigterm() {
    let mut rig = Rig::of(each("trap '' TERM; echo $$ >&2; while :; do sleep 1; done"));
    let (failure, timeout) = timed_out(&mut rig).await;
    assert_eq!(*failure.message, *format!("ran longer than its time-out of {timeout:?}"));
    let process = failure.process.unwrap();
    assert_eq!(process.signal, Some(9));
    gone(process.stderr.trim().parse().unwrap()).await;
    rig.end().await;
}

#[tokio::test]
async fn a_time_out_gives_the_process_its_grace() {
    let mut patient = config(each("trap 'echo tidied >&2; exit 0' TERM; echo began >&2; sleep 1000 & wait"));
    patient.kill_grace = PATIENCE;
    let mut rig = Rig::new(patient);
    let process = timed_out(&mut rig).await.0.process.unwrap();
    assert_eq!((process.exit_code, &*process.stderr), (Some(0), "began\ntidied\n"));
    rig.end().await;
}

/// Runs a job that says something once it is as the test wants it, with the shortest time-out in which it comes so far here.
async fn timed_out(rig: &mut Rig) -> (Failure, Duration) {
    let mut timeout = Duration::from_millis(100);
    for number in 1.. {
        let outcome = rig.run(Assignment { timeout: Some(timeout), ..job(number, "") }).await;
        let (failure, _) = failed(outcome, FailureKind::TimedOut);
        if failure.process.as_ref().is_some_and(|process| !process.stderr.is_empty()) {
            return (failure, timeout);
        }
        timeout *= 2;
    }
    unreachable!("numbers do not end")
}

#[tokio::test]
async fn a_grandchild_that_holds_the_pipe_is_killed_and_holds_nobody() {
    let mut rig = Rig::of(each("sleep 1000 & echo $!"));
    let grandchild = text(rig.run(job(1, "")).await);
    gone(grandchild.trim().parse().unwrap()).await;
    rig.end().await;
}

#[tokio::test]
async fn a_process_that_left_the_group_dies_with_the_job() {
    // Twice removed: its parent leaves the session too, and dies before the job ends, once both have left.
    let directory = tempfile::tempdir().unwrap();
    let note = directory.path().join("left").display().to_string();
    let mut rig = Rig::of(each(&format!(
        "setsid sh -c 'setsid sh -c \"echo \\$\\$; : > {note}; exec sleep 1000\" &'; until test -e {note}; do :; done"
    )));
    let escaped: u32 = text(rig.run(job(1, "")).await).trim().parse().unwrap();
    assert!(!crate::rig::alive(escaped), "it was killed before the end of the job was told");
    rig.end().await;
}

#[tokio::test]
async fn cancel_ends_what_runs_and_what_waits_and_nothing_else() {
    let mut rig = Rig::of(each("read -r word; echo $$ >&2; test $word = quick || exec sleep 1000"));
    for (number, word) in [(1, "slow\n"), (2, "slow\n"), (3, "quick\n")] {
        rig.give(job(number, word));
    }
    until("the first has begun", || rig.pool.waiting() == 2).await;
    rig.pool.stop(execution_no(99)).await;
    assert!(
        rig.pool.withdraw(execution_no(2)) && !rig.pool.withdraw(execution_no(1)),
        "only the second waits"
    );
    rig.pool.stop(execution_no(1)).await;
    assert_eq!(rig.ended().await, (execution_no(1), Outcome::Cancelled));
    assert_eq!(rig.ended().await.0, execution_no(3));
    rig.end().await;
}

/// As a server does that was restored from a backup.
#[tokio::test]
async fn the_same_attempt_of_a_job_may_be_given_while_the_one_before_goes_on() {
    let mut two = config(each("read -r word; test $word = quick || exec sleep 1000; echo $word"));
    two.processes = NonZeroUsize::new(2).unwrap();
    let mut rig = Rig::new(two);
    rig.give(job(1, "slow\n"));
    until("the first has begun", || rig.pool.waiting() == 0).await;
    rig.give_all(vec![Execution { number: execution_no(2), job: job(1, "quick\n") }]);
    let (number, outcome) = rig.ended().await;
    assert_eq!((number, text(outcome)), (execution_no(2), "quick\n".to_owned()));
    rig.pool.stop(execution_no(2)).await;
    rig.pool.stop(execution_no(1)).await;
    assert_eq!(rig.ended().await, (execution_no(1), Outcome::Cancelled));
    rig.end().await;
}

/// Short for `quick`, endless for anything else. Behind a short job the next one is queued with the spawner.
const QUICK_OR_NOT: &str = "read -r word; test $word = quick || exec sleep 1000";

#[tokio::test]
async fn a_job_queued_behind_a_long_one_is_taken_back_and_another_slot_does_it() {
    let mut rig = Rig::of(each(QUICK_OR_NOT));
    for (number, word) in [(1, "quick\n"), (2, "slow\n"), (3, "quick\n")] {
        rig.give(job(number, word));
    }
    assert_eq!(rig.ended().await.0, execution_no(1));
    until("the third waits in the pool", || rig.pool.withdraw(execution_no(3))).await;
    rig.pool.stop(execution_no(2)).await;
    assert_eq!(rig.ended().await, (execution_no(2), Outcome::Cancelled));
    rig.end().await;

    let mut rig = Rig::new(Config { processes: NonZeroUsize::new(2).unwrap(), ..config(each(QUICK_OR_NOT)) });
    for number in 1..=10 {
        rig.give(job(number, if number == 5 { "slow\n" } else { "quick\n" }));
    }
    for _ in 1..=9 {
        assert_ne!(rig.ended().await.0, execution_no(5));
    }
    rig.pool.stop(execution_no(5)).await;
    assert_eq!(rig.ended().await, (execution_no(5), Outcome::Cancelled));
    rig.end().await;
}

#[tokio::test]
async fn a_job_that_is_cancelled_while_it_is_queued_never_runs() {
    let directory = tempfile::tempdir().unwrap();
    let ran = directory.path().join("ran");
    let script = format!(
        "read -r word; case $word in quick) ;; third) : > {} ;; *) exec sleep 1000 ;; esac",
        ran.display()
    );
    let mut rig = Rig::of(each(&script));
    let mut met = 0;
    // On a busy machine few jobs are short.
    for round in 0..300 {
        if round >= 20 && met > 0 {
            break;
        }
        for (number, word) in [(1, "quick\n"), (2, "slow\n"), (3, "third\n")] {
            rig.give(job(10 * round + number, word));
        }
        assert_eq!(rig.ended().await.0, execution_no(10 * round + 1));
        // It is with the spawner for a few milliseconds only, if the first was short: not in every round is it seen there.
        let queued = async {
            while rig.pool.waiting() > 0 {
                tokio::task::yield_now().await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_millis(20), queued).await;
        // As the claim loop does: what was neither in the one place nor in the other was on its way between them.
        let third = execution_no(10 * round + 3);
        let mut told = false;
        while !told && !rig.pool.withdraw(third) {
            rig.pool.stop(third).await;
            told = tokio::time::timeout(Duration::from_millis(50), rig.reports.recv())
                .await
                .is_ok_and(|report| report == Some(Report::Ended(third, Outcome::Cancelled)));
        }
        met += u32::from(told);
        rig.pool.stop(execution_no(10 * round + 2)).await;
        assert_eq!(rig.ended().await, (execution_no(10 * round + 2), Outcome::Cancelled));
    }
    assert!(!ran.exists());
    assert!(met > 0, "no cancel met a job with the spawner");
    rig.end().await;
}

#[tokio::test]
async fn short_jobs_one_after_the_other_keep_their_input_output_and_failures_apart() {
    let mut rig = Rig::of(each("read -r word; echo $word; echo log $word >&2; test ${word#*-} != fails"));
    let fails = |number: u128| number % 7 == 3;
    for number in 0..200 {
        rig.give(job(
            number,
            if fails(number) { format!("{number}-fails\n") } else { format!("{number}\n") },
        ));
    }
    for number in 0..200 {
        let (id, outcome) = rig.ended().await;
        assert_eq!(id, execution_no(number));
        if fails(number) {
            let (failure, _) = failed(outcome, FailureKind::Failed);
            assert_eq!(*failure.message, format!("exit status 1: log {number}-fails"));
        } else {
            assert_eq!(text(outcome), format!("{number}\n"));
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn a_program_that_disappears_releases_the_job() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("worker");
    std::fs::copy("/bin/true", &program).unwrap();
    let mut rig = Rig::of(Mode::Each(Command::new([&program])));
    assert_eq!(text(rig.run(job(1, "")).await), "");
    std::fs::remove_file(&program).unwrap();
    let outcome = rig.run(job(2, "")).await;
    let Outcome::Released { reason } = outcome else { panic!("{outcome:?}") };
    assert!(reason.contains("could not be started"), "{reason}");
    rig.end().await;
}
