//! What the service must be capable of, as `gangline bench` measures it. Memory is the same in every build, so its bound is
//! the figure itself. Speed is not: a build without optimizations, on a machine of unknown speed, is held to shares of
//! what disk and wire gave in the same run, at about a third of what it reaches; seconds would say nothing.

use crate::harness::gangline;
use serde_json::Value;

/// The bounds of a million pending jobs of 100 bytes.
const RSS_BYTES_MAX: f64 = 220.0 * 1024.0 * 1024.0;

/// Payload and result of 100 bytes each, and what says that the job came, started and ended: it is 273 to 280, the same in every
/// build and on every machine, but for the frames, of which a slower one makes more or fewer.
const LOG_BYTES_A_JOB_MAX: f64 = 290.0;

/// What an offline command may take besides the live jobs, whatever the length of the log: the program, a segment's window.
const PROGRAM_BYTES_MAX: f64 = 32.0 * 1024.0 * 1024.0;

/// Runs the benches and gives what they printed: one object each.
#[allow(clippy::print_stdout, reason = "a failed test shows what was measured")]
fn bench(arguments: &[&str]) -> Vec<Value> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut command = gangline(&["bench", "--json"]);
    let output = command.arg("--data").arg(dir.path()).args(arguments).output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    text.lines().map(|line| serde_json::from_str(line).expect("one object a line")).collect()
}

fn number(figures: &Value, key: &str) -> f64 {
    figures[key].as_f64().unwrap_or_else(|| panic!("{key} is printed: {figures}"))
}

/// The whole figure: a million jobs, the memory they take, and a restart after a kill -9 with all of them there. In time a
/// restart is held to the load before it, which the same build did: it reads what that wrote, and twice as long would be
/// a regression in any build. [MEM-1]
#[test]
fn a_million_pending_jobs_fit_in_220_mib_and_a_restart_takes_less_than_their_load() {
    let figures = bench(&["--only", "pending"]).remove(0);
    assert_eq!(number(&figures, "jobs"), 1_000_000.0);
    assert!(number(&figures, "rss_bytes") <= RSS_BYTES_MAX, "{figures}");
    assert!(number(&figures, "restarted_rss_bytes") <= RSS_BYTES_MAX, "{figures}");
    let load_ms = 1_000.0 * number(&figures, "jobs") / number(&figures, "jobs_per_s");
    assert!(number(&figures, "restart_ms") <= load_ms, "{figures}");
}

/// A restart under load gives everything back, with the work tree as it was left and without one: the bench fails otherwise. Of
/// the memory of the offline commands only what live jobs take may grow, and the log here is far larger than it. [LOG-3] [MEM-1]
#[test]
fn a_restart_under_load_gives_everything_back_and_offline_commands_keep_to_the_memory_of_live_jobs() {
    let runs = bench(&["--only", "restart", "--restart-log", "64MiB", "--pending-jobs", "50000"]);
    let (restarts, readings) = runs.split_at(2);
    let trees: Vec<&Value> = restarts.iter().map(|figures| &figures["work_tree"]).collect();
    assert_eq!(trees, ["as the kill left it", "deleted"]);
    for figures in restarts {
        assert!(number(figures, "log_bytes") >= f64::from(64 << 20), "{figures}");
        assert!(number(figures, "submit_ms") <= number(figures, "restart_ms"), "{figures}");
    }
    let commands: Vec<&Value> = readings.iter().map(|figures| &figures["command"]).collect();
    assert_eq!(commands, ["verify", "inspect stats", "inspect frames", "inspect log", "inspect job"]);
    for figures in readings {
        let bound = PROGRAM_BYTES_MAX + 200.0 * number(figures, "pending");
        assert!(number(figures, "rss_peak_bytes") <= bound, "{figures}");
    }
}

#[test]
fn submit_lifecycle_and_latency_keep_their_shares_of_what_disk_and_wire_give() {
    let wanted = ["--only", "limit", "--only", "submit", "--only", "lifecycle", "--only", "latency"];
    let sizes = ["--jobs", "40000", "--latency-jobs", "300"];
    let all = bench(&[wanted.as_slice(), sizes.as_slice()].concat());
    let of = |name: &str| all.iter().filter(|figures| figures["bench"] == name).collect::<Vec<_>>();
    // A plain file's jobs with a sync each thousand; with a fast disk it says nothing about processors, so it is capped.
    let limit = number(of("limit")[0], "jobs_per_s").min(250_000.0);
    for submit in of("submit") {
        assert!(number(submit, "jobs_per_s") >= 0.1 * limit, "{submit}, limit {limit}");
    }
    for lifecycle in of("lifecycle") {
        assert!(number(lifecycle, "log_bytes_per_job") <= LOG_BYTES_A_JOB_MAX, "{lifecycle}");
    }
    let lifecycle = of("lifecycle")[0];
    assert!(number(lifecycle, "jobs_per_s") >= 0.03 * limit, "{lifecycle}, limit {limit}");
    // Two syncs, two ways over the wire, and the programs in between: without optimizations they take most of it.
    let latency = of("latency")[0];
    let allowed = 5.0 * number(latency, "sync_p50_ms") + 5.0 * number(latency, "echo_p50_ms") + 1.5;
    assert!(number(latency, "p50_ms") <= allowed, "{latency}, allowed {allowed}");
}

/// A reader of one queue pays for reading the frames back and for their checksums, but not for sending what it does not want.
#[test]
fn a_reader_of_one_queue_passes_over_the_rest_for_less_than_reading_it_costs() {
    let runs = bench(&["--only", "filtered", "--updates", "300000"]);
    let [all, filtered] = &runs[..] else { panic!("two runs: {runs:?}") };
    assert_eq!(number(all, "jobs"), 300_001.0);
    assert!(number(filtered, "times_the_smallest") <= 0.8, "{all}\n{filtered}");
}
