//! What readers see: the newest synced frames, and the newest state of every job that the work tree does not answer
//! for. One structure serves as ring, cache and overlay; readers never look at the deciding state. [ACK-1]

mod held;
mod published;
mod watches;

pub use crate::engine::view::published::Encoded;
pub use crate::engine::view::published::Published;
pub use crate::engine::view::watches::Watch;

use crate::clock::Timestamp;
use crate::engine::bell::Bell;
use crate::engine::overlay::JobView;
use crate::engine::view::held::Held;
use crate::engine::view::watches::Watched;
use crate::job::event::Event;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::queue::Counts;
use crate::job::spec::QueueSettings;
use crate::job::state::NamedCursor;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use tokio::sync::watch;

/// Events whose jobs leave the overlay under one hold of the lock.
const APPLIED_A_PIECE: usize = 1_024;
/// Entries for which the overlay's table keeps space after a burst.
const OVERLAY_SPARE: usize = 16_384;
/// And once nothing happens any more.
const OVERLAY_SPARE_AT_REST: usize = 448;
/// Recent log that stays in memory while nothing happens. [MEM-1]
const RING_AT_REST_BYTES: usize = 1_024 * 1_024;

/// The newest thing that readers may see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Position of the newest synced frame.
    pub position: Position,
    /// Sequence of the newest synced update.
    pub sequence: Sequence,
    /// Its log time.
    pub time: Timestamp,
    /// The writer's epoch.
    pub epoch: Epoch,
}

/// A queue as readers see it.
#[derive(Clone, Debug)]
pub struct QueueView {
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Its counts.
    pub counts: Counts,
}

/// Whether the service works, as its operators and health checks see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Everything works.
    Serving,
    /// The disk is full: reads and finishes work, submits are refused. [ACK-2]
    DiskFull,
    /// It only reads, by intent: nothing is ever accepted.
    ReadOnly,
    /// It takes no new work because it stops.
    Draining,
    /// A write or sync failed: nothing is acknowledged any more. [ACK-2]
    Poisoned,
}

/// What is published, behind one lock that the writer takes once a frame.
#[derive(Debug, Default)]
pub(in crate::engine) struct Inner {
    /// The newest frames, their positions without a gap.
    pub(in crate::engine) frames: VecDeque<Arc<Published>>,
    /// Position of the newest frame readers may see.
    pub(in crate::engine) newest: Position,
    pub(in crate::engine) frames_bytes: usize,
    pub(in crate::engine) jobs: Held,
    pub(in crate::engine) queues: Vec<QueueView>,
    pub(in crate::engine) queue_numbers: HashMap<QueueName, QueueNo>,
    pub(in crate::engine) cursors: BTreeMap<Arc<str>, NamedCursor>,
    pub(in crate::engine) watched: Watched,
}

impl Inner {
    /// Adds the next frame.
    pub(in crate::engine) fn put_frame(&mut self, frame: Arc<Published>) {
        self.frames_bytes += weight_in_memory(&frame);
        self.frames.push_back(frame);
    }

    /// Takes out the oldest frames until the others fit into `bytes_max`; the newest always stays. They are to be dropped
    /// once the lock is free.
    pub(in crate::engine) fn take_old_frames(&mut self, bytes_max: usize) -> Vec<Arc<Published>> {
        let mut taken = Vec::new();
        while self.frames_bytes > bytes_max
            && self.frames.len() > 1
            && let Some(oldest) = self.frames.pop_front()
        {
            self.frames_bytes -= weight_in_memory(&oldest);
            taken.push(oldest);
        }
        taken
    }

    /// What a burst left behind in the overlay's table goes back, but for space for `spare` jobs. [MEM-1]
    fn give_back_space(&mut self, spare: usize) {
        let jobs = self.jobs.len();
        if self.jobs.capacity() > spare && self.jobs.capacity() / 8 > jobs {
            self.jobs.shrink_to(spare.max(2 * jobs));
        }
    }
}

/// A decoded event takes about as much again as its bytes in the log.
fn weight_in_memory(frame: &Published) -> usize {
    2 * frame.body_bytes + 256
}

/// The readers' view. Cheap to share.
#[derive(Debug)]
pub struct View {
    inner: RwLock<Inner>,
    seen: watch::Sender<Seen>,
    health: watch::Sender<Health>,
    /// The newest frame of the log at the start.
    began: Position,
    /// Bytes of log published since the start, and of those applied to a work tree: their difference is its lag.
    published_bytes: AtomicU64,
    applied_bytes: AtomicU64,
    applied: watch::Sender<Position>,
    /// The overlay keeps every change above this position.
    let_go: AtomicU64,
    tree_waits: AtomicBool,
    bell: Arc<Bell>,
}

impl View {
    /// An empty view.
    #[must_use]
    pub fn new(seen: Seen) -> View {
        View {
            inner: RwLock::new(Inner { newest: seen.position, ..Inner::default() }),
            seen: watch::Sender::new(seen),
            health: watch::Sender::new(Health::Serving),
            began: seen.position,
            published_bytes: AtomicU64::new(0),
            applied_bytes: AtomicU64::new(0),
            applied: watch::Sender::new(Position(0)),
            let_go: AtomicU64::new(0),
            tree_waits: AtomicBool::new(false),
            bell: Arc::default(),
        }
    }

    /// The newest synced frame and update.
    #[must_use]
    pub fn seen(&self) -> Seen {
        *self.seen.borrow()
    }

    /// A receiver that is told of every newer frame.
    #[must_use]
    pub fn follow(&self) -> watch::Receiver<Seen> {
        self.seen.subscribe()
    }

    /// Whether the service works.
    #[must_use]
    pub fn health(&self) -> Health {
        *self.health.borrow()
    }

    /// A receiver that is told when the health changes.
    #[must_use]
    pub fn follow_health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    pub(in crate::engine) fn set_health(&self, health: Health) {
        self.health.send_if_modified(|old| std::mem::replace(old, health) != health);
    }

    /// The frames from `from` on that are still in memory, at most `limit` of them, none if there are none yet; `None` if
    /// `from` has left memory and must be read from the log.
    #[must_use]
    pub fn frames(&self, from: Position, limit: usize) -> Option<Vec<Arc<Published>>> {
        let inner = self.read();
        if from > inner.newest {
            return Some(Vec::new());
        }
        let first = inner.frames.front()?.position;
        let start =
            usize::try_from(from.0.checked_sub(first.0)?).expect("the ring is far smaller than memory");
        Some(inner.frames.range(start..).take(limit).cloned().collect())
    }

    /// The position of the frame that holds the update `sequence`, if that frame is still in memory.
    #[must_use]
    pub fn position_of(&self, sequence: Sequence) -> Option<Position> {
        let inner = self.read();
        let after = inner.frames.partition_point(|frame| frame.first_sequence <= sequence);
        let frame = inner.frames.get(after.checked_sub(1)?)?;
        // Of frames that begin with the same sequence only the last holds an update, if any does.
        (sequence <= frame.last_sequence()).then_some(frame.position)
    }

    /// The frame that holds the event at `at`, if it is still in memory.
    #[must_use]
    pub fn frame_of(&self, at: Pointer) -> Option<Arc<Published>> {
        let inner = self.read();
        let first = inner.frames.front()?.position;
        let place = usize::try_from(at.position.0.checked_sub(first.0)?).ok()?;
        inner.frames.get(place).cloned()
    }

    /// The newest state of a job that the work tree does not answer for.
    #[must_use]
    pub fn job(&self, id: JobId) -> Option<JobView> {
        self.read().jobs.get(id).cloned()
    }

    /// The newest states of those of `ids` that the work tree does not answer for.
    #[must_use]
    pub fn jobs(&self, ids: impl Iterator<Item = JobId>) -> Vec<Option<JobView>> {
        let inner = self.read();
        ids.map(|id| inner.jobs.get(id).cloned()).collect()
    }

    /// Ids in the overlay for which `pick` says yes, in id order.
    #[must_use]
    pub fn picked(&self, pick: impl Fn(&JobView) -> bool) -> Vec<JobId> {
        let inner = self.read();
        let mut ids: Vec<JobId> = inner.jobs.iter().filter(|job| pick(job)).map(|job| job.id).collect();
        ids.sort_unstable();
        ids
    }

    /// The queue with this number.
    #[must_use]
    pub fn queue(&self, queue: QueueNo) -> Option<QueueView> {
        self.read().queues.get(queue.0 as usize).cloned()
    }

    /// The number of the queue called `name`.
    #[must_use]
    pub fn queue_no(&self, name: &QueueName) -> Option<QueueNo> {
        self.read().queue_numbers.get(name).copied()
    }

    /// The names of these queues; `None` for a number that was never given.
    #[must_use]
    pub fn queue_names_of(&self, queues: impl Iterator<Item = QueueNo>) -> Vec<Option<QueueName>> {
        let inner = self.read();
        queues.map(|queue| inner.queues.get(queue.0 as usize).map(|view| view.name.clone())).collect()
    }

    /// The names of all queues, by number.
    #[must_use]
    pub fn queue_names(&self) -> Vec<QueueName> {
        self.read().queues.iter().map(|queue| queue.name.clone()).collect()
    }

    /// All queues, by number.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueView> {
        self.read().queues.clone()
    }

    /// The queues that keep finished jobs for a time, and for how long, in milliseconds.
    #[must_use]
    pub fn retentions(&self) -> BTreeMap<QueueNo, u64> {
        let inner = self.read();
        let queues = inner.queues.iter().zip(0..);
        queues.filter_map(|(queue, number)| Some((QueueNo(number), queue.settings.retention_ms?))).collect()
    }

    /// The named cursors.
    #[must_use]
    pub fn cursors(&self) -> BTreeMap<Arc<str>, NamedCursor> {
        self.read().cursors.clone()
    }

    /// The named cursor called `name`.
    #[must_use]
    pub fn cursor(&self, name: &str) -> Option<NamedCursor> {
        self.read().cursors.get(name).copied()
    }

    /// Bytes of log that the work tree is behind.
    #[must_use]
    pub fn lag_bytes(&self) -> u64 {
        let applied = self.applied_bytes.load(Ordering::Relaxed);
        self.published_bytes.load(Ordering::Relaxed).saturating_sub(applied)
    }

    /// A receiver that is told how far the work tree is.
    #[must_use]
    pub fn follow_applied(&self) -> watch::Receiver<Position> {
        self.applied.subscribe()
    }

    /// The frame up to which the overlay may have let go of changes; it never goes back.
    #[must_use]
    pub fn let_go(&self) -> Position {
        Position(self.let_go.load(Ordering::Acquire))
    }

    /// Whether the work tree waits for space on the disk.
    #[must_use]
    pub fn tree_waits(&self) -> bool {
        self.tree_waits.load(Ordering::Relaxed)
    }

    pub(in crate::engine) fn set_tree_waits(&self, waits: bool) {
        self.tree_waits.store(waits, Ordering::Relaxed);
    }

    pub(in crate::engine) fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().expect("no holder of the view's lock panics")
    }

    pub(in crate::engine) fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().expect("no holder of the view's lock panics")
    }

    /// Under the lock that shows a frame: whoever has seen something of it finds it in [`View::seen`] too, so that a tail
    /// up to the head shows everything that another call has shown. Wakes nobody.
    pub(in crate::engine) fn set_seen(&self, seen: Seen) {
        self.seen.send_if_modified(|old| {
            *old = seen;
            false
        });
    }

    /// Wakes those who wait for newer frames.
    pub(in crate::engine) fn announce(&self, seen: Seen, published_bytes: u64) {
        self.published_bytes.store(published_bytes, Ordering::Relaxed);
        self.seen.send_replace(seen);
        self.bell.ring(seen.position.0);
    }

    pub(in crate::engine) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// The work tree answers for everything up to `position` now: what the overlay kept for it goes.
    pub(in crate::engine) fn applied(&self, frames: &[Arc<Published>]) {
        let Some(newest) = frames.last() else { return };
        let before = Position(self.let_go.fetch_max(newest.position.0, Ordering::AcqRel));
        let ids = frames.iter().flat_map(|frame| &frame.events).filter_map(Event::job);
        let mut ids = ids.map(|(id, _)| id).peekable();
        while ids.peek().is_some() {
            // A piece at a time: the writer waits for this lock at the end of every frame.
            let mut inner = self.write();
            for id in ids.by_ref().take(APPLIED_A_PIECE) {
                if inner.jobs.get(id).is_some_and(|job| job.is_in_work_tree(newest.position)) {
                    inner.jobs.remove(id);
                }
            }
        }
        self.write().give_back_space(OVERLAY_SPARE);
        self.count_applied(frames, before.max(self.began), newest.position);
        self.applied.send_replace(newest.position);
    }

    /// Counts the frames above `before`, whether they came from memory or were read back from the log: a tree that is said
    /// to be further behind than it is would hold up submits, and for ever once there is nothing more to apply. [MEM-1]
    fn count_applied(&self, frames: &[Arc<Published>], before: Position, newest: Position) {
        // Loaded in this order: what was published by then is in frames that have been seen.
        let published = self.published_bytes();
        let applied = if newest >= self.seen().position {
            // A tree that was built anew may have passed over frames that the log keeps no longer.
            published
        } else {
            let newer = frames.iter().filter(|frame| frame.position > before);
            let newer: u64 = newer.map(|frame| frame.body_bytes as u64).sum();
            self.applied_bytes.load(Ordering::Relaxed) + newer
        };
        self.applied_bytes.fetch_max(applied, Ordering::Relaxed);
    }

    /// Nothing has happened for a while: what a burst left in memory for its readers goes, and from now on the log answers
    /// for it. [MEM-1]
    pub(in crate::engine) fn rest(&self) {
        let mut inner = self.write();
        inner.give_back_space(OVERLAY_SPARE_AT_REST);
        let old = inner.take_old_frames(RING_AT_REST_BYTES);
        drop(inner);
        drop(old);
    }

    /// Bytes of log published since the start.
    pub(in crate::engine) fn published_bytes(&self) -> u64 {
        self.published_bytes.load(Ordering::Relaxed)
    }
}

/// Ids are spread already once multiplied; a keyed hash would cost more than the look-up.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::engine) struct IdHash;

impl std::hash::BuildHasher for IdHash {
    type Hasher = IdHasher;

    fn build_hasher(&self) -> IdHasher {
        IdHasher(0)
    }
}

/// The hasher of [`IdHash`].
#[derive(Debug)]
pub(in crate::engine) struct IdHasher(u64);

impl std::hash::Hasher for IdHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0.rotate_left(8) ^ u64::from(*byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        }
    }

    fn write_u128(&mut self, number: u128) {
        let folded = (number as u64) ^ ((number >> 64) as u64).rotate_left(32);
        self.0 = folded.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests;
