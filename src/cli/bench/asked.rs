//! The figures that the service is asked to reach on a machine of two cores with client, server and workers all on it, jobs
//! and results of 100 bytes: one table, so that a run says which of them it met.

use crate::cli::bench::figures::Figures;
use crate::cli::output;
use crate::cli::output::Reader;
use serde::Serialize;

/// The highest or the lowest that is good enough.
#[derive(Clone, Copy, Debug)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

/// One figure that is asked.
struct Asked {
    figure: &'static str,
    unit: &'static str,
    /// What was measured and what is asked, of a bench that tells.
    judge: fn(&Figures) -> Option<(f64, Bound)>,
}

/// A figure, and whether it was met.
#[derive(Debug, Serialize)]
pub(in crate::cli::bench) struct Verdict {
    figure: &'static str,
    measured: f64,
    asked: f64,
    unit: &'static str,
    met: bool,
}

/// What is asked to cost nothing may look like a tenth more between two runs.
const NOTHING: f64 = 1.1;
/// What is asked to use no CPU sends ten thousand heartbeats in half a minute.
const IDLE_MS_PER_S: f64 = 10.0;
const MIB: f64 = 1_048_576.0;

const ASKED: [Asked; 21] = [
    Asked {
        figure: "submit, one connection",
        unit: "jobs/s",
        judge: |f| of(f, "submit", f.connections == Some(1), f.jobs_per_s, Bound::AtLeast(300_000.0)),
    },
    Asked {
        figure: "submit, several connections",
        unit: "jobs/s",
        judge: |f| of(f, "submit", f.connections > Some(1), f.jobs_per_s, Bound::AtLeast(400_000.0)),
    },
    Asked {
        figure: "lifecycle, 256 slots a stream",
        unit: "jobs/s",
        judge: |f| of(f, "lifecycle", f.slots == Some(256), f.jobs_per_s, Bound::AtLeast(200_000.0)),
    },
    Asked {
        figure: "lifecycle, 16 slots a stream",
        unit: "jobs/s",
        judge: |f| of(f, "lifecycle", f.slots == Some(16), f.jobs_per_s, Bound::AtLeast(60_000.0)),
    },
    Asked {
        figure: "latency p50: 2 syncs, 2 echoes and 0.2 ms",
        unit: "ms",
        judge: |f| {
            let allowed = 2.0 * f.sync_p50_ms? + 2.0 * f.echo_p50_ms? + 0.2;
            of(f, "latency", true, f.p50_ms, Bound::AtMost(allowed))
        },
    },
    Asked {
        figure: "latency p99: 2 slow syncs and 1 ms",
        unit: "ms",
        judge: |f| {
            let allowed = 2.0 * f.sync_p99_ms? + 1.0;
            of(f, "latency", true, f.p99_ms, Bound::AtMost(allowed))
        },
    },
    Asked { figure: "paced p99", unit: "ms", judge: |f| of(f, "paced", true, f.p99_ms, Bound::AtMost(10.0)) },
    Asked {
        figure: "tail",
        unit: "updates/s",
        judge: |f| of(f, "tail", true, f.updates_per_s, Bound::AtLeast(1_500_000.0)),
    },
    Asked {
        figure: "CPU a reader and update at 50 readers, against one",
        unit: "times",
        judge: |f| of(f, "readers", true, f.times_the_smallest, Bound::AtMost(0.25)),
    },
    Asked {
        figure: "memory of a million pending jobs",
        unit: "MiB",
        judge: |f| {
            let million = f.jobs == Some(1_000_000);
            of(f, "pending", million, f.rss_bytes.map(|bytes| bytes as f64 / MIB), Bound::AtMost(150.0))
        },
    },
    Asked {
        figure: "restart with a million pending jobs",
        unit: "ms",
        judge: |f| of(f, "pending", f.jobs == Some(1_000_000), f.restart_ms, Bound::AtMost(1_000.0)),
    },
    Asked {
        figure: "restart with a million live jobs and 2 GiB of log, first answer",
        unit: "ms",
        judge: |f| of(f, "restart", is_long(f), f.restart_ms, Bound::AtMost(2_000.0)),
    },
    Asked {
        figure: "the same, the full history after that",
        unit: "ms",
        judge: |f| of(f, "restart", is_long(f), f.history_ms, Bound::AtMost(30_000.0)),
    },
    Asked {
        figure: "inspect and verify: 150 MB/s or 1,500,000 updates/s",
        unit: "times",
        judge: |f| {
            let read = f64::max(f.mb_per_s? / 150.0, f.updates_per_s? / 1_500_000.0);
            of(f, "offline", is_long(f), Some(read), Bound::AtLeast(1.0))
        },
    },
    Asked {
        figure: "inspect and verify: memory a live job",
        unit: "bytes",
        judge: |f| of(f, "offline", is_long(f), f.rss_peak_bytes_per_job, Bound::AtMost(200.0)),
    },
    Asked {
        figure: "CPU with a backlog, against the smallest one",
        unit: "times",
        judge: |f| of(f, "backlog", true, f.times_the_smallest, Bound::AtMost(1.2)),
    },
    Asked {
        figure: "CPU in 10,000 queues, against one",
        unit: "times",
        judge: |f| of(f, "queues", true, f.times_the_smallest, Bound::AtMost(1.3)),
    },
    Asked {
        figure: "CPU beside 10,000 watchers, against none",
        unit: "times",
        judge: |f| of(f, "watchers", true, f.times_the_smallest, Bound::AtMost(NOTHING)),
    },
    Asked {
        figure: "CPU with 10,000 watchers while nothing happens",
        unit: "ms/s",
        judge: |f| of(f, "watchers", true, f.idle_cpu_ms_per_s, Bound::AtMost(IDLE_MS_PER_S)),
    },
    Asked {
        figure: "log a finished job: 1.25 of payload, result and 120 bytes",
        unit: "bytes",
        judge: |f| {
            let allowed = 1.25 * (2 * f.payload_bytes + 120) as f64;
            of(f, "lifecycle", true, f.log_bytes_per_job, Bound::AtMost(allowed))
        },
    },
    Asked {
        figure: "longest wait that filling ahead caused",
        unit: "ms",
        judge: |f| of(f, "fill", true, Some((f.max_ms? - f.sync_max_ms?).max(0.0)), Bound::AtMost(20.0)),
    },
];

/// The log of which a restart is asked, and reading it.
fn is_long(figures: &Figures) -> bool {
    figures.pending >= Some(1_000_000) && figures.log_bytes >= Some(2 << 30)
}

fn of(
    figures: &Figures,
    bench: &str,
    applies: bool,
    measured: Option<f64>,
    bound: Bound,
) -> Option<(f64, Bound)> {
    (figures.bench == bench && applies).then_some(())?;
    Some((measured?, bound))
}

/// Whether what was measured is what was asked; empty for a bench of which nothing is asked.
pub(in crate::cli::bench) fn verdicts(figures: &Figures) -> Vec<Verdict> {
    let verdict = |asked: &Asked| {
        let (measured, bound) = (asked.judge)(figures)?;
        let (limit, met) = match bound {
            Bound::AtLeast(limit) => (limit, measured >= limit),
            Bound::AtMost(limit) => (limit, measured <= limit),
        };
        Some(Verdict { figure: asked.figure, measured, asked: limit, unit: asked.unit, met })
    };
    ASKED.iter().filter_map(verdict).collect()
}

impl Verdict {
    pub(in crate::cli::bench) fn is_met(&self) -> bool {
        self.met
    }

    /// Prints it: JSON, or a line for people.
    pub(in crate::cli::bench) fn print(&self, json: bool) -> anyhow::Result<Reader> {
        if json {
            return Ok(output::line(serde_json::to_string(self)?)?);
        }
        let Verdict { figure, measured, asked, unit, met } = self;
        let met = if *met { "met" } else { "MISSED" };
        let digits = if *asked < 100.0 { 3 } else { 0 };
        Ok(output::line(format_args!(
            "{met:<10} {figure}: {measured:.digits$} {unit}, asked {asked:.digits$}"
        ))?)
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::bench::asked::verdicts;
    use crate::cli::bench::figures::Figures;

    #[test]
    fn a_figure_is_judged_by_its_own_bound_and_only_where_it_was_measured() {
        let submit = |jobs_per_s| Figures {
            bench: "submit",
            connections: Some(1),
            jobs_per_s: Some(jobs_per_s),
            ..Figures::default()
        };
        let met = |figures: &Figures| verdicts(figures).iter().map(|v| v.is_met()).collect::<Vec<_>>();
        assert_eq!(met(&submit(300_000.0)), [true]);
        assert_eq!(met(&submit(299_999.0)), [false]);
        let latency = Figures {
            bench: "latency",
            p50_ms: Some(0.5),
            p99_ms: Some(9.0),
            sync_p50_ms: Some(0.1),
            sync_p99_ms: Some(3.9),
            echo_p50_ms: Some(0.1),
            ..Figures::default()
        };
        assert_eq!(met(&latency), [true, false]);
        assert_eq!(met(&Figures { bench: "limit", ..submit(1.0) }), [] as [bool; 0]);
        let restart = |log_bytes| Figures {
            bench: "restart",
            pending: Some(1_000_001),
            log_bytes: Some(log_bytes),
            restart_ms: Some(1_999.0),
            history_ms: Some(30_001.0),
            ..Figures::default()
        };
        assert_eq!(met(&restart(2 << 30)), [true, false]);
        assert_eq!(met(&restart(2 << 20)), [] as [bool; 0], "a short log says nothing");
        // Many small updates a second are as good as many bytes.
        let read = Figures {
            bench: "offline",
            mb_per_s: Some(149.0),
            updates_per_s: Some(1_500_000.0),
            ..restart(2 << 30)
        };
        assert_eq!(met(&Figures { rss_peak_bytes_per_job: Some(201.0), ..read.clone() }), [true, false]);
        assert_eq!(met(&Figures { updates_per_s: Some(1_499_999.0), ..read }), [false]);
    }
}
