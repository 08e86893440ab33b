//! Everything readable of a damaged directory, as a new log with a new store id: rewritten, not patched. Sequences are
//! given anew without gaps; job ids stay. An event that is readable is kept; what must have happened between two of them is
//! written again as far as they, or a checkpoint behind the damage, imply it. [LOG-1] [LOG-3]
//!
//! ```text
//! submission lost                 the job has ended as far as it can be told; it is never run
//! later updates lost              it waits and is run again, unless a checkpoint says that it had ended
//! running                         it waits: its lease belongs to the old history
//! ```

mod bridge;
mod copy;
mod rescue;

use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Log;
use crate::log::directory::Directory;
use crate::log::directory::DirectoryOptions;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Faults;
use crate::offline::Kind;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Tail;
use crate::offline::fold;
use crate::offline::fresh::Fresh;
use crate::offline::fresh::Work;
use crate::offline::salvage::copy::Copy;
use crate::offline::salvage::rescue::HeadlessJobs;
use crate::offline::salvage::rescue::Rescue;
use std::collections::BTreeMap;
use std::path::Path;

/// What is missing of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Gap {
    /// Its submission, and with it its payload: it is not run.
    Payload,
    /// How it ended: that it had ended is known.
    End,
    /// Perhaps its end: it waits, and may be run once more than it should.
    Doubt,
}

/// What a salvage did.
#[derive(Debug, Default)]
pub struct Report {
    /// The store id of the old directory, if it can be read.
    pub old_store: Option<StoreId>,
    /// The store id of the new one.
    pub new_store: Option<StoreId>,
    /// Events read, carried ones included.
    pub events_read: u64,
    /// Updates of the old log that are in the new one.
    pub updates_kept: u64,
    /// Updates that only the new log has.
    pub updates_added: u64,
    /// Events that fit nothing that is known.
    pub left_out: u64,
    /// Submit keys that only a checkpoint knows, without their text: a repeated submit makes a second job.
    pub keys_forgotten: u64,
    /// Jobs of which something is missing, the first [`Report::JOBS_MAX`].
    pub jobs: BTreeMap<JobId, Gap>,
    /// How many there are of each: payload, end, doubt.
    pub gaps: [u64; 3],
    /// What is wrong with the old directory.
    pub faults: Faults,
    /// Where its log ends.
    pub tail: Tail,
    /// Live jobs of the new directory: waiting and dead.
    pub waiting: u64,
    /// Dead ones.
    pub dead: u64,
    /// The last update of the new log.
    pub sequence: Sequence,
    /// Whether something that the log or a checkpoint held cannot be read.
    pub is_partial: bool,
}

impl Report {
    /// How many jobs are kept by name; the others are only counted.
    pub const JOBS_MAX: usize = 100_000;

    /// Whether everything is saved. A damaged format file or checkpoint alone loses nothing.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.is_partial && self.left_out == 0 && self.keys_forgotten == 0 && self.gaps == [0; 3]
    }

    fn miss(&mut self, id: JobId, gap: Gap) {
        if self.jobs.contains_key(&id) {
            return;
        }
        self.gaps[gap as usize] += 1;
        if self.jobs.len() < Report::JOBS_MAX {
            self.jobs.insert(id, gap);
        }
    }
}

/// Copies everything readable of `directory` into a new one at `out`, which does not exist or is empty.
///
/// # Errors
/// [`Error::Unusable`] if `out` is neither, or an input/output error. Damage is in the report.
pub fn salvage(directory: &DataDirectory, out: &Path) -> Result<Report, Error> {
    let place = Fresh::check(directory.path(), out, Work::Salvage)?;
    let none = HeadlessJobs::new();
    let mut first = Rescue::new(directory, &none, Copy::new(None), is_trimmed(directory))?;
    read(directory, &mut first)?;
    let headless = first.found;
    let largest = directory.segments()?.into_iter().map(|(_, bytes)| bytes).max().unwrap_or_default();
    let options = DirectoryOptions::default();
    let segment_bytes = largest.next_multiple_of(4_096).clamp(DirectoryOptions::SEGMENT_BYTES_MIN, 1 << 30);
    let log =
        Directory::open(place.unfinished(), DirectoryOptions { segment_bytes, reserve_bytes: 0, ..options })?
            .log;
    let store = log.archive().store_id();
    let mut second = Rescue::new(directory, &headless, Copy::new(Some(log)), is_trimmed(directory))?;
    read(directory, &mut second)?;
    second.finish()?;
    let Rescue { copy, mut report, .. } = second;
    let state = copy.close()?;
    place.publish()?;
    (report.old_store, report.new_store) = (directory.store_id(), Some(store));
    report.sequence = state.sequence();
    let jobs = || state.jobs().iter().map(|(_, job)| job.state());
    report.waiting = jobs().filter(|state| *state == JobState::Waiting).count() as u64;
    report.dead = jobs().filter(|state| *state == JobState::Dead).count() as u64;
    Ok(report)
}

fn is_trimmed(directory: &DataDirectory) -> bool {
    directory.floor().is_none_or(|floor| floor.position > Position(1))
}

/// Goes through everything readable, in order.
fn read(directory: &DataDirectory, rescue: &mut Rescue<'_>) -> Result<(), Error> {
    let mut reading = Reading {
        directory,
        checkpoints: directory.checkpoints()?,
        unsettled: is_trimmed(directory),
        lost: false,
    };
    for fault in directory.faults() {
        reading.fault(rescue, fault.clone());
    }
    reading.carried(rescue)?;
    let mut walk = directory.walk();
    for step in &mut walk {
        match step? {
            Step::Fault(fault) => reading.fault(rescue, fault),
            Step::Frame(located) => reading.frame(rescue, &located)?,
        }
    }
    let tail = walk.tail().clone();
    if reading.checkpoints.iter().any(|at| *at > tail.position) {
        // The end of the log is lost, and only a checkpoint tells of it.
        reading.lose(rescue);
    }
    reading.settle(rescue, Position(u64::MAX))?;
    rescue.report.is_partial |= reading.unsettled && is_trimmed(directory);
    rescue.report.tail = tail;
    rescue.copy.flush()
}

/// One passage through the old directory.
struct Reading<'a> {
    directory: &'a DataDirectory,
    /// Those not yet passed, newest first.
    checkpoints: Vec<Position>,
    /// The next checkpoint tells something new.
    unsettled: bool,
    /// Frames before the next one are lost.
    lost: bool,
}

impl Reading<'_> {
    fn fault(&mut self, rescue: &mut Rescue<'_>, fault: Fault) {
        match fault.kind {
            Kind::Format | Kind::Checkpoint | Kind::Work => {}
            Kind::Frame | Kind::Chain | Kind::Body | Kind::Carry | Kind::Life | Kind::Segment => {
                self.lost = true;
            }
        }
        rescue.report.faults.add(fault);
    }

    fn lose(&mut self, rescue: &mut Rescue<'_>) {
        self.lost = false;
        self.unsettled = true;
        rescue.report.is_partial = true;
        rescue.lose();
    }

    /// Events of jobs that lived when their segments were let go.
    fn carried(&mut self, rescue: &mut Rescue<'_>) -> Result<(), Error> {
        let Some(carried) = self.directory.carried() else { return Ok(()) };
        for at in carried.pointers() {
            let at: Pointer = at?;
            match carried.event(at) {
                Ok(Some(event)) => {
                    if let Some((id, _)) = event.job() {
                        rescue.copy.begin(Default::default(), id.time())?;
                    }
                    rescue.event(&event, None)?;
                }
                Ok(None) => {}
                Err(Error::Damaged { what, .. }) => {
                    let path = self.directory.files().carry_path(carried.floor().position);
                    let mut fault = self.directory.fault(Kind::Carry, &path, what);
                    fault.position = Some(at.position);
                    self.fault(rescue, fault);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn frame(&mut self, rescue: &mut Rescue<'_>, located: &Located) -> Result<(), Error> {
        let frame = &located.frame;
        self.settle(rescue, frame.position)?;
        let events = match frame.events() {
            Ok(events) => events,
            Err(error) => {
                self.fault(rescue, fold::unreadable(self.directory, located, &error.to_string()));
                return Ok(());
            }
        };
        rescue.copy.begin(frame.epoch, frame.time)?;
        let mut sequence = frame.first_sequence;
        for event in &events {
            rescue.event(event, Some(sequence))?;
            sequence = sequence.plus(u64::from(event.is_update()));
        }
        rescue.copy.flush()
    }

    /// Takes over what the newest good checkpoint before the frame at `next` says, if it can say something new.
    fn settle(&mut self, rescue: &mut Rescue<'_>, next: Position) -> Result<(), Error> {
        let lost = self.lost;
        if lost {
            self.lose(rescue);
        }
        let mut passed: Vec<Position> = Vec::new();
        while let Some(at) = self.checkpoints.pop_if(|at| *at < next) {
            passed.push(at);
        }
        let mut known: Option<State> = None;
        for at in passed.into_iter().rev() {
            match fold::load(self.directory, at)? {
                Err(fault) => rescue.report.faults.add(fault),
                Ok((_, state)) if self.unsettled && known.is_none() => known = Some(state),
                Ok(_) => {}
            }
        }
        let Some(known) = known else { return Ok(()) };
        rescue.copy.begin(Default::default(), known.time())?;
        rescue.settle(&known)?;
        self.unsettled = false;
        if lost && known.position().next() < next {
            // It lies inside of what is lost: only a later one tells of the rest.
            self.lose(rescue);
        }
        rescue.copy.flush()
    }
}
