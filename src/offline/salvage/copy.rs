//! The new log that a salvage writes, and the state that follows from it: an event that does not fit the state is not
//! written, so the new log is one that a server could have written. Without a directory it only counts.

use crate::clock::Timestamp;
use crate::codec;
use crate::job::apply::At;
use crate::job::event::Event;
use crate::job::id::Epoch;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::state::State;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use crate::log::frame::body_of;
use bytes::Bytes;

/// The largest frame that is counted with, where there is no log to say it.
const FRAME_BYTES_MAX: usize = 8 << 20;
/// The log is synced after so many bytes.
const SYNC_BYTES: usize = 8 << 20;

/// Whether an event was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::offline) enum Written {
    /// It is part of the new log.
    Yes,
    /// It does not fit what the new log says so far.
    No,
}

/// The new log.
#[derive(Debug)]
pub(in crate::offline) struct Copy {
    log: Option<Directory>,
    state: State,
    position: Position,
    hash: Hash,
    epoch: Epoch,
    time: Timestamp,
    body: Vec<u8>,
    first: u64,
    events: u32,
    /// Jobs of a keyed batch that are still to come: they share its frame.
    batch: u32,
    /// The frame holds more than the one it is copied from.
    grown: bool,
    unsynced_bytes: usize,
    unsynced_frames: usize,
}

impl Copy {
    /// Begins with the empty log.
    pub(in crate::offline) fn new(log: Option<Directory>) -> Copy {
        Copy {
            log,
            state: State::default(),
            position: Position(1),
            hash: Hash::ZERO,
            epoch: Epoch(1),
            time: Timestamp(0),
            body: Vec::new(),
            first: 1,
            events: 0,
            batch: 0,
            grown: false,
            unsynced_bytes: 0,
            unsynced_frames: 0,
        }
    }

    /// The state so far.
    pub(in crate::offline) fn state(&self) -> &State {
        &self.state
    }

    /// What follows belongs to this time and epoch, which never go back.
    pub(in crate::offline) fn begin(&mut self, epoch: Epoch, time: Timestamp) -> Result<(), Error> {
        self.flush()?;
        (self.epoch, self.time) = (self.epoch.max(epoch), self.time.max(time));
        Ok(())
    }

    /// Writes an event that the damaged log does not hold.
    pub(in crate::offline) fn add(&mut self, event: &Event) -> Result<Written, Error> {
        self.grown = true;
        self.write(event)
    }

    /// Writes an event, if it fits.
    pub(in crate::offline) fn write(&mut self, event: &Event) -> Result<Written, Error> {
        let mut bytes = Vec::with_capacity(128);
        event.put(&mut bytes);
        let room = self.log.as_ref().map_or(FRAME_BYTES_MAX, |log| log.limits().frame_bytes_max);
        let begins_batch = matches!(event, Event::KeyTaken { .. }) && self.grown;
        if !matches!(event, Event::Submitted(_) | Event::QueueMade { .. }) {
            // Jobs of the batch that have not come by now do not come.
            self.batch = 0;
        }
        let is_full = self.body.len().max(1) + bytes.len() > room;
        if is_full || self.batch == 0 && (begins_batch || self.body.len() + bytes.len() >= room) {
            self.flush()?;
        }
        let at = At { pointer: Pointer { position: self.position, index: self.events }, time: self.time };
        if self.state.apply(event, at, None).is_err() {
            if self.batch > 0 {
                // The rest of the batch is submitted without its key.
                self.flush()?;
            }
            return Ok(Written::No);
        }
        if let Event::KeyTaken { jobs, .. } = event {
            self.batch = *jobs;
        } else if matches!(event, Event::Submitted(_)) {
            self.batch = self.batch.saturating_sub(1);
        }
        if self.events == 0 {
            codec::begin(&mut self.body);
        }
        self.body.extend_from_slice(&bytes);
        self.events += 1;
        Ok(Written::Yes)
    }

    /// Closes the frame.
    pub(in crate::offline) fn flush(&mut self) -> Result<(), Error> {
        (self.batch, self.grown) = (0, false);
        let next = self.state.sequence().0 + 1;
        if self.events == 0 {
            return Ok(());
        }
        self.state.applied(self.position, self.time);
        let body = Bytes::from(std::mem::take(&mut self.body));
        self.append(body, next)?;
        self.events = 0;
        self.first = next;
        self.position = self.position.next();
        Ok(())
    }

    fn append(&mut self, body: Bytes, next: u64) -> Result<(), Error> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let bytes = body.len();
        let frame = Frame {
            position: self.position,
            epoch: self.epoch,
            first_sequence: Sequence(self.first),
            updates: u32::try_from(next - self.first).unwrap_or(u32::MAX),
            time: self.time,
            previous: self.hash,
            body,
        };
        if self.unsynced_bytes + bytes > SYNC_BYTES || self.unsynced_frames >= log.limits().window {
            log.sync()?;
            (self.unsynced_bytes, self.unsynced_frames) = (0, 0);
        }
        // Segments are prepared beside: a full one is waited for, a full disk is not.
        while let Err(error) = log.append(&frame) {
            if !matches!(error, Error::Full { .. }) || log.await_room().spares == 0 {
                return Err(error);
            }
        }
        self.unsynced_bytes += bytes;
        self.unsynced_frames += 1;
        self.hash = frame.hash();
        Ok(())
    }

    /// Makes everything durable and closes the log, as a clean stop does. Gives the state of it.
    pub(in crate::offline) fn close(mut self) -> Result<State, Error> {
        self.flush()?;
        if self.log.is_some() {
            if let Some(log) = &mut self.log {
                log.sync()?;
            }
            // The empty frame that says that all before it is synced.
            self.append(body_of(&[]), self.first)?;
        }
        if let Some(log) = &mut self.log {
            log.sync()?;
        }
        Ok(self.state)
    }
}
