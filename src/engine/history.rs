//! Reading the log without naming which log it is: the part of [`Archive`] that readers need, as one object.

use crate::engine::seeds;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Floor;
use crate::log::frame::Frame;
use crate::work::Record;

/// What readers read of a log. See [`Archive`] for what each promises.
pub trait History: std::fmt::Debug + Send + Sync + 'static {
    /// See [`Archive::store_id`].
    fn store_id(&self) -> StoreId;

    /// See [`Archive::floor`].
    fn floor(&self) -> Floor;

    /// See [`Archive::read`].
    ///
    /// # Errors
    /// As there.
    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error>;

    /// See [`Archive::position_of`].
    ///
    /// # Errors
    /// As there.
    fn position_of(&self, sequence: Sequence) -> Result<Position, Error>;

    /// See [`Archive::event`].
    ///
    /// # Errors
    /// As there.
    fn event(&self, at: Pointer) -> Result<Event, Error>;

    /// Shows the live and dead jobs that were submitted before frame `from`, in order of id, as of the newest checkpoint.
    ///
    /// # Errors
    /// [`Error::Damaged`] if the checkpoint cannot be read; an input/output error.
    fn seeds(&self, from: Position, see: &mut dyn FnMut(Record)) -> Result<(), Error>;
}

impl<A: Archive + std::fmt::Debug> History for A {
    fn store_id(&self) -> StoreId {
        Archive::store_id(self)
    }

    fn floor(&self) -> Floor {
        Archive::floor(self)
    }

    fn read(&self, from: Position, bytes_max: usize) -> Result<Vec<Frame>, Error> {
        Archive::read(self, from, bytes_max)
    }

    fn position_of(&self, sequence: Sequence) -> Result<Position, Error> {
        Archive::position_of(self, sequence)
    }

    fn event(&self, at: Pointer) -> Result<Event, Error> {
        Archive::event(self, at)
    }
    fn seeds(&self, from: Position, see: &mut dyn FnMut(Record)) -> Result<(), Error> {
        seeds::each(self, from, see)
    }
}
