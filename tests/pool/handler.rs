//! Work inside this program.

use crate::rig::Rig;
use crate::rig::attempt;
use crate::rig::failed;
use crate::rig::job;
use crate::rig::text;
use bytes::Bytes;
use gangline::job::event::FailureKind;
use gangline::job::retry::Retryable;
use gangline::pool::Assignment;
use gangline::pool::Handler;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::handler::Context;
use gangline::pool::handler::HandlerError;
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
    rig.pool.stop(attempt(2)).await;
    assert_eq!(rig.ended().await, (attempt(2), Outcome::Cancelled));
    assert_eq!(text(rig.run(job(3, "abc")).await), "ABC");
    rig.end().await;
}
