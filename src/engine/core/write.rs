//! Writing what was decided: closing frames, appending, one sync, publishing; and vouching for it afterwards.

use crate::clock::Now;
use crate::engine::core::Core;
use crate::engine::core::Draft;
use crate::engine::view::Published;
use crate::job::event::Event;
use crate::job::spec::Payload;
use crate::log;
use crate::log::Log;
use crate::log::frame::Frame;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use bytes::Bytes;
use std::sync::Arc;

impl Draft {
    /// A draft with space for another frame as large as this one: what grows step by step is copied at each.
    fn another(&self) -> Draft {
        Draft {
            events: Vec::with_capacity(self.events.len()),
            body: Vec::with_capacity(self.body.len()),
            payloads: Vec::with_capacity(self.payloads.len()),
            touched: Vec::with_capacity(self.touched.len()),
            queues: self.queues.clone(),
            updates: 0,
        }
    }

    /// The body of the frame. The payloads of submitted jobs are slices of it from now on: a copy of each would stay in memory
    /// beside it for as long as readers find the frame there. [MEM-1]
    fn seal(&mut self) -> Bytes {
        let mut body = std::mem::take(&mut self.body);
        if !self.payloads.is_empty() {
            body.shrink_to_fit();
        }
        self.events.shrink_to_fit();
        let body = Bytes::from(body);
        for (index, end) in std::mem::take(&mut self.payloads) {
            if let Some(Event::Submitted(submitted)) = self.events.get_mut(index as usize) {
                // The payload is the last thing of its event.
                let sealed = body.slice(end - submitted.payload.0.len()..end);
                debug_assert_eq!(sealed, submitted.payload.0, "an event ends with its payload");
                submitted.payload = Payload(sealed);
            }
        }
        body
    }
}

impl<L: Log> Core<L> {
    /// Writes the frame that vouches for everything synced and syncs it: a clean stop leaves nothing to settle.
    ///
    /// # Errors
    /// The log's.
    pub fn close(mut self, now: Now) -> Result<(), log::Error> {
        self.begin(now);
        self.append_empty()?;
        self.log.sync()?;
        Ok(())
    }

    /// Closes the frame if it has not so many bytes left. The events of one submit stay in one frame: room is made for
    /// all of them before the first.
    pub(in crate::engine::core) fn make_room(&mut self, bytes: usize) {
        if self.draft.body.len() + bytes > self.log.limits().frame_bytes_max {
            self.close_frame();
        }
    }

    /// Appends the draft and begins the next frame; what it touched is still looked at when leases are given.
    pub(in crate::engine::core) fn close_frame(&mut self) {
        let another = self.draft.another();
        let mut draft = std::mem::replace(&mut self.draft, another);
        if draft.events.is_empty() || self.failed.is_some() {
            return;
        }
        let frame = self.frame(draft.seal(), draft.updates);
        match self.log.append(&frame) {
            Ok(()) => {
                self.state.applied(frame.position, frame.time);
                self.appended.push((draft, frame));
                self.room = self.log.room();
            }
            Err(error) => self.failed = Some(error),
        }
    }

    /// Appends, syncs and publishes what was decided; nothing to do if that is nothing. [ACK-1]
    pub(in crate::engine::core) fn write(&mut self) -> Result<(), log::Error> {
        if self.draft.events.is_empty() && self.appended.is_empty() && self.failed.is_none() {
            return self.vouch_if_due();
        }
        self.close_frame();
        self.draft.queues.clear();
        if let Some(error) = self.failed.take() {
            return Err(error);
        }
        #[cfg(any(test, feature = "seeded-bugs"))]
        if Bug::PublishBeforeSync.is_in() {
            self.publish_appended();
        }
        self.log.sync()?;
        self.vouch_at = Some(self.now.tick.after(self.options.vouch_after));
        self.publish_appended();
        Ok(())
    }

    fn publish_appended(&mut self) {
        for (draft, frame) in std::mem::take(&mut self.appended) {
            self.publish(draft, &frame);
        }
    }

    fn frame(&self, body: Bytes, updates: u32) -> Frame {
        let head = self.log.head();
        Frame {
            position: head.position.next(),
            epoch: self.epoch,
            first_sequence: head.sequence.plus(1),
            updates,
            time: self.time(),
            previous: head.hash,
            body,
        }
    }

    fn vouch_if_due(&mut self) -> Result<(), log::Error> {
        if self.vouch_at.is_some_and(|at| at <= self.now.tick) {
            self.vouch_at = None;
            // Never the last bytes: a vouch must not push the log into space it does not have.
            if self.affords(self.left_bytes()) {
                self.append_empty()?;
            }
        }
        Ok(())
    }

    fn append_empty(&mut self) -> Result<(), log::Error> {
        let frame = self.frame(log::frame::body_of(&[]), 0);
        self.log.append(&frame)?;
        self.state.applied(frame.position, frame.time);
        self.unpublished.push(Arc::new(Published::of(&frame, Vec::new())));
        Ok(())
    }
}
