//! Reading received files back before they count: a backup that is said to be done can be read, and is what the source has.

use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::carry::Carry;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::Reader;
use crate::log::directory::reader::damaged;
use crate::log::directory::recovery::after;
use crate::log::directory::recovery::continues;
use crate::log::directory::segment::HEADER_BYTES;
use std::path::PathBuf;

/// How much is read at once.
const PIECE_BYTES: usize = 1 << 20;

/// The frames of received segments, in order.
#[derive(Debug)]
pub(super) struct Chain {
    head: Option<Head>,
    /// The last frame of the backup before: it must be there still, if the segments reach it.
    known: Option<Head>,
    forked: bool,
    /// Where the frames of the segment before end.
    ends: Option<(PathBuf, u64)>,
    /// No frame of this segment has been seen yet.
    begins: bool,
}

impl Chain {
    pub(super) fn new(known: Option<Head>) -> Chain {
        Chain { head: None, known, forked: false, ends: None, begins: true }
    }

    /// The last frame so far.
    pub(super) fn head(&self) -> Option<Head> {
        self.head
    }

    /// Whether another frame is where the last one of the backup before was.
    pub(super) fn forked(&self) -> bool {
        self.forked
    }

    /// Passes a segment that was there before: what follows it is not compared with its frames.
    pub(super) fn pass(&mut self) {
        (self.head, self.ends) = (None, None);
    }

    /// Checks every frame of the next segment, of which the first `bytes` bytes count.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an input/output error.
    pub(super) fn segment(&mut self, reader: &Reader, bytes: u64) -> Result<(), Error> {
        let what = match self.frames(reader, bytes)? {
            None => return Ok(()),
            Some(what) => what,
        };
        if self.known.is_some() && self.head == self.known {
            // What is there was received with another backup, and this does not continue it.
            self.forked = true;
            return Ok(());
        }
        let sequence = self.head.map_or(Sequence(0), |head| head.sequence.plus(1));
        let position = self.head.map_or(Position(0), |head| head.position.next());
        let (what, offset) = what;
        match self.ends.take() {
            // Frames that are missing at the end of a segment show in the next one.
            Some((path, offset)) if self.begins => {
                let what = "what follows is not what was written, and the next segment goes on";
                Err(damaged(&path, Place { position, sequence, offset }, what))
            }
            Some(_) | None => Err(reader.damaged(Place { position, sequence, offset }, what)),
        }
    }

    /// Goes through the frames; says what is wrong where they end too early.
    fn frames(&mut self, reader: &Reader, bytes: u64) -> Result<Option<(&'static str, u64)>, Error> {
        let mut window = reader.window(PIECE_BYTES);
        let mut at = HEADER_BYTES;
        self.begins = true;
        while at < bytes {
            let Some(header) = reader.header_at(&mut window, at)? else { break };
            let span = header.span();
            let Some(frame) = reader.frame_at(&mut window, at, header)? else {
                return Ok(Some(("the frame is not what was written", at)));
            };
            if self.head.is_some_and(|head| !continues(&head, &frame)) {
                return Ok(Some(("the frame does not continue the one before it", at)));
            }
            let head = after(&frame);
            self.forked |= self.known.is_some_and(|known| known.position == head.position && known != head);
            self.head = Some(head);
            self.begins = false;
            at += span;
        }
        // A sealed segment ends in zeros; a frame that is missing there shows in the next one, which does not continue.
        let short = bytes < reader.header.bytes && at != bytes;
        let empty = at == HEADER_BYTES;
        if !short && !empty {
            self.ends = Some((reader.path.clone(), at));
        }
        Ok((short || empty).then_some(("the frames end before they should", at)))
    }
}

/// Checks every event of a carry file, whose table has been verified.
///
/// # Errors
/// [`Error::Damaged`], or an input/output error.
pub(super) fn carry(carry: &Carry) -> Result<(), Error> {
    carry.pointers().try_for_each(|at| carry.get(at?).map(drop))
}
