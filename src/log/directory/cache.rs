//! What the archive keeps at hand, in bounded memory: open segments with their index, and frames of which single events
//! are asked for.

use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::directory::archive::NO_PANIC;
use crate::log::directory::layout::Layout;
use crate::log::directory::reader::Reader;
use crate::log::frame::Indexed;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;

/// Open sealed segments. A reader in use stays open, also when its segment is removed meanwhile.
const READERS_MAX: usize = 64;
/// Frames that are kept to decode single events of them: payloads are asked for in the order they came, but from many
/// queues at a time.
const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;

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

/// Recently used frames, ready to decode single events of them.
#[derive(Debug, Default)]
pub(crate) struct Frames(Mutex<Kept>);

#[derive(Debug, Default)]
struct Kept {
    frames: HashMap<Position, Used>,
    bytes: usize,
    /// How often a frame was asked for or put so far.
    asked: u64,
}

#[derive(Debug)]
struct Used {
    frame: Arc<Indexed>,
    /// When it was used last.
    at: u64,
}

impl Frames {
    pub(crate) fn get(&self, position: Position) -> Option<Arc<Indexed>> {
        let mut kept = self.0.lock().expect(NO_PANIC);
        kept.asked += 1;
        let now = kept.asked;
        let used = kept.frames.get_mut(&position)?;
        used.at = now;
        Some(Arc::clone(&used.frame))
    }

    /// Keeps `frame`, and lets go of those that were not used for the longest time.
    pub(crate) fn put(&self, position: Position, frame: Arc<Indexed>) {
        let mut kept = self.0.lock().expect(NO_PANIC);
        kept.asked += 1;
        let at = kept.asked;
        kept.bytes += frame.bytes();
        if let Some(same) = kept.frames.insert(position, Used { frame, at }) {
            kept.bytes -= same.frame.bytes();
        }
        while kept.bytes > FRAME_BYTES_MAX && kept.frames.len() > 1 {
            let others = kept.frames.iter().filter(|(other, _)| **other != position);
            let Some(oldest) = others.min_by_key(|(_, used)| used.at).map(|(oldest, _)| *oldest) else {
                return;
            };
            let gone = kept.frames.remove(&oldest);
            kept.bytes -= gone.map_or(0, |gone| gone.frame.bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::id::Epoch;
    use crate::job::id::Position;
    use crate::job::id::Sequence;
    use crate::log::directory::cache::FRAME_BYTES_MAX;
    use crate::log::directory::cache::Frames;
    use crate::log::frame::Frame;
    use crate::log::frame::Hash;
    use crate::log::frame::body_of;
    use std::sync::Arc;

    #[test]
    fn the_frames_that_were_not_used_for_the_longest_time_go_first() {
        let event = crate::job::event::Event::Opened { epoch: Epoch(1), version: "x".repeat(100_000).into() };
        let frame = Frame {
            position: Position(1),
            epoch: Epoch(1),
            first_sequence: Sequence(1),
            updates: 0,
            time: Timestamp(1),
            previous: Hash::ZERO,
            body: body_of(&vec![event.clone(); 40]),
        };
        let indexed = Arc::new(frame.indexed().unwrap());
        assert!(frame.body.is_unique(), "what the body is a slice of is not kept");
        assert_eq!((indexed.get(39).unwrap(), indexed.get(40).unwrap()), (Some(event), None));
        let room = (FRAME_BYTES_MAX / indexed.bytes()) as u64;
        let frames = Frames::default();
        for number in 1..=room {
            frames.put(Position(number), Arc::clone(&indexed));
        }
        assert!(frames.get(Position(1)).is_some(), "all fit");
        frames.put(Position(room + 1), Arc::clone(&indexed));
        let kept: Vec<u64> =
            (1..=room + 1).filter(|number| frames.get(Position(*number)).is_some()).collect();
        assert_eq!(kept, (1..=room + 1).filter(|number| *number != 2).collect::<Vec<_>>());
    }
}
