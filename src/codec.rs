//! The one codec of everything stored, and the only file that names bincode: version byte first, then
//! little-endian variable-length integers and length-prefixed bytes.
//!
//! bincode is unmaintained (RUSTSEC-2025-0141, no vulnerability), so it is walled in here.

pub mod parts;

use bincode::error::DecodeError;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::Read;
use std::io::Write;

/// The version of every structure stored today. A change of a stored structure raises it, and the old
/// structures move to `migrations/`. [FMT-1]
pub const VERSION: u8 = 1;

/// The most that one stored value may ask for: a damaged length must not allocate what the machine does not have.
const VALUE_BYTES_MAX: usize = 256 << 20;

const CONFIG: bincode::config::Configuration<
    bincode::config::LittleEndian,
    bincode::config::Varint,
    bincode::config::Limit<VALUE_BYTES_MAX>,
> = bincode::config::standard().with_limit::<VALUE_BYTES_MAX>();

/// Why stored bytes could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The bytes begin with a version this release does not know.
    #[error("stored with codec version {0}; this release reads version {VERSION}")]
    Version(u8),
    /// The bytes end within a value.
    #[error("stored bytes end within a value")]
    Cut,
    /// The bytes are not a value of the expected kind.
    #[error("stored bytes do not decode: {0}")]
    Malformed(String),
}

impl From<DecodeError> for Error {
    fn from(error: DecodeError) -> Error {
        if matches!(error, DecodeError::UnexpectedEnd { .. }) {
            Error::Cut
        } else {
            Error::Malformed(error.to_string())
        }
    }
}

/// Begins a run of values in `out` with the version byte.
pub fn begin(out: &mut Vec<u8>) {
    out.push(VERSION);
}

/// Appends one value to a run that [`begin`] opened.
pub fn put<T: Serialize>(value: &T, out: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, out, CONFIG)
        .expect("our own structures serialize, and a Vec takes every write");
}

/// A reader over a run of values.
#[derive(Debug, Clone)]
pub struct Run<'a> {
    rest: &'a [u8],
}

impl<'a> Run<'a> {
    /// Checks the version byte of `bytes`.
    ///
    /// # Errors
    /// [`Error::Version`] or, for no bytes at all, [`Error::Cut`].
    pub fn open(bytes: &'a [u8]) -> Result<Run<'a>, Error> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Run { rest }),
            Some((&other, _)) => Err(Error::Version(other)),
            None => Err(Error::Cut),
        }
    }

    /// A reader that begins at byte `at` of a run that [`Run::open`] took, where a value begins.
    #[must_use]
    pub fn at(bytes: &'a [u8], at: usize) -> Run<'a> {
        Run { rest: bytes.get(at..).unwrap_or_default() }
    }

    /// The next value.
    ///
    /// # Errors
    /// [`Error::Cut`] or [`Error::Malformed`].
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let (value, used) = bincode::serde::decode_from_slice(self.rest, CONFIG)?;
        self.rest = &self.rest[used..];
        Ok(value)
    }

    /// The number of the variant, if the next value is of an enum with at most 251 of them.
    #[must_use]
    pub fn variant(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// Whether all values have been read.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// How many bytes are left.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }
}

/// How much a [`Reader`] reads and a [`Writer`] writes at once: a value at a time, and its parts one by one, cost several
/// times as much.
const PIECE_BYTES: usize = 64 << 10;

/// Reads values from a stream.
pub struct Reader<'a> {
    input: &'a mut dyn Read,
    /// What was read; `next..` is not decoded yet.
    bytes: Vec<u8>,
    next: usize,
}

impl<'a> Reader<'a> {
    /// A reader that reads ahead of what it is asked for.
    pub fn over(input: &'a mut dyn Read) -> Reader<'a> {
        Reader { input, bytes: Vec::new(), next: 0 }
    }

    /// Reads and checks a version byte.
    ///
    /// # Errors
    /// [`Error::Version`], or [`Error::Cut`] when there is no byte.
    pub fn version(&mut self) -> Result<(), Error> {
        if self.bytes.len() == self.next && !self.read_on()? {
            return Err(Error::Cut);
        }
        let version = self.bytes[self.next];
        self.next += 1;
        if version == VERSION { Ok(()) } else { Err(Error::Version(version)) }
    }

    /// The next value.
    ///
    /// # Errors
    /// [`Error::Cut`] when the stream ends too early; [`Error::Malformed`], also when it cannot be read.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        Ok(self.take_by(|run| run.take())?.0)
    }

    /// The next value as `take` reads it, and the bytes that it is stored in. `take` is called again when more had to be
    /// read of the stream.
    ///
    /// # Errors
    /// As for [`Reader::take`], and those of `take`.
    pub fn take_by<T>(
        &mut self,
        take: impl Fn(&mut Run<'_>) -> Result<T, Error>,
    ) -> Result<(T, &[u8]), Error> {
        loop {
            let mut run = Run { rest: &self.bytes[self.next..] };
            match take(&mut run) {
                Ok(value) => {
                    let (from, to) = (self.next, self.bytes.len() - run.remaining());
                    self.next = to;
                    return Ok((value, &self.bytes[from..to]));
                }
                // A value that is larger than what is there is read to its end.
                Err(Error::Cut) if self.read_on()? => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Hands on what comes after the values that were taken, but for its last `keep` bytes: as it is stored, in pieces.
    ///
    /// # Errors
    /// Those of `see`, and [`Error::Malformed`] when the stream cannot be read.
    pub fn pass_on<E: From<Error> + From<std::io::Error>>(
        &mut self,
        keep: usize,
        mut see: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), E> {
        loop {
            let to = self.bytes.len().saturating_sub(keep).max(self.next);
            see(&self.bytes[self.next..to])?;
            self.next = to;
            if !self.read_on()? {
                return Ok(());
            }
        }
    }

    /// What comes after the values that were taken, as it is stored.
    pub fn into_rest(mut self) -> impl Read + 'a {
        self.bytes.drain(..self.next);
        std::io::Cursor::new(self.bytes).chain(self.input)
    }

    /// Reads as much again as is left, a piece at least; says whether there was more.
    fn read_on(&mut self) -> Result<bool, Error> {
        self.bytes.drain(..self.next);
        self.next = 0;
        let most = self.bytes.len().max(PIECE_BYTES) as u64;
        let read = self.input.take(most).read_to_end(&mut self.bytes);
        let read = read.map_err(|error| Error::Malformed(format!("the stream cannot be read: {error}")))?;
        Ok(read > 0)
    }
}

/// Writes values to a stream.
pub struct Writer<'a> {
    out: &'a mut dyn Write,
    bytes: Vec<u8>,
}

impl Writer<'_> {
    /// Has `write` write to `out`.
    ///
    /// # Errors
    /// Those of `write`, and those of `out`.
    pub fn over<E: From<std::io::Error>>(
        out: &mut dyn Write,
        write: impl FnOnce(&mut Writer<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut writer = Writer { out, bytes: Vec::with_capacity(2 * PIECE_BYTES) };
        write(&mut writer)?;
        Ok(writer.out.write_all(&writer.bytes)?)
    }

    /// Writes the version byte.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn version(&mut self) -> std::io::Result<()> {
        self.put_bytes(&[VERSION])
    }

    /// Writes a value.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn put<T: Serialize>(&mut self, value: &T) -> std::io::Result<()> {
        self.put_by(|out| put(value, out))
    }

    /// Writes what `put` appends.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn put_by(&mut self, put: impl FnOnce(&mut Vec<u8>)) -> std::io::Result<()> {
        put(&mut self.bytes);
        self.write_on()
    }

    /// Writes a value as it is stored.
    ///
    /// # Errors
    /// Those of the stream.
    pub fn put_bytes(&mut self, stored: &[u8]) -> std::io::Result<()> {
        self.bytes.extend_from_slice(stored);
        self.write_on()
    }

    fn write_on(&mut self) -> std::io::Result<()> {
        if self.bytes.len() >= PIECE_BYTES {
            self.out.write_all(&self.bytes)?;
            self.bytes.clear();
        }
        Ok(())
    }
}

/// One value with its version byte.
#[must_use]
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    begin(&mut out);
    put(value, &mut out);
    out
}

/// The one value in `bytes`.
///
/// # Errors
/// [`Error`], also if bytes are left over.
pub fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    let mut run = Run::open(bytes)?;
    let value = run.take()?;
    if run.is_empty() {
        Ok(value)
    } else {
        Err(Error::Malformed(format!("{} bytes too many", run.remaining())))
    }
}

#[cfg(test)]
mod tests;
