//! Recovery: the state is the newest good checkpoint plus the log since. [LOG-3]

use crate::codec;
use crate::engine::checkpoint;
use crate::job::apply::At;
use crate::job::apply::Inconsistent;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::state::State;
use crate::log;
use crate::log::Archive;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use std::ops::ControlFlow;

/// How much log one read brings: little more than what its look-up costs is gained by larger ones.
const READ_BYTES: usize = 1_024 * 1_024;

/// Why the state could not be recovered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log could not be read.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// A frame's events are not what this release writes.
    #[error("frame {position} cannot be read")]
    Frame {
        /// The frame.
        position: Position,
        /// Why.
        #[source]
        source: codec::Error,
    },
    /// A frame does not follow from the state before it.
    #[error("frame {position} index {index} does not follow from the log before it")]
    Inconsistent {
        /// The frame.
        position: Position,
        /// The event in it.
        index: u32,
        /// What does not fit.
        #[source]
        source: Inconsistent,
    },
    /// A frame is not chained on the one before it.
    #[error("frame {position} is not chained on the frame before it: the log has a gap or a fork there")]
    Broken {
        /// The frame.
        position: Position,
    },
    /// The log begins after the end of every good checkpoint.
    #[error(
        "the log begins at frame {floor}, but no good checkpoint reaches it: the newest ends at {checkpoint}"
    )]
    Gap {
        /// The first retained frame.
        floor: Position,
        /// Where the newest good checkpoint ends; 0 if there is none.
        checkpoint: Position,
    },
}

/// A recovered state and where it came from.
#[derive(Debug)]
pub struct Recovered {
    /// The fold of all durable frames.
    pub state: State,
    /// Position of the checkpoint it began with; 0 if it was the empty log.
    pub checkpoint: Position,
    /// How many frames were applied on top.
    pub frames: u64,
    /// Bytes of those frames.
    pub bytes: u64,
    /// Checkpoints that were damaged and passed over.
    pub damaged: Vec<String>,
}

/// Recovers the state of a log: the newest good checkpoint, then every durable frame since. A damaged checkpoint is
/// passed over for the older one, which the log still reaches.
///
/// # Errors
/// [`Error`] if log and checkpoints together do not give the state.
pub fn recover<A: Archive>(archive: &A) -> Result<Recovered, Error> {
    let mut damaged = Vec::new();
    for at in archive.checkpoints()? {
        match checkpoint::load(archive, at) {
            Ok((head, state)) => return replay(archive, state, at, head.hash, damaged),
            Err(error) => damaged.push(format!("checkpoint {at}: {error}")),
        }
    }
    replay(archive, State::default(), Position(0), Hash::ZERO, damaged)
}

fn replay<A: Archive>(
    archive: &A,
    mut state: State,
    checkpoint: Position,
    mut hash: Hash,
    damaged: Vec<String>,
) -> Result<Recovered, Error> {
    let floor = archive.floor().position;
    if floor > checkpoint.next() {
        return Err(Error::Gap { floor, checkpoint });
    }
    let (mut frames, mut bytes) = (0, 0);
    each_frame(archive, checkpoint.next(), archive.durable(), |frame| {
        if frame.previous != hash {
            return Err(Error::Broken { position: frame.position });
        }
        hash = frame.hash();
        frames += 1;
        bytes += (frame.body.len() + Frame::HEADER_BYTES) as u64;
        apply_frame(&mut state, frame)?;
        Ok(ControlFlow::Continue(()))
    })?;
    Ok(Recovered { state, checkpoint, frames, bytes, damaged })
}

/// Reads the durable frames from `from` up to and including `to`, in order, until `see` has seen enough.
pub(in crate::engine) fn each_frame<A: Archive>(
    archive: &A,
    from: Position,
    to: Position,
    mut see: impl FnMut(&Frame) -> Result<ControlFlow<()>, Error>,
) -> Result<(), Error> {
    let mut next = from;
    while next <= to {
        let frames = archive.read(next, READ_BYTES)?;
        let Some(last) = frames.last() else { return Err(Error::Broken { position: next }) };
        next = last.position.next();
        for frame in frames.iter().take_while(|frame| frame.position <= to) {
            if see(frame)?.is_break() {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Applies all events of a frame.
pub(in crate::engine) fn apply_frame(state: &mut State, frame: &Frame) -> Result<(), Error> {
    let position = frame.position;
    let events = frame.events().map_err(|source| Error::Frame { position, source })?;
    for (event, index) in events.iter().zip(0..) {
        let at = At { pointer: Pointer { position, index }, time: frame.time };
        state.apply(event, at, None).map_err(|source| Error::Inconsistent { position, index, source })?;
    }
    state.applied(position, frame.time);
    Ok(())
}
