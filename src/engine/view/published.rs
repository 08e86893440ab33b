//! A frame as readers get it: decoded once, and its updates encoded once, for all of them.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::Position;
use crate::job::id::Sequence;
use std::sync::OnceLock;

/// One synced frame, decoded. Shared by all readers.
#[derive(Debug)]
pub struct Published {
    /// Its position.
    pub position: Position,
    /// Sequence of its first update.
    pub first_sequence: Sequence,
    /// How many updates it holds.
    pub updates: u32,
    /// Log time.
    pub time: Timestamp,
    /// All its events, unless `numbers` says otherwise.
    pub events: Vec<Event>,
    /// Of a frame that was read back for a reader of some updates: `events` are those updates only, and these are their
    /// numbers among the frame's updates, from 0.
    pub numbers: Option<Vec<u32>>,
    /// Bytes of its body in the log.
    pub body_bytes: usize,
    /// Its updates as the service encodes them for readers: made by the first reader, shared by all. One slot with
    /// payloads and results, one without.
    pub encoded: [OnceLock<Encoded>; 2],
}

/// The updates of a frame as readers get them: one run of bytes, and where each update lies in it.
#[derive(Debug)]
pub struct Encoded {
    /// All updates, one after another.
    pub bytes: bytes::Bytes,
    /// The end of each update in `bytes`.
    pub ends: Vec<u32>,
}

impl Published {
    /// The updates in `events`, each with its number among the frame's updates, from 0.
    pub fn numbered_updates(&self) -> impl Iterator<Item = (usize, &Event)> {
        let updates = self.events.iter().filter(|event| event.is_update()).enumerate();
        updates.map(|(place, event)| {
            let number = self.numbers.as_ref().map_or(place, |numbers| numbers[place] as usize);
            (number, event)
        })
    }

    /// Sequence of its last update, or of the last before it if it holds none.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        Sequence(self.first_sequence.0 + u64::from(self.updates) - 1)
    }
}
