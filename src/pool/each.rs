//! One process a job: the payload is its stdin, its stdout is the result, its exit status says whether it
//! failed. Any program is a worker.

mod starter;

use crate::job::event::FailureKind;
use crate::job::retry::Retryable;
use crate::pool::Error;
use crate::pool::Execution;
use crate::pool::Outcome;
use crate::pool::backoff::Backoff;
use crate::pool::each::starter::Starter;
use crate::pool::outcome::EXIT_NO_RETRY;
use crate::pool::outcome::Why;
use crate::pool::outcome::over_limit;
use crate::pool::outcome::process_end;
use crate::pool::outcome::usage;
use crate::pool::process::Force;
use crate::pool::process::Interest;
use crate::pool::process::Listen;
use crate::pool::process::Process;
use crate::pool::process::Step;
use crate::pool::slot::Slot;
use crate::pool::spawner::Ended;
use crate::pool::spawner::Exit;
use crate::pool::spawner::Order;
use crate::pool::spawner::SlotSpawner;
use bytes::Bytes;
use std::sync::Arc;

/// Runs a slot until the pool stops.
pub(crate) async fn run(mut slot: Slot, spawner: SlotSpawner, order: Order) {
    let mut starter = Starter::new(spawner, order);
    let mut backoff = Backoff::default();
    while let Some((execution, started)) = starter.next(&mut slot).await {
        let outcome = match started {
            Ok(process) => execute(&mut slot, &mut starter, process, &execution).await,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(outcome) => {
                backoff = Backoff::default();
                slot.end(&execution, outcome).await;
            }
            Err(error) => {
                // The machine's failure, not the job's: too many processes, no memory, the program removed.
                tracing::warn!(job_id = %execution.job.id, %error, "no process could be started for a job; it is released");
                slot.end(&execution, Outcome::released(error.to_string())).await;
                let until = slot.now().after(backoff.next());
                starter.pause(&mut slot, until).await;
            }
        }
    }
    slot.release_waiting().await;
}

/// Works on one job to its end.
///
/// # Errors
/// The process was queued, and when its turn came it could not be started.
async fn execute(
    slot: &mut Slot,
    starter: &mut Starter,
    mut process: Process,
    execution: &Execution,
) -> Result<Outcome, Error> {
    let config = Arc::clone(&slot.config);
    let began = slot.now();
    let mut deadline = execution.job.timeout.map(|timeout| (began.after(timeout), Why::TimedOut(timeout)));
    let mut stop = Interest::Yes;
    starter.queue_next(slot, began).await;
    let ended = loop {
        let due = [deadline.as_ref().map(|(at, _)| *at), starter.recall_at()].into_iter().flatten().min();
        match process.step(slot, Listen { deadline: due, jobs: Interest::No, stop }).await {
            Step::Ended(ended) => break ended,
            Step::NotStarted(error) => return Err(error),
            Step::Output if process.inbox.len() > config.result_bytes_max => {
                let why = Why::ResultOverLimit(config.result_bytes_max);
                process.end(why, Force::AtOnce, slot.now(), config.kill_grace);
            }
            // A process need not read all its input; whether it does its work shows otherwise.
            Step::Output | Step::InputEnd | Step::OutputEnd | Step::Jobs => {}
            Step::Cancel(number) if number == execution.number => {
                process.end(Why::Cancelled, Force::Grace, slot.now(), config.kill_grace);
            }
            Step::Cancel(number) => starter.cancel(slot, number).await,
            Step::Stop => {
                stop = Interest::No;
                starter.recall(slot).await;
                slot.release_waiting().await;
                let until = slot.now().after(config.stop_grace);
                if deadline.as_ref().is_none_or(|(at, _)| until < *at) {
                    deadline = Some((until, Why::PoolStopped));
                }
            }
            Step::Deadline => {
                let now = slot.now();
                if starter.recall_at().is_some_and(|at| at <= now) {
                    starter.recall(slot).await;
                }
                if let Some((_, why)) = deadline.take_if(|(at, _)| *at <= now) {
                    process.end(why, Force::Grace, now, config.kill_grace);
                }
            }
        }
    };
    starter.took(slot.now().since(began));
    process.drain(config.result_bytes_max).await;
    Ok(outcome(process, ended, config.result_bytes_max))
}

fn outcome(process: Process, ended: Ended, result_bytes_max: usize) -> Outcome {
    let stderr = process.tail.text();
    if let Some(why) = process.why() {
        return Outcome::stopped(why, ended, &stderr);
    }
    match ended {
        Ended::Exit(Exit { over: Some(_), .. }) => Outcome::died(ended, &stderr),
        Ended::Exit(Exit { code: Some(0), .. }) if process.inbox.len() > result_bytes_max => {
            Outcome::failed(FailureKind::Failed, &over_limit(result_bytes_max), process_end(ended, &stderr))
        }
        Ended::Exit(exit @ Exit { code: Some(0), .. }) => Outcome::Completed {
            // A copy: what was read into has room for a whole pipe, and a result may be kept for long.
            result: Bytes::copy_from_slice(&process.inbox),
            content_type: "".into(),
            usage: Some(usage(exit)),
        },
        Ended::Exit(Exit { code: Some(code), .. }) => {
            let last = process.tail.last_line().map(|line| format!(": {line}")).unwrap_or_default();
            let message = format!("exit status {code}{last}");
            let retry = if code == EXIT_NO_RETRY { Retryable::No } else { Retryable::Yes };
            Outcome::failed(FailureKind::Failed, &message, process_end(ended, &stderr)).with_retry(retry)
        }
        Ended::Exit(Exit { code: None, .. }) | Ended::SpawnerDied => Outcome::died(ended, &stderr),
    }
}
