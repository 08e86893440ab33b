//! A backup as a new data directory: copied under a store id of its own, verified, and only then named.

use crate::clock::Timestamp;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::Head;
use crate::log::directory::backup::End;
use crate::log::directory::backup::Finished;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Faults;
use crate::offline::From;
use crate::offline::Kind;
use crate::offline::Step;
use crate::offline::Until;
use crate::offline::Verified;
use crate::offline::fresh::Fresh;
use crate::offline::fresh::Work;
use std::path::Path;

/// A directory that was restored.
#[derive(Debug)]
pub struct Restored {
    /// The store that was backed up.
    pub old_store: StoreId,
    /// The new one.
    pub new_store: StoreId,
    /// What its verification found.
    pub verified: Verified,
}

/// How a restore ended.
#[derive(Debug)]
pub enum Outcome {
    /// The directory is there.
    Done(Box<Restored>),
    /// The backup is damaged; nothing was made.
    Damaged(Faults),
}

/// Restores the backup at `backup`, up to `until`, into `out`, which does not exist or is empty.
///
/// # Errors
/// [`Error::NoBackup`] if it is no finished backup, or does not reach `until`; [`Error::Unusable`] if `out` is neither; an
/// input/output error. Then nothing is left of what was made.
pub fn restore(backup: &Path, out: &Path, until: Until) -> Result<Outcome, Error> {
    let finished = Finished::open(backup)?;
    let place = Fresh::check(backup, out, Work::Restore)?;
    match make(&finished, backup, place.unfinished(), until) {
        Ok(Outcome::Done(restored)) => {
            place.publish()?;
            Ok(Outcome::Done(restored))
        }
        Ok(Outcome::Damaged(faults)) => {
            place.give_up()?;
            Ok(Outcome::Damaged(faults))
        }
        Err(error) => {
            // The first error is the one to tell of.
            place.give_up().ok();
            Err(error)
        }
    }
}

fn make(finished: &Finished, backup: &Path, out: &Path, until: Until) -> Result<Outcome, Error> {
    let head = finished.manifest().head;
    let end = match until {
        Until::End => finished.end(),
        Until::Sequence(_) | Until::Position(_) | Until::Time(_) => match end_of(finished, backup, until)? {
            Ok(end) => end,
            Err(faults) => return Ok(Outcome::Damaged(faults)),
        },
    };
    let new_store = match finished.copy_as_new(out, end) {
        Ok(store) => store,
        Err(error @ Error::Damaged { .. }) => {
            let faults = faults_of(backup, head)?;
            return if faults.count() > 0 { Ok(Outcome::Damaged(faults)) } else { Err(error) };
        }
        Err(error) => return Err(error),
    };
    let copy = DataDirectory::open(out)?;
    let mut faults = Faults::default();
    let verified = Verified::of(&copy, &mut |fault| faults.add(fault))?;
    let ends = verified.tail.position == end.position;
    let is_head = until != Until::End || hash_at(&copy, head.position)? == Some(head);
    if faults.count() == 0 && ends && is_head {
        let old_store = finished.manifest().store;
        return Ok(Outcome::Done(Box::new(Restored { old_store, new_store, verified })));
    }
    // The files of the backup have names that will be there tomorrow. If they are good, then copying them was not.
    let of_backup = faults_of(backup, head)?;
    if of_backup.count() > 0 {
        return Ok(Outcome::Damaged(of_backup));
    }
    if faults.count() == 0 {
        faults.add(short(&copy, verified.tail.position, end.position));
    }
    Ok(Outcome::Damaged(faults))
}

/// Reads the finished backup at `backup` whole, as a restore does: what is wrong with it.
///
/// # Errors
/// [`Error::NoBackup`] if it is no finished backup; an input/output error.
pub fn read_back(backup: &Path) -> Result<Faults, Error> {
    // As long as this is open no other backup goes on with it.
    let finished = Finished::open(backup)?;
    faults_of(backup, finished.manifest().head)
}

/// What is wrong with the backup, which should end with `head`.
fn faults_of(backup: &Path, head: Head) -> Result<Faults, Error> {
    let directory = DataDirectory::open(backup)?;
    let mut faults = Faults::default();
    let verified = Verified::of(&directory, &mut |fault| faults.add(fault))?;
    let found = verified.tail.position;
    if found != head.position || faults.count() == 0 && hash_at(&directory, head.position)? != Some(head) {
        faults.add(short(&directory, found, head.position));
    }
    Ok(faults)
}

fn short(directory: &DataDirectory, found: Position, wanted: Position) -> Fault {
    let what =
        format!("the log ends with frame {found}, and the backup was made up to another frame {wanted}");
    let last = directory.segments().ok().and_then(|segments| segments.last().map(|(number, _)| *number));
    let path = directory.files().segment_path(last.unwrap_or(1));
    let mut fault = directory.fault(Kind::Frame, &path, what);
    fault.position = Some(found.next());
    fault.lost.frames = wanted.0.saturating_sub(found.0);
    fault
}

/// The frame at `position`, as the head of a log that ends with it.
fn hash_at(directory: &DataDirectory, position: Position) -> Result<Option<Head>, Error> {
    for step in directory.walk_from(From::Position(position))? {
        if let Step::Frame(located) = step?
            && located.frame.position == position
        {
            let sequence = Sequence(located.frame.next_sequence().0.saturating_sub(1));
            return Ok(Some(Head { position, hash: located.hash, epoch: located.frame.epoch, sequence }));
        }
    }
    Ok(None)
}

/// Where the last frame ends that holds nothing after `until`.
fn end_of(finished: &Finished, backup: &Path, until: Until) -> Result<Result<End, Faults>, Error> {
    let manifest = finished.manifest();
    let refuse = |reason: String| Error::NoBackup { place: backup.display().to_string(), reason };
    if let Until::Sequence(wanted) = until
        && wanted > manifest.head.sequence
    {
        let head = manifest.head.sequence;
        return Err(refuse(format!("it ends with update {head}, before update {wanted}")));
    }
    let directory = DataDirectory::open(backup)?;
    // Where older log was let go the state of its first checkpoint is the earliest that is known.
    let trimmed = manifest.carry.is_some();
    let base = manifest.checkpoints.first().copied().filter(|_| trimmed).unwrap_or_default();
    let mut end = None;
    let mut first = (Sequence(0), Timestamp(0));
    for step in directory.walk() {
        let located = match step? {
            Step::Frame(located) => located,
            Step::Fault(_) => return Ok(Err(faults_of(backup, manifest.head)?)),
        };
        let frame = &located.frame;
        let last = Sequence(frame.next_sequence().0.saturating_sub(1));
        let passed = match until {
            Until::End => false,
            Until::Sequence(wanted) => last > wanted,
            Until::Position(wanted) => frame.position > wanted,
            Until::Time(wanted) => frame.time > wanted,
        };
        if frame.position <= base.max(Position(1)) {
            first = (last, frame.time);
        }
        if passed && frame.position > base {
            break;
        }
        if !passed {
            let (position, segment) = (frame.position, located.segment);
            end = Some(End { position, segment, offset: located.offset + located.span });
        }
    }
    end.filter(|end| end.position >= base).map(Ok).ok_or_else(|| {
        let (sequence, time) =
            (first.0, jiff::Timestamp::from_millisecond(first.1.0.try_into().unwrap_or(0)));
        let time = time.map(|time| time.to_string()).unwrap_or_default();
        refuse(format!(
            "the earliest state that it can be restored to is that after update {sequence}, at {time}"
        ))
    })
}
