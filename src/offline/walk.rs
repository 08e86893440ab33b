//! Going through the frames of a log, past whatever is damaged. See [`crate::offline`] for what is told apart.
//!
//! It rests on what the writer keeps to: a segment is synced before the next one gets its first frame, and every frame says
//! up to where the log was synced when it was written.

use crate::clock::Timestamp;
use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::directory::read_only::Found;
use crate::log::directory::read_only::Header;
use crate::log::directory::read_only::ReadOnly;
use crate::log::directory::read_only::Segment;
use crate::log::directory::read_only::StoredFrame;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use crate::offline::Entry;
use crate::offline::Fault;
use crate::offline::Kind;
use crate::offline::Lost;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::path::PathBuf;

/// Frames begin at multiples of so many bytes.
const STEP_BYTES: u64 = 16;

/// How many frames without a voucher are remembered: what a writer may leave unsynced.
const UNVOUCHED_MAX: usize = 1_024;

/// Where a walk is to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// At this frame.
    Position(Position),
    /// At the frame that holds this update.
    Sequence(Sequence),
    /// At the first frame whose log time is not before this.
    Time(Timestamp),
}

/// What a walk gives.
#[derive(Clone, Debug)]
pub enum Step {
    /// A whole frame.
    Frame(Located),
    /// Damage that was passed over; the next step is the first whole frame behind it.
    Fault(Fault),
}

/// A whole frame and where it is.
#[derive(Clone, Debug)]
pub struct Located {
    /// The frame.
    pub frame: Frame,
    /// Its hash, which the next frame is chained on.
    pub hash: Hash,
    /// The segment's number.
    pub segment: u64,
    /// The segment's file.
    pub file: PathBuf,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes that it takes there.
    pub span: u64,
    /// A sync that covered this position had returned when it was written.
    pub synced_up_to: Position,
}

/// Where a walk ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tail {
    /// The last whole frame; 0 if there is none.
    pub position: Position,
    /// Its last update; 0 if there is none so far.
    pub sequence: Sequence,
    /// Every frame up to this one had been synced, says a later one.
    pub vouched: Position,
    /// Updates in whole frames after that one: the next start keeps them.
    pub unvouched_updates: u64,
    /// The file in which the log ends; `None` if there is no segment.
    pub file: Option<PathBuf>,
    /// Where the next frame would begin.
    pub offset: u64,
    /// From there to the last byte that is not zero: a frame in flight or torn, never acknowledged.
    pub torn_bytes: u64,
}

/// A place in the log's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    /// Which of the segments.
    index: usize,
    offset: u64,
}

/// What the next frame has to continue.
#[derive(Clone, Copy, Debug)]
struct Next {
    position: Position,
    sequence: Sequence,
    epoch: Epoch,
    /// `None`: not known.
    hash: Option<Hash>,
}

/// An iterator over the frames and faults of a log. When it has ended it may be asked again: a live server may have written
/// more.
#[derive(Debug)]
pub struct Walk {
    files: ReadOnly,
    store: Option<StoreId>,
    segments: Vec<Entry>,
    place: Place,
    open: Option<(usize, Segment)>,
    next: Option<Next>,
    steps: VecDeque<Step>,
    tail: Tail,
    /// The newest frames, for which no later one vouches, and their updates.
    unvouched: VecDeque<(Position, u32)>,
    /// The place where everything behind it has been looked through and holds nothing.
    ended_at: Option<Place>,
}

impl Iterator for Walk {
    type Item = Result<Step, Error>;

    fn next(&mut self) -> Option<Result<Step, Error>> {
        loop {
            if let Some(step) = self.steps.pop_front() {
                return Some(Ok(step));
            }
            match self.advance() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Walk {
    pub(in crate::offline) fn new(
        files: ReadOnly,
        store: Option<StoreId>,
        segments: Vec<Entry>,
        floor: Option<Floor>,
    ) -> Walk {
        let next = floor.map(|Floor { position, sequence }| {
            let hash = (position == Position(1)).then_some(Hash::ZERO);
            Next { position, sequence, epoch: Epoch(0), hash }
        });
        let before = |number: u64| number.saturating_sub(1);
        let (position, sequence) =
            next.map_or((0, 0), |next| (before(next.position.0), before(next.sequence.0)));
        Walk {
            files,
            store,
            segments,
            place: Place { index: 0, offset: Segment::FIRST },
            open: None,
            next,
            steps: VecDeque::new(),
            tail: Tail {
                position: Position(position),
                sequence: Sequence(sequence),
                vouched: Position(position),
                ..Tail::default()
            },
            unvouched: VecDeque::new(),
            ended_at: None,
        }
    }

    /// Where the walk is now: its end, once it has given no more.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Begins with the last segment that does not begin after `from`.
    pub(in crate::offline) fn skip_to(&mut self, from: From) -> Result<(), Error> {
        for index in (1..self.segments.len()).rev() {
            let mut segment = self.open_segment(index)?;
            let Found::Frame(first) = segment.at(Segment::FIRST) else { continue };
            let before = match from {
                From::Position(position) => first.frame.position <= position,
                From::Sequence(sequence) => first.frame.first_sequence <= sequence,
                // Frames before the first one of a segment may have its time too.
                From::Time(time) => first.frame.time < time,
            };
            if before {
                self.place = Place { index, offset: Segment::FIRST };
                self.next = None;
                break;
            }
        }
        Ok(())
    }

    /// Begins at a frame that another walk gave.
    pub(in crate::offline) fn begin_at(&mut self, segment: u64, offset: u64) {
        let after = self.segments.partition_point(|entry| entry.number < segment);
        if after < self.segments.len() {
            (self.place, self.next) = (Place { index: after, offset }, None);
        }
    }

    /// Goes past one frame or one bad place. False at the end of the log.
    fn advance(&mut self) -> Result<bool, Error> {
        if self.segments.is_empty() {
            return self.grown();
        }
        if self.ended_at == Some(self.place) && self.nothing_new()? {
            return Ok(false);
        }
        let offset = self.place.offset;
        match self.segment()?.at(offset) {
            Found::Frame(stored) => {
                self.accept(stored)?;
                Ok(true)
            }
            Found::Nothing => self.pass_over("there are zeros where a frame should be"),
            Found::Bad(what) => self.pass_over(what),
        }
    }

    /// The segment that the walk is in.
    fn segment(&mut self) -> Result<&mut Segment, Error> {
        let index = self.place.index;
        if self.open.as_ref().is_none_or(|(open, _)| *open != index) {
            self.open = Some((index, self.open_segment(index)?));
        }
        Ok(&mut self.open.as_mut().expect("it was just opened").1)
    }

    fn open_segment(&self, index: usize) -> Result<Segment, Error> {
        match self.segments[index].open(&self.files) {
            // The server let go of it meanwhile.
            Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound => {
                let floor = self.files.carries()?.last().copied().unwrap_or_default();
                Err(Error::BelowFloor { wanted: self.tail.position.next(), floor })
            }
            other => other,
        }
    }

    /// Gives the frame at the current place, if it belongs there.
    fn accept(&mut self, stored: StoredFrame) -> Result<(), Error> {
        let StoredFrame { frame, offset, span, synced_up_to } = stored;
        let after = Place { offset: offset + span, ..self.place };
        if let Some(next) = self.next {
            if frame.position < next.position || self.is_ahead(&frame, next, after)? {
                let what = "a whole frame that does not belong here";
                self.fault(Kind::Chain, offset, what, |fault| {
                    fault.position = Some(frame.position);
                    fault.sequence = Some(frame.first_sequence);
                });
                self.place = after;
                return Ok(());
            }
            if let Some(what) = break_in(&next, &frame) {
                let lost = lost_between(&next, &frame);
                self.fault(Kind::Chain, offset, what, |fault| {
                    let first = if lost.frames > 0 { (next.position, next.sequence) } else { of(&frame) };
                    (fault.position, fault.sequence, fault.lost) = (Some(first.0), Some(first.1), lost);
                });
            }
        }
        let hash = frame.hash();
        self.next = Some(Next {
            position: frame.position.next(),
            sequence: frame.next_sequence(),
            epoch: frame.epoch,
            hash: Some(hash),
        });
        self.place = after;
        self.note(&frame, synced_up_to);
        let Entry { number, file, .. } = self.segments[self.place.index];
        let file = PathBuf::from("log").join(self.files.segment_path(file).file_name().unwrap_or_default());
        self.steps.push_back(Step::Frame(Located {
            frame,
            hash,
            segment: number,
            file,
            offset,
            span,
            synced_up_to,
        }));
        Ok(())
    }

    fn note(&mut self, frame: &Frame, synced_up_to: Position) {
        let vouched = self.tail.vouched.max(synced_up_to);
        self.unvouched.push_back((frame.position, frame.updates));
        // More than a writer leaves unsynced is only in a damaged log, where the rest is not worth the memory.
        while self.unvouched.len() > UNVOUCHED_MAX
            || self.unvouched.front().is_some_and(|(at, _)| *at <= vouched)
        {
            self.unvouched.pop_front();
        }
        self.tail.position = frame.position;
        self.tail.sequence = Sequence(frame.next_sequence().0.saturating_sub(1));
        self.tail.vouched = vouched;
        self.tail.unvouched_updates = self.unvouched.iter().map(|(_, updates)| u64::from(*updates)).sum();
    }

    /// Whether a frame that is later than the expected one was moved here from further back: then what was expected comes
    /// after it.
    fn is_ahead(&mut self, frame: &Frame, next: Next, after: Place) -> Result<bool, Error> {
        if frame.position == next.position {
            return Ok(false);
        }
        let segment = self.segment()?;
        let mut from = after.offset;
        while let Some(header) = segment.header_from(from) {
            if header.position >= next.position && header.position < frame.position {
                return Ok(true);
            }
            from = header.offset + STEP_BYTES;
        }
        Ok(false)
    }

    /// There is no whole frame at the current place: goes to where the log goes on. False if it does not.
    fn pass_over(&mut self, what: &str) -> Result<bool, Error> {
        let from = self.place;
        let Some((found, frame)) = self.whole_from(Place { offset: from.offset + STEP_BYTES, ..from })?
        else {
            return if self.grown()? { Ok(true) } else { self.end(from) };
        };
        let used = self.used(from, found)?;
        let expected = self.next.map_or(frame.position, |next| next.position);
        if found.index > from.index && frame.position == expected && used == 0 {
            self.place = found;
            return Ok(true);
        }
        if self.next.is_some() && !self.is_vouched(found, expected)? {
            return self.end(from);
        }
        // A live server may have written meanwhile what was not there a moment ago.
        let segment = self.segment()?;
        segment.refresh();
        if matches!(segment.at(from.offset), Found::Frame(_)) {
            return Ok(true);
        }
        let what = if used == 0 { "there are zeros where frames should be" } else { what };
        self.pass_fault(from, found, &frame, what)?;
        self.place = found;
        Ok(true)
    }

    /// Notes the bytes between `from` and `found` as damaged, with all that is lost there.
    fn pass_fault(&mut self, from: Place, found: Place, frame: &Frame, what: &str) -> Result<(), Error> {
        let next = self.next;
        let explained = match next {
            None => true,
            Some(next) => {
                self.place = found;
                let ahead = frame.position > next.position && self.is_ahead(frame, next, found)?;
                self.place = from;
                frame.position >= next.position && !ahead
            }
        };
        let lost = next.map_or(Lost::default(), |next| lost_between(&next, frame));
        self.fault(Kind::Frame, from.offset, what, |fault| {
            if let Some(next) = next {
                (fault.position, fault.sequence) = (Some(next.position), Some(next.sequence));
            }
            if explained {
                fault.lost = lost;
            }
        });
        if explained && lost.frames > 0 {
            let (position, sequence) = of(frame);
            self.next = Some(Next { position, sequence, epoch: frame.epoch, hash: None });
        }
        Ok(())
    }

    /// The first whole frame at or after `place`.
    fn whole_from(&self, place: Place) -> Result<Option<(Place, Frame)>, Error> {
        let mut from = place.offset;
        for index in place.index..self.segments.len() {
            let mut segment = self.open_segment(index)?;
            while let Some(header) = segment.header_from(from) {
                if let Found::Frame(stored) = segment.at(header.offset) {
                    return Ok(Some((Place { index, offset: header.offset }, stored.frame)));
                }
                from = header.offset + STEP_BYTES;
            }
            from = Segment::FIRST;
        }
        Ok(None)
    }

    /// Whether a good header at or after `place` says that the frame `missing` had been synced.
    fn is_vouched(&self, place: Place, missing: Position) -> Result<bool, Error> {
        let vouches = |header: &Header| header.position > missing && header.synced_up_to >= missing;
        let mut from = place.offset;
        for index in place.index..self.segments.len() {
            let mut segment = self.open_segment(index)?;
            while let Some(header) = segment.header_from(from) {
                if vouches(&header) {
                    return Ok(true);
                }
                from = header.offset + STEP_BYTES;
            }
            from = Segment::FIRST;
        }
        Ok(false)
    }

    /// How many bytes between two places are in use, to the last that is not zero in each segment.
    fn used(&self, from: Place, to: Place) -> Result<u64, Error> {
        let mut used = 0;
        for index in from.index..=to.index.min(self.segments.len() - 1) {
            let begin = if index == from.index { from.offset } else { Segment::FIRST };
            let end = if index == to.index { to.offset } else { u64::MAX };
            used += self.open_segment(index)?.used(begin, end);
        }
        Ok(used)
    }

    /// The log ends here, for now.
    fn end(&mut self, at: Place) -> Result<bool, Error> {
        let to = Place { index: self.segments.len() - 1, offset: u64::MAX };
        self.tail.torn_bytes = self.used(at, to)?;
        self.tail.file = Some(self.segment()?.path().to_owned());
        self.tail.offset = at.offset;
        self.ended_at = Some(at);
        Ok(false)
    }

    /// At a place where the log had ended: whether it still does, by a look at the two places where it can go on.
    fn nothing_new(&mut self) -> Result<bool, Error> {
        let Place { index, offset } = self.place;
        let segment = self.segment()?;
        segment.refresh();
        if !segment.is_empty_at(offset) {
            return Ok(false);
        }
        let next = index + 1;
        if next >= self.segments.len() {
            return Ok(!self.grown()?);
        }
        Ok(self.open_segment(next)?.is_empty_at(Segment::FIRST))
    }

    /// Looks for segments that a live server has made since. Whether there are any.
    fn grown(&mut self) -> Result<bool, Error> {
        let last = self.segments.last().map_or(0, |entry| entry.number);
        let before = self.segments.len();
        for file in self.files.segments()?.into_iter().filter(|file| *file > last) {
            if self.files.segment(file)?.identity().is_some_and(|id| id.0 == file && Some(id.1) == self.store)
            {
                self.segments.push(Entry { number: file, file, held: None });
            }
        }
        Ok(self.segments.len() > before)
    }

    fn fault(&mut self, kind: Kind, offset: u64, what: &str, more: impl FnOnce(&mut Fault)) {
        let path = self.files.segment_path(self.segments[self.place.index].file);
        let mut fault = Fault::new(kind, self.files.root(), &path, offset, what.to_owned());
        more(&mut fault);
        self.steps.push_back(Step::Fault(fault));
    }
}

fn of(frame: &Frame) -> (Position, Sequence) {
    (frame.position, frame.first_sequence)
}

/// Why `frame`, which is not before what is expected, does not continue the log.
fn break_in(next: &Next, frame: &Frame) -> Option<&'static str> {
    if frame.position > next.position {
        return Some("frames before this one are missing");
    }
    if next.hash.is_some_and(|hash| hash != frame.previous) {
        return Some("the frame is not chained on the one before it");
    }
    if frame.first_sequence != next.sequence {
        return Some("the frame's updates do not continue those before it");
    }
    (frame.epoch < next.epoch).then_some("the frame is of an older epoch than the one before it")
}

/// What is missing between what was expected and `frame`.
fn lost_between(next: &Next, frame: &Frame) -> Lost {
    let frames = frame.position.0.saturating_sub(next.position.0);
    Lost { frames, updates: frame.first_sequence.0.saturating_sub(next.sequence.0) }
}
