//! The one codec of everything stored, and the only file that names bincode: version byte first, then
//! little-endian variable-length integers and length-prefixed bytes.
//!
//! bincode is unmaintained (RUSTSEC-2025-0141, no vulnerability), so it is walled in here.

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
    /// The bytes are not a value of the expected kind.
    #[error("stored bytes do not decode: {0}")]
    Malformed(String),
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
    /// [`Error::Version`] or, for no bytes at all, [`Error::Malformed`].
    pub fn open(bytes: &'a [u8]) -> Result<Run<'a>, Error> {
        match bytes.split_first() {
            Some((&VERSION, rest)) => Ok(Run { rest }),
            Some((&other, _)) => Err(Error::Version(other)),
            None => Err(Error::Malformed("no bytes".to_owned())),
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
    /// [`Error::Malformed`].
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<T, Error> {
        let (value, used) = bincode::serde::decode_from_slice(self.rest, CONFIG)
            .map_err(|error| Error::Malformed(error.to_string()))?;
        self.rest = &self.rest[used..];
        Ok(value)
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

/// Writes one value to a stream that its caller began with the version byte.
///
/// # Errors
/// Those of `out`.
pub fn write<T: Serialize>(value: &T, out: &mut dyn Write) -> std::io::Result<()> {
    let mut out = out;
    match bincode::serde::encode_into_std_write(value, &mut out, CONFIG) {
        Ok(_) => Ok(()),
        Err(bincode::error::EncodeError::Io { inner, .. }) => Err(inner),
        Err(other) => Err(std::io::Error::other(other)),
    }
}

/// Reads and checks the version byte that a stream begins with.
///
/// # Errors
/// [`Error::Version`], or [`Error::Malformed`] when there is no byte.
pub fn read_version(input: &mut dyn Read) -> Result<(), Error> {
    let mut version = [0];
    input.read_exact(&mut version).map_err(|error| Error::Malformed(error.to_string()))?;
    if version == [VERSION] { Ok(()) } else { Err(Error::Version(version[0])) }
}

/// Reads the next value of a stream.
///
/// # Errors
/// [`Error::Malformed`], also when the stream ends too early or cannot be read.
pub fn read<T: DeserializeOwned>(input: &mut dyn Read) -> Result<T, Error> {
    let mut input = input;
    bincode::serde::decode_from_std_read(&mut input, CONFIG)
        .map_err(|error| Error::Malformed(error.to_string()))
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
