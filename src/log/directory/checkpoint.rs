//! Checkpoint files: a header, whatever the writer puts there, then its length and an xxh3-128 checksum.

use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::ReadCheckpoint;
use crate::log::WriteCheckpoint;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::reader::Place;
use crate::log::directory::reader::damaged;
use std::fs::File;
use std::io::BufReader;
use std::io::BufWriter;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use xxhash_rust::xxh3::Xxh3;

/// How many checkpoints are kept: an older one covers a damaged newer one.
const KEPT: usize = 2;
/// Magic 8, position 8, store id 16.
const HEADER_BYTES: usize = 32;
/// Content length 8, checksum of header, content and length 16.
const TRAILER_BYTES: usize = 24;
const MAGIC: [u8; 8] = *b"GLCKPT01";
const BUFFER_BYTES: usize = 256 * 1024;

/// Stores a checkpoint, durable when this returns, and removes all but the newest two.
pub(crate) fn put(
    layout: &Layout,
    store: StoreId,
    at: Position,
    write: WriteCheckpoint<'_>,
) -> Result<(), Error> {
    let path = layout.checkpoint(at);
    let unfinished = Unfinished::create(&path)?;
    let buffered = BufWriter::with_capacity(BUFFER_BYTES, &unfinished.file);
    let mut sink = Sink { inner: buffered, hasher: Xxh3::new(), bytes: 0 };
    let written = (|| {
        sink.write_all(&header(store, at))?;
        write(&mut sink)?;
        let content_bytes = sink.bytes - HEADER_BYTES as u64;
        sink.write_all(&content_bytes.to_le_bytes())?;
        let digest = sink.hasher.digest128().to_be_bytes();
        sink.inner.write_all(&digest)?;
        sink.inner.flush()
    })();
    drop(sink);
    written.map_err(io("writing", &path))?;
    unfinished.publish()?;
    prune(layout)
}

/// Positions of the checkpoints, newest first.
pub(crate) fn list(layout: &Layout) -> Result<Vec<Position>, Error> {
    Ok(layout::numbers(&layout.checkpoints(), "ckpt")?.into_iter().rev().map(Position).collect())
}

/// A reader over the content of the checkpoint at `at`, after all of it has been verified.
pub(crate) fn open(layout: &Layout, store: StoreId, at: Position) -> Result<ReadCheckpoint, Error> {
    let path = layout.checkpoint(at);
    let bad = |what: &str| {
        damaged(
            &path,
            Place { position: at, sequence: Sequence(0), offset: 0 },
            &format!("the checkpoint {what}"),
        )
    };
    let mut file = File::open(&path).map_err(io("opening", &path))?;
    let length = file.metadata().map_err(io("reading", &path))?.len();
    let Some(content_bytes) = length.checked_sub((HEADER_BYTES + TRAILER_BYTES) as u64) else {
        return Err(bad("is cut short"));
    };
    let mut hasher = Xxh3::new();
    let mut reader = BufReader::with_capacity(BUFFER_BYTES, &mut file);
    let mut found = [0; HEADER_BYTES];
    reader.read_exact(&mut found).map_err(io("reading", &path))?;
    hasher.update(&found);
    let mut content = reader.by_ref().take(content_bytes);
    let mut buffer = vec![0; BUFFER_BYTES];
    loop {
        match content.read(&mut buffer).map_err(io("reading", &path))? {
            0 => break,
            read => hasher.update(&buffer[..read]),
        }
    }
    let mut trailer = [0; TRAILER_BYTES];
    reader.read_exact(&mut trailer).map_err(io("reading", &path))?;
    let (stored_bytes, digest) = trailer.split_at(8);
    hasher.update(stored_bytes);
    if stored_bytes != content_bytes.to_le_bytes() || digest != hasher.digest128().to_be_bytes() {
        return Err(bad("is not what was written"));
    }
    if found != header(store, at) {
        return Err(bad("belongs to another position or store"));
    }
    drop(reader);
    file.seek(SeekFrom::Start(HEADER_BYTES as u64)).map_err(io("reading", &path))?;
    Ok(Box::new(BufReader::with_capacity(BUFFER_BYTES, file.take(content_bytes))))
}

fn prune(layout: &Layout) -> Result<(), Error> {
    for old in list(layout)?.into_iter().skip(KEPT) {
        layout::remove(&layout.checkpoint(old))?;
    }
    layout::sync_directory(&layout.checkpoints())
}

fn header(store: StoreId, at: Position) -> [u8; HEADER_BYTES] {
    let mut header = [0; HEADER_BYTES];
    header[..8].copy_from_slice(&MAGIC);
    header[8..16].copy_from_slice(&at.0.to_le_bytes());
    header[16..].copy_from_slice(&store.0);
    header
}

/// Counts and hashes what goes through.
struct Sink<W: Write> {
    inner: W,
    hasher: Xxh3,
    bytes: u64,
}

impl<W: Write> Write for Sink<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.hasher.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}
