//! `[[pools]]` of the file: the worker processes that the server runs itself.
//!
//! ```toml
//! [[pools]]
//! queues = ["thumbnails"]
//! mode = "serve"
//! command = ["python3", "thumbnails.py"]
//! processes = 4
//! inherit = ["AWS_REGION"]
//! environment = { OMP_NUM_THREADS = "1" }
//! recycle_jobs = 1000
//! address_space = "2GiB"
//! memory_bytes_max = "1GiB"
//! processes_max = 64
//! ```

use crate::config::Config;
use crate::config::Error;
use crate::config::Origin;
use crate::config::kind::Bytes;
use crate::config::kind::Kind;
use crate::config::kind::Span;
use crate::config::suggest;
use crate::job::id::QueueName;
use crate::pool;
use crate::pool::Command;
use crate::pool::Mode;
use crate::pool::Recycle;
use crate::pool::claims::PoolSpec;
use crate::pool::limits::Limits;
use crate::pool::limits::NewPrivileges;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// Every key of a pool.
const KEYS: [&str; 21] = [
    "name",
    "queues",
    "mode",
    "command",
    "processes",
    "inherit",
    "environment",
    "directory",
    "kill_grace",
    "result_bytes_max",
    "recycle_jobs",
    "recycle_rss",
    "address_space",
    "cpu_time",
    "open_files",
    "core_bytes",
    "user_processes",
    "memory_bytes_max",
    "processes_max",
    "new_privileges",
    "stop_grace",
];

/// A pool as it is written.
#[derive(serde::Deserialize)]
struct Written {
    name: Option<String>,
    queues: Vec<String>,
    mode: String,
    command: Vec<String>,
    processes: Option<NonZeroUsize>,
    #[serde(default)]
    inherit: Vec<String>,
    #[serde(default)]
    environment: BTreeMap<String, String>,
    directory: Option<PathBuf>,
    kill_grace: Option<String>,
    stop_grace: Option<String>,
    result_bytes_max: Option<String>,
    recycle_jobs: Option<u64>,
    recycle_rss: Option<String>,
    address_space: Option<String>,
    cpu_time: Option<String>,
    open_files: Option<u64>,
    core_bytes: Option<String>,
    user_processes: Option<u64>,
    memory_bytes_max: Option<String>,
    processes_max: Option<u64>,
    #[serde(default)]
    new_privileges: bool,
}

/// The pool that `table` says; what it leaves open follows the rest of the configuration.
pub(crate) fn parse(table: toml::Table, origin: &Origin, config: &Config) -> Result<PoolSpec, Error> {
    if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let suggestion = suggest::suggestion(key, KEYS.map(str::to_owned));
        return Err(Error::Unknown { origin: origin.clone(), key: format!("pools.{key}"), suggestion });
    }
    let written: Written = table.try_into().map_err(|error| {
        Error::Inconsistent(format!("{origin}: the pool cannot be read: {}", error.to_string().trim_end()))
    })?;
    let reader = Reader { origin };
    let queues = reader.queues(&written.queues)?;
    let mut pool = pool::Config::new(reader.mode(&written)?);
    pool.stop_grace = reader
        .optional::<_, Span>("stop_grace", written.stop_grace.as_deref())?
        .unwrap_or(config.shutdown_grace);
    pool.result_bytes_max = reader
        .optional::<_, Bytes>("result_bytes_max", written.result_bytes_max.as_deref())?
        .unwrap_or(config.sizes.result_bytes_max);
    if let Some(grace) = reader.optional::<_, Span>("kill_grace", written.kill_grace.as_deref())? {
        pool.kill_grace = grace;
    }
    if let Some(processes) = written.processes {
        pool.processes = processes;
    }
    let name = written.name.map_or_else(|| queues[0].as_str().into(), Into::into);
    Ok(PoolSpec { name, queues, config: pool })
}

struct Reader<'a> {
    origin: &'a Origin,
}

impl Reader<'_> {
    fn wrong(&self, key: &str, value: &str, reason: String) -> Error {
        Error::Value {
            origin: self.origin.clone(),
            key: format!("pools.{key}"),
            value: value.to_owned(),
            reason,
        }
    }

    fn optional<T, K: Kind<T>>(&self, key: &str, value: Option<&str>) -> Result<Option<T>, Error> {
        value.map(|value| K::parse(value).map_err(|reason| self.wrong(key, value, reason))).transpose()
    }

    fn queues(&self, names: &[String]) -> Result<Vec<QueueName>, Error> {
        if names.is_empty() {
            return Err(self.wrong("queues", "[]", "name at least one queue".to_owned()));
        }
        let parsed = names
            .iter()
            .map(|name| name.parse().map_err(|error| self.wrong("queues", name, format!("{error}"))));
        parsed.collect()
    }

    fn mode(&self, written: &Written) -> Result<Mode, Error> {
        let rss: Option<u64> = self.optional::<_, Bytes>("recycle_rss", written.recycle_rss.as_deref())?;
        let recycle = Recycle { jobs: written.recycle_jobs, rss_kib: rss.map(|bytes| bytes / 1_024) };
        match written.mode.as_str() {
            "each" if recycle == Recycle::default() => Ok(Mode::Each(self.command(written)?)),
            "each" => Err(self.wrong(
                "mode",
                "each",
                "a process a job is never recycled: remove recycle_*".to_owned(),
            )),
            "serve" => Ok(Mode::Serve(self.command(written)?, recycle)),
            other => Err(self.wrong(
                "mode",
                other,
                "write each (a process a job) or serve (a line a job)".to_owned(),
            )),
        }
    }

    fn command(&self, written: &Written) -> Result<Command, Error> {
        if written.command.is_empty() {
            return Err(self.wrong("command", "[]", "name a program and its arguments".to_owned()));
        }
        let cpu = self.optional::<_, Span>("cpu_time", written.cpu_time.as_deref())?;
        Ok(Command {
            inherit: written.inherit.iter().map(Into::into).collect(),
            set: written.environment.iter().map(|(name, value)| (name.into(), value.into())).collect(),
            directory: written.directory.clone(),
            limits: Limits {
                address_space_bytes: self
                    .optional::<_, Bytes>("address_space", written.address_space.as_deref())?,
                cpu_seconds: cpu.map(|span| span.as_secs().max(1)),
                open_files: written.open_files,
                core_bytes: self.optional::<_, Bytes>("core_bytes", written.core_bytes.as_deref())?,
                processes: written.user_processes,
                memory_bytes_max: self
                    .optional::<_, Bytes>("memory_bytes_max", written.memory_bytes_max.as_deref())?,
                processes_max: written.processes_max,
                new_privileges: if written.new_privileges {
                    NewPrivileges::Allowed
                } else {
                    NewPrivileges::Denied
                },
            },
            ..Command::new(&written.command)
        })
    }
}
