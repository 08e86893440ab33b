//! The parts that stored values consist of, for the few kinds that are written and read a million times a second: the
//! same bytes as [`put`](crate::codec::put) and [`Run::take`], without a serializer between.

use crate::codec::Error;
use crate::codec::Run;

/// Integers up to this are one byte; above it a byte says how many follow.
const ONE_BYTE_MAX: u64 = 250;
const TWO_BYTES: u8 = 251;
const FOUR_BYTES: u8 = 252;
const EIGHT_BYTES: u8 = 253;

/// Appends an integer of any unsigned type but `u8`, which is a byte as it stands.
#[inline]
pub fn put_integer(value: u64, out: &mut Vec<u8>) {
    if value <= ONE_BYTE_MAX {
        out.push(value as u8);
    } else if let Ok(value) = u16::try_from(value) {
        let [a, b] = value.to_le_bytes();
        out.extend_from_slice(&[TWO_BYTES, a, b]);
    } else if let Ok(value) = u32::try_from(value) {
        let [a, b, c, d] = value.to_le_bytes();
        out.extend_from_slice(&[FOUR_BYTES, a, b, c, d]);
    } else {
        let [a, b, c, d, e, f, g, h] = value.to_le_bytes();
        out.extend_from_slice(&[EIGHT_BYTES, a, b, c, d, e, f, g, h]);
    }
}

/// Appends a run of bytes, or a text, behind its length.
#[inline]
pub fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    put_integer(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// Appends whether there is a value and, with `put`, the value.
#[inline]
pub fn put_option<T>(value: Option<T>, out: &mut Vec<u8>, put: impl FnOnce(T, &mut Vec<u8>)) {
    out.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(value, out);
    }
}

impl<'a> Run<'a> {
    /// The next byte.
    ///
    /// # Errors
    /// [`Error::Cut`].
    #[inline]
    pub fn byte(&mut self) -> Result<u8, Error> {
        let [byte] = self.array()?;
        Ok(byte)
    }

    /// The next `N` bytes, as they stand.
    ///
    /// # Errors
    /// [`Error::Cut`].
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Error> {
        let (array, rest) = self.rest.split_first_chunk().ok_or(Error::Cut)?;
        self.rest = rest;
        Ok(*array)
    }

    /// The next integer, of any unsigned type but `u8`.
    ///
    /// # Errors
    /// [`Error::Cut`], or [`Error::Malformed`] if it is larger than the type.
    #[inline]
    pub fn integer<T: TryFrom<u64>>(&mut self) -> Result<T, Error> {
        let value = match self.byte()? {
            TWO_BYTES => u64::from(u16::from_le_bytes(self.array()?)),
            FOUR_BYTES => u64::from(u32::from_le_bytes(self.array()?)),
            EIGHT_BYTES => u64::from_le_bytes(self.array()?),
            byte if u64::from(byte) <= ONE_BYTE_MAX => u64::from(byte),
            _ => return Err(Error::Malformed("an integer of no known length".to_owned())),
        };
        T::try_from(value).map_err(|_| Error::Malformed(format!("{value} is larger than the field")))
    }

    /// The next run of bytes.
    ///
    /// # Errors
    /// [`Error::Cut`], also for a length that no bytes stand behind, and [`Error::Malformed`].
    #[inline]
    pub fn bytes(&mut self) -> Result<&'a [u8], Error> {
        let length = self.integer()?;
        let (bytes, rest) = self.rest.split_at_checked(length).ok_or(Error::Cut)?;
        self.rest = rest;
        Ok(bytes)
    }

    /// The next text.
    ///
    /// # Errors
    /// As for [`Run::bytes`], and [`Error::Malformed`] for what is not UTF-8.
    #[inline]
    pub fn text(&mut self) -> Result<&'a str, Error> {
        std::str::from_utf8(self.bytes()?).map_err(|error| Error::Malformed(error.to_string()))
    }

    /// The next value that may be missing, read by `take` if it is there.
    ///
    /// # Errors
    /// [`Error::Cut`], [`Error::Malformed`], or those of `take`.
    #[inline]
    pub fn option<T>(
        &mut self,
        take: impl FnOnce(&mut Run<'a>) -> Result<T, Error>,
    ) -> Result<Option<T>, Error> {
        match self.byte()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            other => Err(Error::Malformed(format!(
                "{other} says neither that there is a value nor that there is none"
            ))),
        }
    }
}
