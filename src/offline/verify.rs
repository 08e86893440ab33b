//! Whether everything in a data directory is what was written and follows from what came before: every checksum, the hash
//! chain, gap-free sequences, every job's life through `apply`, checkpoints, carried events. [LOG-1] [LOG-3] [JOB-1]
//!
//! It goes on after every fault. What it cannot check: jobs older than the log, before the first checkpoint; and whether
//! frames at the very end were lost together with all that vouched for them.

use crate::clock::Timestamp;
use crate::codec::Reader;
use crate::engine::checkpoint;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Fold;
use crate::offline::Kind;
use crate::offline::Located;
use crate::offline::Lost;
use crate::offline::Step;
use crate::offline::Tail;
use crate::offline::Until;
use crate::offline::fold;
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::io::Read;
use xxhash_rust::xxh3::Xxh3;

const BUFFER_BYTES: usize = 256 * 1024;

/// What was found out about a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compared {
    /// It is what the log says.
    Same,
    /// The frames before it are no longer there, or lost: it is taken at its word from here on.
    Base,
    /// It is whole, but the log before it is damaged and an older checkpoint was taken instead, or it is older than the log.
    NotCompared,
    /// It is not what was written, or not what the log says.
    Bad,
}

/// What a verification read, and what it found.
#[derive(Debug, Default)]
pub struct Verified {
    /// Whole frames.
    pub frames: u64,
    /// Their updates.
    pub updates: u64,
    /// Bytes of log that they take.
    pub bytes: u64,
    /// Carried events.
    pub carried: u64,
    /// Jobs that live at the end of the log.
    pub live: u64,
    /// Every checkpoint.
    pub checkpoints: BTreeMap<Position, Compared>,
    /// Updates of jobs whose beginning is not there: trimmed, or lost.
    pub unexplained: u64,
    /// How many faults there were.
    pub faults: u64,
    /// What they make unreadable.
    pub lost: Lost,
    /// Where the log ended.
    pub tail: Tail,
}

impl Verified {
    /// Verifies `directory` and tells `see` of every fault.
    ///
    /// # Errors
    /// An input/output error.
    pub fn of(directory: &DataDirectory, see: &mut dyn FnMut(Fault)) -> Result<Verified, Error> {
        let mut verifying = Verifying {
            directory,
            fold: Fold::oldest(directory)?,
            found: Verified::default(),
            see,
            time: Timestamp(0),
            before: None,
        };
        directory.faults().iter().for_each(|fault| verifying.fault(fault.clone()));
        let unvisited = Compared::NotCompared;
        verifying.found.checkpoints =
            directory.checkpoints()?.into_iter().map(|at| (at, unvisited)).collect();
        let mut walk = directory.walk();
        for step in &mut walk {
            match step? {
                Step::Frame(located) => verifying.frame(&located)?,
                Step::Fault(fault) => verifying.fault(fault),
            }
        }
        verifying.found.tail = walk.tail().clone();
        verifying.rest_of_checkpoints()?;
        verifying.carried()?;
        let Verifying { fold, mut found, .. } = verifying;
        found.live = fold.state().jobs().len() as u64;
        found.unexplained = fold.unexplained();
        Ok(found)
    }
}

struct Verifying<'a> {
    directory: &'a DataDirectory,
    fold: Fold,
    found: Verified,
    see: &'a mut dyn FnMut(Fault),
    /// Log time of the frame before.
    time: Timestamp,
    /// The frame before the first one, whose hash that one tells.
    before: Option<Position>,
}

impl Verifying<'_> {
    fn fault(&mut self, fault: Fault) {
        self.found.faults += 1;
        self.found.lost.frames += fault.lost.frames;
        self.found.lost.updates += fault.lost.updates;
        (self.see)(fault);
    }

    fn frame(&mut self, located: &Located) -> Result<(), Error> {
        let frame = &located.frame;
        self.found.frames += 1;
        self.found.updates += u64::from(frame.updates);
        self.found.bytes += located.span;
        if frame.time < self.time {
            self.fault(located.fault(self.directory, Kind::Chain, "the frame's time goes back".to_owned()));
        }
        self.time = self.time.max(frame.time);
        if self.before.is_none() {
            let before = Position(frame.position.0.saturating_sub(1));
            self.before = Some(before);
            if self.found.checkpoints.contains_key(&before) {
                self.take_base(before, &|head| head.hash == frame.previous)?;
            }
        }
        let mut faults = Vec::new();
        self.fold.frame(self.directory, located, Until::End, &mut |fault| faults.push(fault))?;
        faults.into_iter().for_each(|fault| self.fault(fault));
        if !self.found.checkpoints.contains_key(&frame.position) {
            return Ok(());
        }
        if self.fold.is_torn() {
            let fits =
                |head: &checkpoint::CheckpointHead| head.hash == located.hash && head.epoch == frame.epoch;
            self.take_base(frame.position, &fits)
        } else {
            self.compare(located)
        }
    }

    /// Takes the checkpoint at `at` for what the frames before it would tell, if it is whole and `fits` the log.
    fn take_base(
        &mut self,
        at: Position,
        fits: &dyn Fn(&checkpoint::CheckpointHead) -> bool,
    ) -> Result<(), Error> {
        // The two states would take twice the memory.
        self.fold.forget();
        let compared = match fold::load(self.directory, at) {
            Ok(Ok((head, state))) if fits(&head) && state.position() == at => {
                self.fold.replace(state);
                Compared::Base
            }
            Ok(Ok(_)) => {
                self.fault(self.of_checkpoint(at, "the checkpoint is of another log than this one"));
                Compared::Bad
            }
            Ok(Err(fault)) => {
                self.fault(fault);
                Compared::Bad
            }
            Err(error) => self.gone(error)?,
        };
        self.found.checkpoints.insert(at, compared);
        Ok(())
    }

    /// Compares the checkpoint of this frame with the state.
    fn compare(&mut self, located: &Located) -> Result<(), Error> {
        let at = located.frame.position;
        let compared = match self.directory.checkpoint(at) {
            Ok(mut input) => match self.same(&mut input, located) {
                Ok(()) => Compared::Same,
                Err(what) => {
                    self.fault(self.of_checkpoint(at, &what));
                    Compared::Bad
                }
            },
            Err(Error::Damaged { what, .. }) => {
                self.fault(self.of_checkpoint(at, &what));
                Compared::Bad
            }
            Err(error) => self.gone(error)?,
        };
        self.found.checkpoints.insert(at, compared);
        Ok(())
    }

    fn same(&self, input: &mut dyn Read, located: &Located) -> Result<(), String> {
        let mut input = Reader::over(input);
        let head = checkpoint::read_head(&mut input)
            .map_err(|error| format!("the checkpoint cannot be read: {error}"))?;
        let of_log = (located.hash, located.frame.epoch, self.fold.state().last_id());
        if (head.hash, head.epoch, head.last_id) != of_log {
            return Err("the checkpoint's hash, epoch or last id is not that of the log".to_owned());
        }
        // A state has one stored form, so equal bytes are equal states, and none has to be held twice.
        let mut input = input.into_rest();
        let mut hasher = Xxh3::new();
        let mut buffer = vec![0; BUFFER_BYTES];
        loop {
            match input
                .read(&mut buffer)
                .map_err(|error| format!("the checkpoint cannot be read: {error}"))?
            {
                0 => break,
                read => hasher.update(&buffer[..read]),
            }
        }
        if hasher.digest128() == self.fold.state().digest() {
            Ok(())
        } else {
            Err("the checkpoint's state is not what the log leads to".to_owned())
        }
    }

    /// Checkpoints that no frame came to, and whether any reaches the log.
    fn rest_of_checkpoints(&mut self) -> Result<(), Error> {
        let end = self.found.tail.position;
        let left = self.found.checkpoints.iter().filter(|(_, compared)| **compared == Compared::NotCompared);
        let left: Vec<Position> = left.map(|(at, _)| *at).collect();
        for at in left {
            let damage = match self.directory.checkpoint(at) {
                Ok(_) => None,
                Err(Error::Damaged { what, .. }) => Some(self.of_checkpoint(at, &what)),
                Err(error) => {
                    self.gone(error)?;
                    continue;
                }
            };
            let beyond = || {
                let what = format!("the checkpoint is of frame {at}, and the log ends with frame {end}");
                let mut fault = self.of_checkpoint(at, &what);
                fault.lost.frames = at.0 - end.0;
                fault
            };
            if let Some(fault) = damage.or_else(|| (at > end).then(beyond)) {
                self.fault(fault);
                self.found.checkpoints.insert(at, Compared::Bad);
            }
        }
        let floor = self.directory.floor().map_or(Position(1), |floor| floor.position);
        let reaches =
            |(at, compared): (&Position, &Compared)| at.next() >= floor && *compared != Compared::Bad;
        if floor > Position(1) && !self.found.checkpoints.iter().any(reaches) {
            let path = self.directory.files().checkpoint_path(Position(floor.0 - 1));
            let what = format!("the log begins with frame {floor}, and no good checkpoint reaches it");
            self.fault(self.directory.fault(Kind::Checkpoint, &path, what));
        }
        Ok(())
    }

    /// Every carried event is whole, and what live jobs need is there.
    fn carried(&mut self) -> Result<(), Error> {
        let Some(carried) = self.directory.carried() else { return Ok(()) };
        let (floor, path) =
            (carried.floor().position, self.directory.files().carry_path(carried.floor().position));
        let mut wanted = self.wanted_below(floor).into_iter().peekable();
        let bad = |at: Pointer, job: Option<JobId>, what: &str| {
            let mut fault = self.directory.fault(Kind::Carry, &path, what.to_owned());
            (fault.position, fault.job) = (Some(at.position), job);
            fault
        };
        let mut faults = Vec::new();
        for at in carried.pointers() {
            let at = at?;
            while let Some((missing, job)) = wanted.next_if(|(pointer, _)| *pointer < at) {
                faults.push(bad(missing, Some(job), "an event of a live job was not carried along"));
            }
            let job = wanted.next_if(|(pointer, _)| *pointer == at).map(|(_, job)| job);
            self.found.carried += 1;
            match carried.event(at) {
                Ok(Some(event)) if job.is_none_or(|job| is_kept_of(&event, job)) => {}
                Ok(_) => faults.push(bad(at, job, "the carried event is of another job or kind")),
                Err(Error::Damaged { what, offset, .. }) => {
                    faults.push(Fault { offset, ..bad(at, job, &what) });
                }
                Err(error) => return Err(error),
            }
        }
        faults.extend(
            wanted.map(|(at, job)| bad(at, Some(job), "an event of a live job was not carried along")),
        );
        faults.into_iter().for_each(|fault| self.fault(fault));
        Ok(())
    }

    /// The events below `floor` that live jobs need, ascending. None if the state is not known well enough to say.
    fn wanted_below(&self, floor: Position) -> Vec<(Pointer, JobId)> {
        if self.fold.is_torn() {
            return Vec::new();
        }
        let state = self.fold.state();
        let jobs = state.jobs().iter().map(|(_, job)| job);
        let pointers = jobs.flat_map(|job| state.carried(job).map(|at| (at, job.id)));
        let mut wanted: Vec<(Pointer, JobId)> = pointers.filter(|(at, _)| at.position < floor).collect();
        wanted.sort_unstable_by_key(|(at, _)| *at);
        wanted
    }

    fn of_checkpoint(&self, at: Position, what: &str) -> Fault {
        let path = self.directory.files().checkpoint_path(at);
        let mut fault = self.directory.fault(Kind::Checkpoint, &path, what.to_owned());
        fault.position = Some(at);
        fault
    }

    /// A checkpoint that a live server has replaced meanwhile is no fault.
    fn gone(&self, error: Error) -> Result<Compared, Error> {
        if let Error::Io { source, .. } = &error
            && source.kind() == ErrorKind::NotFound
        {
            return Ok(Compared::NotCompared);
        }
        Err(error)
    }
}

/// Whether the event is one that is carried for `job`.
fn is_kept_of(event: &Event, job: JobId) -> bool {
    let kept = matches!(event, Event::Submitted(_) | Event::Retrying { .. } | Event::Dead { .. });
    kept && event.job().is_some_and(|(id, _)| id == job)
}
