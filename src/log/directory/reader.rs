//! One segment as it is read: an open file, its salt, and a sparse index from positions and sequences to offsets.

use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::directory::format::FORMAT;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use crate::log::directory::segment;
use crate::log::directory::segment::FRAME_HEADER_BYTES;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::directory::segment::Salt;
use crate::log::directory::segment::SegmentHeader;
use crate::log::directory::segment::StoredHeader;
use crate::log::directory::window::Window;
use crate::log::directory::window::fill;
use crate::log::frame::Frame;
use std::fs::File;
use std::fs::OpenOptions;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;

/// The index holds one frame about every so many bytes, and a walk reads that much at once.
const STRIDE_BYTES: u64 = 64 * 1024;
/// Reading many frames reads at most so much at once. The allocator keeps a buffer of this size for the next one; larger ones it
/// has the system map, clear and take back each time, which costs more than reading them (`cli/memory.rs`).
const PIECE_BYTES_MAX: usize = 128 * 1024;

/// Where a frame is in its segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) position: Position,
    /// The frame's first sequence.
    pub(crate) sequence: Sequence,
    pub(crate) offset: u64,
}

/// What a walk through a segment looks for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Wanted {
    /// The frame at this position.
    Position(Position),
    /// The frame that holds this update.
    Sequence(Sequence),
}

/// An open segment.
#[derive(Debug)]
pub(crate) struct Reader {
    pub(crate) header: SegmentHeader,
    pub(crate) file: File,
    pub(crate) path: PathBuf,
    index: Mutex<Vec<Place>>,
}

impl Reader {
    pub(crate) fn new(header: SegmentHeader, file: File, path: PathBuf) -> Reader {
        Reader { header, file, path, index: Mutex::new(Vec::new()) }
    }

    /// Opens segment `number` for reading.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its header is not what was written.
    pub(crate) fn open(layout: &Layout, number: u64, store: StoreId) -> Result<Reader, Error> {
        Reader::open_at(layout.segment(number), number, store)
    }

    /// Opens segment `number`, whose file has another name so far, for reading.
    ///
    /// # Errors
    /// [`Error::Damaged`] if its header is not what was written.
    pub(crate) fn open_at(path: PathBuf, number: u64, store: StoreId) -> Result<Reader, Error> {
        let file = File::open(&path).map_err(io("opening", &path))?;
        Reader::from_file(file, path, number, store)
    }

    /// Opens segment `number` for reading and writing.
    pub(crate) fn open_writable(layout: &Layout, number: u64, store: StoreId) -> Result<Reader, Error> {
        let path = layout.segment(number);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(io("opening", &path))?;
        Reader::from_file(file, path, number, store)
    }

    fn from_file(file: File, path: PathBuf, number: u64, store: StoreId) -> Result<Reader, Error> {
        let mut bytes = vec![0; HEADER_BYTES as usize];
        fill(&file, &mut bytes, 0).map_err(io("reading", &path))?;
        let length = file.metadata().map_err(io("reading", &path))?.len();
        let damaged = |what: String| Error::Damaged {
            file: path.display().to_string(),
            offset: 0,
            position: Position(0),
            sequence: Sequence(0),
            what,
        };
        let Some(header) = SegmentHeader::decode(&bytes) else {
            return Err(damaged("the segment's header is not what was written".to_owned()));
        };
        if header.format > FORMAT {
            let place = path.display().to_string();
            return Err(Error::NewerFormat { place, found: header.format, known: FORMAT });
        }
        if header.format < FORMAT {
            return Err(damaged(format!("the segment has format {} instead of {FORMAT}", header.format)));
        }
        if header.number != number {
            return Err(damaged(format!("this is segment {} under another name", header.number)));
        }
        if header.store != store {
            return Err(damaged(format!("this segment belongs to the store {}", header.store)));
        }
        if header.bytes != length {
            return Err(damaged(format!("the segment has {length} bytes instead of {}", header.bytes)));
        }
        Ok(Reader::new(header, file, path))
    }

    pub(crate) fn salt(&self) -> &Salt {
        &self.header.salt
    }

    /// A window over the whole segment.
    pub(crate) fn window(&self, piece_bytes: usize) -> Window<'_> {
        Window::new(&self.file, self.header.bytes, piece_bytes)
    }

    /// The frame header at `offset`, or `None` if there is no good one.
    pub(crate) fn header_at(
        &self,
        window: &mut Window<'_>,
        offset: u64,
    ) -> Result<Option<StoredHeader>, Error> {
        let bytes = window.get(offset, FRAME_HEADER_BYTES).map_err(io("reading", &self.path))?;
        let header = StoredHeader::decode(self.salt(), &bytes);
        Ok(header.filter(|header| offset + header.span() <= self.header.bytes))
    }

    /// The whole frame behind `header` at `offset`, or `None` if its body is not what was written.
    pub(crate) fn frame_at(
        &self,
        window: &mut Window<'_>,
        offset: u64,
        header: StoredHeader,
    ) -> Result<Option<Frame>, Error> {
        let body_bytes = header.body_bytes as usize;
        let span = FRAME_HEADER_BYTES + body_bytes;
        let bytes = window.get(offset, span).map_err(io("reading", &self.path))?;
        let body = bytes.slice(FRAME_HEADER_BYTES.min(bytes.len())..);
        let good = body.len() == body_bytes && self.salt().checksum(&body) == header.body_crc;
        Ok(good.then_some(Frame { body, ..header.frame }))
    }

    /// Remembers where a frame is. Only places a stride behind the last one are kept.
    pub(crate) fn note(&self, place: Place) {
        let mut index = self.index.lock().expect("no holder of an index panics");
        if index.last().is_none_or(|last| place.offset >= last.offset + STRIDE_BYTES) {
            index.push(place);
        }
    }

    /// Where the wanted frame is; `None` if it is after `durable`.
    ///
    /// The caller has made sure that it is not in an earlier segment, and is in this one if it is durable.
    pub(crate) fn find(&self, wanted: Wanted, durable: Position) -> Result<Option<Place>, Error> {
        let mut place = self.nearest(wanted, durable)?;
        let mut window = self.window(STRIDE_BYTES as usize);
        while place.position <= durable {
            let Some(header) = self.header_at(&mut window, place.offset)? else {
                return Err(self.damaged(place, "there is no frame where the log says that there is one"));
            };
            if header.frame.position != place.position {
                return Err(self.damaged(place, "another frame is in this frame's place"));
            }
            self.note(place);
            let found = match wanted {
                Wanted::Position(position) => position == place.position,
                Wanted::Sequence(sequence) => sequence < header.frame.next_sequence(),
            };
            if found {
                return Ok(Some(place));
            }
            place = Place {
                position: place.position.next(),
                sequence: header.frame.next_sequence(),
                offset: place.offset + header.span(),
            };
        }
        Ok(None)
    }

    /// The last indexed frame not after the wanted one, or else the first frame of the segment.
    fn nearest(&self, wanted: Wanted, durable: Position) -> Result<Place, Error> {
        {
            let index = self.index.lock().expect("no holder of an index panics");
            let after = index.partition_point(|place| {
                place.position <= durable
                    && match wanted {
                        Wanted::Position(position) => place.position <= position,
                        Wanted::Sequence(sequence) => place.sequence <= sequence,
                    }
            });
            if let Some(place) = after.checked_sub(1).and_then(|at| index.get(at)) {
                return Ok(*place);
            }
        }
        let mut window = self.window(FRAME_HEADER_BYTES);
        match self.header_at(&mut window, HEADER_BYTES)? {
            Some(StoredHeader { frame, .. }) => {
                Ok(Place { position: frame.position, sequence: frame.first_sequence, offset: HEADER_BYTES })
            }
            None => {
                let place = Place { position: Position(0), sequence: Sequence(0), offset: HEADER_BYTES };
                Err(self.damaged(place, "the first frame of the segment is not what was written"))
            }
        }
    }

    /// Appends to `frames` the durable frames from `place` on, until the segment ends or `*bytes_left` is used up.
    pub(crate) fn read(
        &self,
        place: Place,
        durable: Position,
        bytes_left: &mut usize,
        frames: &mut Vec<Frame>,
    ) -> Result<(), Error> {
        let mut window = self.window((*bytes_left).clamp(STRIDE_BYTES as usize, PIECE_BYTES_MAX));
        let mut place = place;
        while place.position <= durable && (*bytes_left > 0 || frames.is_empty()) {
            let Some(header) = self.header_at(&mut window, place.offset)? else {
                // The last frames of a segment are followed by zeros: the next frame is in the next segment,
                // where the caller looks, and where its absence would be seen.
                return Ok(());
            };
            let span = header.span();
            let Some(frame) = self.frame_at(&mut window, place.offset, header)? else {
                return Err(self.damaged(place, "the body of the frame is not what was written"));
            };
            let chained = frames.last().is_none_or(|last| last.hash() == frame.previous);
            if frame.position != place.position || !chained {
                return Err(self.damaged(place, "the frame does not continue the one before it"));
            }
            place = Place {
                position: place.position.next(),
                sequence: frame.next_sequence(),
                offset: place.offset + span,
            };
            *bytes_left = bytes_left.saturating_sub(frame.body.len());
            frames.push(frame);
        }
        Ok(())
    }

    pub(crate) fn damaged(&self, place: Place, what: &str) -> Error {
        damaged(&self.path, place, what)
    }
}

/// [`Error::Damaged`] at `place` of the file at `path`.
pub(crate) fn damaged(path: &Path, place: Place, what: &str) -> Error {
    Error::Damaged {
        file: path.display().to_string(),
        offset: place.offset,
        position: place.position,
        sequence: place.sequence,
        what: what.to_owned(),
    }
}

/// Whether a segment of `segment_bytes` whose frames end at `end` takes another one.
pub(crate) fn fits(segment_bytes: u64, end: u64, body_bytes: usize) -> bool {
    end.checked_add(segment::span(body_bytes)).is_some_and(|end| end <= segment_bytes)
}
