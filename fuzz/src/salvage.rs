//! Salvage: whatever was done to a directory, it makes a new one in which `verify` finds nothing, and it says the truth about
//! what is missing. The input is a list of harms to the fixture of format 1, or a directory of its own.

use crate::input::Input;
use crate::input::scratch;
use crate::written;
use gangline::log::Error;
use gangline::offline::DataDirectory;
use gangline::offline::Verified;
use gangline::offline::salvage::salvage;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

macro_rules! fixture {
    ($($name:literal)+) => {
        [$(($name, include_bytes!(concat!("../../tests/fixtures/format-1/data/", $name)).as_slice())),+]
    };
}

/// The files of the fixture.
pub const FILES: [(&str, &[u8]); 9] = fixture!(
    "format"
    "log/0000000002.seg"
    "log/0000000003.seg"
    "log/0000000004.seg"
    "log/0000000005.seg"
    "log/0000000006.seg"
    "log/00000000000000000034.carry"
    "checkpoints/00000000000000000068.ckpt"
    "checkpoints/00000000000000000123.ckpt"
);
/// What waits and what is dead in it; the job that runs waits after a salvage.
const LIVE: (u64, u64) = (6, 2);
/// Its last frame.
const END: u64 = 174;

/// Harms a directory and salvages it.
pub fn run(bytes: &[u8]) {
    let place = scratch();
    let data = place.path().join("data");
    let mut input = Input(bytes);
    let is_fixture = input.byte() % 2 == 0;
    if is_fixture {
        harm(&mut input, &data);
    } else {
        written::write(&mut input, &data);
    }
    let directory = match DataDirectory::open(&data) {
        Ok(directory) => directory,
        // Its number says so, or nothing of it is left.
        Err(
            Error::NewerFormat { .. }
            | Error::OlderFormat { .. }
            | Error::Migrating { .. }
            | Error::Unusable { .. },
        ) => {
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let out = place.path().join("out");
    let report = salvage(&directory, &out).expect("every file can be read");
    let saved = DataDirectory::open(&out).expect("it was made");
    let verified = Verified::of(&saved, &mut |fault| panic!("what was saved is damaged: {fault}"));
    let verified = verified.expect("it can be read");
    assert_eq!(verified.live, report.waiting + report.dead);
    assert_eq!((verified.faults, verified.tail.sequence), (0, report.sequence));
    assert_eq!(report.sequence.0, report.updates_kept + report.updates_added);
    // What nothing vouches for any more cannot be missed.
    if is_fixture && report.is_complete() && report.tail.position.0 >= END {
        assert_eq!((report.waiting, report.dead), LIVE, "it says that nothing is missing: {report:?}");
    }
}

/// Writes the fixture, harmed.
fn harm(input: &mut Input<'_>, root: &Path) {
    for folder in [root.to_owned(), root.join("log"), root.join("checkpoints")] {
        std::fs::DirBuilder::new().mode(0o700).create(folder).expect("a new place");
    }
    let mut files: Vec<Option<Vec<u8>>> = FILES.iter().map(|(_, bytes)| Some(bytes.to_vec())).collect();
    for _ in 0..16 {
        if input.is_empty() {
            break;
        }
        let (kind, chosen, at) =
            (input.byte(), usize::from(input.byte()) % FILES.len(), usize::from(input.short()));
        let other = usize::from(kind >> 4) % FILES.len();
        match kind & 15 {
            0 => files[chosen] = None,
            1 => files.swap(chosen, other),
            2 => files[chosen] = files[other].clone(),
            3 | 4 => {
                let swapped = usize::from(input.byte()) * 4_096;
                if let Some(file) = &mut files[chosen]
                    && file.len() >= 8_192
                {
                    let blocks = file.len() / 4_096 * 4_096;
                    let (one, two) = (at / 4_096 * 4_096 % blocks, swapped % blocks);
                    for place in 0..4_096 {
                        file.swap(one + place, two + place);
                    }
                }
            }
            kind => {
                let more = input.bytes(usize::from(kind));
                let Some(file) = &mut files[chosen] else { continue };
                match kind {
                    5 => file.truncate(at),
                    6 => file.extend_from_slice(more),
                    7 => zero(file, at / 4_096 * 4_096, 4_096),
                    8 => zero(file, at, usize::MAX),
                    9 => zero(file, 0, at.min(4_096)),
                    _ => {
                        for (place, byte) in (at..file.len()).zip(more) {
                            file[place] ^= byte;
                        }
                    }
                }
            }
        }
    }
    for ((name, _), bytes) in FILES.iter().zip(files) {
        if let Some(bytes) = bytes {
            std::fs::write(root.join(name), bytes).expect("there is room");
        }
    }
}

fn zero(file: &mut [u8], from: usize, length: usize) {
    let end = from.saturating_add(length).min(file.len());
    file[from.min(end)..end].fill(0);
}
