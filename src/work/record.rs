//! What the tree keeps of one job, and what changes it. The rest of a job is fetched from the log by pointer.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;

/// A job in the work tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    /// Its identity; it also tells when the job was submitted.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueNo,
    /// Where it stands, as far as the tree is told.
    pub state: State,
    /// The attempt that ended it, at most 255. 0 as long as it lives for the first time, and for a job that was
    /// cancelled or expired then: those events do not name an attempt.
    pub attempts: u8,
    /// How often an operator retried it.
    pub generation: u16,
    /// Length of its payload; 0 where `submitted` is unknown.
    pub payload_bytes: u32,
    /// Its `submitted` update. `None` if a rebuild found no more than the job's end, because trimming had already
    /// let go of its beginning.
    pub submitted: Option<Mark>,
    /// The update that gave it its state; equal to `submitted` for a job that only was submitted.
    pub last: Mark,
    /// When it got its state: log time of `last`.
    pub since: Timestamp,
}

/// One update of the log: where it is stored, and its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Where it stands.
    pub at: Pointer,
    /// Its number.
    pub sequence: Sequence,
}

/// Where a job stands, as coarsely as the tree knows: waiting and running are both `Live`, and told apart by
/// whoever holds the live jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum State {
    /// Submitted or retried, and not yet over.
    Live = 0,
    /// Completed.
    Succeeded = 1,
    /// Failed for good, and kept. [DEAD-1]
    Dead = 2,
    /// Cancelled by someone.
    Cancelled = 3,
    /// Too late to start.
    Expired = 4,
}

impl State {
    const ALL: [State; 5] = [State::Live, State::Succeeded, State::Dead, State::Cancelled, State::Expired];

    /// Whether a job in this state goes when the log lets go of the update that brought it there.
    fn is_forgettable(self) -> bool {
        match self {
            State::Live | State::Dead => false,
            State::Succeeded | State::Cancelled | State::Expired => true,
        }
    }
}

/// A set of states, for a filter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u8);

impl States {
    /// Every state.
    pub const ALL: States = States(0b1_1111);

    /// The given ones.
    #[must_use]
    pub fn of(states: &[State]) -> States {
        States(states.iter().fold(0, |set, state| set | 1 << *state as u8))
    }

    /// Whether `state` is in the set.
    #[must_use]
    pub fn contains(self, state: State) -> bool {
        self.0 & (1 << state as u8) != 0
    }
}

impl Record {
    /// Bytes of a stored record.
    pub(crate) const BYTES: usize = 76;

    /// Whether the job is forgotten once the log begins at `floor`: a job can be read as long as the log holds its
    /// terminal update, and dead jobs are carried along. [DEAD-1]
    pub(crate) fn is_forgotten(&self, floor: Position) -> bool {
        self.last.at.position < floor && self.state.is_forgettable()
    }

    /// The position of its submission; 0 if unknown, which is before every position that is retained.
    pub(crate) fn submitted_position(&self) -> Position {
        self.submitted.map_or(Position(0), |mark| mark.at.position)
    }

    /// The stored form: id 16, queue 4, state 1, attempts 1, generation 2, payload length 4, submitted and last mark
    /// of 20 each (position 8, index 4, sequence 8), since 8; little-endian but for the id. Position 0: unknown.
    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.id.to_bytes());
        out.extend_from_slice(&self.queue.0.to_le_bytes());
        out.extend_from_slice(&[self.state as u8, self.attempts]);
        out.extend_from_slice(&self.generation.to_le_bytes());
        out.extend_from_slice(&self.payload_bytes.to_le_bytes());
        encode_mark(self.submitted.unwrap_or(Mark::NONE), out);
        encode_mark(self.last, out);
        out.extend_from_slice(&self.since.0.to_le_bytes());
    }

    /// The record in `bytes`; `None` if they are not one.
    pub(crate) fn decode(bytes: &[u8; Record::BYTES]) -> Option<Record> {
        let submitted = decode_mark(bytes, 28);
        Some(Record {
            id: JobId::from_bytes(part(bytes, 0)),
            queue: QueueNo(u32::from_le_bytes(part(bytes, 16))),
            state: *State::ALL.get(usize::from(bytes[20]))?,
            attempts: bytes[21],
            generation: u16::from_le_bytes(part(bytes, 22)),
            payload_bytes: u32::from_le_bytes(part(bytes, 24)),
            submitted: (submitted.at.position.0 > 0).then_some(submitted),
            last: decode_mark(bytes, 48),
            since: Timestamp(u64::from_le_bytes(part(bytes, 68))),
        })
    }
}

impl Mark {
    const NONE: Mark = Mark { at: Pointer { position: Position(0), index: 0 }, sequence: Sequence(0) };
}

fn encode_mark(mark: Mark, out: &mut Vec<u8>) {
    out.extend_from_slice(&mark.at.position.0.to_le_bytes());
    out.extend_from_slice(&mark.at.index.to_le_bytes());
    out.extend_from_slice(&mark.sequence.0.to_le_bytes());
}

fn decode_mark(bytes: &[u8; Record::BYTES], at: usize) -> Mark {
    let position = Position(u64::from_le_bytes(part(bytes, at)));
    let index = u32::from_le_bytes(part(bytes, at + 8));
    Mark { at: Pointer { position, index }, sequence: Sequence(u64::from_le_bytes(part(bytes, at + 12))) }
}

fn part<const N: usize>(bytes: &[u8; Record::BYTES], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("the range is N bytes long and inside a record")
}

/// What happened to a job after its submission.
///
/// Small (56 bytes), because up to a million of them wait in memory; so the id is two words, not one of 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Change {
    id: [u64; 2],
    position: u64,
    sequence: u64,
    since: u64,
    index: u32,
    queue: u32,
    generation: u16,
    attempts: u8,
    outcome: Outcome,
}

/// What a [`Change`] makes of the job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Became(State),
    Deleted,
}

impl Change {
    pub(crate) fn new(id: JobId, queue: QueueNo, mark: Mark, since: Timestamp, outcome: Outcome) -> Change {
        let id = id.as_u128();
        Change {
            id: [(id >> 64) as u64, id as u64],
            position: mark.at.position.0,
            sequence: mark.sequence.0,
            since: since.0,
            index: mark.at.index,
            queue: queue.0,
            generation: 0,
            attempts: 0,
            outcome,
        }
    }

    /// The same change with the attempt that its event names.
    pub(crate) fn at_attempt(self, attempt: u32) -> Change {
        Change { attempts: u8::try_from(attempt).unwrap_or(u8::MAX), ..self }
    }

    /// The same change with the generation that its event begins.
    pub(crate) fn in_generation(self, generation: u16) -> Change {
        Change { generation, ..self }
    }

    pub(crate) fn id(&self) -> JobId {
        JobId::from_u128(u128::from(self.id[0]) << 64 | u128::from(self.id[1]))
    }

    /// Where the event of the change stands; of two changes to one job the later one wins.
    pub(crate) fn at(&self) -> Pointer {
        Pointer { position: Position(self.position), index: self.index }
    }

    /// Order by job, then by place in the log.
    pub(crate) fn order(&self) -> ([u64; 2], u64, u32) {
        (self.id, self.position, self.index)
    }

    /// Both changes of one job as one.
    pub(crate) fn join(self, other: Change) -> Change {
        let last = if self.at() >= other.at() { self } else { other };
        Change {
            generation: self.generation.max(other.generation),
            attempts: self.attempts.max(other.attempts),
            ..last
        }
    }

    /// What becomes of `record`; `None` if the job was deleted. Repeating a change, or an earlier one, changes nothing.
    pub(crate) fn apply_to(&self, record: Record) -> Option<Record> {
        let kept = Record {
            generation: record.generation.max(self.generation),
            attempts: record.attempts.max(self.attempts),
            ..record
        };
        if self.at() <= record.last.at {
            return Some(kept);
        }
        match self.outcome {
            Outcome::Deleted => None,
            Outcome::Became(state) => {
                Some(Record { state, last: self.mark(), since: Timestamp(self.since), ..kept })
            }
        }
    }

    /// The record of a job of which only this is known; `None` if it was deleted.
    pub(crate) fn orphan(&self) -> Option<Record> {
        match self.outcome {
            Outcome::Deleted => None,
            Outcome::Became(state) => Some(Record {
                id: self.id(),
                queue: QueueNo(self.queue),
                state,
                attempts: self.attempts,
                generation: self.generation,
                payload_bytes: 0,
                submitted: None,
                last: self.mark(),
                since: Timestamp(self.since),
            }),
        }
    }

    fn mark(&self) -> Mark {
        Mark { at: self.at(), sequence: Sequence(self.sequence) }
    }
}
