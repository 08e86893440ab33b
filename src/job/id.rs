//! Names and numbers of things: jobs, queues, sequences, positions, leases. Not their meaning: that
//! is `state` and `event`.

use crate::clock::Timestamp;
use serde::Deserialize;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// The identity of a job: a UUIDv7 made by the writer, in the order of submission.
///
/// Ids of one batch are consecutive numbers, so that a range of them is (first, count).
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(from = "[u8; 16]", into = "[u8; 16]")]
pub struct JobId(u128);

impl JobId {
    /// The smallest id: before every job.
    pub const MIN: JobId = JobId(0);
    /// The largest id: after every job.
    pub const MAX: JobId = JobId(u128::MAX);

    /// The id whose big-endian number is `number`.
    #[must_use]
    pub const fn from_u128(number: u128) -> JobId {
        JobId(number)
    }

    /// The id as a number; its order is the order of submission.
    #[must_use]
    pub const fn as_u128(self) -> u128 {
        self.0
    }

    /// The id as 16 bytes, most significant first: byte order is id order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// The id from its 16 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> JobId {
        JobId(u128::from_be_bytes(bytes))
    }

    /// Log time of the job's submission: the first 48 bits of a UUIDv7 are its time.
    #[must_use]
    pub const fn time(self) -> Timestamp {
        Timestamp((self.0 >> 80) as u64)
    }

    /// Length of an id as text.
    pub const TEXT_BYTES: usize = uuid::fmt::Hyphenated::LENGTH;

    /// The id as text, in the caller's buffer.
    #[must_use]
    pub fn text(self, buffer: &mut [u8; JobId::TEXT_BYTES]) -> &str {
        uuid::Uuid::from_u128(self.0).hyphenated().encode_lower(buffer)
    }

    /// The id `steps` after this one: the next jobs of a batch.
    #[must_use]
    pub const fn plus(self, steps: u64) -> JobId {
        JobId(self.0.wrapping_add(steps as u128))
    }
}

impl From<[u8; 16]> for JobId {
    fn from(bytes: [u8; 16]) -> JobId {
        JobId::from_bytes(bytes)
    }
}

impl From<JobId> for [u8; 16] {
    fn from(id: JobId) -> [u8; 16] {
        id.to_bytes()
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for JobId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<JobId, InvalidId> {
        uuid::Uuid::try_parse(text).map(|uuid| JobId(uuid.as_u128())).map_err(|_| InvalidId(text.to_owned()))
    }
}

/// The text is not a job id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a job id: a job id is a UUID like 0198a5c2-6f00-7000-8000-000000000001")]
pub struct InvalidId(String);

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// The number of an update: 1, 2, 3 … without a gap. 0 is before the first. [LOG-1]
    Sequence(u64)
}
number! {
    /// The number of a frame of the log: 1, 2, 3 … 0 is before the first.
    Position(u64)
}
number! {
    /// The number of a writer's reign over the log; each opening of a data directory begins the next one.
    Epoch(u64)
}
number! {
    /// The lease of one attempt: the sequence of the job's `started` update, so unique for ever. [LEASE-1]
    LeaseToken(u64)
}
number! {
    /// A queue's number, given on first use and never reused; names are looked up in the queue table.
    QueueNo(u32)
}

impl Sequence {
    /// The sequence `steps` later.
    #[must_use]
    pub const fn plus(self, steps: u64) -> Sequence {
        Sequence(self.0 + steps)
    }
}

impl Position {
    /// The position of the next frame.
    #[must_use]
    pub const fn next(self) -> Position {
        Position(self.0 + 1)
    }
}

/// Where an event stands in the log: the frame's position and the event's place in it, from 0.
///
/// It stays valid as long as the job lives: trimming carries the events of live jobs along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Pointer {
    /// The frame.
    pub position: Position,
    /// The event's index in the frame, counting events of every kind.
    pub index: u32,
}

/// Which data directory (which history) a cursor or an id belongs to; random, made once.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct StoreId(pub [u8; 16]);

impl fmt::Display for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_bytes(self.0).simple().fmt(f)
    }
}

impl fmt::Debug for StoreId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A queue's name: 1 to 128 of `a-z A-Z 0-9 . _ - / :`, beginning with a letter or digit.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct QueueName(Arc<str>);

impl QueueName {
    /// The longest name, in bytes.
    pub const BYTES_MAX: usize = 128;

    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for QueueName {
    type Err = InvalidQueueName;

    fn from_str(text: &str) -> Result<QueueName, InvalidQueueName> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '/' | ':');
        let begins = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
        if begins && text.len() <= QueueName::BYTES_MAX && text.chars().all(allowed) {
            Ok(QueueName(text.into()))
        } else {
            Err(InvalidQueueName(text.chars().take(QueueName::BYTES_MAX + 1).collect()))
        }
    }
}

impl TryFrom<String> for QueueName {
    type Error = InvalidQueueName;

    fn try_from(text: String) -> Result<QueueName, InvalidQueueName> {
        text.parse()
    }
}

impl From<QueueName> for String {
    fn from(name: QueueName) -> String {
        name.0.as_ref().to_owned()
    }
}

impl fmt::Display for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for QueueName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

/// The text is not a queue name.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a queue name: use 1 to 128 of a-z A-Z 0-9 . _ - / : beginning with a letter or digit")]
pub struct InvalidQueueName(String);

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::id::JobId;
    use crate::job::id::QueueName;

    #[test]
    fn an_id_round_trips_through_text_and_bytes_and_keeps_its_order() {
        let id = JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0001);
        assert_eq!(id.to_string(), "0198a5c2-6f00-7000-8000-000000000001");
        assert_eq!(id.to_string().parse(), Ok(id));
        assert_eq!(JobId::from_bytes(id.to_bytes()), id);
        assert!(id.plus(1).to_bytes() > id.to_bytes());
        assert_eq!(id.time(), Timestamp(0x0198_a5c2_6f00));
        assert!("no".parse::<JobId>().is_err());
    }

    #[test]
    fn queue_names_are_checked_at_the_edge() {
        for good in ["a", "default", "mail.out/eu-1:fast_2", &"q".repeat(128)] {
            assert!(good.parse::<QueueName>().is_ok(), "{good}");
        }
        for bad in ["", " ", "-a", "a b", "ä", "a\n", &"q".repeat(129)] {
            assert!(bad.parse::<QueueName>().is_err(), "{bad}");
        }
    }
}
