//! Named cursors: places in the log that the service keeps for its readers.

use crate::engine::command::Command;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::job::state::NamedCursor;
use crate::log::Floor;
use crate::service::Error;
use crate::service::Service;
use crate::service::tail;
use std::ops::Bound;
use std::sync::Arc;

/// A place in the log as a reader names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cursor {
    /// Which store the reader believes to be here; `None`: it does not say.
    pub store: Option<StoreId>,
    /// Every update up to this one has been dealt with.
    pub sequence: Sequence,
}

/// Which cursors to list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorsAfter {
    /// Those whose name comes after this one.
    pub name: Arc<str>,
    /// At most so many.
    pub limit: usize,
}

/// Some named cursors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CursorPage {
    /// In the order of their names.
    pub cursors: Vec<(Arc<str>, NamedCursor)>,
    /// After which name the next page begins; `None`: this was the last.
    pub next: Option<Arc<str>>,
    /// The newest update, not older than any of the cursors.
    pub head: Sequence,
    /// What is kept of the log.
    pub floor: Floor,
}

impl Service {
    /// Keeps a place under a name, on stable storage when this returns. [ACK-1]
    ///
    /// # Errors
    /// [`Error::AheadOfLog`], [`Error::OtherStore`]; what the engine refuses.
    pub async fn commit_cursor(&self, name: Arc<str>, cursor: Cursor) -> Result<(), Error> {
        tail::check(self.engine(), cursor.store, cursor.sequence)?;
        let commit = |reply| Command::CommitCursor(name, cursor.sequence, reply);
        Ok(self.engine().call(0, commit).await?)
    }

    /// Forgets a named cursor.
    ///
    /// # Errors
    /// What the engine refuses, such as a name that it does not know.
    pub async fn delete_cursor(&self, name: Arc<str>) -> Result<(), Error> {
        Ok(self.engine().call(0, |reply| Command::DropCursor(name, reply)).await?)
    }

    /// Lists named cursors in the order of their names.
    #[must_use]
    pub fn list_cursors(&self, after: &CursorsAfter) -> CursorPage {
        let all = self.engine().view().cursors();
        let beyond = (Bound::Excluded(&*after.name), Bound::Unbounded);
        let mut found = all.range::<str, _>(beyond).map(|(name, cursor)| (Arc::clone(name), *cursor));
        let cursors: Vec<_> = found.by_ref().take(after.limit).collect();
        let more = found.next().is_some();
        let next = cursors.last().filter(|_| more).map(|(name, _)| Arc::clone(name));
        let floor = self.engine().history().floor();
        CursorPage { cursors, next, head: self.engine().view().seen().sequence, floor }
    }

    /// Which store this is.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.engine().history().store_id()
    }
}
