//! The state as of a place in the log: a checkpoint before it, and the log since, through the same `apply` that a server
//! uses. [LOG-3]
//!
//! After damage the state is what the rest of the log tells: jobs whose submission is lost stay unknown, until a checkpoint
//! that lies behind the damage knows them again. An event is a fault only if nothing was lost that could explain it.

use crate::clock::Timestamp;
use crate::engine::checkpoint;
use crate::engine::checkpoint::CheckpointHead;
use crate::job::apply::At;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::state::State;
use crate::log::Error;
use crate::log::frame::Hash;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::Faults;
use crate::offline::From;
use crate::offline::Kind;
use crate::offline::Located;
use crate::offline::Names;
use crate::offline::Step;
use crate::offline::Tail;

/// Up to where the log is folded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Everything that is there.
    End,
    /// This update included, and nothing after it: what a later frame holds does not change the state as of here.
    Sequence(Sequence),
    /// Every frame up to this one, included.
    Position(Position),
    /// Every frame up to this log time, included.
    Time(Timestamp),
}

/// A state that is built frame by frame.
#[derive(Debug, Default)]
pub struct Fold {
    state: State,
    base: Position,
    hash: Hash,
    /// Frames before the next one are lost.
    torn: bool,
    unexplained: u64,
}

/// The state as of some place, and what was wrong on the way.
#[derive(Debug)]
pub struct AsOf {
    /// The state.
    pub state: State,
    /// The checkpoint it began with; 0 if it was the empty log.
    pub base: Position,
    /// The hash of the log up to the state's frame: equal hashes are equal histories.
    pub hash: Hash,
    /// Whether something that belongs to the state is lost.
    pub partial: bool,
    /// Updates that could not be applied because what led to them is lost.
    pub unexplained: u64,
    /// What was wrong, in the order of the log.
    pub faults: Faults,
    /// Where the reading ended.
    pub tail: Tail,
}

impl AsOf {
    /// The state of `directory` as of `until`.
    ///
    /// # Errors
    /// An input/output error. Damage is in `faults`.
    pub fn of(directory: &DataDirectory, until: Until) -> Result<AsOf, Error> {
        let mut faults = Faults::of(directory);
        let mut fold = Fold::newest(directory, until, &mut |fault| faults.add(fault))?;
        let mut walk = directory.walk_from(From::Position(fold.next()))?;
        let next = fold.next();
        for step in &mut walk {
            let located = match step? {
                Step::Frame(located) if located.frame.position < next => continue,
                Step::Frame(located) => located,
                Step::Fault(fault) => {
                    faults.add(fault);
                    continue;
                }
            };
            if fold.frame(directory, &located, until, &mut |fault| faults.add(fault))? == Reached::Yes {
                break;
            }
        }
        let tail = walk.tail().clone();
        let Fold { state, base, hash, torn, unexplained } = fold;
        Ok(AsOf { state, base, hash, partial: torn, unexplained, faults, tail })
    }

    /// The oldest checkpoint that is good: no state up to its update is known if older log was trimmed.
    ///
    /// # Errors
    /// An input/output error.
    pub fn oldest(directory: &DataDirectory) -> Result<Option<(Position, Sequence)>, Error> {
        for at in directory.checkpoints()?.into_iter().rev() {
            if let Ok((_, state)) = load(directory, at)? {
                return Ok(Some((state.position(), state.sequence())));
            }
        }
        Ok(None)
    }

    /// Whether nothing is damaged and the state is not known all the same: the log that led to it was trimmed, and no
    /// checkpoint is as old.
    #[must_use]
    pub fn is_too_old(&self, directory: &DataDirectory) -> bool {
        let checkpoint = self.faults.kept().iter().any(|fault| fault.kind == Kind::Checkpoint);
        self.partial && self.base == Position(0) && is_trimmed(directory) && !checkpoint
    }
}

/// Whether the place up to which the log is folded has been reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reached {
    /// Nothing more is applied.
    Yes,
    /// Go on.
    No,
}

/// An event that is about to be applied.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The state before it.
    pub state: &'a State,
    /// The event.
    pub event: &'a Event,
    /// Its sequence if it is an update, otherwise that of the last one.
    pub sequence: Sequence,
    /// Log time of its frame.
    pub time: Timestamp,
    /// The checkpoint that the state began with: slots are others when this changes.
    pub base: Position,
    /// Whether jobs may be unknown: what led to them was trimmed or is lost.
    pub torn: bool,
}

impl Fold {
    /// Begins with the newest good checkpoint that is not after `until`, or with the empty log. Checkpoints that are
    /// damaged are told to `see`.
    ///
    /// # Errors
    /// An input/output error.
    pub fn newest(
        directory: &DataDirectory,
        until: Until,
        see: &mut dyn FnMut(Fault),
    ) -> Result<Fold, Error> {
        for at in directory.checkpoints()? {
            match load(directory, at)? {
                Ok((head, state)) if is_within(&state, until) => {
                    return Ok(Fold { state, base: at, hash: head.hash, torn: false, unexplained: 0 });
                }
                Ok(_) => {}
                Err(fault) => see(fault),
            }
        }
        Ok(Fold { torn: is_trimmed(directory), ..Fold::default() })
    }

    /// Begins before the first frame of the log. If older log was trimmed, older jobs are unknown up to the first good
    /// checkpoint that the frames come to, and nothing is a fault so far.
    ///
    /// # Errors
    /// An input/output error.
    pub fn oldest(directory: &DataDirectory) -> Result<Fold, Error> {
        let mut fold = Fold { torn: is_trimmed(directory), ..Fold::default() };
        if fold.torn {
            // So that jobs submitted since are known by their queues.
            for (queue, name) in Names::of(directory)?.all() {
                let (event, at) = (Event::QueueMade { queue, name }, fold.before_all());
                // Names come in the order of their numbers, as queues were made.
                fold.state.apply(&event, at, None).ok();
            }
        }
        Ok(fold)
    }

    fn before_all(&self) -> At {
        At { pointer: Pointer { position: Position(0), index: 0 }, time: self.state.time() }
    }

    /// Goes on from a checkpoint instead of the frames so far.
    pub(in crate::offline) fn replace(&mut self, state: State) {
        (self.base, self.torn) = (state.position(), false);
        self.state = state;
    }

    /// Forgets what is known so far: a checkpoint is to take its place.
    pub(in crate::offline) fn forget(&mut self) {
        (self.state, self.torn) = (State::default(), true);
    }

    /// The state so far.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The checkpoint it began with; 0 if it was the empty log.
    #[must_use]
    pub fn base(&self) -> Position {
        self.base
    }

    /// The frame that is wanted next.
    #[must_use]
    pub fn next(&self) -> Position {
        self.state.position().next()
    }

    /// Whether frames were lost on the way and no checkpoint has made up for them: the state is then not to be compared.
    #[must_use]
    pub fn is_torn(&self) -> bool {
        self.torn
    }

    /// Updates that could not be applied because what led to them is lost.
    #[must_use]
    pub fn unexplained(&self) -> u64 {
        self.unexplained
    }

    /// Applies a frame up to `until`. Frames must come in order; those up to [`Fold::base`] are to be left out.
    ///
    /// # Errors
    /// An input/output error.
    pub fn frame(
        &mut self,
        directory: &DataDirectory,
        located: &Located,
        until: Until,
        see: &mut dyn FnMut(Fault),
    ) -> Result<Reached, Error> {
        let after = match until {
            Until::Time(time) => located.frame.time > time,
            Until::Position(position) => located.frame.position > position,
            Until::End | Until::Sequence(_) => false,
        };
        if after {
            return Ok(Reached::Yes);
        }
        match located.frame.events() {
            Ok(events) => self.events(directory, located, &events, until, see),
            Err(error) => {
                see(unreadable(directory, located, &error.to_string()));
                self.torn = true;
                self.state.pass_over(Sequence(located.frame.next_sequence().0.saturating_sub(1)));
                self.applied(located);
                Ok(Reached::No)
            }
        }
    }

    fn applied(&mut self, located: &Located) {
        self.hash = located.hash;
        self.state.applied(located.frame.position, located.frame.time);
    }

    /// The same, of a frame whose events were decoded already.
    ///
    /// # Errors
    /// An input/output error.
    pub fn events(
        &mut self,
        directory: &DataDirectory,
        located: &Located,
        events: &[Event],
        until: Until,
        see: &mut dyn FnMut(Fault),
    ) -> Result<Reached, Error> {
        self.watched(directory, located, events, until, see, &mut |_| {})
    }

    /// The same, and shows each event to `watch` before it is applied.
    ///
    /// # Errors
    /// An input/output error.
    pub fn watched(
        &mut self,
        directory: &DataDirectory,
        located: &Located,
        events: &[Event],
        until: Until,
        see: &mut dyn FnMut(Fault),
        watch: &mut dyn FnMut(&Told<'_>),
    ) -> Result<Reached, Error> {
        let frame = &located.frame;
        if let Until::Sequence(last) = until
            && frame.first_sequence > last
        {
            self.torn |= self.state.sequence() < last;
            return Ok(Reached::Yes);
        }
        self.catch_up(directory, located)?;
        for (event, index) in events.iter().zip(0..) {
            if until == Until::Sequence(self.state.sequence()) {
                return Ok(Reached::Yes);
            }
            let at = At { pointer: Pointer { position: frame.position, index }, time: frame.time };
            let sequence = self.state.sequence().plus(u64::from(event.is_update()));
            let (base, torn) = (self.base, self.torn);
            watch(&Told { state: &self.state, event, sequence, time: frame.time, base, torn });
            if let Err(why) = self.state.apply(event, at, None) {
                self.state.pass_over(sequence);
                if self.torn {
                    self.unexplained += 1;
                } else {
                    let mut fault = located.fault(directory, Kind::Life, why.to_string());
                    fault.sequence = event.is_update().then_some(sequence);
                    fault.job = event.job().map(|(id, _)| id);
                    see(fault);
                }
            }
        }
        self.applied(located);
        Ok(Reached::No)
    }

    /// Makes up for lost frames: by a checkpoint that ends right before this frame, or by leaving them out.
    fn catch_up(&mut self, directory: &DataDirectory, located: &Located) -> Result<(), Error> {
        let before = Position(located.frame.position.0.saturating_sub(1));
        let known = self.state.position() == before;
        self.torn |= !known;
        if self.torn
            && directory.checkpoints()?.contains(&before)
            && let Ok((head, state)) = load(directory, before)?
            && head.hash == located.frame.previous
        {
            self.replace(state);
        }
        self.state.pass_over(Sequence(located.frame.first_sequence.0.saturating_sub(1)));
        Ok(())
    }
}

impl Located {
    /// A fault of this frame.
    #[must_use]
    pub fn fault(&self, directory: &DataDirectory, kind: Kind, what: String) -> Fault {
        let mut fault = Fault::new(kind, directory.path(), &self.file, self.offset, what);
        fault.position = Some(self.frame.position);
        fault.sequence = Some(self.frame.first_sequence);
        fault
    }
}

/// That a whole frame's events cannot be read.
pub(in crate::offline) fn unreadable(directory: &DataDirectory, located: &Located, why: &str) -> Fault {
    let mut fault = located.fault(directory, Kind::Body, format!("the frame's events cannot be read: {why}"));
    fault.lost.frames = 1;
    fault.lost.updates = located.frame.updates.into();
    fault
}

/// Reads a checkpoint, or says what is wrong with it.
pub(in crate::offline) fn load(
    directory: &DataDirectory,
    at: Position,
) -> Result<Result<(CheckpointHead, State), Fault>, Error> {
    let path = directory.files().checkpoint_path(at);
    let bad = |what: String| {
        let mut fault = directory.fault(Kind::Checkpoint, &path, what);
        fault.position = Some(at);
        fault
    };
    let mut input = match directory.checkpoint(at) {
        Ok(input) => input,
        Err(Error::Damaged { what, .. }) => return Ok(Err(bad(what))),
        Err(error) => return Err(error),
    };
    Ok(checkpoint::load_from(&mut input)
        .map_err(|error| bad(format!("the checkpoint cannot be read: {error}"))))
}

/// Whether the log no longer begins with its first frame.
fn is_trimmed(directory: &DataDirectory) -> bool {
    directory.floor().is_none_or(|floor| floor.position > Position(1))
}

fn is_within(state: &State, until: Until) -> bool {
    match until {
        Until::End => true,
        // It may hold what came after the update and was none.
        Until::Sequence(sequence) => state.sequence() < sequence,
        Until::Position(position) => state.position() <= position,
        Until::Time(time) => state.time() <= time,
    }
}
