//! Where a tail begins.

use crate::engine::Handle;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use crate::service::Error;
use crate::service::Service;
use crate::service::tail::read_back;
use std::sync::Arc;

/// Where a reader wants to begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    /// After an update, of this store if it is named.
    After {
        /// Which store the reader believes to read.
        store: Option<StoreId>,
        /// The newest update that it has dealt with.
        sequence: Sequence,
    },
    /// After the named cursor; at the floor if there is none of this name.
    Named(Arc<str>),
    /// With the oldest update that is kept.
    Floor,
    /// With what comes from now on.
    Head,
}

/// A place in the log: the newest update that is behind it, and the frame that the one after it is in.
#[derive(Clone, Copy, Debug)]
pub(in crate::service::tail) struct Place {
    pub(in crate::service::tail) cursor: Sequence,
    pub(in crate::service::tail) next: Position,
}

/// The place where a tail begins.
///
/// # Errors
/// [`Error::BelowFloor`], [`Error::AheadOfLog`], [`Error::OtherStore`]; [`Error::Log`]. [LOG-2]
pub(in crate::service::tail) async fn find(service: &Service, start: Start) -> Result<Place, Error> {
    let engine = service.engine();
    match start {
        Start::After { store, sequence } => {
            check(engine, store, sequence)?;
            after(service, sequence).await
        }
        Start::Named(name) => match engine.view().cursor(&name) {
            Some(cursor) => after(service, cursor.sequence).await,
            None => Ok(floor(engine)),
        },
        Start::Floor => Ok(floor(engine)),
        Start::Head => {
            let seen = engine.view().seen();
            Ok(Place { cursor: seen.sequence, next: seen.position.next() })
        }
    }
}

/// Whether a cursor can be one of this store.
///
/// # Errors
/// [`Error::AheadOfLog`], [`Error::OtherStore`]. [LOG-2]
pub(in crate::service) fn check(
    engine: &Handle,
    store: Option<StoreId>,
    sequence: Sequence,
) -> Result<(), Error> {
    let here = engine.history().store_id();
    if let Some(wanted) = store.filter(|wanted| *wanted != here) {
        return Err(Error::OtherStore { wanted, here });
    }
    let head = engine.view().seen().sequence;
    if sequence > head {
        return Err(Error::AheadOfLog { wanted: sequence, head });
    }
    Ok(())
}

fn floor(engine: &Handle) -> Place {
    let floor = engine.history().floor();
    Place { cursor: Sequence(floor.sequence.0.saturating_sub(1)), next: floor.position }
}

async fn after(service: &Service, cursor: Sequence) -> Result<Place, Error> {
    let engine = service.engine();
    let seen = engine.view().seen();
    if cursor >= seen.sequence {
        return Ok(Place { cursor, next: seen.position.next() });
    }
    #[cfg(any(test, feature = "seeded-bugs"))]
    let cursor = if Bug::DropUpdateAtResume.is_in() { cursor.plus(1) } else { cursor };
    let wanted = cursor.plus(1);
    if let Some(next) = engine.view().position_of(wanted) {
        return Ok(Place { cursor, next });
    }
    let history = Arc::clone(engine.history());
    let found = move || match history.position_of(wanted) {
        Ok(next) => Ok(Place { cursor, next }),
        Err(error) => Err(read_back::failed(error, cursor, &*history)),
    };
    service.read(found).await
}
