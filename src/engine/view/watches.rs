//! Watches over single jobs: who waits for one job hears of its frames, and of no other.

use crate::engine::touches::Touches;
use crate::engine::view::View;
use crate::job::id::JobId;
use crate::job::id::Position;
use std::sync::Arc;
use tokio::sync::watch;

impl View {
    /// Is notified of every frame with an update of the job `id`, and of no other, until it is dropped. Updates of other
    /// jobs cost nothing while nobody watches.
    #[must_use]
    pub fn watch(self: &Arc<View>, id: JobId) -> Watch {
        let changes = self.write().watched.entry(id).or_default().subscribe();
        Watch { view: self.clone(), id, changes }
    }
}

/// A watch over one job; see [`View::watch`].
#[derive(Debug)]
pub struct Watch {
    view: Arc<View>,
    id: JobId,
    changes: watch::Receiver<Touches>,
}

impl Watch {
    /// Waits for the next frame with an update of the job. A frame between two calls is not missed.
    pub async fn changed(&mut self) {
        self.changes.changed().await.expect("the view keeps the sender while somebody watches");
    }

    /// The frames from `from` on with an update of the job, of those published since it was first watched; `None` if they
    /// are more than are remembered.
    #[must_use]
    pub fn touched_since(&self, from: Position) -> Option<Vec<Position>> {
        self.changes.borrow().since(from)
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut inner = self.view.write();
        // This one is the last: nobody else watches the job.
        if inner.watched.get(&self.id).is_some_and(|changes| changes.receiver_count() == 1) {
            inner.watched.remove(&self.id);
        }
    }
}
