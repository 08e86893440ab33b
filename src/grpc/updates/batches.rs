//! Batches of encoded updates. The updates of a frame in memory are encoded once, by the first reader that wants them
//! with the same parts; the others take the same bytes, or slices of them.

use crate::engine::view::Encoded;
use crate::engine::view::Published;
use crate::grpc::convert::update;
use crate::grpc::convert::update::Parts;
use crate::job::event::Event;
use crate::job::event::glimpse::Glimpse;
use crate::job::id::Sequence;
use crate::service::tail::Filter;
use crate::service::tail::Names;
use crate::service::tail::Pending;
use crate::service::tail::Render;
use bytes::Bytes;
use bytes::BytesMut;
use std::sync::OnceLock;

/// A batch that has reached this size is sent: small frames are gathered for readers that are behind.
const ENOUGH_BYTES: usize = 256 * 1_024;
/// The most bytes of one batch, unless a single update is larger. [MEM-1]
const BYTES_MAX: usize = 1_024 * 1_024;

/// What one reader wants of the updates.
#[derive(Debug)]
pub(in crate::grpc) struct Batches {
    filter: Filter,
    parts: Parts,
    names: Names,
}

impl Batches {
    pub(in crate::grpc) fn new(filter: Filter, parts: Parts, names: Names) -> Batches {
        Batches { filter, parts, names }
    }

    /// Takes whole runs of the shared bytes; `None` in place of a slot if these parts are not shared.
    fn take_all(&mut self, frame: &Published, skip: usize, batch: &mut Batch) -> Sequence {
        let Some(slot) = slot(frame, self.parts) else { return self.take_some(frame, skip, batch) };
        let Encoded { bytes, ends } = slot.get_or_init(|| encode(frame, self.parts, &mut self.names));
        let start = end_of(ends, skip);
        let fits = |end: &u32| *end as usize - start + batch.len() <= BYTES_MAX;
        let mut taken = skip + ends[skip..].partition_point(fits);
        if batch.is_empty() {
            taken = taken.max(skip + 1);
        }
        batch.push(bytes.slice(start..end_of(ends, taken)));
        frame.first_sequence.plus(taken as u64 - 1)
    }

    /// Takes the updates that pass, until the batch is large enough.
    fn take_some(&mut self, frame: &Published, skip: usize, batch: &mut Batch) -> Sequence {
        let updates = frame.numbered_updates().skip_while(|(number, _)| *number < skip);
        let passing: Vec<(usize, &Event)> = updates.filter(|(_, event)| self.passes(event)).collect();
        let slot = slot(frame, self.parts);
        // Where many pass, readers with other filters will want the same bytes.
        let shared = match slot {
            Some(slot) if passing.len() * 4 >= frame.updates as usize => {
                Some(slot.get_or_init(|| encode(frame, self.parts, &mut self.names)))
            }
            Some(slot) => slot.get(),
            None => None,
        };
        for (at, event) in passing {
            let sequence = frame.first_sequence.plus(at as u64);
            match shared {
                Some(Encoded { bytes, ends }) => batch.copy(&bytes[end_of(ends, at)..end_of(ends, at + 1)]),
                None => put(batch.tail(), sequence, frame, event, self.parts, &mut self.names),
            }
            if batch.len() >= ENOUGH_BYTES {
                return sequence;
            }
        }
        frame.last_sequence()
    }

    fn passes(&mut self, event: &Event) -> bool {
        self.filter.is_open() || self.filter.admits(event, &mut self.names)
    }
}

impl Render for Batches {
    type Batch = Bytes;

    fn is_choosy(&self) -> bool {
        !self.filter.is_open()
    }

    fn wants(&mut self, update: &Glimpse) -> bool {
        self.filter.admits_glimpse(update, &mut self.names)
    }

    fn render(&mut self, pending: &mut Pending) -> Option<Bytes> {
        let mut batch = Batch::default();
        while batch.len() < ENOUGH_BYTES
            && let Some((frame, skip)) = pending.front()
        {
            let passed = if self.filter.is_open() {
                self.take_all(&frame, skip, &mut batch)
            } else {
                self.take_some(&frame, skip, &mut batch)
            };
            if passed < frame.first_sequence.plus(skip as u64) {
                break;
            }
            pending.pass(passed);
        }
        batch.finish()
    }
}

/// Where the encoded updates of a frame are shared; `None` for parts that few readers ask for, and for a frame that was read
/// back for this reader alone and does not hold them all.
fn slot(frame: &Published, parts: Parts) -> Option<&OnceLock<Encoded>> {
    if frame.numbers.is_some() {
        return None;
    }
    match parts {
        Parts { payload: true, result: true } => Some(&frame.encoded[0]),
        Parts { payload: false, result: false } => Some(&frame.encoded[1]),
        Parts { .. } => None,
    }
}

fn encode(frame: &Published, parts: Parts, names: &mut Names) -> Encoded {
    let mut bytes = BytesMut::with_capacity(frame.body_bytes + 64 * frame.updates as usize);
    let mut ends = Vec::with_capacity(frame.updates as usize);
    let mut sequence = frame.first_sequence;
    for event in frame.events.iter().filter(|event| event.is_update()) {
        put(&mut bytes, sequence, frame, event, parts, names);
        ends.push(u32::try_from(bytes.len()).expect("a frame's body is limited far below 4 GiB"));
        sequence = sequence.plus(1);
    }
    Encoded { bytes: bytes.freeze(), ends }
}

fn put(
    bytes: &mut BytesMut,
    sequence: Sequence,
    frame: &Published,
    event: &Event,
    parts: Parts,
    names: &mut Names,
) {
    if let Some((_, queue)) = event.job() {
        update::encode_update(bytes, sequence, frame.time, names.get(queue), event, parts);
    }
}

/// Where the first `count` updates end.
fn end_of(ends: &[u32], count: usize) -> usize {
    count.checked_sub(1).map_or(0, |last| ends[last] as usize)
}

/// A batch that is being gathered: one run of shared bytes stays shared, several are copied into one.
#[derive(Debug, Default)]
struct Batch {
    shared: Option<Bytes>,
    copied: BytesMut,
}

impl Batch {
    fn len(&self) -> usize {
        self.shared.as_ref().map_or(self.copied.len(), Bytes::len)
    }

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn push(&mut self, bytes: Bytes) {
        if self.is_empty() {
            self.shared = Some(bytes);
        } else {
            self.copy(&bytes);
        }
    }

    fn copy(&mut self, bytes: &[u8]) {
        self.tail().extend_from_slice(bytes);
    }

    /// Where more is put, what was shared so far in front of it.
    fn tail(&mut self) -> &mut BytesMut {
        if let Some(shared) = self.shared.take() {
            self.copied.extend_from_slice(&shared);
        }
        &mut self.copied
    }

    fn finish(self) -> Option<Bytes> {
        let bytes = self.shared.unwrap_or_else(|| self.copied.freeze());
        (!bytes.is_empty()).then_some(bytes)
    }
}
