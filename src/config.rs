//! The configuration of the server: one typed value, where each part of it came from, and the checks that keep
//! impossible combinations from starting.
//!
//! Layers: defaults, then the file, then `GANGLINE_*` variables, then flags. One table (`config/settings.rs`) names
//! every setting once, for all three.

mod check;
mod file;
pub(crate) mod kind;
mod layers;
mod pool;
mod settings;
mod suggest;

pub use crate::config::layers::Loaded;
pub use crate::config::layers::Origin;
pub use crate::config::layers::Sources;
pub use crate::config::settings::SETTINGS;
pub use crate::config::settings::Setting;

use crate::engine::Keeping;
use crate::engine::core::Options;
use crate::grpc::convert::Sizes;
use crate::grpc::limits::Limits;
use crate::grpc::listener::Exposure;
use crate::log::directory::DirectoryOptions;
use crate::pool::claims::PoolSpec;
use crate::work;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The port that nobody has to name.
pub const PORT: u16 = 4264;

/// Everything that an operator may decide about a server.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory.
    pub data: PathBuf,
    /// Where it listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Who may reach it.
    pub exposure: Exposure,
    /// Who is told of the services and messages by reflection.
    pub reflection: Reflection,
    /// Threads that serve calls, beside the writer's own.
    pub threads: usize,
    /// How long running jobs of the server's own pools may go on after SIGTERM.
    pub shutdown_grace: Duration,
    /// How often a tailing reader hears of the head when there is nothing else to hear.
    pub heartbeat: Duration,
    /// The engine's part.
    pub engine: Options,
    /// Checkpoints and retention.
    pub keeping: Keeping,
    /// The log's files.
    pub directory: DirectoryOptions,
    /// The work tree's memory.
    pub work_tree: work::Options,
    /// What a request may hold.
    pub sizes: Sizes,
    /// What a peer may take of the transport.
    pub transport: Limits,
    /// What the server says about itself.
    pub log: LogConfig,
    /// The server's own worker processes.
    pub pools: Vec<PoolSpec>,
}

impl Default for Config {
    fn default() -> Config {
        Config {
            data: PathBuf::from("gangline-data"),
            listen: SocketAddr::from(([127, 0, 0, 1], PORT)),
            exposure: Exposure::LoopbackOnly,
            reflection: Reflection::Loopback,
            threads: 2,
            shutdown_grace: Duration::from_secs(30),
            heartbeat: Duration::from_secs(30),
            engine: Options::default(),
            keeping: Keeping::default(),
            directory: DirectoryOptions::default(),
            work_tree: work::Options::default(),
            sizes: Sizes::default(),
            transport: Limits::default(),
            log: LogConfig::default(),
            pools: Vec::new(),
        }
    }
}

/// Who is answered by the reflection service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reflection {
    /// Everyone, if the server listens on a loopback address.
    Loopback,
    /// Everyone who can reach the server.
    Always,
    /// Nobody.
    Never,
}

/// What the server says about itself on stderr, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// The shape of a line.
    pub format: LogFormat,
    /// Which lines, in the syntax of `tracing_subscriber::EnvFilter`.
    pub filter: String,
}

impl Default for LogConfig {
    fn default() -> LogConfig {
        LogConfig { format: LogFormat::Auto, filter: "info".to_owned() }
    }
}

/// The shape of a line of the server's own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people on a terminal, JSON otherwise.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Why a configuration cannot be used. Every text says where and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The file cannot be read.
    #[error("cannot read the configuration file {}", file.display())]
    Read {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        #[source]
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("{} is not TOML: {text}", file.display())]
    Syntax {
        /// The file.
        file: PathBuf,
        /// The parser's words, with the line.
        text: String,
    },
    /// A key that no release knows.
    #[error("{origin}: there is no setting {key}{suggestion}")]
    Unknown {
        /// Where it is.
        origin: Origin,
        /// What was written.
        key: String,
        /// What was probably meant, as the end of the sentence; may be empty.
        suggestion: String,
    },
    /// A value that a setting cannot have.
    #[error("{origin}: {key} cannot be {value:?}: {reason}")]
    Value {
        /// Where it is.
        origin: Origin,
        /// The setting.
        key: String,
        /// What was written.
        value: String,
        /// What is wrong and what is possible.
        reason: String,
    },
    /// Values that do not go together.
    #[error("{0}")]
    Inconsistent(String),
}
