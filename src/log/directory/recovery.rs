//! Finding the end of the log, telling a torn tail from damage, and making sure that what is there is on the disk.
//!
//! A segment is synced before the next one gets its first frame. So the last segment with a good first frame is the
//! only one that can end in frames no sync covered, and the only one that is read whole.

use crate::clock::Timestamp;
use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::Head;
use crate::log::directory::archive::Retention;
use crate::log::directory::carry::Carry;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::io;
use crate::log::directory::prepare;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::Reader;
use crate::log::directory::scan;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::directory::trim;
use crate::log::directory::window::fill;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
#[cfg(any(test, feature = "seeded-bugs"))]
use crate::seeded::Bug;
use std::collections::VecDeque;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What opening a directory found and did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Bytes at the end that no sync covered and that were not whole: they were never acknowledged.
    pub cut: Option<Cut>,
    /// Whole frames at the end that nothing vouched for; they were kept and written again.
    pub frames_rewritten: u64,
}

/// A torn end that was cut off.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The segment file.
    pub file: PathBuf,
    /// Offset of the first byte that was cut.
    pub offset: u64,
    /// From there to the last byte that was not zero.
    pub bytes: u64,
}

/// The log as it stands after recovery.
#[derive(Debug)]
pub(crate) struct Found {
    pub(crate) head: Head,
    /// The segment that takes the next frame, and where in it.
    pub(crate) current: Reader,
    pub(crate) end: u64,
    /// Segments that hold frames, oldest first.
    pub(crate) segments: Vec<Retention>,
    /// Empty segments that are ready.
    pub(crate) spares: VecDeque<Reader>,
    pub(crate) recovered: Recovered,
}

/// Finds the end of the log and makes it durable. `None`: there is no segment yet.
///
/// It only ever writes what is already there, or zeros where nothing was promised, so it may be killed anywhere.
///
/// # Errors
/// [`Error::Damaged`] if something that a sync covered is not what was written.
pub(crate) fn recover(
    layout: &Layout,
    store: StoreId,
    carry: Option<&Carry>,
    segment_bytes: u64,
) -> Result<Option<Found>, Error> {
    let lowest = carry.map_or(1, |carry| carry.segment);
    if let Some(carry) = carry {
        trim::remove_below(layout, lowest, carry.floor.position)?;
    }
    let numbers = layout::numbers(&layout.log(), "seg")?;
    if numbers.is_empty() && carry.is_none() {
        return Ok(None);
    }
    let mut readers = Vec::new();
    let mut segments = Vec::new();
    for (expected, number) in (lowest..).zip(numbers.iter().copied().chain(std::iter::once(u64::MAX))) {
        if number == u64::MAX && expected > lowest {
            break;
        }
        if number != expected {
            let first = carry.map_or(Position(1), |carry| carry.floor.position);
            return Err(missing(layout, expected, segments.last(), first));
        }
        let reader = Reader::open_writable(layout, number, store)?;
        let first = first_frame(&reader)?;
        if let Some(first) = first {
            segments.push((readers.len(), Retention { number, first }));
        }
        readers.push(reader);
    }
    check_order(&readers, &segments, carry)?;
    let last = segments.last().map_or(0, |(index, _)| *index);
    let walk = walk(&readers[last])?;
    let seen = judge(&readers[last..], &walk)?;
    let mut later = readers.split_off(last + 1);
    let current = readers.pop().expect("the last segment with frames was not split off");
    // A spare of another size than is made now might not take the largest frame.
    let empty = seen[1..].iter().take_while(|bytes| **bytes == 0).count();
    let fitting = later.iter().take_while(|spare| spare.header.bytes == segment_bytes).count();
    let gone = later.split_off(empty.min(fitting));
    secure(layout, &current, &walk, &gone)?;
    let cut = Cut { file: current.path.clone(), offset: walk.end, bytes: seen[0] };
    let recovered = Recovered { cut: (cut.bytes > 0).then_some(cut), frames_rewritten: walk.unvouched };
    let segments = segments.into_iter().map(|(_, segment)| segment).collect();
    let Walk { head, end, .. } = walk;
    Ok(Some(Found { head, current, end, segments, spares: later.into(), recovered }))
}

/// The head, log time and end of the whole frames at the end of a log whose last segment with frames is the first of
/// `readers`.
///
/// # Errors
/// [`Error::Damaged`] if a later frame says that what follows them was synced. Under a server that writes, look again.
pub(crate) fn whole_end(readers: &[Reader]) -> Result<(Head, Timestamp, u64), Error> {
    let walk = walk(&readers[0])?;
    judge(readers, &walk)?;
    Ok((walk.head, walk.time, walk.end))
}

/// The place of a frame that is not found where it should be.
pub(crate) fn begin(position: Position) -> Place {
    Place { position, sequence: Sequence(0), offset: HEADER_BYTES }
}

/// The first frame of a segment, if it is whole.
pub(crate) fn first_frame(reader: &Reader) -> Result<Option<Floor>, Error> {
    let mut window = reader.window(0);
    let Some(header) = reader.header_at(&mut window, HEADER_BYTES)? else { return Ok(None) };
    let frame = reader.frame_at(&mut window, HEADER_BYTES, header)?;
    Ok(frame.map(|frame| Floor { position: frame.position, sequence: frame.first_sequence }))
}

/// Every segment up to the last one with frames has a good first frame, and these are in order.
fn check_order(
    readers: &[Reader],
    segments: &[(usize, Retention)],
    carry: Option<&Carry>,
) -> Result<(), Error> {
    let first = carry.map_or(Floor { position: Position(1), sequence: Sequence(1) }, |carry| carry.floor);
    let mut least = first;
    for (expected, (index, Retention { first: found, .. })) in segments.iter().enumerate() {
        let place = Place { position: least.position, sequence: least.sequence, offset: HEADER_BYTES };
        if *index != expected {
            let what = "the first frame of the segment is not what was written, and later segments go on";
            return Err(readers[expected].damaged(place, what));
        }
        let begins = expected > 0 || *found == first;
        if !begins || found.position < least.position || found.sequence < least.sequence {
            return Err(readers[*index].damaged(place, "the segment begins with another frame"));
        }
        least = Floor { position: found.position.next(), sequence: found.sequence };
    }
    if segments.is_empty() && carry.is_some() {
        let place = Place { position: first.position, sequence: first.sequence, offset: HEADER_BYTES };
        let what = "the first frame of the oldest segment is not what was written";
        return Err(readers[0].damaged(place, what));
    }
    Ok(())
}

/// Whole, chained frames from the beginning of a segment.
struct Walk {
    head: Head,
    /// Log time of the last of them.
    time: Timestamp,
    /// Where the frames end.
    end: u64,
    /// Where the frames end of which a later one says that they were synced.
    vouched_end: u64,
    /// How many frames are between the two ends.
    unvouched: u64,
}

fn walk(reader: &Reader) -> Result<Walk, Error> {
    let mut window = reader.window(prepare::ZEROS.len());
    let head = Head { position: Position(0), hash: Hash::ZERO, epoch: Epoch(0), sequence: Sequence(0) };
    let mut walk =
        Walk { head, time: Timestamp(0), end: HEADER_BYTES, vouched_end: HEADER_BYTES, unvouched: 0 };
    let mut unvouched: VecDeque<(Position, u64)> = VecDeque::new();
    #[cfg(any(test, feature = "seeded-bugs"))]
    let mut before_last = None;
    while let Some(header) = reader.header_at(&mut window, walk.end)? {
        let (synced_up_to, span) = (header.synced_up_to, header.span());
        let Some(frame) = reader.frame_at(&mut window, walk.end, header)? else { break };
        // What the first frame of a later segment continues was checked when that segment was written.
        if walk.end > HEADER_BYTES && !continues(&walk.head, &frame) {
            break;
        }
        let (position, sequence) = (frame.position, frame.first_sequence);
        #[cfg(any(test, feature = "seeded-bugs"))]
        {
            before_last = (walk.end > HEADER_BYTES).then_some((walk.head, walk.end));
        }
        reader.note(Place { position, sequence, offset: walk.end });
        walk.end += span;
        walk.head = after(&frame);
        walk.time = frame.time;
        unvouched.push_back((position, walk.end));
        while let Some((position, end)) = unvouched.front().copied()
            && position <= synced_up_to
        {
            walk.vouched_end = end;
            unvouched.pop_front();
        }
    }
    #[cfg(any(test, feature = "seeded-bugs"))]
    if let Some(before) = before_last.filter(|_| Bug::ReuseSequence.is_in())
        && unvouched.pop_back().is_some()
    {
        (walk.head, walk.end) = before;
    }
    walk.unvouched = unvouched.len() as u64;
    Ok(walk)
}

/// Whether `frame` may follow a log that ends at `head`.
pub(crate) fn continues(head: &Head, frame: &Frame) -> bool {
    frame.position == head.position.next()
        && frame.previous == head.hash
        && frame.epoch >= head.epoch
        && frame.first_sequence == head.sequence.plus(1)
}

/// The head of a log whose newest frame is `frame`.
pub(crate) fn after(frame: &Frame) -> Head {
    Head {
        position: frame.position,
        hash: frame.hash(),
        epoch: frame.epoch,
        sequence: Sequence(frame.next_sequence().0.saturating_sub(1)),
    }
}

/// Looks behind the end for a frame which says that what is missing there had been synced. Says how many bytes of each
/// segment are in use behind the end.
fn judge(readers: &[Reader], walk: &Walk) -> Result<Vec<u64>, Error> {
    let missing = walk.head.position.next();
    let mut damage: Option<(&Reader, u64)> = None;
    let mut used = Vec::new();
    for (index, reader) in readers.iter().enumerate() {
        let from = if index == 0 { walk.end } else { HEADER_BYTES };
        let vouches = |position, synced_up_to| position > missing && synced_up_to >= missing;
        let seen = scan::scan(reader, from, &vouches)?;
        if seen.bytes > 0 {
            damage = damage.or(Some((reader, from)));
        }
        used.push(seen.bytes);
        if let Some(voucher) = seen.voucher {
            let (reader, offset) = damage.unwrap_or((reader, from));
            let place = Place { position: missing, sequence: walk.head.sequence.plus(1), offset };
            let what = format!("it is not what was written, and frame {voucher} says that it was durable");
            return Err(reader.damaged(place, &what));
        }
    }
    Ok(used)
}

/// Writes what is not vouched for again, zeros the rest, drops the segments that are not wanted, and syncs it all.
///
/// Neither the page cache nor the directory is trusted: what an earlier process wrote may be read today and be gone
/// tomorrow, if the sync that should have covered it failed.
fn secure(layout: &Layout, current: &Reader, walk: &Walk, gone: &[Reader]) -> Result<(), Error> {
    let path = &current.path;
    let length = usize::try_from(walk.end - walk.vouched_end).expect("a segment fits in memory");
    let mut tail = vec![0; length];
    fill(&current.file, &mut tail, walk.vouched_end).map_err(io("reading", path))?;
    #[cfg(any(test, feature = "seeded-bugs"))]
    if Bug::TrustPageCache.is_in() {
        tail.clear();
    }
    current.file.write_all_at(&tail, walk.vouched_end).map_err(io("writing", path))?;
    let mut at = walk.end;
    while at < current.header.bytes {
        let left = usize::try_from(current.header.bytes - at).unwrap_or(usize::MAX);
        let zeros = &prepare::ZEROS[..left.min(prepare::ZEROS.len())];
        current.file.write_all_at(zeros, at).map_err(io("writing", path))?;
        at += zeros.len() as u64;
    }
    current.file.sync_all().map_err(io("syncing", path))?;
    for segment in gone.iter().rev() {
        layout::remove(&segment.path)?;
    }
    layout::sync_directory(&layout.log())?;
    layout::sync_directory(layout.root())
}

fn missing(layout: &Layout, number: u64, last: Option<&(usize, Retention)>, first: Position) -> Error {
    let position = last.map_or(first, |(_, segment)| segment.first.position.next());
    Error::Damaged {
        file: layout.segment(number).display().to_string(),
        offset: 0,
        position,
        sequence: last.map_or(Sequence(0), |(_, segment)| segment.first.sequence),
        what: "the segment is missing".to_owned(),
    }
}
