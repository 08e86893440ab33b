//! Format 1, the first: how its segments and frames lie on the disk, written down independently of the code that writes
//! them. `tests/formats.rs` reads a directory of the current release with it, so it cannot be wrong unnoticed.
//!
//! ```text
//! format            "gangline data directory\nformat 1\nstore <UUID>\n"
//! log/N.seg         4,096 bytes of header, frames on 16-byte boundaries, zeros
//! log/F.carry       "GLCARRY1": events of live jobs out of removed segments, and where the log begins since
//! checkpoints/P.ckpt "GLCKPT01": the state as of frame P, its length, xxh3-128
//! ```
//!
//! What events and states hold is not written down a second time as long as format 1 is the current one: it is `src/job`. A
//! change there takes a copy of it here first.
//!
//! All numbers are little-endian. Bodies are a codec version byte (1) and bincode 2 values, variable-length integers.

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 4_096;
/// Bytes of a frame's header in a segment.
pub(crate) const FRAME_HEADER_BYTES: usize = 80;

/// A segment's header: magic "GLSEGMNT" 8, format 4, zeros 4, number 8, store id 16, salt 16, file size 8, zeros, and in
/// the last four bytes the CRC32C of all before.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Segment {
    /// The format.
    pub(crate) format: u32,
    /// Its number, from 1.
    pub(crate) number: u64,
    /// The store.
    pub(crate) store: [u8; 16],
    /// What its frames are marked and seeded with.
    pub(crate) salt: [u8; 16],
    /// Size of the file.
    pub(crate) bytes: u64,
}

/// A frame: the first half of the salt 8, CRC32C of what follows it in the header 4, CRC32C of the body 4, synced up to 8;
/// then the portable header: position 8, epoch 8, first sequence 8, updates 4, body length 4, log time in milliseconds 8,
/// xxh3-128 of the frame before (big-endian) 16. Both checksums are seeded with the CRC32C of the salt.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its position, from 1.
    pub(crate) position: u64,
    /// The writer's epoch.
    pub(crate) epoch: u64,
    /// Sequence of its first update.
    pub(crate) first_sequence: u64,
    /// How many updates it holds.
    pub(crate) updates: u32,
    /// Log time.
    pub(crate) time_ms: u64,
    /// What the frame before hashes to.
    pub(crate) previous: [u8; 16],
    /// A sync that covered this position had returned when it was written.
    pub(crate) synced_up_to: u64,
    /// Version byte and events.
    pub(crate) body: Vec<u8>,
    /// xxh3-128 of its portable header and body.
    pub(crate) hash: [u8; 16],
}

/// The header of a segment; `None` if it is not one.
pub(crate) fn segment(file: &[u8]) -> Option<Segment> {
    let header = file.get(..SEGMENT_HEADER_BYTES)?;
    let (content, checksum) = header.split_at(SEGMENT_HEADER_BYTES - 4);
    if !content.starts_with(b"GLSEGMNT") || crc32c::crc32c(content) != number(checksum) as u32 {
        return None;
    }
    Some(Segment {
        format: number(&content[8..12]) as u32,
        number: number(&content[16..24]),
        store: content[24..40].try_into().ok()?,
        salt: content[40..56].try_into().ok()?,
        bytes: number(&content[56..64]),
    })
}

/// The frame at `offset`, and where the next one begins; `None` if there is none.
pub(crate) fn frame(segment: &Segment, file: &[u8], offset: usize) -> Option<(Frame, usize)> {
    let seed = crc32c::crc32c(&segment.salt);
    let header = file.get(offset..offset + FRAME_HEADER_BYTES)?;
    if header[..8] != segment.salt[..8]
        || number(&header[8..12]) as u32 != crc32c::crc32c_append(seed, &header[12..])
    {
        return None;
    }
    let portable = &header[24..];
    let body_bytes = usize::try_from(number(&portable[28..32])).ok()?;
    let body = file.get(offset + FRAME_HEADER_BYTES..offset + FRAME_HEADER_BYTES + body_bytes)?;
    if number(&header[12..16]) as u32 != crc32c::crc32c_append(seed, body) {
        return None;
    }
    let hash = xxhash_rust::xxh3::xxh3_128(&[portable, body].concat()).to_be_bytes();
    let frame = Frame {
        position: number(&portable[0..8]),
        epoch: number(&portable[8..16]),
        first_sequence: number(&portable[16..24]),
        updates: number(&portable[24..28]) as u32,
        time_ms: number(&portable[32..40]),
        previous: portable[40..56].try_into().ok()?,
        synced_up_to: number(&header[16..24]),
        body: body.to_vec(),
        hash,
    };
    Some((frame, (offset + FRAME_HEADER_BYTES + body_bytes).next_multiple_of(16)))
}

/// A carry file: magic "GLCARRY1" 8, store id 16, zeros 8; the events one after another; a row of 32 for each: position 8,
/// index 4, CRC32C of the event 4, offset 8, length 4, zeros 4; and a footer of 48: oldest segment 8, position 8 and sequence 8
/// where the log begins, offset of the rows 8, how many 8, CRC32C of the rows 4, CRC32C of the footer before it 4.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Carry {
    /// The store.
    pub(crate) store: [u8; 16],
    /// The oldest segment that was not let go.
    pub(crate) segment: u64,
    /// The first frame of the log.
    pub(crate) position: u64,
    /// Its first sequence.
    pub(crate) sequence: u64,
    /// Position, index in its frame, version byte and event.
    pub(crate) events: Vec<(u64, u32, Vec<u8>)>,
}

/// What a carry file holds; `None` if it is not one.
pub(crate) fn carry(file: &[u8]) -> Option<Carry> {
    let (rest, footer) = file.split_at_checked(file.len().checked_sub(48)?)?;
    let rows = rest.get(usize::try_from(number(&footer[24..32])).ok()?..)?;
    let good = rest.starts_with(b"GLCARRY1")
        && number(&footer[44..48]) as u32 == crc32c::crc32c(&footer[..44])
        && number(&footer[40..44]) as u32 == crc32c::crc32c(rows)
        && number(&footer[32..40]) == rows.len() as u64 / 32;
    let mut events = Vec::new();
    for row in rows.chunks_exact(32) {
        let (begin, length) = (number(&row[16..24]) as usize, number(&row[24..28]) as usize);
        let event = rest.get(begin..begin.checked_add(length)?)?;
        if number(&row[12..16]) as u32 != crc32c::crc32c(event) {
            return None;
        }
        events.push((number(&row[0..8]), number(&row[8..12]) as u32, event.to_vec()));
    }
    good.then(|| Carry {
        store: rest[8..24].try_into().expect("sixteen bytes"),
        segment: number(&footer[0..8]),
        position: number(&footer[8..16]),
        sequence: number(&footer[16..24]),
        events,
    })
}

/// A checkpoint: magic "GLCKPT01" 8, position 8, store id 16; the content; its length 8; xxh3-128 of all before
/// (big-endian) 16. The content begins with the version byte and the hash of the frame at its position.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checkpoint {
    /// The frame as of which it is the state.
    pub(crate) position: u64,
    /// The store.
    pub(crate) store: [u8; 16],
    /// What the frame at its position hashes to.
    pub(crate) hash: [u8; 16],
    /// The state: everything behind the hash.
    pub(crate) state: Vec<u8>,
}

/// What a checkpoint holds; `None` if it is not one.
pub(crate) fn checkpoint(file: &[u8]) -> Option<Checkpoint> {
    let (rest, digest) = file.split_at_checked(file.len().checked_sub(16)?)?;
    let (rest, length) = rest.split_at_checked(rest.len().checked_sub(8)?)?;
    let content = rest.get(32..)?;
    let hashed = xxhash_rust::xxh3::xxh3_128(&file[..file.len() - 16]).to_be_bytes();
    let good = rest.starts_with(b"GLCKPT01") && number(length) == content.len() as u64 && digest == hashed;
    if !good || content.first() != Some(&1) {
        return None;
    }
    Some(Checkpoint {
        position: number(&rest[8..16]),
        store: rest[16..32].try_into().ok()?,
        hash: content.get(1..17)?.try_into().ok()?,
        state: content[17..].to_vec(),
    })
}

fn number(bytes: &[u8]) -> u64 {
    bytes.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
}
