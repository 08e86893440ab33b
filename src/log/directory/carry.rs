//! The carry file: events of live jobs out of segments that were let go, and where the log begins since.
//!
//! Header, events one after another, a table of them in the order of their pointers, footer. Each trim writes a new
//! file and then removes the old one; the file with the highest floor is the one that counts.

use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Floor;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::damaged;
use crate::log::directory::window::fill;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::PathBuf;

const MAGIC: [u8; 8] = *b"GLCARRY1";
/// Magic 8, store id 16, zeros 8.
pub(crate) const HEADER_BYTES: usize = 32;
/// Position 8, index 4, checksum of the event 4, offset 8, length 4, zeros 4.
const ROW_BYTES: usize = 32;
/// Floor: segment 8, position 8, sequence 8; table: offset 8, rows 8, checksum 4; checksum of the footer 4.
const FOOTER_BYTES: usize = 48;
/// Every so many rows one pointer is kept in memory.
const ROWS_A_BLOCK: usize = 128;

/// An open carry file.
#[derive(Debug)]
pub(crate) struct Carry {
    file: File,
    path: PathBuf,
    /// The oldest segment that was not let go.
    pub(crate) segment: u64,
    pub(crate) floor: Floor,
    table: u64,
    rows: usize,
    /// The first pointer of each block of rows.
    blocks: Vec<Pointer>,
}

impl Carry {
    /// Opens the carry file that counts, if any log was let go so far.
    pub(crate) fn newest(layout: &Layout, store: StoreId) -> Result<Option<Carry>, Error> {
        let floors = layout::numbers(&layout.log(), "carry")?;
        floors.last().map(|floor| Carry::open(layout, Position(*floor), store)).transpose()
    }

    /// Opens a carry file and verifies its table. The events are verified as they are read.
    pub(crate) fn open(layout: &Layout, floor: Position, store: StoreId) -> Result<Carry, Error> {
        let path = layout.carry(floor);
        let file = File::open(&path).map_err(io("opening", &path))?;
        let length = file.metadata().map_err(io("reading", &path))?.len();
        let bad = || {
            let place = Place { position: Position(0), sequence: Sequence(0), offset: 0 };
            damaged(&path, place, "the carry file's header or table is not what was written")
        };
        let footer_at = length.checked_sub(FOOTER_BYTES as u64).ok_or_else(bad)?;
        let mut header = [0; HEADER_BYTES];
        let mut footer = [0; FOOTER_BYTES];
        fill(&file, &mut header, 0).map_err(io("reading", &path))?;
        fill(&file, &mut footer, footer_at).map_err(io("reading", &path))?;
        let segment = long(&footer, 0);
        let found = Floor { position: Position(long(&footer, 8)), sequence: Sequence(long(&footer, 16)) };
        let table = long(&footer, 24);
        let rows = usize::try_from(long(&footer, 32)).map_err(|_| bad())?;
        let good = crc32c::crc32c(&footer[..44]) == short(&footer, 44)
            && header == head(store)
            && found.position == floor
            && table.checked_add((rows * ROW_BYTES) as u64) == Some(footer_at);
        if !good {
            return Err(bad());
        }
        let mut carry =
            Carry { file, path: path.clone(), segment, floor: found, table, rows, blocks: Vec::new() };
        let mut crc = 0;
        for block in 0..rows.div_ceil(ROWS_A_BLOCK) {
            let bytes = carry.block(block)?;
            crc = crc32c::crc32c_append(crc, &bytes);
            carry.blocks.push(pointer(&bytes));
        }
        if crc == short(&footer, 40) { Ok(carry) } else { Err(bad()) }
    }

    /// The stored bytes of the event at `at`, or `None` if it was not carried.
    pub(crate) fn get(&self, at: Pointer) -> Result<Option<Vec<u8>>, Error> {
        let Some(block) = self.blocks.partition_point(|first| *first <= at).checked_sub(1) else {
            return Ok(None);
        };
        let rows = self.block(block)?;
        let Some(row) = rows.chunks_exact(ROW_BYTES).find(|row| pointer(row) == at) else {
            return Ok(None);
        };
        let mut event = vec![0; short(row, 24) as usize];
        let offset = long(row, 16);
        let read = fill(&self.file, &mut event, offset).map_err(io("reading", &self.path))?;
        if read == event.len() && crc32c::crc32c(&event) == short(row, 12) {
            Ok(Some(event))
        } else {
            Err(self.damaged(at, offset))
        }
    }

    /// The places of all events in it, ascending.
    pub(crate) fn pointers(&self) -> impl Iterator<Item = Result<Pointer, Error>> {
        (0..self.rows.div_ceil(ROWS_A_BLOCK)).flat_map(|block| {
            let (rows, failed) = match self.block(block) {
                Ok(rows) => (rows, None),
                Err(error) => (Vec::new(), Some(Err(error))),
            };
            let found: Vec<Pointer> = rows.chunks_exact(ROW_BYTES).map(pointer).collect();
            found.into_iter().map(Ok).chain(failed)
        })
    }

    pub(crate) fn damaged(&self, at: Pointer, offset: u64) -> Error {
        let place = Place { position: at.position, sequence: Sequence(0), offset };
        damaged(&self.path, place, "a carried event is not what was written")
    }

    fn block(&self, block: usize) -> Result<Vec<u8>, Error> {
        let first = block * ROWS_A_BLOCK;
        let mut bytes = vec![0; (self.rows - first).min(ROWS_A_BLOCK) * ROW_BYTES];
        fill(&self.file, &mut bytes, self.table + (first * ROW_BYTES) as u64)
            .map_err(io("reading", &self.path))?;
        Ok(bytes)
    }
}

/// Writes a carry file with the events that `event` gives for `live` (ascending), durable when this returns.
pub(crate) fn write(
    layout: &Layout,
    store: StoreId,
    segment: u64,
    floor: Floor,
    live: &[Pointer],
    event: &mut dyn FnMut(Pointer) -> Result<Vec<u8>, Error>,
) -> Result<Carry, Error> {
    let path = layout.carry(floor.position);
    let unfinished = Unfinished::create(&path)?;
    let mut out = BufWriter::with_capacity(256 * 1024, &unfinished.file);
    let mut offset = HEADER_BYTES as u64;
    let mut table = Vec::with_capacity(live.len() * ROW_BYTES);
    out.write_all(&head(store)).map_err(io("writing", &path))?;
    for at in live {
        let bytes = event(*at)?;
        out.write_all(&bytes).map_err(io("writing", &path))?;
        table.extend_from_slice(&at.position.0.to_le_bytes());
        table.extend_from_slice(&at.index.to_le_bytes());
        table.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        table.extend_from_slice(&offset.to_le_bytes());
        table.extend_from_slice(&u32::try_from(bytes.len()).expect("an event fits a frame").to_le_bytes());
        table.extend_from_slice(&[0; 4]);
        offset += bytes.len() as u64;
    }
    let mut footer = Vec::with_capacity(FOOTER_BYTES);
    for number in [segment, floor.position.0, floor.sequence.0, offset, live.len() as u64] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    footer.extend_from_slice(&crc32c::crc32c(&table).to_le_bytes());
    footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
    out.write_all(&table).and_then(|()| out.write_all(&footer)).map_err(io("writing", &path))?;
    out.flush().map_err(io("writing", &path))?;
    drop(out);
    unfinished.publish()?;
    Carry::open(layout, floor.position, store)
}

/// Removes every carry file but the one that counts.
pub(crate) fn remove_old(layout: &Layout, kept: Position) -> Result<(), Error> {
    for floor in layout::numbers(&layout.log(), "carry")? {
        if floor != kept.0 {
            layout::remove(&layout.carry(Position(floor)))?;
        }
    }
    Ok(())
}

pub(crate) fn head(store: StoreId) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..24].copy_from_slice(&store.0);
    header
}

fn pointer(row: &[u8]) -> Pointer {
    Pointer { position: Position(long(row, 0)), index: short(row, 8) }
}

fn short(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
