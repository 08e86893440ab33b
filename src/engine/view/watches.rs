//! Watches over single jobs: who waits for one job hears of its frames, and of no other.

use crate::engine::touches::Touches;
use crate::engine::view::IdHash;
use crate::engine::view::View;
use crate::job::id::JobId;
use crate::job::id::Position;
use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use tokio::sync::watch;

/// Bits of a mark. The table of marks stays near the core that asks it for every update, and of jobs that nobody watches one
/// in seven has the mark of a watched one where ten thousand are watched.
const MARK_BITS: u32 = 16;
/// A mark of so many jobs is not counted any more.
const MANY: u8 = u8::MAX;

impl View {
    /// Is notified of every frame with an update of the job `id`, and of no other, until it is dropped. Updates of other
    /// jobs cost a look at a small table while anybody watches, and nothing while nobody does.
    #[must_use]
    pub fn watch(self: &Arc<View>, id: JobId) -> Watch {
        let changes = self.write().watched.subscribe(id);
        Watch { view: self.clone(), id, changes }
    }
}

/// The jobs that somebody watches.
#[derive(Debug, Default)]
pub(in crate::engine) struct Watched {
    senders: HashMap<JobId, watch::Sender<Touches>, IdHash>,
    /// By mark, which an id always has the same of: how many watched jobs have it. None at all while no job is watched.
    marks: Vec<u8>,
}

impl Watched {
    pub(in crate::engine) fn is_empty(&self) -> bool {
        self.senders.is_empty()
    }

    /// Tells who watches the job of a frame with an update of it.
    pub(in crate::engine) fn note(&self, id: JobId, position: Position) {
        if self.marks.get(mark(id)).is_none_or(|jobs| *jobs == 0) {
            return;
        }
        if let Some(sender) = self.senders.get(&id) {
            sender.send_modify(|touches| touches.note(position));
        }
    }

    fn subscribe(&mut self, id: JobId) -> watch::Receiver<Touches> {
        if let Some(sender) = self.senders.get(&id) {
            return sender.subscribe();
        }
        self.marks.resize(1 << MARK_BITS, 0);
        let jobs = &mut self.marks[mark(id)];
        *jobs = jobs.saturating_add(1);
        self.senders.entry(id).or_default().subscribe()
    }

    /// A receiver of the job's frames is about to go.
    fn unsubscribe(&mut self, id: JobId) {
        // This one is the last: nobody else watches the job.
        if self.senders.get(&id).is_none_or(|sender| sender.receiver_count() > 1) {
            return;
        }
        self.senders.remove(&id);
        let jobs = &mut self.marks[mark(id)];
        if *jobs < MANY {
            *jobs -= 1;
        }
        if self.senders.is_empty() {
            self.marks = Vec::new();
        }
    }
}

fn mark(id: JobId) -> usize {
    (IdHash.hash_one(id) >> (u64::BITS - MARK_BITS)) as usize
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
        self.view.write().watched.unsubscribe(self.id);
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::touches::Touches;
    use crate::engine::view::watches::MANY;
    use crate::engine::view::watches::Watched;
    use crate::engine::view::watches::mark;
    use crate::job::id::JobId;
    use crate::job::id::Position;
    use tokio::sync::watch;

    /// Ids whose halves cancel each other out in their hash.
    fn with_one_mark(number: u64) -> JobId {
        JobId::from_u128((u128::from(number) << 64) | u128::from(number.rotate_left(32)))
    }

    fn touched(changes: &watch::Receiver<Touches>) -> Vec<u64> {
        let positions = changes.borrow().since(Position(1)).expect("they are few");
        positions.into_iter().map(|position| position.0).collect()
    }

    /// More than are counted, and all with one mark.
    #[test]
    fn each_of_many_jobs_with_one_mark_hears_of_its_own_frames_until_its_last_watcher_has_gone() {
        let ids: Vec<JobId> = (0..=u64::from(MANY)).map(with_one_mark).collect();
        assert!(ids.iter().all(|id| mark(*id) == mark(ids[0])));
        let mut watched = Watched::default();
        let mut receivers: Vec<_> = ids.iter().map(|id| watched.subscribe(*id)).collect();
        let second = watched.subscribe(ids[0]);
        for (id, position) in ids.iter().zip(1..) {
            watched.note(*id, Position(position));
        }
        for (receiver, position) in receivers.iter().zip(1..) {
            assert_eq!(touched(receiver), [position]);
        }
        for id in &ids {
            watched.unsubscribe(*id);
            drop(receivers.remove(0));
        }
        watched.note(ids[0], Position(1_000));
        assert_eq!(touched(&second), [1, 1_000], "another watcher of the first job is still there");
        watched.unsubscribe(ids[0]);
        assert!(
            watched.is_empty() && watched.marks.is_empty(),
            "nothing is kept for jobs that nobody watches"
        );
    }

    #[test]
    fn a_job_may_be_watched_again_after_others_with_its_mark_have_gone() {
        let (id, other) = (with_one_mark(1), with_one_mark(2));
        let mut watched = Watched::default();
        let (first, gone) = (watched.subscribe(id), watched.subscribe(other));
        watched.unsubscribe(other);
        drop(gone);
        watched.note(id, Position(3));
        watched.note(other, Position(4));
        assert_eq!(touched(&first), [3]);
        let again = watched.subscribe(other);
        watched.note(other, Position(5));
        assert_eq!(touched(&again), [5]);
    }
}
