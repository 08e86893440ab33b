//! Two steps that no release takes, to prove the machinery: from a format 0 that never was to format 1, and from there to a
//! format 2 in which every event is stored behind its length, so that all bodies, hashes, checkpoints and sizes change.

use crate::contents;
use gangline::codec;
use gangline::job::event::Event;
use gangline::log::directory::migrate::Error;
use gangline::log::directory::migrate::New;
use gangline::log::directory::migrate::Step;
use std::collections::BTreeMap;
use std::path::Path;

/// The number of the format that only these tests write.
pub(crate) const TESTED: u32 = 2;
/// Both steps, in order.
pub(crate) const STEPS: [&dyn Step; 2] = [&FromZero, &ToTested];

/// Only the number in the headers of segments changes.
pub(crate) struct FromZero;

/// Everything changes.
pub(crate) struct ToTested;

impl Step for FromZero {
    fn from(&self) -> u32 {
        0
    }

    fn what(&self) -> &str {
        "another number"
    }

    fn bytes_max(&self, old_bytes: u64) -> u64 {
        old_bytes
    }

    fn write(&self, old: &Path, new: &mut New<'_>) -> Result<(), Error> {
        for (name, mut file) in contents::files(old, "log", "seg") {
            renumber(&mut file, 1);
            new.put(&name, &mut |out| out.write_all(&file))?;
        }
        let carries = contents::files(old, "log", "carry");
        for (name, file) in carries.into_iter().chain(contents::files(old, "checkpoints", "ckpt")) {
            new.put(&name, &mut |out| out.write_all(&file))?;
        }
        Ok(())
    }
}

impl Step for ToTested {
    fn from(&self) -> u32 {
        1
    }

    fn what(&self) -> &str {
        "lengths before events"
    }

    fn bytes_max(&self, old_bytes: u64) -> u64 {
        old_bytes * 3
    }

    fn write(&self, old: &Path, new: &mut New<'_>) -> Result<(), Error> {
        let segments = contents::segments(old, 1).map_err(|(file, what)| Error::Unreadable {
            file: old.join(file),
            format: 1,
            what,
        })?;
        let mut hashes: BTreeMap<u64, [u8; 16]> = BTreeMap::new();
        for (name, segment, frames) in segments {
            let mut file = std::fs::read(old.join(&name)).expect("it was read just now")[..4_096].to_vec();
            let seed = crc32c::crc32c(&segment.salt);
            for frame in frames {
                let body = body_of(&contents::events(1, &frame.body));
                let previous = hashes.get(&(frame.position - 1)).copied().unwrap_or(frame.previous);
                let mut portable = Vec::new();
                for number in [frame.position, frame.epoch, frame.first_sequence] {
                    portable.extend_from_slice(&number.to_le_bytes());
                }
                portable.extend_from_slice(&frame.updates.to_le_bytes());
                portable.extend_from_slice(&u32::try_from(body.len()).expect("small").to_le_bytes());
                portable.extend_from_slice(&frame.time_ms.to_le_bytes());
                portable.extend_from_slice(&previous);
                let mut rest = crc32c::crc32c_append(seed, &body).to_le_bytes().to_vec();
                rest.extend_from_slice(&frame.synced_up_to.to_le_bytes());
                rest.extend_from_slice(&portable);
                file.extend_from_slice(&segment.salt[..8]);
                file.extend_from_slice(&crc32c::crc32c_append(seed, &rest).to_le_bytes());
                file.extend_from_slice(&rest);
                file.extend_from_slice(&body);
                file.resize(file.len().next_multiple_of(16), 0);
                let hash = xxhash_rust::xxh3::xxh3_128(&[portable, body].concat());
                hashes.insert(frame.position, hash.to_be_bytes());
            }
            file.resize(file.len().next_multiple_of(4_096), 0);
            let bytes = (file.len() as u64).to_le_bytes();
            file[56..64].copy_from_slice(&bytes);
            renumber(&mut file, TESTED);
            new.put(&name, &mut |out| out.write_all(&file))?;
        }
        write_carry(old, new)?;
        for (name, file) in contents::files(old, "checkpoints", "ckpt") {
            let checkpoint = crate::initial::checkpoint(&file).expect("a checkpoint of format 1");
            let end = file.len() - 16;
            let mut file = file[..end].to_vec();
            file[33..49].copy_from_slice(&hashes[&checkpoint.position]);
            file.extend_from_slice(&xxhash_rust::xxh3::xxh3_128(&file).to_be_bytes());
            new.put(&name, &mut |out| out.write_all(&file))?;
        }
        Ok(())
    }
}

fn write_carry(old: &Path, new: &mut New<'_>) -> Result<(), Error> {
    let Some((name, carry)) = contents::carry(old) else { return Ok(()) };
    let mut file = b"GLCARRY1".to_vec();
    file.extend_from_slice(&carry.store);
    file.extend_from_slice(&[0; 8]);
    let mut rows = Vec::new();
    for (position, index, event) in &carry.events {
        let event = body_of(&contents::events(1, event));
        rows.extend_from_slice(&position.to_le_bytes());
        rows.extend_from_slice(&index.to_le_bytes());
        rows.extend_from_slice(&crc32c::crc32c(&event).to_le_bytes());
        rows.extend_from_slice(&(file.len() as u64).to_le_bytes());
        rows.extend_from_slice(&u32::try_from(event.len()).expect("small").to_le_bytes());
        rows.extend_from_slice(&[0; 4]);
        file.extend_from_slice(&event);
    }
    let mut footer = Vec::new();
    let count = carry.events.len() as u64;
    for number in [carry.segment, carry.position, carry.sequence, file.len() as u64, count] {
        footer.extend_from_slice(&number.to_le_bytes());
    }
    footer.extend_from_slice(&crc32c::crc32c(&rows).to_le_bytes());
    footer.extend_from_slice(&crc32c::crc32c(&footer).to_le_bytes());
    file.extend_from_slice(&rows);
    file.extend_from_slice(&footer);
    Ok(new.put(&name, &mut |out| out.write_all(&file))?)
}

/// Puts a format number into the header of a segment.
fn renumber(segment: &mut [u8], format: u32) {
    segment[8..12].copy_from_slice(&format.to_le_bytes());
    let checksum = crc32c::crc32c(&segment[..4_092]);
    segment[4_092..4_096].copy_from_slice(&checksum.to_le_bytes());
}

/// A body of the tested format.
fn body_of(events: &[Event]) -> Vec<u8> {
    let mut body = vec![2];
    for event in events {
        let stored = codec::encode(event);
        body.extend_from_slice(&u32::try_from(stored.len() - 1).expect("small").to_le_bytes());
        body.extend_from_slice(&stored[1..]);
    }
    body
}

/// The events of a body of the tested format.
pub(crate) fn events_of(body: &[u8]) -> Vec<Event> {
    let (version, mut rest) = body.split_first().expect("a version byte");
    assert_eq!(*version, 2);
    let mut events = Vec::new();
    while let Some((length, tail)) = rest.split_first_chunk::<4>() {
        let (event, tail) = tail.split_at(u32::from_le_bytes(*length) as usize);
        events.push(codec::decode(&[&[1], event].concat()).expect("an event"));
        rest = tail;
    }
    events
}

/// A directory of this format with what the fixture of format 1 holds, at `to`.
pub(crate) fn directory(format: u32, to: &Path) {
    contents::copy(&contents::fixture(1), to);
    if format == 0 {
        for (name, mut file) in contents::files(to, "log", "seg") {
            renumber(&mut file, 0);
            std::fs::write(to.join(name), file).expect("it is ours");
        }
        let text = std::fs::read_to_string(to.join("format")).expect("it is there");
        std::fs::write(to.join("format"), text.replace("format 1", "format 0")).expect("it is ours");
    }
}
