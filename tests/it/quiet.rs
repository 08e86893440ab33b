//! An idle server costs next to nothing.

use crate::harness::Server;
use gangline::clock::Clock;
use std::time::Duration;
use tonic_health::pb::HealthCheckRequest;

/// CPU time of the process so far.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("it runs");
    let (_, rest) = stat.rsplit_once(") ").expect("the name ends");
    let ticks: u64 = rest.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<u64>().expect("ticks")).sum();
    Duration::from_millis(ticks * 1_000 / rustix::param::clock_ticks_per_second())
}

fn rss_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a process has memory");
    line.trim().trim_end_matches(" kB").trim().parse().expect("KiB")
}

#[tokio::test]
async fn an_idle_server_uses_no_cpu_and_little_memory() {
    let server = Server::start(&[]);
    server.health().await.check(HealthCheckRequest::default()).await.expect("it serves");
    server.await_files();
    let clock = Clock::system();
    // A window of time has to pass: it is what is measured.
    let (before, begun) = (cpu(server.pid()), clock.now().tick);
    tokio::time::sleep(Duration::from_secs(10)).await;
    let (used, window) = (cpu(server.pid()) - before, clock.now().tick.since(begun));
    let rss_kib = rss_kib(server.pid());
    println!("idle for {window:.1?}: {used:?} of CPU, {rss_kib} KiB resident");
    assert!(used <= window / 500, "{used:?} of CPU in {window:?} is over 0.2 %");
    assert!(rss_kib < 40 * 1_024, "{rss_kib} KiB");
}
