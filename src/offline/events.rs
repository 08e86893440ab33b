//! Events of the log by pointer, in any order: what was read lately from memory, the rest from the files.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::log::Error;
use crate::log::directory::read_only::Found;
use crate::log::directory::read_only::Segment;
use crate::offline::DataDirectory;
use crate::offline::Located;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes of bodies whose events are kept decoded.
const KEPT_BYTES: usize = 32 << 20;
/// One place is remembered about every so many bytes of log.
const STRIDE_BYTES: u64 = 256 * 1024;

/// Log time and events of a frame.
type Decoded = (Timestamp, Arc<Vec<Event>>);

/// Frames that a walk has passed, as far back as its beginning.
#[derive(Debug, Default)]
pub struct Events {
    /// Ascending: a frame, its segment, and its offset there.
    places: Vec<(Position, u64, u64)>,
    kept: HashMap<Position, Decoded>,
    order: VecDeque<(Position, usize)>,
    bytes: usize,
    open: Option<(u64, Segment)>,
}

impl Events {
    /// Remembers a frame that a walk gave; frames come in order.
    pub fn note(&mut self, located: &Located, events: &Arc<Vec<Event>>) {
        let near = |(_, segment, offset): &(Position, u64, u64)| {
            *segment == located.segment && located.offset < offset + STRIDE_BYTES
        };
        if !self.places.last().is_some_and(near) {
            self.places.push((located.frame.position, located.segment, located.offset));
        }
        self.keep(located.frame.position, located.frame.time, Arc::clone(events), located.frame.body.len());
    }

    /// The event at `at`, and the log time of its frame where that is still there. `None`: trimmed and not carried, or lost.
    ///
    /// # Errors
    /// An input/output error.
    pub fn get(
        &mut self,
        directory: &DataDirectory,
        at: Pointer,
    ) -> Result<Option<(Event, Option<Timestamp>)>, Error> {
        if let Some((time, events)) = self.frame(directory, at.position)? {
            return Ok(events.get(at.index as usize).map(|event| (event.clone(), Some(time))));
        }
        match directory.carried().map(|carried| carried.event(at)) {
            Some(Ok(event)) => Ok(event.map(|event| (event, None))),
            // It is named as a fault by whoever verifies.
            Some(Err(Error::Damaged { .. })) | None => Ok(None),
            Some(Err(error)) => Err(error),
        }
    }

    fn frame(&mut self, directory: &DataDirectory, position: Position) -> Result<Option<Decoded>, Error> {
        if let Some(decoded) = self.kept.get(&position) {
            return Ok(Some(decoded.clone()));
        }
        let after = self.places.partition_point(|(first, _, _)| *first <= position);
        let Some((_, number, offset)) = after.checked_sub(1).map(|before| self.places[before]) else {
            return Ok(None);
        };
        if self.open.as_ref().is_none_or(|(open, _)| *open != number) {
            self.open = Some((number, directory.segment(number)?));
        }
        let segment = &mut self.open.as_mut().expect("it was just opened").1;
        let mut from = offset;
        // Headers only, past whatever is damaged.
        while let Some(header) = segment.header_from(from) {
            if header.position == position {
                let Found::Frame(stored) = segment.at(header.offset) else { return Ok(None) };
                let Ok(events) = stored.frame.events() else { return Ok(None) };
                let (events, time) = (Arc::new(events), stored.frame.time);
                self.keep(position, time, Arc::clone(&events), stored.frame.body.len());
                return Ok(Some((time, events)));
            }
            if header.position > position {
                break;
            }
            from = header.offset + header.span;
        }
        Ok(None)
    }

    fn keep(&mut self, position: Position, time: Timestamp, events: Arc<Vec<Event>>, bytes: usize) {
        self.kept.insert(position, (time, events));
        self.order.push_back((position, bytes));
        self.bytes += bytes;
        while self.bytes > KEPT_BYTES
            && let Some((old, bytes)) = self.order.pop_front()
        {
            self.kept.remove(&old);
            self.bytes -= bytes;
        }
    }
}
