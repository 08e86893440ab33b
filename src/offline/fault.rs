//! What is wrong with a data directory, said so that a person can find the place and a program can count it.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::offline::DataDirectory;
use std::fmt;
use std::path::Path;
use std::path::PathBuf;

/// What a fault is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The format file.
    Format,
    /// A segment file as a whole: its header, size, name, or absence.
    Segment,
    /// Bytes that should hold frames and do not.
    Frame,
    /// A whole frame that does not continue the one before it.
    Chain,
    /// A whole frame whose events do not decode, or are not as many as it says.
    Body,
    /// An event that does not follow from the life of its job so far.
    Life,
    /// The carry file.
    Carry,
    /// A checkpoint.
    Checkpoint,
    /// The work tree.
    Work,
}

impl Kind {
    /// The kind in one word, as tools print it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Format => "format",
            Kind::Segment => "segment",
            Kind::Frame => "frame",
            Kind::Chain => "chain",
            Kind::Body => "body",
            Kind::Life => "life",
            Kind::Carry => "carry",
            Kind::Checkpoint => "checkpoint",
            Kind::Work => "work",
        }
    }
}

/// Frames and updates that a fault makes unreadable, as far as what follows tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// How many frames.
    pub frames: u64,
    /// How many updates.
    pub updates: u64,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}", noun(self.frames, "frame"), noun(self.updates, "update"))
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What it is about.
    pub kind: Kind,
    /// The file, below the data directory.
    pub file: PathBuf,
    /// Byte offset in the file.
    pub offset: u64,
    /// The frame, or the first one that is lost, as far as known.
    pub position: Option<Position>,
    /// The update, or the first one that is lost, as far as known.
    pub sequence: Option<Sequence>,
    /// The job, if it is about one.
    pub job: Option<JobId>,
    /// What is lost with it.
    pub lost: Lost,
    /// What is wrong, in words.
    pub what: String,
}

impl Fault {
    /// A fault in the file at `path` of the directory at `root`.
    #[must_use]
    pub fn new(kind: Kind, root: &Path, path: &Path, offset: u64, what: String) -> Fault {
        let file = path.strip_prefix(root).unwrap_or(path).to_owned();
        Fault { kind, file, offset, position: None, sequence: None, job: None, lost: Lost::default(), what }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Fault { file, offset, position, sequence, job, lost, what, .. } = self;
        write!(f, "{} at byte {offset}", file.display())?;
        if let Some(position) = position {
            write!(f, ", frame {position}")?;
        }
        if let Some(sequence) = sequence {
            write!(f, ", update {sequence}")?;
        }
        if let Some(job) = job {
            write!(f, ", job {job}")?;
        }
        write!(f, ": {what}")?;
        if *lost != Lost::default() {
            write!(f, "; {lost} lost")?;
        }
        Ok(())
    }
}

/// Faults in the order they were found: the first ones, and how many there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    kept: Vec<Fault>,
    count: u64,
}

impl Faults {
    /// How many are kept; the others are only counted.
    pub const KEPT_MAX: usize = 10_000;

    /// Those that looking at the files of `directory` found.
    #[must_use]
    pub fn of(directory: &DataDirectory) -> Faults {
        let kept = directory.faults().to_vec();
        Faults { count: kept.len() as u64, kept }
    }

    /// One more.
    pub fn add(&mut self, fault: Fault) {
        self.count += 1;
        if self.kept.len() < Faults::KEPT_MAX {
            self.kept.push(fault);
        }
    }

    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The first ones.
    #[must_use]
    pub fn kept(&self) -> &[Fault] {
        &self.kept
    }
}

fn noun(count: u64, one: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {one}s") }
}
