//! A finished backup as it is read, and a copy of it with a store id of its own: what was told of the old store after the backup, cursors above all, does
//! not fit the new one and is refused. Frames stay as they are, byte for byte: their chain does not depend on the store.

use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::directory::backup::Backup;
use crate::log::directory::backup::manifest::Manifest;
use crate::log::directory::capture;
use crate::log::directory::capture::PartKind;
use crate::log::directory::carry;
use crate::log::directory::carry::Carry;
use crate::log::directory::checkpoint;
use crate::log::directory::format;
use crate::log::directory::format::FORMAT;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::lock::Stopped;
use crate::log::directory::reader::Reader;
use crate::log::directory::segment::HEADER_BYTES;
use crate::log::directory::segment::SegmentHeader;
use std::fs::File;
use std::io::Read;
use std::io::Seek;
use std::io::SeekFrom;
use std::io::Write;
use std::path::Path;

/// Where the copied log ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct End {
    /// Its last frame.
    pub position: Position,
    /// The segment that holds that frame.
    pub segment: u64,
    /// Where that frame ends in it.
    pub offset: u64,
}

/// A finished backup that is read.
#[derive(Debug)]
pub struct Finished {
    layout: Layout,
    manifest: Manifest,
    /// Keeps the next backup away.
    _stopped: Stopped,
}

impl Finished {
    /// Opens a finished backup. Nothing is written, unless only the last step of finishing it is missing.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if there is none, or only a part of one; [`Error::NewerFormat`], [`Error::InUse`], or an
    /// input/output error.
    pub fn open(at: &Path) -> Result<Finished, Error> {
        let layout = Layout::new(at);
        let refuse =
            |reason: &str| Error::NoBackup { place: at.display().to_string(), reason: reason.to_owned() };
        if !at.is_dir() {
            return Err(refuse("it is not a directory: name one that `gangline backup` has made"));
        }
        if Manifest::read(&Layout::new(&layout.incoming()))?.is_some() {
            drop(Backup::locked(layout.clone())?);
        }
        let stopped = Stopped::take(&layout)?;
        match Manifest::read(&layout)? {
            Some(manifest) if manifest.format != FORMAT => Err(refuse(
                "it was made by an older release: restore it with that one, then migrate what is restored",
            )),
            Some(manifest) => Ok(Finished { layout, manifest, _stopped: stopped }),
            None if layout.incoming().exists() => {
                Err(refuse("it is not finished: run the same `gangline backup` again"))
            }
            None => Err(refuse("it is no backup: name a directory that `gangline backup` has made")),
        }
    }

    /// What it holds.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Where the backup ends.
    #[must_use]
    pub fn end(&self) -> End {
        let manifest = &self.manifest;
        End { position: manifest.head.position, segment: manifest.last_segment, offset: manifest.end }
    }

    /// Copies the backup up to `end` to `to`, which does not exist, under a new store id. All of it is durable when this
    /// returns, but for the name of `to` itself.
    ///
    /// # Errors
    /// [`Error::Damaged`] if a file is not what was written, or an input/output error.
    pub fn copy_as_new(&self, to: &Path, end: End) -> Result<StoreId, Error> {
        let layout = Layout::new(to);
        layout::make_directory(to)?;
        let store = format::create(&layout)?.store;
        for directory in [layout.log(), layout.checkpoints()] {
            layout::make_directory(&directory)?;
        }
        let manifest = &self.manifest;
        if let Some(floor) = manifest.carry {
            Carry::open(&self.layout, floor, manifest.store)?;
            copy_carry(&self.layout, &layout, floor, store)?;
        }
        for at in manifest.checkpoints.iter().filter(|at| **at <= end.position) {
            let mut content = checkpoint::open(&self.layout, manifest.store, *at)?;
            let mut write = |out: &mut dyn Write| std::io::copy(&mut content, out).map(drop);
            checkpoint::put(&layout, store, *at, &mut write)?;
        }
        for number in manifest.first_segment..=end.segment {
            let reader = Reader::open(&self.layout, number, manifest.store)?;
            let bytes = if number == end.segment { end.offset } else { reader.header.bytes };
            copy_segment(&reader, &layout, store, bytes)?;
        }
        layout::sync_directory(to)?;
        Ok(store)
    }
}

/// The salt stays, because the checksums of the frames rest on it.
fn copy_segment(reader: &Reader, to: &Layout, store: StoreId, bytes: u64) -> Result<(), Error> {
    let header = SegmentHeader { store, ..reader.header };
    let path = to.segment(header.number);
    let unfinished = Unfinished::create(&path)?;
    let mut out = &unfinished.file;
    out.write_all(&header.encode()).map_err(io("writing", &path))?;
    copy_rest(&reader.file, &reader.path, HEADER_BYTES, bytes, out, &path)?;
    unfinished.file.set_len(header.bytes).map_err(io("writing", &path))?;
    unfinished.publish().map(drop)
}

fn copy_carry(from: &Layout, to: &Layout, floor: Position, store: StoreId) -> Result<(), Error> {
    let (part, file) = capture::held(from, PartKind::Carry, floor.0)?;
    let path = to.carry(floor);
    let unfinished = Unfinished::create(&path)?;
    let mut out = &unfinished.file;
    out.write_all(&carry::head(store)).map_err(io("writing", &path))?;
    copy_rest(&file, &from.carry(floor), carry::HEADER_BYTES as u64, part.bytes, out, &path)?;
    unfinished.publish().map(drop)
}

/// Copies the bytes between two places.
fn copy_rest(
    mut file: &File,
    from: &Path,
    begin: u64,
    end: u64,
    mut out: &File,
    to: &Path,
) -> Result<(), Error> {
    file.seek(SeekFrom::Start(begin)).map_err(io("reading", from))?;
    let copied = std::io::copy(&mut file.take(end - begin), &mut out).map_err(io("copying to", to))?;
    if copied == end - begin {
        return Ok(());
    }
    Err(io("reading", from)(std::io::ErrorKind::UnexpectedEof.into()))
}
