//! How many jobs of a queue are where, and how they ended: as JSON, and as a table of queues.

use crate::cli::show::table::Table;
use crate::job::id::QueueName;
use crate::job::queue::Counts;
use serde_json::Value;
use serde_json::json;

const HEADER: [&str; 8] =
    ["QUEUE", "WAITING", "RUNNING", "DEAD", "SUBMITTED", "SUCCEEDED", "CANCELLED", "EXPIRED"];

/// Counts as JSON has them.
pub(crate) fn to_json(counts: &Counts) -> Value {
    json!({
        "waiting": counts.waiting,
        "running": counts.running,
        "dead": counts.dead,
        "submitted_total": counts.submitted_total,
        "started_total": counts.started_total,
        "succeeded_total": counts.succeeded_total,
        "dead_total": counts.dead_total,
        "cancelled_total": counts.cancelled_total,
        "expired_total": counts.expired_total,
    })
}

/// The same of each queue.
pub(crate) fn queues_json(queues: &[(QueueName, Counts)]) -> Vec<Value> {
    let object = |(name, counts): &(QueueName, Counts)| {
        let mut object = to_json(counts);
        object["queue"] = json!(name.as_str());
        object
    };
    queues.iter().map(object).collect()
}

/// A row for each queue, and one for all of them if there are several.
pub(crate) fn table(queues: &[(QueueName, Counts)]) -> Table<8> {
    let mut table = Table::new(HEADER);
    for (name, counts) in queues {
        table.row(row(name.as_str(), counts));
    }
    if queues.len() > 1 {
        table.row(row("(all)", &total(queues)));
    }
    table
}

/// The counts of all queues together.
pub(crate) fn total(queues: &[(QueueName, Counts)]) -> Counts {
    queues.iter().map(|(_, counts)| *counts).sum()
}

fn row(name: &str, counts: &Counts) -> [String; 8] {
    let Counts {
        waiting,
        running,
        dead,
        submitted_total,
        succeeded_total,
        cancelled_total,
        expired_total,
        started_total: _,
        dead_total: _,
    } = counts;
    let numbers = [waiting, running, dead, submitted_total, succeeded_total, cancelled_total, expired_total];
    let mut row = [const { String::new() }; 8];
    row[0] = name.to_owned();
    for (cell, number) in row[1..].iter_mut().zip(numbers) {
        *cell = number.to_string();
    }
    row
}
