//! Room in the log: what a full disk still takes. It is asked for before anything is decided, so that a frame that
//! was decided always finds its space. [ACK-2]

use crate::codec;
use crate::engine::command::END_BYTES;
use crate::engine::core::Core;
use crate::job::event::Event;
use crate::job::table::Slot;
use crate::log::Log;
use crate::log::Room;

/// What is left for what nobody asks for: headers of frames, a vouch, the frame of a stop and that of the next start.
/// Of segments that are hardly larger than that it is an eighth of their largest frame.
const RESERVE_BYTES: usize = 64 * 1_024;

impl<L: Log> Core<L> {
    /// Whether the log may be waited for: false only while a segment is being prepared that the next step needs.
    #[must_use]
    pub fn has_room(&self) -> bool {
        let room = self.log.room();
        room.spares > 0
            || room.disk_full
            || room.current_bytes >= (self.log.limits().frame_bytes_max + self.reserve_bytes()) as u64
    }

    /// No prepared segment and no space for one: submits and operators' retries are refused. [ACK-2]
    pub(in crate::engine::core) fn disk_full(&self) -> bool {
        self.room.disk_full && self.room.spares == 0
    }

    /// Under half of the last segment left: claims and progress stop too, so that what runs can finish. [ACK-2]
    pub(in crate::engine::core) fn nearly_out(&self) -> bool {
        self.disk_full() && self.room.current_bytes < self.room.segment_bytes / 2
    }

    /// What the ends of the attempts that run may need, and of `more` that are about to; nothing while new segments are
    /// prepared. A lease on a full disk is given only if all of them will find their space, or the last bytes would go
    /// to small jobs while a large result waits for ever. [ACK-2]
    pub(in crate::engine::core) fn ends_bytes(&self, more: usize) -> usize {
        let attempts = if self.disk_full() { self.workers.leases() + more } else { 0 };
        attempts * (END_BYTES + self.options.outcome_bytes_max)
    }

    /// What is left behind by those who may come again any number of times, such as readers that commit cursors: what
    /// the ends need. Where more runs than can be sure to finish it is half a segment, or many slots alone would stop
    /// every reader.
    pub(in crate::engine::core) fn left_bytes(&self) -> usize {
        let Room { current_bytes, segment_bytes, .. } = self.room;
        let ends = self.ends_bytes(0);
        let kept = if ends as u64 <= current_bytes { ends } else { (segment_bytes / 2) as usize };
        kept.max(self.log.limits().frame_bytes_max / 8)
    }

    /// Whether events of at most `bytes` will find their space, in this step and for sure. What is refused for it is
    /// decided later, when there is space. [ACK-2]
    pub(in crate::engine::core) fn affords(&mut self, bytes: usize) -> bool {
        if self.finds_space(bytes) {
            return true;
        }
        if self.room.spares > 0 {
            // The draft alone fits, here or there; then it is known how much that leaves.
            self.close_frame();
        }
        if !self.finds_space(bytes) {
            self.room = self.log.await_room();
        }
        let affords = self.finds_space(bytes);
        self.starved |= !affords;
        affords
    }

    fn finds_space(&self, bytes: usize) -> bool {
        let wanted = self.draft.body.len() + bytes + self.reserve_bytes();
        let Room { current_bytes, spares, .. } = self.room;
        wanted as u64 <= current_bytes || (spares > 0 && wanted <= self.log.limits().frame_bytes_max)
    }

    fn reserve_bytes(&self) -> usize {
        RESERVE_BYTES.min(self.log.limits().frame_bytes_max / 8)
    }

    /// Adds an event to the frame, if there is space for it.
    pub(in crate::engine::core) fn emit_if_afforded(&mut self, event: Event, hint: Option<Slot>) -> bool {
        let afforded = self.affords(codec::encode(&event).len());
        if afforded {
            self.emit(event, hint);
        }
        afforded
    }
}
