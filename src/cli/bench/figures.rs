//! What one bench measured, with everything needed to judge it.

use crate::cli::output;
use crate::cli::output::Reader;
use serde::Serialize;
use std::collections::BTreeMap;
use std::time::Duration;

/// The figures of one bench. Times are in milliseconds; what a bench does not measure is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub(in crate::cli::bench) struct Figures {
    pub(in crate::cli::bench) bench: &'static str,
    pub(in crate::cli::bench) durability: String,
    pub(in crate::cli::bench) filesystem: String,
    pub(in crate::cli::bench) cores: usize,
    pub(in crate::cli::bench) payload_bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) jobs: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) jobs_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) updates_per_s: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) p99_ms: Option<f64>,
    /// The longest of all.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) max_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) sync_p50_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) sync_p99_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) echo_p50_ms: Option<f64>,
    /// CPU of the server and of this process together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) cpu_us_per_job: Option<f64>,
    /// CPU of the server alone; not known for a server that was running before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) server_cpu_us_per_job: Option<f64>,
    /// The same by the names of its threads; those that used none are left out.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(in crate::cli::bench) server_cpu_us_by_thread: BTreeMap<String, f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) connections: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) slots: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) window: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) jobs_per_frame: Option<f64>,
    /// Frames that the work tree was behind when the last job was done, or at the first answer after a restart; the clock ran
    /// on until it had caught up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) applier_lag: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) readers: Option<usize>,
    /// CPU of the whole server, what the jobs themselves took included.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) server_cpu_us_per_reader_and_update: Option<f64>,
    /// Jobs that waited beside those that were measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) pending: Option<u64>,
    /// CPU of the server, against that of the first figures in the same series.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) times_the_smallest: Option<f64>,
    /// As which power of `pending` or `queues` that grew: 0 is not at all, 1 in proportion.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) growth_exponent: Option<f64>,
    /// Queues that the jobs went to in turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) queues: Option<usize>,
    /// Streams that each watch one job, of which nothing happens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) watchers: Option<usize>,
    /// CPU of the server while nothing happens, in milliseconds a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) idle_cpu_ms_per_s: Option<f64>,
    /// Bytes of log, without the zeros that lie ahead, per finished job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) log_bytes_per_job: Option<f64>,
    /// The longest sync of a plain file, with nothing beside it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) sync_max_ms: Option<f64>,
    /// Memory of the server's process, once a checkpoint that was being made is done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) rss_bytes: Option<u64>,
    /// The most it ever was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) rss_peak_bytes: Option<u64>,
    /// `rss_bytes` less that of the same server without jobs, per job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) rss_bytes_per_job: Option<f64>,
    /// From the start of the process after a kill -9 to its first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) restart_ms: Option<f64>,
    /// The same, to the first acknowledged submit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) submit_ms: Option<f64>,
    /// From the first answer until everything that is in the log can be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) history_ms: Option<f64>,
    /// What became of the work tree before the start.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) work_tree: Option<&'static str>,
    /// Bytes of log, without the zeros that lie ahead.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) log_bytes: Option<u64>,
    /// The command that read the directory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) command: Option<&'static str>,
    /// Log that it read, in millions of bytes a second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) mb_per_s: Option<f64>,
    /// CPU of the one process that is measured, in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) cpu_s: Option<f64>,
    /// `rss_peak_bytes` for each job that lives.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) rss_peak_bytes_per_job: Option<f64>,
    /// Memory of the server's process after that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(in crate::cli::bench) restarted_rss_bytes: Option<u64>,
}

impl Figures {
    /// Prints them: JSON, or a line for people.
    pub(in crate::cli::bench) fn print(&self, json: bool) -> anyhow::Result<Reader> {
        if json {
            return Ok(output::line(serde_json::to_string(self)?)?);
        }
        let text = serde_json::to_value(self)?;
        let shown = text.as_object().into_iter().flatten().filter(|(key, _)| key.as_str() != "bench");
        let shown: Vec<String> = shown.map(|(key, value)| format!("{key} {}", readable(value))).collect();
        Ok(output::line(format_args!("{:<10} {}", self.bench, shown.join(", ")))?)
    }
}

fn readable(value: &serde_json::Value) -> String {
    if let Some(parts) = value.as_object() {
        let parts: Vec<String> =
            parts.iter().map(|(name, value)| format!("{name} {}", readable(value))).collect();
        return format!("({})", parts.join(", "));
    }
    match (value.as_str(), value.as_f64()) {
        (Some(text), _) => text.to_owned(),
        (None, Some(number)) if number.abs() >= 1_000.0 => format!("{number:.0}"),
        (None, Some(number)) if number.fract() != 0.0 => format!("{number:.3}"),
        (None, _) => value.to_string(),
    }
}

/// The given share of the times, in milliseconds; `None` without any.
pub(in crate::cli::bench) fn percentile(times: &[Duration], percent: usize) -> Option<f64> {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    let place = (sorted.len() * percent / 100).min(sorted.len().checked_sub(1)?);
    Some(sorted[place].as_secs_f64() * 1_000.0)
}

#[cfg(test)]
mod tests {
    use crate::cli::bench::figures::percentile;
    use std::time::Duration;

    #[test]
    fn percentiles_are_of_the_sorted_times() {
        let times: Vec<Duration> = (1..=100).rev().map(Duration::from_millis).collect();
        assert_eq!(percentile(&times, 50), Some(51.0));
        assert_eq!(percentile(&times, 99), Some(100.0));
        assert_eq!(percentile(&[], 50), None);
    }
}
