//! Reading a data directory without a server: how fast the offline commands go through the whole log, and the memory they
//! take, each as a process of its own.

use crate::cli::bench::figures::Figures;
use crate::cli::bench::process::Reading;
use crate::cli::bench::setup::Bench;
use anyhow::bail;

/// The commands on the directory of a bench whose server is gone; `job` is one of its oldest, `live` how many live,
/// `updates` how many updates the log holds.
pub(in crate::cli::bench) async fn measure(
    bench: &Bench,
    job: &str,
    live: u64,
    updates: u64,
) -> anyhow::Result<Vec<Figures>> {
    let bytes = bench.log_bytes()?.unwrap_or_default();
    let commands: [(&'static str, &[&str], &[&str]); 5] = [
        ("verify", &["verify"], &[]),
        ("inspect stats", &["inspect", "stats"], &[]),
        ("inspect frames", &["inspect", "frames"], &["--summary"]),
        ("inspect log", &["inspect", "log"], &["--json"]),
        ("inspect job", &["inspect", "job"], &[job]),
    ];
    let mut series = Vec::new();
    for (name, words, rest) in commands {
        let began = bench.clock.now().tick;
        let mut reading = Reading::start(words, &bench.data(), rest)?;
        let used = reading.end().await?;
        let took = bench.clock.now().tick.since(began).as_secs_f64();
        if !used.succeeded {
            bail!("gangline {name} did not end well");
        }
        series.push(Figures {
            command: Some(name),
            pending: Some(live),
            log_bytes: Some(bytes),
            mb_per_s: Some(bytes as f64 / 1e6 / took),
            cpu_s: Some(used.cpu.as_secs_f64()),
            rss_peak_bytes: Some(used.peak_bytes),
            rss_peak_bytes_per_job: Some(used.peak_bytes as f64 / live as f64),
            updates_per_s: Some(updates as f64 / took),
            ..bench.figures("offline")
        });
    }
    Ok(series)
}
