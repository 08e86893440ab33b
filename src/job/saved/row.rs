//! One live job of a saved state, and how it is stored: field by field in the order of the structure, as the codec
//! would, because a checkpoint of a million jobs reads and writes a million of them. [FMT-1]

use crate::clock::Timestamp;
use crate::codec;
use crate::codec::Run;
use crate::codec::parts::put_bytes;
use crate::codec::parts::put_integer;
use crate::codec::parts::put_option;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::Policy;
use std::sync::Arc;

/// One live job of a saved state.
#[derive(Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub struct SavedJob {
    pub(in crate::job::saved) id: JobId,
    pub(in crate::job::saved) stage: SavedStage,
    pub(in crate::job::saved) submitted: Sequence,
    pub(in crate::job::saved) submitted_at: Pointer,
    pub(in crate::job::saved) expires: Timestamp,
    pub(in crate::job::saved) failures: Vec<Pointer>,
    pub(in crate::job::saved) payload_bytes: u32,
    pub(in crate::job::saved) queue: QueueNo,
    pub(in crate::job::saved) policy: Option<Policy>,
    pub(in crate::job::saved) key: Option<u128>,
    pub(in crate::job::saved) attempt: u32,
    pub(in crate::job::saved) failed: u16,
    pub(in crate::job::saved) crashed: u16,
    pub(in crate::job::saved) timed_out: u16,
    pub(in crate::job::saved) lost: u16,
    pub(in crate::job::saved) generation: u16,
    pub(in crate::job::saved) priority: i8,
}

#[derive(Debug, PartialEq)]
#[cfg_attr(test, derive(serde::Serialize, serde::Deserialize))]
pub(in crate::job::saved) enum SavedStage {
    Waiting { due: Timestamp },
    Running { token: LeaseToken, worker: Arc<str> },
    Dead { sequence: Sequence },
}

/// The numbers of the stages in a checkpoint, where they never change. [FMT-1]
const WAITING: u8 = 0;
const RUNNING: u8 = 1;
const DEAD: u8 = 2;

/// Appends a row: a job, or the end of the jobs.
pub(in crate::job::saved) fn put_row(job: Option<&SavedJob>, out: &mut Vec<u8>) {
    put_option(job, out, SavedJob::put);
}

/// Reads a row: a job, or `None` at the end of the jobs.
pub(in crate::job::saved) fn take_row(run: &mut Run<'_>) -> Result<Option<SavedJob>, codec::Error> {
    run.option(SavedJob::take)
}

/// Reads over a row: the job's identity, or `None` at the end of the jobs. Most rows of a large backlog are only copied.
pub(in crate::job::saved) fn pass_row(run: &mut Run<'_>) -> Result<Option<JobId>, codec::Error> {
    run.option(|run| {
        let id = JobId::from_bytes(run.array()?);
        if run.byte()? == RUNNING {
            let (_token, _worker) = (run.integer::<u64>()?, run.bytes()?);
        } else {
            let _due_or_sequence: u64 = run.integer()?;
        }
        let (_submitted, _at, _expires) = (run.integer::<u64>()?, take_pointer(run)?, run.integer::<u64>()?);
        for _ in 0..run.integer::<u64>()? {
            take_pointer(run)?;
        }
        let (_payload_bytes, _queue) = (run.integer::<u32>()?, run.integer::<u32>()?);
        run.option(Run::take::<Policy>)?;
        run.option(Run::take::<u128>)?;
        for _attempt_and_counts in 0..6 {
            run.integer::<u32>()?;
        }
        let _priority = run.byte()?;
        Ok(id)
    })
}

impl SavedJob {
    /// Its identity.
    #[must_use]
    pub fn id(&self) -> JobId {
        self.id
    }

    /// Its queue.
    #[must_use]
    pub fn queue(&self) -> QueueNo {
        self.queue
    }

    /// Its `submitted` update: sequence and place.
    #[must_use]
    pub fn submitted(&self) -> (Sequence, Pointer) {
        (self.submitted, self.submitted_at)
    }

    /// Its `dead` update, if it is dead: sequence and place. Its last failure is its death.
    #[must_use]
    pub fn died(&self) -> Option<(Sequence, Pointer)> {
        match self.stage {
            SavedStage::Dead { sequence } => self.failures.last().map(|at| (sequence, *at)),
            SavedStage::Waiting { .. } | SavedStage::Running { .. } => None,
        }
    }

    /// Attempts started so far.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// How often an operator gave it a new life.
    #[must_use]
    pub fn generation(&self) -> u16 {
        self.generation
    }

    /// Length of its payload.
    #[must_use]
    pub fn payload_bytes(&self) -> u32 {
        self.payload_bytes
    }

    /// Pointers to the events that must be carried while the job lives.
    pub fn carried(&self) -> impl Iterator<Item = Pointer> {
        std::iter::once(self.submitted_at).chain(self.failures.iter().copied())
    }

    fn put(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_bytes());
        self.stage.put(out);
        put_integer(self.submitted.0, out);
        put_pointer(self.submitted_at, out);
        put_integer(self.expires.0, out);
        put_integer(self.failures.len() as u64, out);
        self.failures.iter().for_each(|at| put_pointer(*at, out));
        put_integer(u64::from(self.payload_bytes), out);
        put_integer(u64::from(self.queue.0), out);
        put_option(self.policy.as_ref(), out, codec::put);
        put_option(self.key.as_ref(), out, codec::put);
        put_integer(u64::from(self.attempt), out);
        for count in [self.failed, self.crashed, self.timed_out, self.lost, self.generation] {
            put_integer(u64::from(count), out);
        }
        out.extend_from_slice(&self.priority.to_le_bytes());
    }

    fn take(run: &mut Run<'_>) -> Result<SavedJob, codec::Error> {
        Ok(SavedJob {
            id: JobId::from_bytes(run.array()?),
            stage: SavedStage::take(run)?,
            submitted: Sequence(run.integer()?),
            submitted_at: take_pointer(run)?,
            expires: Timestamp(run.integer()?),
            failures: take_failures(run)?,
            payload_bytes: run.integer()?,
            queue: QueueNo(run.integer()?),
            policy: run.option(Run::take)?,
            key: run.option(Run::take)?,
            attempt: run.integer()?,
            failed: run.integer()?,
            crashed: run.integer()?,
            timed_out: run.integer()?,
            lost: run.integer()?,
            generation: run.integer()?,
            priority: i8::from_le_bytes(run.array()?),
        })
    }
}

impl SavedStage {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            SavedStage::Waiting { due } => {
                out.push(WAITING);
                put_integer(due.0, out);
            }
            SavedStage::Running { token, worker } => {
                out.push(RUNNING);
                put_integer(token.0, out);
                put_bytes(worker.as_bytes(), out);
            }
            SavedStage::Dead { sequence } => {
                out.push(DEAD);
                put_integer(sequence.0, out);
            }
        }
    }

    fn take(run: &mut Run<'_>) -> Result<SavedStage, codec::Error> {
        match run.byte()? {
            WAITING => Ok(SavedStage::Waiting { due: Timestamp(run.integer()?) }),
            RUNNING => {
                Ok(SavedStage::Running { token: LeaseToken(run.integer()?), worker: run.text()?.into() })
            }
            DEAD => Ok(SavedStage::Dead { sequence: Sequence(run.integer()?) }),
            other => Err(codec::Error::Malformed(format!("{other} is no stage of a job"))),
        }
    }
}

fn put_pointer(at: Pointer, out: &mut Vec<u8>) {
    put_integer(at.position.0, out);
    put_integer(u64::from(at.index), out);
}

fn take_pointer(run: &mut Run<'_>) -> Result<Pointer, codec::Error> {
    Ok(Pointer { position: Position(run.integer()?), index: run.integer()? })
}

/// One at a time: a damaged number must not ask for memory before the failures are there.
fn take_failures(run: &mut Run<'_>) -> Result<Vec<Pointer>, codec::Error> {
    let number: u64 = run.integer()?;
    (0..number).map(|_| take_pointer(run)).collect()
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::codec;
    use crate::codec::Run;
    use crate::job::id::JobId;
    use crate::job::id::LeaseToken;
    use crate::job::id::Pointer;
    use crate::job::id::Position;
    use crate::job::id::QueueNo;
    use crate::job::id::Sequence;
    use crate::job::saved::row::SavedJob;
    use crate::job::saved::row::SavedStage;
    use crate::job::saved::row::pass_row;
    use crate::job::saved::row::put_row;
    use crate::job::saved::row::take_row;
    use crate::job::spec::Policy;

    fn pointer(position: u64) -> Pointer {
        Pointer { position: Position(position), index: 70_000 }
    }

    fn plain() -> SavedJob {
        SavedJob {
            id: JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0001),
            stage: SavedStage::Waiting { due: Timestamp(0) },
            submitted: Sequence(250),
            submitted_at: pointer(251),
            expires: Timestamp(0),
            failures: Vec::new(),
            payload_bytes: 100,
            queue: QueueNo(0),
            policy: None,
            key: None,
            attempt: 0,
            failed: 0,
            crashed: 0,
            timed_out: 0,
            lost: 0,
            generation: 0,
            priority: -100,
        }
    }

    fn rows() -> [SavedJob; 3] {
        let running = SavedStage::Running { token: LeaseToken(u64::MAX), worker: "wörker".into() };
        let dead = SavedStage::Dead { sequence: Sequence(1 << 32) };
        let counted = SavedJob { failed: 1, crashed: 300, timed_out: 3, lost: u16::MAX, ..plain() };
        [
            plain(),
            SavedJob { stage: running, attempt: 70_000, key: Some(u128::MAX - 1), ..counted },
            SavedJob {
                stage: dead,
                expires: Timestamp(1_755_000_000_123),
                failures: vec![pointer(65_535), pointer(1 << 40)],
                policy: Some(Policy { timeout_ms: Some(5_000), ..Policy::default() }),
                generation: 9,
                ..plain()
            },
        ]
    }

    #[test]
    fn a_row_is_stored_as_the_codec_stores_it_and_no_part_of_it_passes_for_the_whole() {
        for row in rows().into_iter().map(Some).chain([None]) {
            let (mut stored, mut reference) = (Vec::new(), Vec::new());
            put_row(row.as_ref(), &mut stored);
            codec::put(&row, &mut reference);
            assert_eq!(stored, reference, "{row:?}");
            let (mut run, mut passed) = (Run::at(&stored, 0), Run::at(&stored, 0));
            assert_eq!(pass_row(&mut passed), Ok(row.as_ref().map(SavedJob::id)));
            assert_eq!(take_row(&mut run), Ok(row));
            assert!(run.is_empty() && passed.is_empty());
            for end in 0..stored.len() {
                let cut = Run::at(&stored[..end], 0);
                assert_eq!(
                    take_row(&mut cut.clone()),
                    Err(codec::Error::Cut),
                    "{end} of {} bytes",
                    stored.len()
                );
                assert_eq!(
                    pass_row(&mut cut.clone()),
                    Err(codec::Error::Cut),
                    "{end} of {} bytes",
                    stored.len()
                );
            }
        }
    }

    #[test]
    fn a_row_of_no_known_stage_and_one_with_more_failures_than_bytes_are_refused() {
        let mut stored = Vec::new();
        put_row(Some(&plain()), &mut stored);
        let stage = 1 + 16;
        let unknown = [&stored[..stage], &[3], &stored[stage + 1..]].concat();
        assert!(matches!(take_row(&mut Run::at(&unknown, 0)), Err(codec::Error::Malformed(_))));
        let behind = 11;
        let failures = stored.len() - behind - 1;
        assert_eq!(
            stored[failures..],
            [0, 100, 0, 0, 0, 0, 0, 0, 0, 0, 0, 156],
            "no failures, and what is behind them"
        );
        let many = [&stored[..failures], &[253], &u64::MAX.to_le_bytes()[..]].concat();
        assert_eq!(take_row(&mut Run::at(&many, 0)), Err(codec::Error::Cut));
    }
}
