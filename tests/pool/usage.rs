//! What the jobs of a long-lived process used.

use crate::rig::Rig;
use crate::rig::failed;
use crate::rig::job;
use crate::rig::serve;
use crate::rig::worker;
use gangline::job::event::FailureKind;
use gangline::job::event::Usage;
use gangline::pool::Outcome;

fn used(outcome: Outcome) -> Usage {
    let Outcome::Completed { usage: Some(usage), .. } = outcome else { panic!("{outcome:?}") };
    usage
}

/// Burns CPU itself, in a child, or takes memory, as the payload says.
fn burner() -> Rig {
    Rig::of(serve(&worker(
        r#"case $payload in
            burn) i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done ;;
            child) sh -c 'i=0; while [ $i -lt 300000 ]; do i=$((i + 1)); done' ;;
            large) x=$(head -c 20000000 /dev/zero | tr '\0' x); x= ;;
            fail) echo "of $payload" >&2; answer '"error":"no"'; continue ;;
            die) exit 7 ;;
        esac
        echo "of $payload" >&2
        answer '"result":1'"#,
    )))
}

#[tokio::test]
async fn a_job_is_charged_with_its_own_cpu_time_and_memory_and_not_with_that_of_others() {
    let mut rig = burner();
    let first = used(rig.run(job(1, "none")).await);
    assert!(first.rss_kib > 100 && first.cpu_ms < 50, "{first:?}");
    for payload in ["burn", "child"] {
        let busy = used(rig.run(job(2, payload)).await);
        assert!(busy.cpu_ms >= 20, "{payload}: {busy:?}");
        let idle = used(rig.run(job(3, "none")).await);
        assert!(idle.cpu_ms < 20, "after {payload}: {idle:?}");
    }
    let large = used(rig.run(job(4, "large")).await);
    assert!(large.rss_kib > 19_000, "{large:?}");
    // A job may begin less than 10 ms after the last reading; one that takes longer has a peak of its own.
    rig.run(job(5, "burn")).await;
    let small = used(rig.run(job(6, "burn")).await);
    assert!(small.rss_kib < 15_000, "{small:?}");
    rig.end().await;
}

#[tokio::test]
async fn a_failed_job_shows_its_own_stderr_and_a_crashed_one_only_what_it_used() {
    let mut rig = burner();
    rig.run(job(1, "burn")).await;
    let (failure, _) = failed(rig.run(job(2, "fail")).await, FailureKind::Failed);
    let process = failure.process.unwrap();
    assert_eq!((process.exit_code, process.signal, &*process.stderr), (None, None, "of fail\n"));
    assert!(process.usage.unwrap().cpu_ms < 20, "{:?}", process.usage);
    rig.run(job(3, "burn")).await;
    let (failure, _) = failed(rig.run(job(4, "die")).await, FailureKind::Crashed);
    let process = failure.process.unwrap();
    assert_eq!((process.exit_code, &*process.stderr), (Some(7), ""));
    assert!(process.usage.unwrap().cpu_ms < 20, "{:?}", process.usage);
    rig.end().await;
}
