//! Live jobs of a state, and the state itself, as the offline tools print them.

use crate::cli::show::counts;
use crate::cli::show::names;
use crate::cli::show::text;
use crate::clock::Timestamp;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::queue::Counts;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::LiveJob;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

/// A live job as JSON has it.
#[derive(Debug, Serialize)]
pub(crate) struct LiveJson<'a> {
    id: String,
    queue: &'a str,
    state: &'static str,
    attempts: u32,
    #[serde(skip_serializing_if = "is_zero")]
    generation: u16,
    priority: i8,
    submitted_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    due: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    expires_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    worker_id: Option<&'a str>,
    submitted_sequence: u64,
    newest_sequence: u64,
    payload_bytes: u32,
    failures: usize,
}

impl<'a> LiveJson<'a> {
    /// The JSON of a job.
    pub(crate) fn of(job: &'a LiveJob) -> LiveJson<'a> {
        LiveJson {
            id: job.id.to_string(),
            queue: job.queue.as_str(),
            state: names::job_state(job.state),
            attempts: job.attempts,
            generation: job.generation,
            priority: job.priority,
            submitted_at: text::at(job.id.time()),
            // A job that may start at once is due since its submission.
            due: job.due.map(|due| text::at(due.max(job.id.time()))),
            expires_at: job.policy.expires.map(text::at),
            worker_id: job.worker.as_deref(),
            submitted_sequence: job.submitted.0,
            newest_sequence: job.newest.0,
            payload_bytes: job.payload_bytes,
            failures: job.failures.len(),
        }
    }
}

/// The header of a table of live jobs.
pub(crate) const HEADER: [&str; 5] = ["ID", "STATE", "QUEUE", "ATTEMPTS", "SUBMITTED"];

/// A job in such a table.
pub(crate) fn row(job: &LiveJob) -> [String; 5] {
    [
        job.id.to_string(),
        names::job_state(job.state).to_owned(),
        job.queue.to_string(),
        job.attempts.to_string(),
        text::at(job.id.time()),
    ]
}

/// The queues of a state by name, with their counts.
pub(crate) fn queues(as_of: &AsOf) -> Vec<(QueueName, Counts)> {
    let queues = as_of.state.queues().iter();
    let mut queues: Vec<(QueueName, Counts)> =
        queues.map(|(_, queue)| (queue.name.clone(), queue.counts)).collect();
    queues.sort_unstable_by(|one, other| one.0.cmp(&other.0));
    queues
}

/// What a state is, as JSON has it.
pub(crate) fn state_json(directory: &DataDirectory, as_of: &AsOf) -> Value {
    let queues = queues(as_of);
    let state = &as_of.state;
    json!({
        "store_id": directory.store_id().map(|store| store.to_string()),
        "position": state.position().0,
        "sequence": state.sequence().0,
        "time": text::known(state.time()),
        "state_hash": format!("{:032x}", state.digest()),
        "log_hash": as_of.hash.to_string(),
        "base_position": as_of.base.0,
        "live_jobs": state.jobs().len(),
        "counts": counts::to_json(&counts::total(&queues)),
        "queues": counts::queues_json(&queues),
        "partial": as_of.partial,
        "unexplained_updates": as_of.unexplained,
        "faults": as_of.faults.count(),
        "torn_bytes": as_of.tail.torn_bytes,
    })
}

/// What a state is, for people.
pub(crate) fn state_lines(directory: &DataDirectory, as_of: &AsOf) -> Vec<String> {
    let state = &as_of.state;
    let store = directory.store_id().map_or_else(|| "unknown".to_owned(), |store| store.to_string());
    let time =
        if state.time() == Timestamp(0) { String::new() } else { format!(", {}", text::at(state.time())) };
    let base = match as_of.base {
        Position(0) => "the beginning of the log".to_owned(),
        base => format!("the checkpoint at frame {base}"),
    };
    vec![
        format!("store       {store}"),
        format!("as of       frame {}, update {}{time}", state.position(), state.sequence()),
        format!("state hash  {:032x}", state.digest()),
        format!("log hash    {}", as_of.hash),
        format!("read from   {base}"),
    ]
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands out references")]
fn is_zero(number: &u16) -> bool {
    *number == 0
}
