//! Long-lived processes.

use crate::rig::Rig;
use crate::rig::config;
use crate::rig::execution;
use crate::rig::execution_no;
use crate::rig::failed;
use crate::rig::job;
use crate::rig::serve;
use crate::rig::text;
use crate::rig::worker;
use gangline::clock::Clock;
use gangline::job::event::FailureKind;
use gangline::job::retry::Retryable;
use gangline::pool::Assignment;
use gangline::pool::Command;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Recycle;
use gangline::pool::Report;
use std::collections::HashMap;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The code block of the documentation that is written in `language`, from its last one.
fn documented(language: &str) -> String {
    let page = include_str!("../../docs/workers.md");
    let (_, block) = page.rsplit_once(&format!("```{language}\n")).expect("the page has such a block");
    block.split_once("```").expect("the block ends").0.to_owned()
}

fn installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|directory| directory.join(program).is_file())
}

#[tokio::test]
async fn the_documented_python_worker_works() {
    if !installed("python3") {
        eprintln!("skipped: no python3");
        return;
    }
    let mut rig =
        Rig::of(Mode::Serve(Command::new(["python3", "-c", &documented("python")]), Recycle::default()));
    assert_eq!(text(rig.run(job(1, "grüße \"a\"\n")).await), "GRÜSSE \"A\"\n");
    let (failure, _) = failed(rig.run(job(2, &b"\xff"[..])).await, FailureKind::Failed);
    assert_eq!(&*failure.message, "KeyError('payload')");
    rig.end().await;
}

#[tokio::test]
async fn the_documented_shell_worker_works() {
    let mut rig = Rig::of(serve(&documented("sh")));
    assert_eq!(text(rig.run(job(1, "21")).await), "42");
    assert_eq!(rig.progress[0].done, Some(5_000));
    rig.end().await;
}

#[tokio::test]
async fn the_documented_javascript_worker_works() {
    if !installed("node") {
        eprintln!("skipped: no node");
        return;
    }
    let mut rig = Rig::of(Mode::Serve(Command::new(["node", "-e", &documented("js")]), Recycle::default()));
    assert_eq!(text(rig.run(job(1, "abc")).await), "cba");
    rig.end().await;
}

#[tokio::test]
async fn one_process_does_many_jobs_and_an_error_is_not_its_end() {
    let mut rig = Rig::of(serve(&worker(
        r#"case $payload in
            bad) answer '"error":"no good","retry":false' ;;
            *) answer "\"result\":$$" ;;
        esac"#,
    )));
    let first = text(rig.run(job(1, "a")).await);
    let (failure, retry) = failed(rig.run(job(2, "bad")).await, FailureKind::Failed);
    assert_eq!((&*failure.message, retry), ("no good", Retryable::No));
    assert_eq!(text(rig.run(job(3, "a")).await), first, "the same process");
    rig.end().await;
}

#[tokio::test]
async fn a_worker_that_misbehaves_is_replaced_and_says_why() {
    let mut rig = Rig::of(serve(&worker(
        r#"case $payload in
            print) echo 'debug: here' ;;
            stranger) id=someone-else; answer '"result":1' ;;
            close) exec >&-; sleep 1000 ;;
            exit) echo 'out of cheese' >&2; exit 7 ;;
            signal) kill -9 $$ ;;
            *) answer '"result":"ok"' ;;
        esac"#,
    )));
    let expected = [
        ("print", "wrote a line that is not an answer"),
        ("stranger", "answered job \"someone-else\" while it has job"),
        ("close", "closed its stdout and went on running"),
        ("exit", "exited with status 7 under the job"),
        ("signal", "was killed by SIGKILL"),
    ];
    for (number, (payload, message)) in (1..).zip(expected) {
        // Each time a good job comes first, so that the process counts as healthy and is replaced at once.
        assert_eq!(text(rig.run(job(100 + number, "good")).await), "ok");
        let (failure, _) = failed(rig.run(job(number, payload)).await, FailureKind::Crashed);
        assert!(failure.message.contains(message), "{payload}: {}", failure.message);
        let process = failure.process.unwrap();
        assert!(process.usage.is_some());
        if payload == "exit" {
            assert_eq!((process.exit_code, &*process.stderr), (Some(7), "out of cheese\n"));
        }
    }
    assert_eq!(text(rig.run(job(200, "good")).await), "ok");
    rig.end().await;
}

#[tokio::test]
async fn a_job_is_not_stuck_in_a_process_that_closed_its_input() {
    let mut rig = Rig::of(serve(&worker(r#"exec <&-; answer '"result":"ok"'; exec sleep 1000"#)));
    assert_eq!(text(rig.run(job(1, "")).await), "ok");
    let (failure, _) = failed(rig.run(job(2, "")).await, FailureKind::Crashed);
    assert!(failure.message.contains("closed its stdin and went on running"), "{}", failure.message);
    rig.end().await;
}

#[tokio::test]
async fn a_result_over_the_limit_is_a_failure_and_the_process_stays() {
    let mut limited = config(serve(&worker(r#"answer "\"result\":\"$payload$$\"""#)));
    limited.result_bytes_max = 20;
    let mut rig = Rig::new(limited);
    let first = text(rig.run(job(1, "")).await);
    let (failure, _) = failed(rig.run(job(2, "x".repeat(21))).await, FailureKind::Failed);
    assert!(failure.message.contains("result over limit"), "{}", failure.message);
    assert_eq!(text(rig.run(job(3, "")).await), first, "the same process");
    rig.end().await;
}

#[tokio::test]
async fn a_flood_of_progress_is_coalesced() {
    let flood = r#"yes "{\"id\":\"$id\",\"progress\":0.25,\"message\":\"flood\"}" | head -n 100000
        answer '"progress":0.75'
        answer '"result":1'"#;
    let mut rig = Rig::of(serve(&worker(flood)));
    let clock = Clock::system();
    let begun = clock.now().tick;
    assert_eq!(text(rig.run(job(1, "")).await), "1");
    // One at once, and one in each half second.
    let most = 1 + clock.now().tick.since(begun).as_millis() / 500;
    let told = rig.progress.len();
    assert!(told >= 1 && told as u128 <= most, "{told} reports of progress, {most} at most");
    assert_eq!(rig.progress[0].done, Some(2_500));
    rig.end().await;
}

#[tokio::test]
async fn the_newest_progress_is_passed_on_when_its_time_has_come() {
    let directory = tempfile::tempdir().unwrap();
    let go = directory.path().join("go");
    // In one write, so that they are there together.
    let script = r#"line='{"id":"'$id'","progress":0'; printf "$line.1}\n$line.2}\n$line.9}\n""#;
    let wait = format!(r#"until test -e {}; do sleep 0.02; done; answer '"result":1'"#, go.display());
    let mut rig = Rig::of(serve(&worker(&format!("{script}; {wait}"))));
    rig.give(job(1, ""));
    for expected in [1_000, 9_000] {
        let report = rig.report().await;
        let Report::Progress(_, progress) = report else { panic!("{report:?}") };
        assert_eq!(progress.done, Some(expected));
    }
    std::fs::write(&go, "").unwrap();
    assert_eq!(text(rig.ended().await.1), "1");
    assert_eq!(rig.progress, []);
    rig.end().await;
}

#[tokio::test]
async fn a_process_that_dies_at_once_is_started_ever_more_slowly() {
    let directory = tempfile::tempdir().unwrap();
    let starts = directory.path().join("starts");
    let script = format!("date +%s%N >> {}; exit 1", starts.display());
    let rig = Rig::of(serve(&script));
    let read = || std::fs::read_to_string(&starts).unwrap_or_default();
    crate::rig::until("it is started four times", || read().lines().count() >= 4).await;
    let times: Vec<u128> = read().lines().map(|line| line.parse().unwrap()).collect();
    let waits: Vec<u128> = times.windows(2).map(|pair| (pair[1] - pair[0]) / 1_000_000).collect();
    assert!(waits[0] >= 90 && waits[1] >= 190 && waits[2] >= 390, "{waits:?} ms");
    rig.end().await;
}

/// Its first job may be cancelled, or take too long, any number of times in a row: that is not the process's fault.
#[tokio::test]
async fn a_process_that_is_ended_with_its_first_job_is_replaced_without_a_wait() {
    let mut rig = Rig::of(serve(&worker(r#"answer '"progress":0'; sleep 1000"#)));
    let all = async {
        for number in 0..10 {
            rig.give(job(number, ""));
            rig.report().await;
            rig.pool.stop(execution_no(number)).await;
            assert_eq!(rig.ended().await, (execution_no(number), Outcome::Cancelled));
        }
    };
    // Waits that double from 100 ms on would make it 51 s.
    tokio::time::timeout(Duration::from_secs(20), all).await.expect("no wait between them");
    rig.end().await;
}

#[tokio::test]
async fn recycled_after_a_number_of_jobs_or_over_a_memory_limit() {
    let recycles = [
        (Recycle { jobs: Some(2), rss_kib: None }, 3),
        (Recycle { jobs: None, rss_kib: Some(1) }, 6),
        (Recycle { jobs: None, rss_kib: Some(1 << 30) }, 1),
    ];
    for (recycle, expected) in recycles {
        let mut rig =
            Rig::of(Mode::Serve(Command::new(["sh", "-c", &worker(r#"answer "\"result\":$$""#)]), recycle));
        let mut pids = HashSet::new();
        for number in 0..6 {
            pids.insert(text(rig.run(job(number, "")).await));
        }
        assert_eq!(pids.len(), expected, "{recycle:?}");
        rig.end().await;
    }
}

#[tokio::test]
async fn a_time_out_takes_only_the_job_in_work() {
    let mut rig = Rig::of(serve(&worker(r#"test $payload = stuck && sleep 1000; answer '"result":"ok"'"#)));
    rig.give(Assignment { timeout: Some(Duration::from_millis(100)), ..job(1, "stuck") });
    rig.give(job(2, "good"));
    let (first, outcome) = rig.ended().await;
    assert_eq!(first, execution_no(1));
    failed(outcome, FailureKind::TimedOut);
    let (second, outcome) = rig.ended().await;
    assert_eq!((second, text(outcome)), (execution_no(2), "ok".to_owned()));
    rig.end().await;
}

#[tokio::test]
async fn in_a_pipeline_exactly_the_job_in_work_crashes() {
    let mut two = config(serve(&worker(r#"test $payload = die && kill -9 $$; answer '"result":"ok"'"#)));
    two.processes = NonZeroUsize::new(2).unwrap();
    let mut rig = Rig::new(two);
    let dies = |number: u64| number % 250 == 249;
    let payload = |number| if dies(number) { "die" } else { "live" };
    rig.give_all((0..2_000).map(|number| execution(job(u128::from(number), payload(number)))).collect());
    let mut outcomes = HashMap::new();
    for _ in 0..2_000 {
        let (number, outcome) = rig.ended().await;
        assert!(outcomes.insert(number.0, outcome).is_none(), "one end for {number:?}");
    }
    for (number, outcome) in outcomes {
        if dies(number) {
            failed(outcome, FailureKind::Crashed);
        } else {
            assert_eq!(text(outcome), "ok", "job {number}");
        }
    }
    rig.end().await;
}

#[tokio::test]
async fn cancel_takes_the_process_of_the_job_in_work() {
    let mut rig = Rig::of(serve(&worker(
        r#"answer '"progress":0'; test $payload = slow && sleep 1000; answer '"result":"ok"'"#,
    )));
    rig.give(job(1, "slow"));
    rig.report().await;
    rig.pool.stop(execution_no(1)).await;
    assert_eq!(rig.ended().await, (execution_no(1), Outcome::Cancelled));
    assert_eq!(text(rig.run(job(2, "quick")).await), "ok");
    rig.end().await;
}
