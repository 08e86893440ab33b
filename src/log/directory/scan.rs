//! Looking through the part of a segment that follows the last whole frame: is there anything, and does any good
//! frame header in it vouch for what is missing?

use crate::job::id::Position;
use crate::log::Error;
use crate::log::directory::layout::io;
use crate::log::directory::prepare::ZEROS;
use crate::log::directory::reader::Reader;
use crate::log::directory::segment::ALIGNMENT;
use crate::log::directory::segment::FRAME_HEADER_BYTES;
use crate::log::directory::segment::StoredHeader;
use crate::log::directory::window::fill;

/// What a scan saw.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// From the beginning of the scan to the last byte that is not zero.
    pub(crate) bytes: u64,
    /// Position of the first good header that vouches.
    pub(crate) voucher: Option<Position>,
}

/// Scans `reader` from `from` to its end. `vouches` gets a good header's position and its *synced up to*.
pub(crate) fn scan(
    reader: &Reader,
    from: u64,
    vouches: &dyn Fn(Position, Position) -> bool,
) -> Result<Seen, Error> {
    let mut seen = Seen::default();
    // Each piece overlaps the next by a header, so that none is missed at a boundary.
    let mut piece = vec![0; ZEROS.len() + FRAME_HEADER_BYTES];
    let mut at = from;
    while at < reader.header.bytes {
        let read = fill(&reader.file, &mut piece, at).map_err(io("reading", &reader.path))?;
        if read == 0 {
            break;
        }
        let (piece, own) = (&piece[..read], read.min(ZEROS.len()));
        // The comparison with zeros is a memcmp: most of what is scanned is empty.
        if piece[..own] != ZEROS[..own] {
            let last = piece[..own].iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            seen.bytes = at - from + last as u64;
        }
        if seen.voucher.is_none() && piece[..own] != ZEROS[..own] {
            seen.voucher = voucher(reader, piece, own, vouches);
        }
        at += own as u64;
    }
    Ok(seen)
}

fn voucher(
    reader: &Reader,
    piece: &[u8],
    own: usize,
    vouches: &dyn Fn(Position, Position) -> bool,
) -> Option<Position> {
    let marker = reader.salt().marker();
    (0..own).step_by(ALIGNMENT).filter(|at| piece[*at..].starts_with(marker)).find_map(|at| {
        let header = StoredHeader::decode(reader.salt(), &piece[at..])?;
        vouches(header.frame.position, header.synced_up_to).then_some(header.frame.position)
    })
}
