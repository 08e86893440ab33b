//! Every setting, once: its key, what it means, where it lives in [`Config`]. File, variables, flags, `config show`
//! and the documentation come from this table.

use crate::config::Config;
use crate::config::kind::Bytes;
use crate::config::kind::Kind;
use crate::config::kind::Number;
use crate::config::kind::Plain;
use crate::config::kind::Span;

/// One setting. Pools are not in this table: they are `[[pools]]` of the file.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its key in the file; a dot stands for a table.
    pub key: &'static str,
    /// What stands for its value in a help text.
    pub value_name: &'static str,
    /// What it means.
    pub help: &'static str,
    pub(crate) set: fn(&mut Config, &str) -> Result<(), String>,
    pub(crate) get: fn(&Config) -> String,
}

impl Setting {
    /// Its environment variable: `transport.connections` is `GANGLINE_TRANSPORT_CONNECTIONS`.
    #[must_use]
    pub fn variable(&self) -> String {
        format!("GANGLINE_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its flag, without the dashes: `transport.connections` is `--transport-connections`.
    #[must_use]
    pub fn flag(&self) -> String {
        self.key.replace(['.', '_'], "-")
    }

    /// Its value in `config`, as it would be written.
    #[must_use]
    pub fn show(&self, config: &Config) -> String {
        (self.get)(config)
    }
}

macro_rules! settings {
    ($($key:literal $kind:ident $($field:ident).+, $help:literal;)+) => {
        /// Every setting, in the order of the documentation.
        pub const SETTINGS: &[Setting] = &[$(
            Setting {
                key: $key,
                value_name: name_of(|config: &Config| &config.$($field).+, $kind),
                help: $help,
                set: |config, text| {
                    config.$($field).+ = $kind::parse(text)?;
                    Ok(())
                },
                get: |config| $kind::show(&config.$($field).+),
            },
        )+];
    };
}

/// The name of the kind of a field, found by the field's type.
const fn name_of<T, K: Kind<T>>(_field: fn(&Config) -> &T, kind: K) -> &'static str {
    std::mem::forget(kind);
    K::NAME
}

settings! {
    "data" Plain data, "The data directory; made if it does not exist";
    "listen" Plain listen, "Where to listen; port 0 picks a free one";
    "allow_remote" Plain exposure, "Allow an address that other machines can reach: calls are neither encrypted nor authenticated";
    "reflection" Plain reflection, "Who may ask for the services and messages: everyone on a loopback address, always, or never";
    "threads" Number threads, "Threads that serve calls, beside the writer's own";
    "shutdown_grace" Span shutdown_grace, "How long running jobs of the server's own pools may go on after SIGTERM";
    "lease_period" Span engine.lease_period, "A worker that gives no sign of life for this long loses its leases";
    "reconnect_grace" Span engine.reconnect_grace, "How long leases outlive a link that closed without a word";
    "dedupe_window" Span engine.dedupe_window, "How long submit keys and producers are remembered after their jobs ended";
    "progress_interval" Span engine.progress_interval, "At most one progress update of a job in this time";
    "heartbeat" Span heartbeat, "How often a tailing reader hears of the head when there is nothing else to hear";
    "payload_bytes_max" Bytes sizes.payload_bytes_max, "The largest payload of a job";
    "result_bytes_max" Bytes sizes.result_bytes_max, "The largest result";
    "batch_jobs_max" Number sizes.jobs_max, "The most jobs of one call or one message of a stream";
    "live_max" Number engine.limits.live_max, "The most live jobs: waiting, running and dead, in all queues together";
    "queues_max" Number engine.limits.queues_max, "The most queues ever made";
    "keys_max" Number engine.limits.keys_max, "The most submit keys remembered; beyond it keyed submits are refused";
    "producers_max" Number engine.limits.producers_max, "The most producers remembered";
    "cursors_max" Number engine.limits.cursors_max, "The most named cursors";
    "retention_bytes" Bytes keeping.retention_bytes, "How much log is kept before old log goes";
    "retention_age" Span keeping.retention_age, "Log that is older goes even if there is less of it; 0s: whatever its age";
    "lag_budget_bytes" Bytes keeping.lag_budget_bytes, "How far a named cursor may be behind and hold old log back; beyond that it loses its place";
    "checkpoint_bytes" Bytes keeping.checkpoint_bytes, "A checkpoint is made when the log since the last is at least this large";
    "segment_bytes" Bytes directory.segment_bytes, "Size of the log's files; a multiple of 4KiB";
    "reserve_bytes" Bytes directory.reserve_bytes, "Space that is given up when the disk is full, so that old log can go; 0 for none";
    "ring_bytes" Bytes engine.ring_bytes, "Recent log kept in memory for readers";
    "work_tree_cache_bytes" Bytes work_tree.cache_bytes, "Page cache of the work tree";
    "transport.request_bytes_max" Bytes transport.request_bytes_max, "The largest message that is read";
    "transport.response_bytes_max" Bytes transport.response_bytes_max, "The largest message that is sent";
    "transport.connections" Number transport.connections, "Connections at a time, handshakes included";
    "transport.connections_per_peer" Number transport.connections_per_peer, "Connections at a time from one peer, an IPv4 address or an IPv6 /64";
    "transport.streams_per_connection" Number transport.streams_per_connection, "Calls at a time on one connection";
    "transport.header_list_bytes_max" Bytes transport.header_list_bytes_max, "The metadata of one call";
    "transport.keepalive_interval" Span transport.keepalive_interval, "A connection that was silent for so long is pinged";
    "transport.keepalive_timeout" Span transport.keepalive_timeout, "A connection that does not answer a ping in this time is closed";
    "transport.handshake" Span transport.handshake, "A new connection must have begun to speak HTTP/2 by then";
    "transport.pending_resets_max" Number transport.pending_resets_max, "Calls reset by the peer before we looked at them; more closes the connection";
    "transport.local_resets_max" Number transport.local_resets_max, "Calls that we reset because of the peer's errors; more closes the connection";
    "transport.stream_window_bytes" Bytes transport.stream_window_bytes, "What a peer may send ahead on one call";
    "transport.connection_window_bytes" Bytes transport.connection_window_bytes, "What a peer may send ahead on one connection";
    "log.format" Plain log.format, "Lines for people, or JSON; auto: for people on a terminal";
    "log.filter" Plain log.filter, "What to log: error, warn, info, debug, or by module such as info,gangline::engine=debug";
}
