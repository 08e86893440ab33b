//! Values that do not go together are refused before anything is opened, with both names and what to change.

use crate::config::Config;
use crate::config::Error;
use crate::config::kind::Bytes;
use crate::config::kind::Kind;
use crate::grpc::listener;
use crate::grpc::listener::Exposure;
use crate::log::directory::DirectoryOptions;
use crate::pool::Mode;
use std::time::Duration;
use tracing_subscriber::EnvFilter;

/// What surrounds a payload in a message: names, labels, policy.
pub(crate) const HEADROOM_BYTES: usize = 64 << 10;
/// The largest frame of the log, whatever the size of its segments.
const FRAME_BYTES_MAX: u64 = 8 << 20;
/// HTTP/2's own limit of a window.
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;
/// More jobs a call would make one frame and one answer too large to be quick.
const BATCH_JOBS_MAX: usize = 10_000;

/// Refuses the first thing that cannot work.
pub(crate) fn check(config: &Config) -> Result<(), Error> {
    for check in [addresses, sizes, transport, times, numbers, pools] {
        check(config).map_err(Error::Inconsistent)?;
    }
    Ok(())
}

fn addresses(config: &Config) -> Result<(), String> {
    match config.exposure {
        Exposure::LoopbackOnly if !config.listen.ip().to_canonical().is_loopback() => {
            Err(listener::Error::Remote(config.listen).to_string())
        }
        Exposure::LoopbackOnly | Exposure::AllowRemote => Ok(()),
    }
}

fn sizes(config: &Config) -> Result<(), String> {
    let segment = config.directory.segment_bytes;
    if segment < DirectoryOptions::SEGMENT_BYTES_MIN || !segment.is_multiple_of(4_096) {
        return Err(format!(
            "segment_bytes cannot be {segment}: give a multiple of 4096, at least {}",
            DirectoryOptions::SEGMENT_BYTES_MIN
        ));
    }
    for (name, bytes) in [
        ("payload_bytes_max", config.sizes.payload_bytes_max),
        ("result_bytes_max", config.sizes.result_bytes_max),
    ] {
        let transport = &config.transport;
        let messages = [
            ("transport.request_bytes_max", transport.request_bytes_max),
            ("transport.response_bytes_max", transport.response_bytes_max),
        ];
        for (message, most) in messages {
            at_most(
                name,
                bytes.saturating_add(HEADROOM_BYTES) as u64,
                message,
                most as u64,
                "with 64KiB around it",
            )?;
        }
    }
    // A batch is one frame, and small jobs take more room in a frame than in a message.
    let half_frame = segment.min(FRAME_BYTES_MAX) / 2 + HEADROOM_BYTES as u64;
    let request = config.transport.request_bytes_max as u64;
    let why = "because a call is one frame of the log, at most 8MiB and at most a segment";
    at_most("transport.request_bytes_max", request, "half a frame (segment_bytes)", half_frame, why)
}

fn at_most(name: &str, bytes: u64, other: &str, most: u64, why: &str) -> Result<(), String> {
    if bytes <= most {
        return Ok(());
    }
    Err(format!(
        "{name} comes to {} ({why}), which is over {other}, {}: lower the one or raise the other",
        <Bytes as Kind<u64>>::show(&bytes),
        <Bytes as Kind<u64>>::show(&most)
    ))
}

fn transport(config: &Config) -> Result<(), String> {
    let limits = &config.transport;
    let windows = [
        ("transport.stream_window_bytes", limits.stream_window_bytes),
        ("transport.connection_window_bytes", limits.connection_window_bytes),
    ];
    for (name, bytes) in windows {
        if !(65_535..=WINDOW_BYTES_MAX).contains(&bytes) {
            return Err(format!(
                "{name} cannot be {bytes}: give 65535 to {WINDOW_BYTES_MAX}, as HTTP/2 says"
            ));
        }
    }
    if limits.stream_window_bytes > limits.connection_window_bytes {
        return Err(
            "transport.stream_window_bytes is over transport.connection_window_bytes: one call could \
                    never use it"
                .to_owned(),
        );
    }
    if limits.connections_per_peer > limits.connections {
        return Err("transport.connections_per_peer is over transport.connections: lower it".to_owned());
    }
    Ok(())
}

fn times(config: &Config) -> Result<(), String> {
    let (engine, limits) = (&config.engine, &config.transport);
    let positive = [
        ("lease_period", engine.lease_period),
        ("heartbeat", config.heartbeat),
        ("transport.keepalive_interval", limits.keepalive_interval),
        ("transport.keepalive_timeout", limits.keepalive_timeout),
        ("transport.handshake", limits.handshake),
    ];
    for (name, span) in positive {
        if span < Duration::from_millis(10) {
            return Err(format!("{name} cannot be under 10ms"));
        }
    }
    if engine.reconnect_grace > engine.lease_period {
        return Err(
            "reconnect_grace is over lease_period: a worker that closed its link would keep its leases \
                    longer than one that is silent"
                .to_owned(),
        );
    }
    Ok(())
}

fn numbers(config: &Config) -> Result<(), String> {
    let limits = &config.engine.limits;
    let counts = [
        ("threads", config.threads as u64, 256),
        ("batch_jobs_max", config.sizes.jobs_max as u64, BATCH_JOBS_MAX as u64),
        ("live_max", limits.live_max, u64::from(u32::MAX) - 1),
        ("queues_max", u64::from(limits.queues_max), u64::from(u32::MAX)),
        ("transport.connections", config.transport.connections as u64, u64::from(u32::MAX)),
        ("transport.connections_per_peer", config.transport.connections_per_peer as u64, u64::from(u32::MAX)),
        (
            "transport.streams_per_connection",
            u64::from(config.transport.streams_per_connection),
            u64::from(u32::MAX),
        ),
    ];
    for (name, count, most) in counts {
        if count == 0 || count > most {
            return Err(format!("{name} cannot be {count}: give 1 to {most}"));
        }
    }
    EnvFilter::try_new(&config.log.filter)
        .map(drop)
        .map_err(|error| format!("log.filter cannot be {:?}: {error}", config.log.filter))
}

fn pools(config: &Config) -> Result<(), String> {
    for (index, pool) in config.pools.iter().enumerate() {
        if config.pools[..index].iter().any(|other| other.name == pool.name) {
            return Err(format!("two pools are called {:?}: give each its own name", pool.name));
        }
        match &pool.config.mode {
            Mode::Each(command) | Mode::Serve(command, _) => {
                command.resolve().map_err(|error| format!("the pool {:?} cannot run: {error}", pool.name))?;
            }
            Mode::Handler(_) => {}
        }
    }
    Ok(())
}
