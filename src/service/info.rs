//! What server this is and how it stands.

use crate::clock::Timestamp;
use crate::engine::view::Seen;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::service::Error;
use crate::service::Service;
use crate::service::home::Home;
use std::sync::Arc;
use std::time::Duration;

/// The server as operators see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerInfo {
    /// Its release.
    pub version: &'static str,
    /// Its store.
    pub store: StoreId,
    /// The newest frame and update.
    pub seen: Seen,
    /// The oldest update that is kept, one past the newest if none is.
    pub floor: Sequence,
    /// Log time of the oldest frame that is kept; `None` if none is, or if it cannot be read.
    pub floor_time: Option<Timestamp>,
    /// The newest frame that the work tree shows.
    pub applied: Position,
    /// Where the data is kept.
    pub home: Home,
    /// Whether it changes nothing.
    pub read_only: bool,
    /// What its log ends in, if that is damage.
    pub damage: Option<String>,
    /// How long it has been serving.
    pub uptime: Duration,
    /// Its own time.
    pub time: Timestamp,
}

impl Service {
    /// What server this is and how it stands.
    ///
    /// # Errors
    /// [`Error::ShuttingDown`].
    pub async fn info(&self) -> Result<ServerInfo, Error> {
        let now = self.engine().clock().now();
        let seen = self.engine().view().seen();
        let history = Arc::clone(self.engine().history());
        let (floor, floor_time) = self
            .read(move || {
                let floor = history.floor();
                let oldest = history.read(floor.position, 0).unwrap_or_default();
                Ok((floor.sequence, oldest.first().map(|frame| frame.time)))
            })
            .await?;
        Ok(ServerInfo {
            version: env!("CARGO_PKG_VERSION"),
            store: self.store_id(),
            seen,
            floor: floor.min(seen.sequence.plus(1)),
            floor_time,
            applied: self.engine().applied(),
            home: self.settings().home.clone(),
            read_only: self.engine().is_read_only(),
            damage: self.engine().damaged_end().map(ToString::to_string),
            uptime: now.tick.since(self.began.tick),
            time: now.wall,
        })
    }
}
