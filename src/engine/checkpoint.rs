//! Checkpoints: the state at one position, made by merging the one before with the log since, never from live memory.
//! So every checkpoint proves that the log gives the state, and takes memory only for the jobs it touches. [LOG-3]

use crate::codec;
use crate::codec::Reader;
use crate::codec::Writer;
use crate::engine::recover;
use crate::engine::recover::apply_frame;
use crate::engine::recover::each_frame;
use crate::engine::view::IdHash;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::saved;
use crate::job::state::State;
use crate::log;
use crate::log::Archive;
use crate::log::Floor;
use crate::log::ReadCheckpoint;
use crate::log::causes::in_one_line;
use crate::log::frame::Frame;
use crate::log::frame::Hash;
use serde::Deserialize;
use serde::Serialize;
use std::collections::HashSet;
use std::io::Read;
use std::io::Write;
use std::ops::ControlFlow;

/// What a checkpoint says besides the state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointHead {
    /// Running hash of the log at its position: the next frame is chained on it.
    pub hash: Hash,
    /// Epoch of the newest frame it covers.
    pub epoch: Epoch,
    /// The newest job id it covers: jobs above it cannot be in the checkpoint.
    pub last_id: JobId,
}

impl CheckpointHead {
    /// Before the first frame.
    const EMPTY: CheckpointHead = CheckpointHead { hash: Hash::ZERO, epoch: Epoch(0), last_id: JobId::MIN };
}

/// A checkpoint that was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Made {
    /// Bytes of log that went into it.
    pub log_bytes: u64,
    /// Its own size.
    pub bytes: u64,
}

/// How much log a checkpoint has taken; two passes over the same frames end at the same one.
struct Taken {
    bytes: u64,
    max: u64,
}

impl Taken {
    fn take(&mut self, frame: &Frame) -> ControlFlow<()> {
        self.bytes += (frame.body.len() + Frame::HEADER_BYTES) as u64;
        if self.bytes < self.max { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

/// Counts what is written.
struct Counting<'a> {
    out: &'a mut dyn Write,
    bytes: &'a mut u64,
}

impl Write for Counting<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.out.write(bytes)?;
        *self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}

/// Why a checkpoint could not be made or read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The log does not give the state.
    #[error(transparent)]
    Recover(#[from] recover::Error),
    /// A checkpoint holds something else than this release writes.
    #[error("the checkpoint cannot be read")]
    Codec(#[from] codec::Error),
    /// A checkpoint could not be written.
    #[error("the checkpoint cannot be written")]
    Write(#[from] std::io::Error),
    /// A checkpoint could not be merged.
    #[error("the checkpoint cannot be merged")]
    Merge(#[from] saved::Error),
}

/// Reads the checkpoint at `at`.
///
/// # Errors
/// [`Error`] if it is damaged.
pub fn load<A: Archive>(archive: &A, at: Position) -> Result<(CheckpointHead, State), Error> {
    Ok(load_from(&mut archive.checkpoint(at)?)?)
}

/// Reads a checkpoint from its content.
///
/// # Errors
/// If it is not what this release writes.
pub fn load_from(input: &mut dyn Read) -> Result<(CheckpointHead, State), codec::Error> {
    let input = &mut Reader::over(input);
    let head = read_head(input)?;
    Ok((head, State::load(input)?))
}

/// Makes the checkpoint at `to`, or at the durable end if that is before it, from the newest good one and the log
/// since, and stores it. Does nothing if there is one already. It goes no further than the frame with which it has taken
/// `log_bytes_max` of log: what it touches is in memory a second time. [MEM-1]
///
/// # Errors
/// [`Error`]; then nothing has changed.
pub fn advance<A: Archive>(archive: &A, to: Position, log_bytes_max: u64) -> Result<Made, Error> {
    let to = to.min(archive.durable());
    let newest = newest_good(archive)?;
    let at = newest.as_ref().map(|(at, _)| *at);
    if at.unwrap_or_default() >= to {
        return Ok(Made::default());
    }
    let from = at.unwrap_or_default().next();
    let (mut head, touched, mut state) = match newest {
        Some((_, mut input)) => {
            let input = &mut Reader::over(&mut input);
            let head = read_head(input)?;
            let touched = touched(archive, from, to, log_bytes_max, head.last_id)?;
            let state = State::load_where(input, |id| touched.contains(&id), last_of(&touched))?;
            (head, touched, state)
        }
        None => (CheckpointHead::EMPTY, HashSet::default(), State::default()),
    };
    let mut taken = Taken { bytes: 0, max: log_bytes_max };
    each_frame(archive, from, to, |frame| {
        if frame.previous != head.hash {
            return Err(recover::Error::Broken { position: frame.position });
        }
        apply_frame(&mut state, frame)?;
        head = CheckpointHead { hash: frame.hash(), epoch: frame.epoch, last_id: state.last_id() };
        Ok(taken.take(frame))
    })?;
    let bytes = store(archive, state.position(), at, head, &state, &touched)?;
    Ok(Made { log_bytes: taken.bytes, bytes })
}

/// The newest checkpoint that can be read, and its content. A damaged one must not stop all later ones: the log still
/// reaches the one before it.
fn newest_good<A: Archive>(archive: &A) -> Result<Option<(Position, ReadCheckpoint)>, Error> {
    for at in archive.checkpoints()? {
        match archive.checkpoint(at) {
            Ok(content) => return Ok(Some((at, content))),
            Err(error) => {
                let (position, error) = (at.0, in_one_line(&error));
                tracing::warn!(
                    position,
                    error,
                    "a checkpoint cannot be read; the next one is made from an older one"
                );
            }
        }
    }
    Ok(None)
}

fn store<A: Archive>(
    archive: &A,
    to: Position,
    newest: Option<Position>,
    head: CheckpointHead,
    state: &State,
    touched: &HashSet<JobId, IdHash>,
) -> Result<u64, Error> {
    let mut failed = None;
    let mut bytes = 0;
    let stored = archive.put_checkpoint(to, &mut |out| {
        let mut out = Counting { out, bytes: &mut bytes };
        let merged = Writer::over(&mut out, |out| {
            write_head(&head, out)?;
            let Some(newest) = newest else { return Ok(state.save(out)?) };
            let mut input = archive.checkpoint(newest)?;
            let input = &mut Reader::over(&mut input);
            read_head(input)?;
            Ok(state.save_merged(input, |id| touched.contains(&id), last_of(touched), out)?)
        });
        merged.map_err(|error| {
            // Disk space is for the log to judge; anything else is ours to tell.
            if let Error::Write(error) | Error::Merge(saved::Error::Io(error)) = error {
                error
            } else {
                let text = error.to_string();
                failed = Some(error);
                std::io::Error::other(text)
            }
        })
    });
    match failed {
        Some(error) => Err(error),
        None => Ok(stored.map(|()| bytes)?),
    }
}

/// Jobs up to `last_id` that the log from `from` on says something about, as far as [`advance`] takes it: later ones are
/// new in it.
fn touched<A: Archive>(
    archive: &A,
    from: Position,
    to: Position,
    log_bytes_max: u64,
    last_id: JobId,
) -> Result<HashSet<JobId, IdHash>, Error> {
    let mut touched = HashSet::default();
    let mut taken = Taken { bytes: 0, max: log_bytes_max };
    each_frame(archive, from, to, |frame| {
        let position = frame.position;
        let seen = frame.skim(|_, glimpse| {
            touched.extend(glimpse.job().map(|(id, _)| id).filter(|id| *id <= last_id));
        });
        seen.map_err(|source| recover::Error::Frame { position, source })?;
        Ok(taken.take(frame))
    })?;
    Ok(touched)
}

/// The last of them; before all jobs if there are none.
fn last_of(touched: &HashSet<JobId, IdHash>) -> JobId {
    touched.iter().copied().max().unwrap_or(JobId::MIN)
}

/// Lets go of log below `before`, carrying what the jobs live at the older of the two checkpoints still need. `before` is
/// cut to that checkpoint: the log since must stay, in case the newer one turns out damaged.
///
/// # Errors
/// [`Error`]; then nothing was let go.
pub fn trim<A: Archive>(archive: &A, before: Position) -> Result<Floor, Error> {
    let Some(&older) = archive.checkpoints()?.get(1) else { return Ok(archive.floor()) };
    let before = before.min(older.next());
    if before <= archive.floor().position {
        return Ok(archive.floor());
    }
    let mut input = archive.checkpoint(older)?;
    let input = &mut Reader::over(&mut input);
    read_head(input)?;
    let mut live: Vec<Pointer> = Vec::new();
    saved::each_job(input, |job| live.extend(job.carried().filter(|at| at.position < before)))?;
    live.sort_unstable();
    Ok(archive.trim(before, &mut live.into_iter())?)
}

/// Reads what a checkpoint says before the state begins.
///
/// # Errors
/// If it is not what this release writes.
pub fn read_head(input: &mut Reader<'_>) -> Result<CheckpointHead, codec::Error> {
    input.version()?;
    input.take()
}

/// Writes what a checkpoint says before the state begins.
///
/// # Errors
/// Those of the stream.
pub fn write_head(head: &CheckpointHead, out: &mut Writer<'_>) -> std::io::Result<()> {
    out.version()?;
    out.put(head)
}
