//! Reading a file in pieces larger than what is asked for, from any thread.

use bytes::Bytes;
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;

/// The last piece read of a file, from which smaller pieces are handed out without copying.
pub(crate) struct Window<'a> {
    file: &'a File,
    /// Nothing at or after this offset is read.
    end: u64,
    piece_bytes: usize,
    offset: u64,
    bytes: Bytes,
}

impl<'a> Window<'a> {
    pub(crate) fn new(file: &'a File, end: u64, piece_bytes: usize) -> Window<'a> {
        Window { file, end, piece_bytes, offset: 0, bytes: Bytes::new() }
    }

    /// The `length` bytes at `offset`; fewer only where the file ends.
    pub(crate) fn get(&mut self, offset: u64, length: usize) -> std::io::Result<Bytes> {
        let inside = offset.checked_sub(self.offset).and_then(|skip| usize::try_from(skip).ok());
        if let Some(skip) = inside
            && skip + length <= self.bytes.len()
        {
            return Ok(self.bytes.slice(skip..skip + length));
        }
        let left = usize::try_from(self.end.saturating_sub(offset)).unwrap_or(usize::MAX);
        let mut piece = vec![0; self.piece_bytes.max(length).min(left)];
        let read = fill(self.file, &mut piece, offset)?;
        piece.truncate(read);
        self.offset = offset;
        self.bytes = Bytes::from(piece);
        Ok(self.bytes.slice(..length.min(read)))
    }
}

/// Reads until `buffer` is full or the file ends, and says how much that was.
pub(crate) fn fill(file: &File, buffer: &mut [u8], offset: u64) -> std::io::Result<usize> {
    let mut done = 0;
    while done < buffer.len() {
        match file.read_at(&mut buffer[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(read) => done += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(done)
}
