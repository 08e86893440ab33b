//! The files of a data directory that make a valid prefix of its log, as of one moment: what a backup is made of.
//!
//! It is taken from a running log ([`DirectoryArchive::capture`]), which then keeps the files, or from the files alone
//! ([`Capture::of_files`]), while a server may write and trim. Neither holds the writer up: everything captured is
//! already on the disk, and no file of it but the last segment ever changes again. What the last segment gets later lies
//! behind [`Part::bytes`].

use crate::clock::Timestamp;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::archive::DirectoryArchive;
use crate::log::directory::archive::NO_PANIC;
use crate::log::directory::carry::Carry;
use crate::log::directory::checkpoint;
use crate::log::directory::format;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use crate::log::directory::pins::Pin;
use crate::log::directory::pins::Pins;
use crate::log::directory::reader::Reader;
use crate::log::directory::reader::Wanted;
use crate::log::directory::recovery;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::directory::window::fill;
use std::collections::VecDeque;
use std::fs::File;
use std::io::ErrorKind;
use std::io::Seek;
use std::path::Path;
use std::path::PathBuf;

/// How often the files are looked at again because a server replaced some of them meanwhile.
const TRIES: usize = 64;

/// What a file of the log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PartKind {
    /// Events of live jobs out of segments that are gone, and where the log begins.
    Carry,
    /// The state as of a frame.
    Checkpoint,
    /// Frames.
    Segment,
}

/// One file of a capture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// What it holds.
    pub kind: PartKind,
    /// Its name: number of the segment, position of the floor or of the checkpoint.
    pub number: u64,
    /// Size of the file. A segment is as large from its beginning, and holds zeros where nothing was written.
    pub file_bytes: u64,
    /// How many bytes of it belong to the capture; zeros follow.
    pub bytes: u64,
    /// Tells it from any other file of the same name.
    pub mark: Mark,
}

/// Sixteen bytes that no other file of the same name has: the salt of a segment, checksums of the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark(pub [u8; 16]);

/// Files that make a valid prefix of a log.
#[derive(Debug)]
pub struct Capture {
    layout: Layout,
    store: StoreId,
    head: Head,
    time: Timestamp,
    /// In the order of [`PartKind`], then of their numbers: the last segment is the last.
    parts: Vec<Part>,
    /// The carry file and the checkpoints, which a running log replaces whenever it likes.
    held: Vec<File>,
    _pin: Option<Pin>,
}

impl Capture {
    /// The format of its files.
    #[must_use]
    pub fn format(&self) -> u32 {
        format::FORMAT
    }

    /// Which history it is of.
    #[must_use]
    pub fn store_id(&self) -> StoreId {
        self.store
    }

    /// Its last frame.
    #[must_use]
    pub fn head(&self) -> Head {
        self.head
    }

    /// Log time of its last frame.
    #[must_use]
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// Its files: the carry file if there is one, checkpoints, segments, each in the order of their numbers.
    #[must_use]
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    /// Where the file of `part` is, as long as nobody has let go of it.
    #[must_use]
    pub fn path(&self, part: &Part) -> PathBuf {
        path(&self.layout, part.kind, part.number)
    }

    /// Opens the file of `part`, which is one of [`Capture::parts`].
    ///
    /// # Errors
    /// An input/output error: of a capture of files alone also if a server has let go of the segment.
    pub fn open(&self, part: &Part) -> Result<File, Error> {
        let place = self.parts.iter().position(|own| own == part);
        let path = self.path(part);
        match place.and_then(|place| self.held.get(place)) {
            // A clone shares its place with the file: whoever reads two at a time names the places.
            Some(mut file) => file.rewind().and_then(|()| file.try_clone()).map_err(io("opening", &path)),
            None => File::open(&path).map_err(io("opening", &path)),
        }
    }

    /// Captures the files below `root` without the lock: of a stopped server, of a running one, of a copy. What is whole at
    /// the end is made durable where it is before it counts.
    ///
    /// # Errors
    /// [`Error::Unusable`] or [`Error::NewerFormat`]; [`Error::Damaged`] if the end of the log is damaged or a file is
    /// missing; [`Error::NoBackup`] if there is nothing to back up; an input/output error.
    pub fn of_files(root: &Path) -> Result<Capture, Error> {
        let layout = Layout::new(root);
        let refuse = |reason: &str| Error::Unusable {
            place: root.display().to_string(),
            reason: format!("{reason}: name a directory that `gangline serve` has made, or a copy of it"),
        };
        if !root.is_dir() {
            return Err(refuse("it is not a directory"));
        }
        let store = format::named(&layout)?.ok_or_else(|| refuse("it has no format file"))?;
        let mut tries = TRIES;
        let mut damage = None;
        loop {
            tries -= 1;
            match of_files(&layout, store) {
                Ok(Some(capture)) => return Ok(capture),
                // Something was let go of meanwhile. If nobody does that, then it is missing.
                Ok(None) if tries > 0 => {}
                Err(Error::Io { source, .. }) if source.kind() == ErrorKind::NotFound && tries > 0 => {}
                // What was in flight when it was passed may have become whole since. Damage stays where it is.
                Err(Error::Damaged { file, offset, .. })
                    if tries > 0
                        && damage.replace((file.clone(), offset)) != Some((file.clone(), offset)) => {}
                Ok(None) => {
                    let what = "a segment, carry file or checkpoint that the log needs is missing".to_owned();
                    return Err(missing(&layout, what));
                }
                Err(error) => return Err(error),
            }
        }
    }
}

impl DirectoryArchive {
    /// Captures everything that is durable now. The files stay until the capture is dropped: meanwhile no trim lets go of its
    /// segments.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if there is nothing yet, or an input/output error.
    pub fn capture(&self) -> Result<Capture, Error> {
        let shared = &*self.shared;
        let mut tries = TRIES;
        loop {
            tries -= 1;
            let checkpoints = checkpoints(&shared.layout);
            let trimming = shared.trimming.lock().expect(NO_PANIC);
            let (segments, carry) = {
                let retained = shared.retained.read().expect(NO_PANIC);
                (retained.segments.clone(), retained.carry.clone())
            };
            let first = segments.first().map_or(1, |segment| segment.number);
            let pin = Pins::take(&shared.pins, first);
            let carry = carry.map(|carry| held(&shared.layout, PartKind::Carry, carry.floor.position.0));
            let carry = carry.transpose()?;
            drop(trimming);
            let held: Vec<(Part, File)> = match checkpoints {
                Ok(checkpoints) => carry.into_iter().chain(checkpoints).collect(),
                Err(_) if tries > 0 => continue,
                Err(error) => return Err(error),
            };
            let durable = self.durable();
            let written = segments.partition_point(|segment| segment.first.position <= durable);
            if written == 0 {
                return Err(nothing(&shared.layout));
            }
            if !reaches(&held, segments[0].first.position) {
                if tries > 0 {
                    continue;
                }
                let what = "no checkpoint reaches the beginning of the log".to_owned();
                return Err(missing(&shared.layout, what));
            }
            let (last, sealed) = segments[..written].split_last().expect("there is one");
            let mut parts: Vec<Part> = held.iter().map(|(part, _)| *part).collect();
            for segment in sealed {
                parts.push(sealed_part(&Reader::open(&shared.layout, segment.number, shared.store)?));
            }
            let reader = Reader::open(&shared.layout, last.number, shared.store)?;
            let (head, time, end) = end_at(&reader, durable)?;
            parts.push(Part { bytes: end, ..sealed_part(&reader) });
            let held = held.into_iter().map(|(_, file)| file).collect();
            let layout = shared.layout.clone();
            return Ok(Capture { layout, store: shared.store, head, time, parts, held, _pin: Some(pin) });
        }
    }
}

/// One look at the files; `None` if they do not belong together.
fn of_files(layout: &Layout, store: StoreId) -> Result<Option<Capture>, Error> {
    let checkpoints = checkpoints(layout)?;
    let carry = Carry::newest(layout, store)?;
    let (first, floor) =
        carry.as_ref().map_or((1, Position(1)), |carry| (carry.segment, carry.floor.position));
    let carry = carry.map(|carry| held(layout, PartKind::Carry, carry.floor.position.0)).transpose()?;
    let held: Vec<(Part, File)> = carry.into_iter().chain(checkpoints).collect();
    let numbers = layout::numbers(&layout.log(), "seg")?;
    let numbers: Vec<u64> = numbers.into_iter().filter(|number| *number >= first).collect();
    if numbers.is_empty() {
        return Err(nothing(layout));
    }
    if numbers[0] != first || !reaches(&held, floor) || numbers.windows(2).any(|two| two[1] != two[0] + 1) {
        return Ok(None);
    }
    let open = |number| Reader::open(layout, number, store);
    // The last one with frames, and those behind it that are prepared ahead.
    let mut end_of_log = VecDeque::new();
    for number in numbers.iter().rev() {
        let reader = open(*number)?;
        let holds = recovery::first_frame(&reader)?.is_some();
        end_of_log.push_front(reader);
        if holds {
            break;
        }
        if *number == first {
            return Err(nothing(layout));
        }
    }
    let end_of_log = Vec::from(end_of_log);
    let last = &end_of_log[0];
    let (head, time, end) = recovery::whole_end(&end_of_log)?;
    // A server that died may have left it in memory only, and one that runs may not have synced it yet.
    last.file.sync_data().map_err(io("syncing", &last.path))?;
    let mut parts: Vec<Part> = held.iter().map(|(part, _)| *part).collect();
    for number in first..last.header.number {
        parts.push(sealed_part(&open(number)?));
    }
    parts.push(Part { bytes: end, ..sealed_part(last) });
    // A running server may make a checkpoint of more than was captured. The older one is not.
    if held.iter().any(|(part, _)| part.kind == PartKind::Checkpoint && part.number > head.position.0) {
        return Ok(None);
    }
    let held = held.into_iter().map(|(_, file)| file).collect();
    Ok(Some(Capture { layout: layout.clone(), store, head, time, parts, held, _pin: None }))
}

/// The path of a file of the log.
pub(crate) fn path(layout: &Layout, kind: PartKind, number: u64) -> PathBuf {
    match kind {
        PartKind::Carry => layout.carry(Position(number)),
        PartKind::Checkpoint => layout.checkpoint(Position(number)),
        PartKind::Segment => layout.segment(number),
    }
}

/// A whole segment.
pub(crate) fn sealed_part(reader: &Reader) -> Part {
    let header = &reader.header;
    Part {
        kind: PartKind::Segment,
        number: header.number,
        file_bytes: header.bytes,
        bytes: header.bytes,
        mark: Mark(header.salt.bytes()),
    }
}

/// Opens a carry file or a checkpoint: whoever replaces it leaves the open file as it is.
pub(crate) fn held(layout: &Layout, kind: PartKind, number: u64) -> Result<(Part, File), Error> {
    let path = path(layout, kind, number);
    let file = File::open(&path).map_err(io("opening", &path))?;
    let bytes = file.metadata().map_err(io("reading", &path))?.len();
    // Both end in checksums of all that is in them.
    let mut mark = [0; 16];
    fill(&file, &mut mark, bytes.saturating_sub(16)).map_err(io("reading", &path))?;
    Ok((Part { kind, number, file_bytes: bytes, bytes, mark: Mark(mark) }, file))
}

fn checkpoints(layout: &Layout) -> Result<Vec<(Part, File)>, Error> {
    if !layout.checkpoints().is_dir() {
        return Ok(Vec::new());
    }
    let mut found = checkpoint::list(layout)?;
    found.reverse();
    found.into_iter().map(|at| held(layout, PartKind::Checkpoint, at.0)).collect()
}

/// Whether a log that begins at `floor` can be read with these checkpoints.
fn reaches(held: &[(Part, File)], floor: Position) -> bool {
    let covers = |part: &Part| part.kind == PartKind::Checkpoint && Position(part.number).next() >= floor;
    floor == Position(1) || held.iter().any(|(part, _)| covers(part))
}

/// The frame at `durable`, which is in this segment, its time, and where it ends.
fn end_at(reader: &Reader, durable: Position) -> Result<(Head, Timestamp, u64), Error> {
    let gone = |place| reader.damaged(place, "the newest durable frame is not what was written");
    let place = reader.find(Wanted::Position(durable), durable)?;
    let place = place.ok_or_else(|| gone(recovery::begin(durable)))?;
    let mut window = reader.window(HEADER_BYTES as usize);
    let header = reader.header_at(&mut window, place.offset)?.ok_or_else(|| gone(place))?;
    let span = header.span();
    let frame = reader.frame_at(&mut window, place.offset, header)?.ok_or_else(|| gone(place))?;
    Ok((recovery::after(&frame), frame.time, place.offset + span))
}

fn nothing(layout: &Layout) -> Error {
    let reason = "its log holds nothing yet: there is nothing to back up".to_owned();
    Error::NoBackup { place: layout.root().display().to_string(), reason }
}

fn missing(layout: &Layout, what: String) -> Error {
    let file = layout.log().display().to_string();
    let (position, sequence) = (Position(0), Sequence(0));
    Error::Damaged { file, offset: 0, position, sequence, what }
}
