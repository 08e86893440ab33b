//! What a finished backup says of itself: which history, up to which frame, and which files. Text, so that a person can
//! read it; its last line is a checksum of the others.
//!
//! It is what makes a directory a backup, and its frame is what `restore` holds the log against: the log alone cannot tell
//! that its end is missing.

use crate::clock::Timestamp;
use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::backup::Announced;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::log::directory::format::FORMAT;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::frame::Hash;
use std::io::ErrorKind;
use std::io::Write;
use std::path::Path;

const TITLE: &str = "gangline backup";

/// What a backup holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The format of its files.
    pub format: u32,
    /// Which history it is of.
    pub store: StoreId,
    /// Its last frame.
    pub head: Head,
    /// Log time of its last frame.
    pub time: Timestamp,
    /// Its oldest segment.
    pub first_segment: u64,
    /// Its newest segment, which goes on in a later backup.
    pub last_segment: u64,
    /// Where the frames end in that one.
    pub end: u64,
    /// Its carry file, named by the floor.
    pub carry: Option<Position>,
    /// Its checkpoints, ascending.
    pub checkpoints: Vec<Position>,
}

impl Manifest {
    /// Of a backup with these parts.
    ///
    /// # Errors
    /// If they are no files of a log.
    pub(crate) fn new(announced: &Announced, parts: &[Part]) -> Result<Manifest, &'static str> {
        let Announced { format, store, head, time } = *announced;
        let of = |kind| parts.iter().filter(move |part| part.kind == kind);
        let segments: Vec<&Part> = of(PartKind::Segment).collect();
        let (Some(first), Some(last)) = (segments.first(), segments.last()) else {
            return Err("it has no segment");
        };
        if segments.windows(2).any(|two| two[0].number.checked_add(1) != Some(two[1].number)) {
            return Err("its segments do not follow each other");
        }
        if of(PartKind::Carry).count() > 1 {
            return Err("it has two carry files");
        }
        Ok(Manifest {
            format,
            store,
            head,
            time,
            first_segment: first.number,
            last_segment: last.number,
            end: last.bytes,
            carry: of(PartKind::Carry).next().map(|part| Position(part.number)),
            checkpoints: of(PartKind::Checkpoint).map(|part| Position(part.number)).collect(),
        })
    }

    /// Whether a file of this kind and number is part of it.
    pub(crate) fn names(&self, kind: PartKind, number: u64) -> bool {
        match kind {
            PartKind::Carry => self.carry == Some(Position(number)),
            PartKind::Checkpoint => self.checkpoints.contains(&Position(number)),
            PartKind::Segment => (self.first_segment..=self.last_segment).contains(&number),
        }
    }

    /// The manifest of the directory `layout`; `None` if it has none.
    ///
    /// # Errors
    /// [`Error::NoBackup`] if it is not what was written, [`Error::NewerFormat`], or an input/output error.
    pub(crate) fn read(layout: &Layout) -> Result<Option<Manifest>, Error> {
        let path = layout.manifest();
        match std::fs::read_to_string(&path) {
            Ok(text) => Manifest::parse(layout.root(), &text).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) if error.kind() == ErrorKind::InvalidData => Err(unreadable(layout.root())),
            Err(error) => Err(io("reading", &path)(error)),
        }
    }

    /// Writes it into the directory `layout`, durable when this returns.
    pub(crate) fn write(&self, layout: &Layout) -> Result<(), Error> {
        let path = layout.manifest();
        let mut unfinished = Unfinished::create(&path)?;
        unfinished.file.write_all(self.text().as_bytes()).map_err(io("writing", &path))?;
        unfinished.publish().map(drop)
    }

    fn text(&self) -> String {
        let Manifest { format, store, head, time, first_segment, last_segment, end, .. } = self;
        let Head { position, hash, epoch, sequence } = head;
        let mut text = format!("{TITLE}\nformat {format}\nstore {store}\nposition {position}\n");
        text += &format!("sequence {sequence}\nepoch {}\ntime {}\nhash {hash:?}\n", epoch.0, time.0);
        text += &format!("first-segment {first_segment}\nlast-segment {last_segment}\nend {end}\n");
        if let Some(floor) = self.carry {
            text += &format!("carry {floor}\n");
        }
        for at in &self.checkpoints {
            text += &format!("checkpoint {at}\n");
        }
        let crc = crc32c::crc32c(text.as_bytes());
        text + &format!("checksum {crc:08x}\n")
    }

    fn parse(root: &Path, text: &str) -> Result<Manifest, Error> {
        let mut lines = text.lines();
        let title = lines.next();
        let format = lines.next().and_then(|line| line.strip_prefix("format ")?.parse::<u32>().ok());
        if let (Some(TITLE), Some(found)) = (title, format)
            && found > FORMAT
        {
            return Err(Error::NewerFormat { place: root.display().to_string(), found, known: FORMAT });
        }
        // Whatever differs from how it would be written is damage.
        let manifest = Manifest::fields(text).filter(|manifest| manifest.text() == text);
        manifest.ok_or_else(|| unreadable(root))
    }

    fn fields(text: &str) -> Option<Manifest> {
        let mut lines = text.lines().skip(1).filter_map(|line| line.split_once(' '));
        let mut value = |name: &str| lines.next().filter(|(found, _)| *found == name).map(|(_, value)| value);
        let format = value("format")?.parse().ok()?;
        let store = StoreId(value("store")?.parse::<uuid::Uuid>().ok()?.into_bytes());
        let position = Position(value("position")?.parse().ok()?);
        let sequence = Sequence(value("sequence")?.parse().ok()?);
        let epoch = Epoch(value("epoch")?.parse().ok()?);
        let time = Timestamp(value("time")?.parse().ok()?);
        let hash = Hash(u128::from_str_radix(value("hash")?, 16).ok()?.to_be_bytes());
        let mut number = |name: &str| value(name)?.parse::<u64>().ok();
        let (first_segment, last_segment) = (number("first-segment")?, number("last-segment")?);
        let end = number("end")?;
        let (mut carry, mut checkpoints) = (None, Vec::new());
        for (name, value) in lines {
            match name {
                "carry" => carry = Some(Position(value.parse().ok()?)),
                "checkpoint" => checkpoints.push(Position(value.parse().ok()?)),
                "checksum" => {}
                _ => return None,
            }
        }
        let head = Head { position, hash, epoch, sequence };
        Some(Manifest { format, store, head, time, first_segment, last_segment, end, carry, checkpoints })
    }
}

fn unreadable(root: &Path) -> Error {
    Error::NoBackup {
        place: root.display().to_string(),
        reason: "its file `backup` is not what was written: `gangline verify` and `gangline salvage` read the rest without it"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::id::Epoch;
    use crate::job::id::Position;
    use crate::job::id::Sequence;
    use crate::job::id::StoreId;
    use crate::log::Error;
    use crate::log::Head;
    use crate::log::directory::backup::manifest::Manifest;
    use crate::log::frame::Hash;
    use std::path::Path;

    fn manifest() -> Manifest {
        let (position, sequence, epoch) = (Position(4_711), Sequence(90_000), Epoch(3));
        Manifest {
            format: 1,
            store: StoreId([7; 16]),
            head: Head { position, hash: Hash([0xab; 16]), epoch, sequence },
            time: Timestamp(1_755_129_600_000),
            first_segment: 3,
            last_segment: 9,
            end: 123_456,
            carry: Some(Position(40)),
            checkpoints: vec![Position(50), Position(4_000)],
        }
    }

    #[test]
    fn what_is_written_is_read_and_any_other_byte_is_noticed() {
        let here = Path::new("here");
        let text = manifest().text();
        assert_eq!(Manifest::parse(here, &text).unwrap(), manifest());
        let bare = Manifest { carry: None, checkpoints: Vec::new(), ..manifest() };
        assert_eq!(Manifest::parse(here, &bare.text()).unwrap(), bare);
        for at in 0..text.len() {
            let mut other = text.clone().into_bytes();
            other[at] ^= 1;
            let other = String::from_utf8(other).unwrap();
            assert!(Manifest::parse(here, &other).is_err(), "byte {at}");
            assert!(Manifest::parse(here, &text[..at]).is_err(), "cut at {at}");
        }
    }

    #[test]
    fn a_newer_format_is_named() {
        let text = Manifest { format: 9, ..manifest() }.text();
        let refused = Manifest::parse(Path::new("here"), &text);
        assert!(matches!(refused, Err(Error::NewerFormat { found: 9, .. })), "{refused:?}");
    }
}
