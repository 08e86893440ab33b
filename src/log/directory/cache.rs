//! What the archive keeps at hand, in bounded memory: open segments with their index, and decoded frames.

use crate::job::event::Event;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::directory::archive::NO_PANIC;
use crate::log::directory::layout::Layout;
use crate::log::directory::reader::Reader;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

/// Open sealed segments. A reader in use stays open, also when its segment is removed meanwhile.
const READERS_MAX: usize = 64;
/// Bodies of the frames whose events are kept decoded: payloads are mostly asked for in the order they came.
const EVENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Open sealed segments, most recently used first.
#[derive(Debug, Default)]
pub(crate) struct Readers(Mutex<VecDeque<Arc<Reader>>>);

impl Readers {
    pub(crate) fn get(&self, layout: &Layout, number: u64, store: StoreId) -> Result<Arc<Reader>, Error> {
        let mut readers = self.0.lock().expect(NO_PANIC);
        let known = readers.iter().position(|reader| reader.header.number == number);
        let reader = match known.and_then(|at| readers.remove(at)) {
            Some(reader) => reader,
            None => Arc::new(Reader::open(layout, number, store)?),
        };
        readers.push_front(Arc::clone(&reader));
        readers.truncate(READERS_MAX);
        Ok(reader)
    }

    /// Lets go of segments below `number`.
    pub(crate) fn forget_below(&self, number: u64) {
        self.0.lock().expect(NO_PANIC).retain(|reader| reader.header.number >= number);
    }
}

/// Events of recently used frames, most recently used first.
#[derive(Debug, Default)]
pub(crate) struct Events(Mutex<VecDeque<Decoded>>);

#[derive(Debug)]
struct Decoded {
    position: Position,
    events: Arc<Vec<Event>>,
    bytes: usize,
}

impl Events {
    pub(crate) fn get(&self, position: Position) -> Option<Arc<Vec<Event>>> {
        let mut frames = self.0.lock().expect(NO_PANIC);
        let at = frames.iter().position(|frame| frame.position == position)?;
        let frame = frames.remove(at)?;
        let events = Arc::clone(&frame.events);
        frames.push_front(frame);
        Some(events)
    }

    pub(crate) fn put(&self, position: Position, events: Arc<Vec<Event>>, body_bytes: usize) {
        let mut frames = self.0.lock().expect(NO_PANIC);
        // Events take more room in memory than in a body, small ones several times more.
        let bytes = body_bytes + events.len() * size_of::<Event>();
        frames.push_front(Decoded { position, events, bytes });
        let mut total = 0;
        frames.retain(|frame| {
            let first = total == 0;
            total += frame.bytes.max(1);
            first || total <= EVENT_BYTES_MAX
        });
    }
}
