//! The jobs that the retained log no longer tells of from their beginning: what the newest checkpoint holds of them.

use crate::codec;
use crate::codec::Reader;
use crate::engine::checkpoint;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::saved;
use crate::job::saved::SavedJob;
use crate::log::Archive;
use crate::log::Error;
use crate::work::Mark;
use crate::work::Record;
use crate::work::State;
use std::fmt::Display;
use std::io::Read;

/// Live and dead jobs whose submission the log before `from` told of, in order of id, from the newest checkpoint: where
/// there is none, nothing was ever trimmed.
pub(in crate::engine) fn each<A: Archive>(
    archive: &A,
    from: Position,
    see: &mut dyn FnMut(Record),
) -> Result<(), Error> {
    let Some(newest) = archive.checkpoints()?.first().copied() else { return Ok(()) };
    let mut input = archive.checkpoint(newest)?;
    of_checkpoint(&mut input, from, see).map_err(|error| damaged(newest, &error))
}

/// The same, from the content of a checkpoint.
///
/// # Errors
/// If it is not what this release writes.
pub fn of_checkpoint(
    input: &mut dyn Read,
    from: Position,
    see: &mut dyn FnMut(Record),
) -> Result<(), codec::Error> {
    let input = &mut Reader::over(input);
    checkpoint::read_head(input)?;
    saved::each_job(input, |job| {
        if job.submitted().1.position < from {
            see(seed(&job));
        }
    })
}

fn damaged(position: Position, what: &dyn Display) -> Error {
    let file = format!("the checkpoint as of frame {position}");
    Error::Damaged { file, offset: 0, position, sequence: Sequence(0), what: what.to_string() }
}

fn seed(job: &SavedJob) -> Record {
    let mark = |(sequence, at)| Mark { at, sequence };
    let submitted = mark(job.submitted());
    Record {
        id: job.id(),
        queue: job.queue(),
        state: if job.died().is_some() { State::Dead } else { State::Live },
        attempts: if job.died().is_some() { u8::try_from(job.attempt()).unwrap_or(u8::MAX) } else { 0 },
        generation: job.generation(),
        payload_bytes: job.payload_bytes(),
        submitted: Some(submitted),
        last: job.died().map_or(submitted, mark),
        since: crate::clock::Timestamp(0),
    }
}
