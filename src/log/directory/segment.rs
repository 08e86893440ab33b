//! The bytes of a segment: its header, and the header of each frame in it. Not files, not policy.
//!
//! A segment is 4,096 bytes of header and then frames, each beginning on a 16-byte boundary, then zeros. Both
//! checksums of a frame are seeded with the segment's random salt, and its first 8 bytes are half of that salt:
//! no payload, not even a copy of another segment, can pose as a frame.

use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::frame::Frame;

/// Bytes before the first frame.
pub(crate) const HEADER_BYTES: u64 = 4_096;
/// Bytes of a frame before its body: marker 8, header checksum 4, body checksum 4, synced up to 8, portable header 56.
pub(crate) const FRAME_HEADER_BYTES: usize = 24 + Frame::HEADER_BYTES;
/// Frames begin at multiples of this.
pub(crate) const ALIGNMENT: usize = 16;

const MAGIC: [u8; 8] = *b"GLSEGMNT";
const CRC_AT: usize = HEADER_BYTES as usize - 4;

/// A segment's random salt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt {
    bytes: [u8; 16],
    seed: u32,
}

impl Salt {
    pub(crate) fn new(bytes: [u8; 16]) -> Salt {
        Salt { bytes, seed: crc32c::crc32c(&bytes) }
    }

    pub(crate) fn bytes(&self) -> [u8; 16] {
        self.bytes
    }

    /// What every frame of the segment begins with.
    pub(crate) fn marker(&self) -> &[u8] {
        &self.bytes[..8]
    }

    pub(crate) fn checksum(&self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.seed, bytes)
    }
}

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) format: u32,
    pub(crate) number: u64,
    pub(crate) store: StoreId,
    pub(crate) salt: Salt,
    /// Size of the whole file.
    pub(crate) bytes: u64,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![0; HEADER_BYTES as usize];
        out[0..8].copy_from_slice(&MAGIC);
        out[8..12].copy_from_slice(&self.format.to_le_bytes());
        out[16..24].copy_from_slice(&self.number.to_le_bytes());
        out[24..40].copy_from_slice(&self.store.0);
        out[40..56].copy_from_slice(&self.salt.bytes);
        out[56..64].copy_from_slice(&self.bytes.to_le_bytes());
        let crc = crc32c::crc32c(&out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// The header in `bytes`, or `None` if it is not what was written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let good = bytes.len() >= HEADER_BYTES as usize
            && bytes[0..8] == MAGIC
            && crc32c::crc32c(&bytes[..CRC_AT]) == short(bytes, CRC_AT);
        good.then(|| SegmentHeader::decode_unchecked(bytes))
    }

    /// What stands where a header's fields would be in `bytes`, of which there must be [`HEADER_BYTES`].
    pub(crate) fn decode_unchecked(bytes: &[u8]) -> SegmentHeader {
        SegmentHeader {
            format: short(bytes, 8),
            number: long(bytes, 16),
            store: StoreId(bytes[24..40].try_into().expect("sixteen bytes")),
            salt: Salt::new(bytes[40..56].try_into().expect("sixteen bytes")),
            bytes: long(bytes, 56),
        }
    }
}

/// The header of a frame as the directory stores it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct StoredHeader {
    /// The frame, without its body.
    pub(crate) frame: Frame,
    /// Length of the body.
    pub(crate) body_bytes: u32,
    /// Checksum of the body.
    pub(crate) body_crc: u32,
    /// A sync that covered this position had returned when the frame was written.
    pub(crate) synced_up_to: Position,
}

impl StoredHeader {
    /// The header at the beginning of `bytes`, or `None` if none of this segment is there.
    pub(crate) fn decode(salt: &Salt, bytes: &[u8]) -> Option<StoredHeader> {
        let bytes = bytes.get(..FRAME_HEADER_BYTES)?;
        if bytes[..8] != *salt.marker() || salt.checksum(&bytes[12..]) != short(bytes, 8) {
            return None;
        }
        let portable = bytes[24..].try_into().expect("the portable header is the rest");
        let (frame, body_bytes) = Frame::parse(portable);
        let synced_up_to = Position(long(bytes, 16));
        Some(StoredHeader { frame, body_bytes, body_crc: short(bytes, 12), synced_up_to })
    }

    /// Bytes from this frame's beginning to the next one's.
    pub(crate) fn span(&self) -> u64 {
        span(self.body_bytes as usize)
    }
}

/// Bytes that a frame with a body of `body_bytes` takes in a segment.
pub(crate) fn span(body_bytes: usize) -> u64 {
    (FRAME_HEADER_BYTES + body_bytes).next_multiple_of(ALIGNMENT) as u64
}

/// Puts the stored form of `frame` into `out`, replacing what was there.
pub(crate) fn encode_frame(salt: &Salt, frame: &Frame, synced_up_to: Position, out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(salt.marker());
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(&salt.checksum(&frame.body).to_le_bytes());
    out.extend_from_slice(&synced_up_to.0.to_le_bytes());
    out.extend_from_slice(&frame.header());
    let crc = salt.checksum(&out[12..]);
    out[8..12].copy_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(&frame.body);
    out.resize(out.len().next_multiple_of(ALIGNMENT), 0);
}

fn short(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
