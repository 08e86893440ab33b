//! A slice: up to 46 jobs in one value of the tree, in id order, behind a checksum.
//!
//! Its key is the id of the first job it was made for, so the slice of a job is the last one whose key is not above
//! the job's id. sled pays by the value, not by the byte, up to 3.5 KB.

use crate::job::id::JobId;
use crate::work::Error;
use crate::work::record::Change;
use crate::work::record::Record;

/// How many records a slice holds at most: 4 + 46 · 76 = 3,500 bytes.
pub(crate) const RECORDS_MAX: usize = 46;

const CHECKSUM_BYTES: usize = 4;

/// The stored form of `records`: CRC32C of the rest, then the records.
pub(crate) fn encode(records: &[Record], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&[0; CHECKSUM_BYTES]);
    for record in records {
        record.encode(out);
    }
    let checksum = crc32c::crc32c(&out[CHECKSUM_BYTES..]);
    out[..CHECKSUM_BYTES].copy_from_slice(&checksum.to_le_bytes());
}

/// All records of a stored slice.
///
/// # Errors
/// [`Error::Broken`] if the bytes are not a slice: empty, of a wrong length, damaged.
pub(crate) fn decode(key: JobId, bytes: &[u8]) -> Result<Vec<Record>, Error> {
    checked(key, bytes)?.iter().map(|record| Record::decode(record).ok_or_else(|| damaged(key))).collect()
}

/// The record of one job in a stored slice.
///
/// # Errors
/// As [`decode`].
pub(crate) fn find(key: JobId, bytes: &[u8], id: JobId) -> Result<Option<Record>, Error> {
    let records = checked(key, bytes)?;
    match records.binary_search_by(|record| record[..16].cmp(&id.to_bytes())) {
        Ok(at) => Record::decode(&records[at]).ok_or_else(|| damaged(key)).map(Some),
        Err(_) => Ok(None),
    }
}

/// The records with the changes made to them, in id order. A job that has no record gets one from its change.
///
/// Both are in id order, and there is one change a job at most.
pub(crate) fn merge(records: &[Record], changes: &[Change]) -> Vec<Record> {
    let mut merged = Vec::with_capacity(records.len() + changes.len());
    let mut changes = changes.iter().peekable();
    for record in records {
        while let Some(orphan) = changes.next_if(|change| change.id() < record.id) {
            merged.extend(orphan.orphan());
        }
        match changes.next_if(|change| change.id() == record.id) {
            Some(change) => merged.extend(change.apply_to(*record)),
            None => merged.push(*record),
        }
    }
    merged.extend(changes.filter_map(Change::orphan));
    merged
}

fn checked(key: JobId, bytes: &[u8]) -> Result<&[[u8; Record::BYTES]], Error> {
    let (checksum, records) = bytes.split_first_chunk::<CHECKSUM_BYTES>().ok_or_else(|| damaged(key))?;
    let (whole, rest) = records.as_chunks::<{ Record::BYTES }>();
    if whole.is_empty() || !rest.is_empty() || crc32c::crc32c(records) != u32::from_le_bytes(*checksum) {
        return Err(damaged(key));
    }
    Ok(whole)
}

fn damaged(key: JobId) -> Error {
    Error::Broken(format!("the slice at {key} is damaged"))
}
