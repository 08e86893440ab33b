//! Work inside this program.

use crate::rig::Rig;
use crate::rig::config;
use crate::rig::execution;
use crate::rig::execution_no;
use crate::rig::failed;
use crate::rig::job;
use crate::rig::text;
use bytes::Bytes;
use gangline::job::event::FailureKind;
use gangline::job::retry::Retryable;
use gangline::pool::Assignment;
use gangline::pool::Config;
use gangline::pool::Handler;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Report;
use gangline::pool::handler::Context;
use gangline::pool::handler::HandlerError;
use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

struct Zoo;

impl Handler for Zoo {
    fn call(&self, job: &Assignment, context: &Context) -> Result<Bytes, HandlerError> {
        match &job.payload[..] {
            b"panic" => panic!("the floor is lava"),
            b"fail" => Err(HandlerError { message: "no".to_owned(), retry: Retryable::No }),
            b"wait" => {
                context.progress(Some(0.5), "waiting");
                while !context.is_cancelled() {
                    std::thread::yield_now();
                }
                Ok(Bytes::new())
            }
            b"deaf" => {
                // Until the test ends, and the program with it.
                loop {
                    std::thread::park();
                }
            }
            b"steps" => {
                for step in 1..=100 {
                    context.progress(Some(f64::from(step) / 100.0), "");
                }
                while !context.is_cancelled() {
                    std::thread::yield_now();
                }
                Ok(Bytes::new())
            }
            other => Ok(Bytes::from(other.to_ascii_uppercase())),
        }
    }
}

#[tokio::test]
async fn a_handler_completes_fails_panics_and_goes_on() {
    let mut rig = Rig::of(Mode::Handler(Arc::new(Zoo)));
    assert_eq!(text(rig.run(job(1, "abc")).await), "ABC");
    let (failure, retry) = failed(rig.run(job(2, "fail")).await, FailureKind::Failed);
    assert_eq!((&*failure.message, retry), ("no", Retryable::No));
    let (failure, _) = failed(rig.run(job(3, "panic")).await, FailureKind::Crashed);
    assert_eq!(&*failure.message, "the handler panicked: the floor is lava");
    assert_eq!(text(rig.run(job(4, "still here")).await), "STILL HERE");
    rig.end().await;
}

#[tokio::test]
async fn a_handler_is_told_when_its_time_is_over_or_it_is_cancelled() {
    let mut rig = Rig::of(Mode::Handler(Arc::new(Zoo)));
    let outcome = rig.run(Assignment { timeout: Some(Duration::from_millis(30)), ..job(1, "wait") }).await;
    failed(outcome, FailureKind::TimedOut);
    rig.give(job(2, "wait"));
    rig.report().await;
    rig.pool.stop(execution_no(2)).await;
    assert_eq!(rig.ended().await, (execution_no(2), Outcome::Cancelled));
    assert_eq!(text(rig.run(job(3, "abc")).await), "ABC");
    rig.end().await;
}

#[tokio::test]
async fn handlers_share_what_waits_and_end_each_job_once() {
    let processes = NonZeroUsize::new(2).expect("two is not zero");
    let mut rig = Rig::new(Config { processes, ..config(Mode::Handler(Arc::new(Zoo))) });
    rig.give_all((1..=2_000).map(|number| execution(job(number, "x"))).collect());
    let mut ended = HashSet::new();
    while ended.len() < 2_000 {
        let (number, outcome) = rig.ended().await;
        assert_eq!(text(outcome), "X");
        assert!(ended.insert(number), "{number:?} ended twice");
    }
    rig.end().await;
}

#[tokio::test]
async fn of_frequent_progress_the_newest_is_told() {
    let mut rig = Rig::of(Mode::Handler(Arc::new(Zoo)));
    rig.give(job(1, "steps"));
    let newest = Some(10_000);
    let mut told = 0;
    loop {
        let Report::Progress(_, progress) = rig.report().await else { panic!("it goes on") };
        told += 1;
        if progress.done == newest {
            break;
        }
    }
    assert!(told <= 2, "the first and the newest, not {told}");
    rig.pool.stop(execution_no(1)).await;
    assert_eq!(rig.ended().await, (execution_no(1), Outcome::Cancelled));
    rig.end().await;
}

#[tokio::test]
async fn when_the_pool_stops_handlers_have_a_grace_and_what_waits_is_released() {
    let mut rig = Rig::of(Mode::Handler(Arc::new(Zoo)));
    let released = || Outcome::Released { reason: "the pool stopped".into() };
    rig.give(job(1, "wait"));
    rig.give(job(2, "x"));
    // It has begun.
    assert!(matches!(rig.report().await, Report::Progress(..)));
    rig.shutdown.begin();
    assert_eq!(rig.ended().await, (execution_no(2), released()));
    assert_eq!(rig.ended().await, (execution_no(1), released()));
    assert_eq!(rig.pool.give(vec![execution(job(3, "x"))]).len(), 1, "nothing more is taken");
    rig.end().await;
}

#[tokio::test]
async fn a_handler_that_never_returns_does_not_hold_up_the_end() {
    let mut rig = Rig::of(Mode::Handler(Arc::new(Zoo)));
    let outcome = rig.run(Assignment { timeout: Some(Duration::from_millis(30)), ..job(1, "deaf") }).await;
    failed(outcome, FailureKind::TimedOut);
    rig.give(job(2, "x"));
    rig.shutdown.begin();
    assert_eq!(rig.ended().await, (execution_no(2), Outcome::Released { reason: "the pool stopped".into() }));
    rig.end().await;
}
