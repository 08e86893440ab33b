//! The portable frame: what one group commit appends, in any log. Salt, checksums and *synced up to*
//! belong to the embedded directory.

use crate::clock::Timestamp;
use crate::codec;
use crate::job::event::Event;
use crate::job::event::glimpse::Glimpse;
use crate::job::id::Epoch;
use crate::job::id::Position;
use crate::job::id::Sequence;
use bytes::Bytes;
use xxhash_rust::xxh3::Xxh3;

/// The running hash of the log up to and including a frame: xxh3-128 over the hash before it, the header and the body.
///
/// It finds damage and forks; it is not meant to stop someone who can rewrite the files.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub struct Hash(pub [u8; 16]);

impl Hash {
    /// The hash before the first frame.
    pub const ZERO: Hash = Hash([0; 16]);
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

impl std::fmt::Display for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

/// One frame: a batch of events that became durable together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Its number.
    pub position: Position,
    /// The writer's epoch.
    pub epoch: Epoch,
    /// Sequence of its first update; with no updates, the sequence the next update will take.
    pub first_sequence: Sequence,
    /// How many updates it holds.
    pub updates: u32,
    /// Log time: never below that of the frame before. Time of all its events.
    pub time: Timestamp,
    /// Hash of the frame before it.
    pub previous: Hash,
    /// Its events behind a version byte, as [`codec`] writes them.
    pub body: Bytes,
}

impl Frame {
    /// Bytes of the header in [`Frame::header`]'s form.
    pub const HEADER_BYTES: usize = 56;

    /// The header's portable bytes, little-endian: position 8, epoch 8, first sequence 8, updates 4, body length 4,
    /// time 8, previous hash 16.
    #[must_use]
    pub fn header(&self) -> [u8; Frame::HEADER_BYTES] {
        let mut bytes = [0; Frame::HEADER_BYTES];
        bytes[0..8].copy_from_slice(&self.position.0.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.epoch.0.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_sequence.0.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.updates.to_le_bytes());
        bytes[28..32].copy_from_slice(&self.body_bytes().to_le_bytes());
        bytes[32..40].copy_from_slice(&self.time.0.to_le_bytes());
        bytes[40..56].copy_from_slice(&self.previous.0);
        bytes
    }

    /// The frame whose [`Frame::header`] is `bytes`, still without its body, and the length of that body.
    #[must_use]
    pub fn parse(bytes: &[u8; Frame::HEADER_BYTES]) -> (Frame, u32) {
        let (numbers, previous) = bytes.split_at(40);
        let long = |at: usize| u64::from_le_bytes(numbers[at..at + 8].try_into().expect("eight bytes"));
        let short = |at: usize| u32::from_le_bytes(numbers[at..at + 4].try_into().expect("four bytes"));
        let frame = Frame {
            position: Position(long(0)),
            epoch: Epoch(long(8)),
            first_sequence: Sequence(long(16)),
            updates: short(24),
            time: Timestamp(long(32)),
            previous: Hash(previous.try_into().expect("sixteen bytes are left")),
            body: Bytes::new(),
        };
        (frame, short(28))
    }

    /// Length of the body.
    #[must_use]
    pub fn body_bytes(&self) -> u32 {
        u32::try_from(self.body.len()).expect("a log refuses frames over its limit, far below 4 GiB")
    }

    /// The hash that the next frame is chained on.
    #[must_use]
    pub fn hash(&self) -> Hash {
        let mut hasher = Xxh3::new();
        hasher.update(&self.header());
        hasher.update(&self.body);
        Hash(hasher.digest128().to_be_bytes())
    }

    /// The sequence after its last update.
    #[must_use]
    pub fn next_sequence(&self) -> Sequence {
        self.first_sequence.plus(u64::from(self.updates))
    }

    /// Its events, in order.
    ///
    /// # Errors
    /// If the body is not what a writer of this release stores, or does not hold as many updates as the header says:
    /// sequences would shift. [LOG-1]
    pub fn events(&self) -> Result<Vec<Event>, codec::Error> {
        let mut run = codec::Run::open(&self.body)?;
        let mut events = Vec::with_capacity(self.events_likely());
        let mut updates = 0;
        while !run.is_empty() {
            let event = Event::take(&mut run)?;
            updates += usize::from(event.is_update());
            events.push(event);
        }
        self.check_updates(updates)?;
        Ok(events)
    }

    /// Those of its updates that are `wanted`, each with its number among the updates, from 0. The others are not decoded.
    ///
    /// # Errors
    /// As for [`Frame::events`].
    pub fn updates_where(
        &self,
        mut wanted: impl FnMut(&Glimpse) -> bool,
    ) -> Result<(Vec<u32>, Vec<Event>), codec::Error> {
        let mut run = codec::Run::open(&self.body)?;
        let (mut updates, mut numbers, mut events) = (0, Vec::new(), Vec::new());
        while !run.is_empty() {
            let start = run.clone();
            let glimpse = Glimpse::take(&mut run)?;
            if glimpse.job().is_none() {
                continue;
            }
            if wanted(&glimpse) {
                numbers.push(updates);
                events.push(Event::take(&mut start.clone())?);
            }
            updates += 1;
        }
        self.check_updates(updates as usize)?;
        Ok((numbers, events))
    }

    /// Where its events begin, so that single ones can be decoded.
    ///
    /// # Errors
    /// As for [`Frame::events`].
    pub fn indexed(&self) -> Result<Indexed, codec::Error> {
        let mut starts = Vec::with_capacity(self.events_likely());
        self.skim(|at, _| starts.push(u32::try_from(at).unwrap_or(u32::MAX)))?;
        // A body that was read is a slice of a larger piece of the file, which must not be kept with it. [MEM-1]
        Ok(Indexed { body: Bytes::copy_from_slice(&self.body), starts })
    }

    fn events_likely(&self) -> usize {
        const UPDATE_BYTES_MIN: usize = 18;
        (self.updates as usize).min(self.body.len() / UPDATE_BYTES_MIN)
    }

    /// Shows a glimpse of every event, and the byte of the body at which it begins, and checks the number of updates.
    ///
    /// # Errors
    /// As for [`Frame::events`].
    pub fn skim(&self, mut see: impl FnMut(usize, Glimpse)) -> Result<(), codec::Error> {
        let mut run = codec::Run::open(&self.body)?;
        let mut updates = 0;
        while !run.is_empty() {
            let at = self.body.len() - run.remaining();
            let glimpse = Glimpse::take(&mut run)?;
            updates += usize::from(glimpse.job().is_some());
            see(at, glimpse);
        }
        self.check_updates(updates)
    }

    fn check_updates(&self, updates: usize) -> Result<(), codec::Error> {
        if updates == self.updates as usize {
            Ok(())
        } else {
            Err(codec::Error::Malformed(format!("{updates} updates where {} are announced", self.updates)))
        }
    }
}

/// The events of a frame, each decoded when it is asked for: takes little more memory than the body.
#[derive(Clone, Debug)]
pub struct Indexed {
    body: Bytes,
    /// At which byte of the body each event begins.
    starts: Vec<u32>,
}

impl Indexed {
    /// The event number `index`; `None` if there are not so many.
    ///
    /// # Errors
    /// None for a frame that was indexed whole.
    pub fn get(&self, index: u32) -> Result<Option<Event>, codec::Error> {
        let start = usize::try_from(index).ok().and_then(|index| self.starts.get(index));
        start.map(|start| Event::take(&mut codec::Run::at(&self.body, *start as usize))).transpose()
    }

    /// How much memory it takes, in bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Indexed>() + self.body.len() + size_of_val(self.starts.as_slice())
    }
}

/// The body of a frame that holds `events`.
#[must_use]
pub fn body_of(events: &[Event]) -> Bytes {
    let mut body = Vec::with_capacity(64 + 64 * events.len());
    codec::begin(&mut body);
    for event in events {
        event.put(&mut body);
    }
    Bytes::from(body)
}

#[cfg(test)]
mod tests;
