//! The use cases: what a call means, whichever face it came through. One file a use case; one `now` a call.
//!
//! Commands go to the engine's writer; reads go to the published view, then the work tree, then the log.

pub mod backup;
pub mod control;
pub mod cursors;
pub mod error;
pub mod get;
pub mod home;
pub mod info;
mod items;
pub mod list;
mod lookup;
pub mod named;
pub mod producers;
pub mod pruner;
pub mod queues;
pub mod shown;
pub mod submit;
pub mod tail;
pub mod workers;

pub use crate::service::error::Error;

use crate::clock::Now;
use crate::engine::Handle;
use crate::log::directory::DirectoryArchive;
use crate::service::backup::BACKUPS_MAX;
use crate::service::home::Home;
use crate::service::named::CursorLag;
use crate::service::named::Readers;
use crate::service::producers::Producers;
use crate::shutdown::Shutdown;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// What the service is told by configuration.
#[derive(Clone, Debug)]
pub struct Settings {
    /// A worker that gives no sign of life for this long loses its leases; told to workers. [LEASE-2]
    pub lease_period: Duration,
    /// How long leases outlive a link that closed without a word; told to workers. [LEASE-2]
    pub reconnect_grace: Duration,
    /// How often a tailing reader hears of the head when there is nothing else to hear.
    pub heartbeat: Duration,
    /// How far the cursor of a named tail stays behind what the transport took, in time and in updates.
    pub cursor_lag: CursorLag,
    /// Where the data is kept.
    pub home: Home,
    /// Its files, for backups; `None`: there are none to be had.
    pub archive: Option<DirectoryArchive>,
    /// A backup whose caller has taken nothing for this long, and up to twice as long, ends: it holds log back.
    pub backup_stall: Duration,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            lease_period: Duration::from_secs(15),
            reconnect_grace: Duration::from_secs(1),
            heartbeat: Duration::from_secs(30),
            cursor_lag: CursorLag::default(),
            home: Home::default(),
            archive: None,
            backup_stall: Duration::from_secs(60),
        }
    }
}

/// The use cases, shared by every face. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    engine: Handle,
    settings: Arc<Settings>,
    shutdown: Shutdown,
    producers: Arc<Producers>,
    /// Held while finished jobs are looked up and deleted, so that no job is deleted twice.
    deleting: Arc<tokio::sync::Mutex<()>>,
    /// When it began to serve.
    began: Now,
    /// Who reads through which named cursor.
    readers: Arc<Readers>,
    /// How many more backups may be taken now.
    backups: Arc<Semaphore>,
}

impl Service {
    /// The service over a running engine. Its streams end when `shutdown` begins.
    #[must_use]
    pub fn new(engine: Handle, settings: Settings, shutdown: Shutdown) -> Service {
        let began = engine.clock().now();
        Service {
            engine,
            settings: Arc::new(settings),
            shutdown,
            producers: Arc::default(),
            deleting: Arc::default(),
            began,
            readers: Arc::default(),
            backups: Arc::new(Semaphore::new(BACKUPS_MAX)),
        }
    }

    /// The engine.
    #[must_use]
    pub fn engine(&self) -> &Handle {
        &self.engine
    }

    /// What it was told.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The shutdown that its streams hear.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }
}
