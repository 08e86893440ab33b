//! What makes repeating a submit harmless: keys of batches, and producers with their ordinals. [ID-1]

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::id::Sequence;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::num::NonZeroU32;
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_128;

/// How many jobs back a producer can ask what became of an ordinal: more than any client has unanswered.
pub const PRODUCER_MEMORY_JOBS: u64 = 16_384;

/// Which key a live job belongs to: its place, counted from 1, so that having none takes no more space. Not stored: the
/// checkpoint writes the digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySlot(NonZeroU32);

impl KeySlot {
    fn at(place: u32) -> KeySlot {
        KeySlot(NonZeroU32::MIN.saturating_add(place))
    }

    fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// One remembered key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Key {
    /// 128 bits of the key's text; the text itself is in the log.
    pub digest: u128,
    /// Fingerprint of what was submitted under it.
    pub fingerprint: u64,
    /// First job of the batch.
    pub first: JobId,
    /// First sequence of the batch.
    pub first_sequence: Sequence,
    /// Jobs in the batch.
    pub jobs: u32,
    /// Jobs of the batch that have not ended.
    pub live: u32,
    /// When the last of them ended; 0 while one is live.
    pub ended: Timestamp,
}

/// All remembered keys.
#[derive(Debug, Default)]
pub struct Keys {
    entries: Vec<Option<Key>>,
    free: Vec<u32>,
    index: HashMap<u128, u32>,
    ended: VecDeque<(Timestamp, u128)>,
}

/// The 128 bits by which a key is remembered.
#[must_use]
pub fn digest(key: &str) -> u128 {
    xxh3_128(key.as_bytes())
}

impl Keys {
    /// How many keys are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether no key is remembered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    /// What is remembered of the key with this digest.
    #[must_use]
    pub fn get(&self, digest: u128) -> Option<&Key> {
        self.index.get(&digest).and_then(|slot| self.entries[*slot as usize].as_ref())
    }

    /// When the key that ended first did so.
    #[must_use]
    pub fn oldest_end(&self) -> Option<Timestamp> {
        self.ended.front().map(|(ended, _)| *ended)
    }

    /// The digest under which a live job's key is stored.
    #[must_use]
    pub fn digest_of(&self, slot: KeySlot) -> u128 {
        self.entries[slot.place()].as_ref().expect("a live job's key is remembered").digest
    }

    pub(in crate::job) fn slot_of(&self, digest: u128) -> Option<KeySlot> {
        self.index.get(&digest).copied().map(KeySlot::at)
    }

    pub(in crate::job) fn insert(&mut self, key: Key) -> KeySlot {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            u32::try_from(self.entries.len() - 1).expect("keys are limited far below 4 billion")
        });
        self.index.insert(key.digest, slot);
        if key.live == 0 {
            self.ended.push_back((key.ended, key.digest));
        }
        self.entries[slot as usize] = Some(key);
        KeySlot::at(slot)
    }

    /// One job of the batch ended at `now`.
    pub(in crate::job) fn job_ended(&mut self, slot: KeySlot, now: Timestamp) {
        let key = self.entries[slot.place()].as_mut().expect("a live job's key is remembered");
        key.live -= 1;
        if key.live == 0 {
            key.ended = now;
            self.ended.push_back((now, key.digest));
        }
    }

    pub(in crate::job) fn forget_ended_before(&mut self, time: Timestamp) {
        while let Some(&(ended, digest)) = self.ended.front()
            && ended < time
        {
            self.ended.pop_front();
            if let Some(slot) = self.index.remove(&digest) {
                self.entries[slot as usize] = None;
                self.free.push(slot);
            }
        }
    }

    /// All keys: live ones by digest, then ended ones in the order they ended, so that storing and loading keeps the order.
    #[must_use]
    pub fn in_order(&self) -> Vec<&Key> {
        let mut keys: Vec<&Key> = self.entries.iter().flatten().filter(|key| key.live > 0).collect();
        keys.sort_unstable_by_key(|key| key.digest);
        keys.extend(self.ended.iter().filter_map(|(_, digest)| self.get(*digest)));
        keys
    }
}

/// Jobs with consecutive ordinals, ids and sequences.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The producer's ordinal of the first.
    pub ordinal: u64,
    /// Id of the first.
    pub first: JobId,
    /// Sequence of the first.
    pub first_sequence: Sequence,
    /// How many.
    pub jobs: u64,
}

/// One producer's stream of submits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Producer {
    /// Highest ordinal accepted.
    pub last_ordinal: u64,
    /// When it advanced last, log time.
    pub advanced: Timestamp,
    /// The newest ranges, oldest first, at least [`PRODUCER_MEMORY_JOBS`] jobs where there were so many.
    pub recent: VecDeque<Range>,
}

impl Producer {
    pub(in crate::job) fn advance(&mut self, range: Range, now: Timestamp) {
        self.last_ordinal = range.ordinal + range.jobs - 1;
        self.advanced = now;
        let joined = self.recent.back_mut().is_some_and(|last| {
            let follows = last.ordinal + last.jobs == range.ordinal
                && last.first.plus(last.jobs) == range.first
                && last.first_sequence.plus(last.jobs) == range.first_sequence;
            last.jobs += if follows { range.jobs } else { 0 };
            follows
        });
        if !joined {
            self.recent.push_back(range);
        }
        while self.recent.len() > 1 && self.recent[1].ordinal + PRODUCER_MEMORY_JOBS <= self.last_ordinal + 1
        {
            self.recent.pop_front();
        }
    }

    /// The remembered parts of the ordinals from `ordinal` up to the last, in order.
    pub fn since(&self, ordinal: u64) -> impl Iterator<Item = Range> {
        self.recent.iter().filter_map(move |range| {
            let skipped = ordinal.saturating_sub(range.ordinal);
            (skipped < range.jobs).then(|| Range {
                ordinal: range.ordinal + skipped,
                first: range.first.plus(skipped),
                first_sequence: range.first_sequence.plus(skipped),
                jobs: range.jobs - skipped,
            })
        })
    }
}

/// All producers by name.
pub type Producers = BTreeMap<Arc<str>, Producer>;
