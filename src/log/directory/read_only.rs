//! The files of a data directory as any process may read them: without the lock, writing nothing, whatever state they are
//! in and whether or not a server runs on them. The tools of `offline` stand on it.
//!
//! It reads one file or one frame at a time and says what it found; which frames belong together, and what is damage, is
//! `offline::walk`'s to judge.

pub use crate::log::directory::lock::Stopped;

use crate::codec;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::ReadCheckpoint;
use crate::log::directory::carry::Carry;
use crate::log::directory::checkpoint;
use crate::log::directory::format;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use crate::log::directory::prepare::ZEROS;
use crate::log::directory::segment;
use crate::log::directory::segment::ALIGNMENT;
use crate::log::directory::segment::FRAME_HEADER_BYTES;
use crate::log::directory::segment::SegmentHeader;
use crate::log::directory::segment::StoredHeader;
use crate::log::directory::window::fill;
use crate::log::frame::Frame;
use bytes::Bytes;
use std::fs::File;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

/// How much is read at once.
const PIECE_BYTES: usize = ZEROS.len();
/// What is read at once where a larger piece cannot be read: what cannot be read either is skipped.
const BLOCK_BYTES: usize = 4_096;

/// The files of one data directory.
#[derive(Clone, Debug)]
pub struct ReadOnly {
    layout: Layout,
}

/// What the format file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Format {
    /// A format this release reads, and which history the directory holds.
    Store(StoreId),
    /// It is not there or not what was written: why.
    Damaged(String),
}

impl ReadOnly {
    /// The files below `root`, which need not be whole.
    ///
    /// # Errors
    /// [`Error::Unusable`] if there is no data directory; [`Error::NewerFormat`], [`Error::OlderFormat`],
    /// [`Error::Migrating`].
    pub fn open(root: &Path) -> Result<(ReadOnly, Format), Error> {
        let layout = Layout::new(root);
        let refuse = |reason: &str| Error::Unusable {
            place: root.display().to_string(),
            reason: format!("{reason}: name a directory that `gangline serve` has made, or a copy of it"),
        };
        match std::fs::metadata(root) {
            Ok(metadata) if metadata.is_dir() => {}
            Ok(_) => return Err(refuse("it is not a directory")),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(refuse("it does not exist"));
            }
            Err(error) => return Err(io("opening", root)(error)),
        }
        let format = match format::named(&layout) {
            Ok(Some(store)) => Format::Store(store),
            Ok(None) if !layout.log().is_dir() => return Err(refuse("it holds no log")),
            Ok(None) => Format::Damaged("it is missing".to_owned()),
            Err(Error::Unusable { reason, .. }) => Format::Damaged(reason),
            Err(error) => return Err(error),
        };
        Ok((ReadOnly { layout }, format))
    }

    /// The data directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        self.layout.root()
    }

    /// The format file.
    #[must_use]
    pub fn format_path(&self) -> PathBuf {
        self.layout.format()
    }

    /// The work tree's directory. It may not be there.
    #[must_use]
    pub fn work_path(&self) -> PathBuf {
        self.layout.work()
    }

    /// Makes sure that no server runs on the directory, nor starts while what is returned lives. The work tree cannot be
    /// copied under a server; everything else may be read without.
    ///
    /// # Errors
    /// [`Error::InUse`], or an input/output error.
    pub fn stopped(&self) -> Result<Stopped, Error> {
        Stopped::take(&self.layout)
    }

    /// The file of segment `number`.
    #[must_use]
    pub fn segment_path(&self, number: u64) -> PathBuf {
        self.layout.segment(number)
    }

    /// The file of the checkpoint at `at`.
    #[must_use]
    pub fn checkpoint_path(&self, at: Position) -> PathBuf {
        self.layout.checkpoint(at)
    }

    /// The file of the carry file with this floor.
    #[must_use]
    pub fn carry_path(&self, floor: Position) -> PathBuf {
        self.layout.carry(floor)
    }

    /// Numbers of the segment files, ascending.
    ///
    /// # Errors
    /// An input/output error.
    pub fn segments(&self) -> Result<Vec<u64>, Error> {
        layout::numbers(&self.layout.log(), "seg")
    }

    /// Opens the file of segment `number`, whatever its header says.
    ///
    /// # Errors
    /// [`Error::NewerFormat`], or an input/output error.
    pub fn segment(&self, number: u64) -> Result<Segment, Error> {
        Segment::open(self.layout.segment(number))
    }

    /// Floors of the carry files, ascending; the last one counts.
    ///
    /// # Errors
    /// An input/output error.
    pub fn carries(&self) -> Result<Vec<Position>, Error> {
        Ok(layout::numbers(&self.layout.log(), "carry")?.into_iter().map(Position).collect())
    }

    /// Opens the carry file with this floor and verifies its table.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an input/output error.
    pub fn carry(&self, floor: Position, store: StoreId) -> Result<Carried, Error> {
        Carry::open(&self.layout, floor, store).map(Carried)
    }

    /// Positions of the checkpoints, newest first.
    ///
    /// # Errors
    /// An input/output error.
    pub fn checkpoints(&self) -> Result<Vec<Position>, Error> {
        if self.layout.checkpoints().is_dir() { checkpoint::list(&self.layout) } else { Ok(Vec::new()) }
    }

    /// A reader over the checkpoint at `at`, whose checksum has been verified.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an input/output error.
    pub fn checkpoint(&self, at: Position, store: StoreId) -> Result<ReadCheckpoint, Error> {
        checkpoint::open(&self.layout, store, at)
    }
}

/// Events of live jobs out of segments that are gone.
#[derive(Debug)]
pub struct Carried(Carry);

impl Carried {
    /// The oldest segment that was not let go.
    #[must_use]
    pub fn segment(&self) -> u64 {
        self.0.segment
    }

    /// Where the log begins.
    #[must_use]
    pub fn floor(&self) -> Floor {
        self.0.floor
    }

    /// The places of all events in it, ascending.
    ///
    /// # Errors
    /// An input/output error.
    pub fn pointers(&self) -> impl Iterator<Item = Result<Pointer, Error>> {
        self.0.pointers()
    }

    /// The event at `at`, or `None` if it was not carried.
    ///
    /// # Errors
    /// [`Error::Damaged`], or an input/output error.
    pub fn event(&self, at: Pointer) -> Result<Option<Event>, Error> {
        let Some(bytes) = self.0.get(at)? else { return Ok(None) };
        codec::decode(&bytes).map(Some).map_err(|_| self.0.damaged(at, 0))
    }
}

/// One segment file. A clone reads the same open file, also when its name is gone.
#[derive(Clone, Debug)]
pub struct Segment {
    header: SegmentHeader,
    file: Arc<File>,
    path: PathBuf,
    bytes: u64,
    faults: Vec<String>,
    /// What was read last, and where it begins.
    piece: Bytes,
    piece_at: u64,
}

/// What is at a place in a segment.
#[derive(Clone, Debug)]
pub enum Found {
    /// A frame that is what was written.
    Frame(StoredFrame),
    /// Nothing but zeros where a frame's header would be.
    Nothing,
    /// Something else.
    Bad(&'static str),
}

/// A frame and what the segment says besides.
#[derive(Clone, Debug)]
pub struct StoredFrame {
    /// The frame.
    pub frame: Frame,
    /// Where it begins in the file.
    pub offset: u64,
    /// Bytes from there to where the next one would begin.
    pub span: u64,
    /// A sync that covered this position had returned when the frame was written.
    pub synced_up_to: Position,
}

/// A frame's header that is what was written; of its body nothing is known.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    /// Where it begins in the file.
    pub offset: u64,
    /// The frame's position.
    pub position: Position,
    /// As [`StoredFrame::span`].
    pub span: u64,
    /// As [`StoredFrame::synced_up_to`].
    pub synced_up_to: Position,
}

impl Segment {
    /// Where the first frame begins.
    pub const FIRST: u64 = segment::HEADER_BYTES;

    fn open(path: PathBuf) -> Result<Segment, Error> {
        let file = File::open(&path).map_err(io("opening", &path))?;
        let bytes = file.metadata().map_err(io("reading", &path))?.len();
        let mut head = vec![0; Segment::FIRST as usize];
        let mut faults = Vec::new();
        if let Err(error) = fill(&file, &mut head, 0) {
            faults.push(format!("the segment's header cannot be read: {error}"));
        }
        let header = SegmentHeader::decode(&head).unwrap_or_else(|| {
            faults.push("the segment's header is not what was written".to_owned());
            // If only other bytes of it are damaged its salt still tells frames from anything else.
            SegmentHeader::decode_unchecked(&head)
        });
        if faults.is_empty() && header.format > format::FORMAT {
            let place = path.display().to_string();
            return Err(Error::NewerFormat { place, found: header.format, known: format::FORMAT });
        }
        if faults.is_empty() && header.format < format::FORMAT {
            faults.push(format!("the segment has format {} instead of {}", header.format, format::FORMAT));
        }
        if faults.is_empty() && header.bytes != bytes {
            faults.push(format!("the segment has {bytes} bytes instead of {}", header.bytes));
        }
        Ok(Segment { header, file: Arc::new(file), path, bytes, faults, piece: Bytes::new(), piece_at: 0 })
    }

    /// Its number and history as its header says, unless the header is damaged.
    #[must_use]
    pub fn identity(&self) -> Option<(u64, StoreId)> {
        self.faults.is_empty().then_some((self.header.number, self.header.store))
    }

    /// What is wrong with its header or its size.
    #[must_use]
    pub fn faults(&self) -> &[String] {
        &self.faults
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Size of the file.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets what was read, so that what a server has written since is seen.
    pub fn refresh(&mut self) {
        self.piece = Bytes::new();
    }

    /// Whether there are only zeros where a frame at `offset` would have its header. It reads no more than that.
    #[must_use]
    pub fn is_empty_at(&self, offset: u64) -> bool {
        let mut head = [0; FRAME_HEADER_BYTES];
        fill(&self.file, &mut head, offset).is_ok() && ZEROS.starts_with(&head)
    }

    /// What is at `offset`, where a frame would begin.
    #[must_use]
    pub fn at(&mut self, offset: u64) -> Found {
        let Ok(head) = self.get(offset, FRAME_HEADER_BYTES) else { return Found::Bad("it cannot be read") };
        let Some(header) = StoredHeader::decode(&self.header.salt, &head) else {
            let empty = ZEROS.starts_with(&head);
            return if empty {
                Found::Nothing
            } else {
                Found::Bad("the frame's header is not what was written")
            };
        };
        let body_bytes = header.body_bytes as usize;
        let Ok(whole) = self.get(offset, FRAME_HEADER_BYTES + body_bytes) else {
            return Found::Bad("the frame's body cannot be read");
        };
        let body = whole.slice(FRAME_HEADER_BYTES.min(whole.len())..);
        if body.len() != body_bytes || self.header.salt.checksum(&body) != header.body_crc {
            return Found::Bad("the frame's body is not what was written");
        }
        let span = header.span();
        let StoredHeader { frame, synced_up_to, .. } = header;
        Found::Frame(StoredFrame { frame: Frame { body, ..frame }, offset, span, synced_up_to })
    }

    /// The first good frame header at or after `from`.
    #[must_use]
    pub fn header_from(&mut self, from: u64) -> Option<Header> {
        let mut at = from.next_multiple_of(ALIGNMENT as u64);
        while at < self.bytes {
            // Each piece overlaps the next by a header, so that none is missed at a boundary.
            let (piece, own) = self.piece_from(at);
            // The comparison with zeros is a memcmp: most of what is looked through is empty.
            if piece[..own] != ZEROS[..own] {
                let marker = self.header.salt.marker();
                let begins = |place: &usize| piece[*place..].starts_with(marker);
                for place in (0..own).step_by(ALIGNMENT).filter(begins) {
                    if let Some(header) = StoredHeader::decode(&self.header.salt, &piece[place..]) {
                        let (position, synced_up_to) = (header.frame.position, header.synced_up_to);
                        let (offset, span) = (at + place as u64, header.span());
                        return Some(Header { offset, position, span, synced_up_to });
                    }
                }
            }
            at += own as u64;
        }
        None
    }

    /// Bytes from `from` to the last byte before `to` that is not zero; 0 if there is none.
    #[must_use]
    pub fn used(&self, from: u64, to: u64) -> u64 {
        let (mut at, mut used) = (from, 0);
        let to = to.min(self.bytes);
        while at < to {
            let (piece, own) = self.piece_from(at);
            let own = own.min(usize::try_from(to - at).unwrap_or(usize::MAX));
            if piece[..own] != ZEROS[..own] {
                let last = piece[..own].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
                used = at - from + last as u64;
            }
            at += own as u64;
        }
        used
    }

    /// The bytes from `at` on: some, and how many of them are not to be read again. What cannot be read reads as zeros.
    fn piece_from(&self, at: u64) -> (Vec<u8>, usize) {
        let left = usize::try_from(self.bytes - at).unwrap_or(usize::MAX);
        let mut piece = vec![0; (PIECE_BYTES + FRAME_HEADER_BYTES).min(left)];
        if fill(&self.file, &mut piece, at).is_err() {
            for (block, number) in piece.chunks_mut(BLOCK_BYTES).zip(0..) {
                if fill(&self.file, block, at + number * BLOCK_BYTES as u64).is_err() {
                    block.fill(0);
                }
            }
        }
        let own = piece.len().min(PIECE_BYTES);
        (piece, own)
    }

    /// The `length` bytes at `offset`; fewer only where the file ends.
    fn get(&mut self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let inside = offset.checked_sub(self.piece_at).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = inside
            && skip + length <= self.piece.len()
        {
            return Ok(self.piece.slice(skip..skip + length));
        }
        let left = usize::try_from(self.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; PIECE_BYTES.max(length).min(left)];
        let read = match fill(&self.file, &mut piece, offset) {
            // The rest of a large piece may be unreadable where this frame is not.
            Err(_) => {
                piece.truncate(length);
                fill(&self.file, &mut piece, offset)?
            }
            Ok(read) => read,
        };
        piece.truncate(read);
        (self.piece_at, self.piece) = (offset, Bytes::from(piece));
        Ok(self.piece.slice(..length.min(read)))
    }
}
