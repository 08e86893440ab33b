//! What a data directory of any format holds, read by the frozen structures and compared across formats; and bytes of whole
//! directories, to see what was touched.

use crate::initial;
use crate::initial::Carry;
use crate::initial::Frame;
use crate::initial::Segment;
use crate::steps;
use gangline::codec;
use gangline::job::event::Event;
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;

/// The committed directory of this format.
pub(crate) fn fixture(format: u32) -> PathBuf {
    Path::new("tests/fixtures").join(format!("format-{format}/data"))
}

/// One frame without what differs between formats: salts, bytes and hashes.
#[derive(Debug, PartialEq)]
pub(crate) struct Said {
    numbers: [u64; 6],
    events: Vec<Event>,
}

/// What was carried out of trimmed log.
#[derive(Debug, PartialEq)]
pub(crate) struct Carried {
    /// The oldest segment, the first position and sequence.
    pub(crate) begins: [u64; 3],
    /// Position, index and event.
    pub(crate) events: Vec<(u64, u32, Event)>,
}

/// A segment with its name and its frames.
pub(crate) type Whole = (String, Segment, Vec<Frame>);

/// Everything that a directory says.
#[derive(Debug, PartialEq)]
pub(crate) struct Contents {
    pub(crate) store: [u8; 16],
    pub(crate) frames: Vec<Said>,
    pub(crate) carried: Option<Carried>,
    /// Positions and states of the checkpoints.
    pub(crate) checkpoints: Vec<(u64, Vec<u8>)>,
}

/// Files with this ending below `root`, in the order of their numbers.
pub(crate) fn files(root: &Path, folder: &str, ending: &str) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(root.join(folder)).expect("it is a data directory") {
        let path = entry.expect("it can be listed").path();
        if path.extension().is_some_and(|found| found == ending) {
            let name = path.file_name().expect("it has one").to_string_lossy().into_owned();
            files.push((format!("{folder}/{name}"), std::fs::read(&path).expect("a file")));
        }
    }
    files.sort();
    files
}

/// The segments of a directory of this format, with their frames; `Err` names a file and what is wrong with it.
pub(crate) fn segments(root: &Path, format: u32) -> Result<Vec<Whole>, (String, String)> {
    let mut segments = Vec::new();
    for (name, file) in files(root, "log", "seg") {
        let wrong = |what: &str| (name.clone(), what.to_owned());
        let segment = initial::segment(&file).ok_or_else(|| wrong("its header is damaged"))?;
        if segment.format != format {
            return Err(wrong("it has another format"));
        }
        let (mut offset, mut frames) = (initial::SEGMENT_HEADER_BYTES, Vec::new());
        while let Some((frame, next)) = initial::frame(&segment, &file, offset) {
            frames.push(frame);
            offset = next;
        }
        if file.get(offset..).is_some_and(|rest| rest.iter().any(|byte| *byte != 0)) {
            return Err(wrong("there is something behind its last frame"));
        }
        segments.push((name, segment, frames));
    }
    Ok(segments)
}

/// The carry file, if there is one.
pub(crate) fn carry(root: &Path) -> Option<(String, Carry)> {
    let (name, file) = files(root, "log", "carry").pop()?;
    Some((name, initial::carry(&file).expect("a carry file")))
}

/// The events of a stored body of this format.
pub(crate) fn events(format: u32, body: &[u8]) -> Vec<Event> {
    if format == steps::TESTED {
        return steps::events_of(body);
    }
    let mut run = codec::Run::open(body).expect("a body of format 1");
    let mut events = Vec::new();
    while !run.is_empty() {
        events.push(run.take().expect("an event of format 1"));
    }
    events
}

impl Contents {
    /// Reads a directory of this format, which must be whole: chained, without a gap, each checkpoint with the hash of
    /// its frame.
    pub(crate) fn of(root: &Path, format: u32) -> Contents {
        let segments = segments(root, format).expect("a whole directory");
        let store = segments.first().expect("there is a segment").1.store;
        let carried = carry(root).map(|(_, carry)| carry);
        let mut hashes: BTreeMap<u64, [u8; 16]> = BTreeMap::new();
        let mut frames: Vec<Said> = Vec::new();
        for (name, segment, own) in &segments {
            assert_eq!(segment.store, store, "{name}");
            for frame in own {
                let position = frame.position;
                match hashes.get(&(position - 1)) {
                    Some(hash) => assert_eq!(frame.previous, *hash, "frame {position} is not chained"),
                    None => assert!(hashes.is_empty(), "a gap before frame {position}"),
                }
                hashes.insert(position, frame.hash);
                let numbers = [
                    position,
                    frame.epoch,
                    frame.first_sequence,
                    frame.updates.into(),
                    frame.time_ms,
                    frame.synced_up_to,
                ];
                frames.push(Said { numbers, events: events(format, &frame.body) });
            }
        }
        let carried = carried.map(|carry| {
            let event = |(position, index, event): (u64, u32, Vec<u8>)| {
                (position, index, events(format, &event).pop().expect("one"))
            };
            let begins = [carry.segment, carry.position, carry.sequence];
            Carried { begins, events: carry.events.into_iter().map(event).collect() }
        });
        let mut checkpoints = Vec::new();
        for (name, file) in files(root, "checkpoints", "ckpt") {
            let checkpoint = initial::checkpoint(&file).expect("a checkpoint");
            assert_eq!(Some(&checkpoint.hash), hashes.get(&checkpoint.position), "{name}");
            assert_eq!(checkpoint.store, store, "{name}");
            checkpoints.push((checkpoint.position, checkpoint.state));
        }
        Contents { store, frames, carried, checkpoints }
    }
}

/// Every file below `root` but the lock, with its bytes.
pub(crate) fn bytes(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in std::fs::read_dir(root).expect("a directory") {
        let path = entry.expect("it can be listed").path();
        if path.is_dir() {
            found.extend(bytes(&path));
        } else if path.file_name().is_some_and(|name| name != "lock") {
            found.insert(path.clone(), std::fs::read(&path).expect("a file"));
        }
    }
    found
}

/// The files of `from` at `to`, as a server would have made them: for their owner only.
pub(crate) fn copy(from: &Path, to: &Path) {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().mode(0o700).create(to).expect("a new place");
    for entry in std::fs::read_dir(from).expect("a directory") {
        let entry = entry.expect("it can be listed");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).expect("there is room");
        }
    }
}
