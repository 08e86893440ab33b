//! The updates that nearly all of a log consists of, written straight into the batch: a plain submission, a start, a
//! success. No message is built for them, so they cost no allocation; the bytes are those that the message would have.

use crate::clock::Timestamp;
use crate::grpc::convert::time;
use crate::grpc::convert::update::Parts;
use crate::grpc::convert::update::UPDATES_TAG;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::proto::v1;
use bytes::BufMut;
use bytes::BytesMut;
use prost::encoding::WireType;
use prost::encoding::encode_key;
use prost::encoding::encode_varint;
use prost::encoding::encoded_len_varint;
use prost::encoding::key_len;

/// What every update begins with.
#[derive(Clone, Copy, Debug)]
pub(in crate::grpc::convert::update) struct Head<'a> {
    pub(in crate::grpc::convert::update) sequence: Sequence,
    pub(in crate::grpc::convert::update) time: Timestamp,
    pub(in crate::grpc::convert::update) queue: &'a QueueName,
}

/// Appends the event to an encoded batch if it is a plain one; false, and nothing is appended, if it is not.
pub(in crate::grpc::convert::update) fn encode(
    batch: &mut BytesMut,
    head: Head<'_>,
    event: &Event,
    parts: Parts,
) -> bool {
    if let Event::Submitted(job) = event {
        if job.policy.is_some() || job.extra.is_some() {
            return false;
        }
        let spec = Spec::of(job, head.queue, parts);
        let spec_bytes = spec.bytes();
        head.put(batch, v1::UpdateKind::Submitted, job.id, delimited_len(7, spec_bytes));
        put_length(batch, 7, spec_bytes);
        spec.put(batch);
        return true;
    }
    if let Event::Started { id, attempt, worker, .. } = event {
        let worker = worker.as_bytes();
        let bytes = number_len(6, (*attempt).into()) + text_len(8, worker);
        head.put(batch, v1::UpdateKind::Started, *id, bytes);
        put_number(batch, 6, (*attempt).into());
        put_text(batch, 8, worker);
        return true;
    }
    if let Event::Succeeded { id, attempt, result, content_type, usage: None, .. } = event {
        let result: &[u8] = if parts.result { &result.0 } else { &[] };
        let content_type = content_type.as_bytes();
        let bytes = number_len(6, (*attempt).into()) + text_len(13, result) + text_len(14, content_type);
        head.put(batch, v1::UpdateKind::Succeeded, *id, bytes);
        put_number(batch, 6, (*attempt).into());
        put_text(batch, 13, result);
        put_text(batch, 14, content_type);
        return true;
    }
    false
}

impl Head<'_> {
    /// Puts the head of an update whose other fields, all of them behind these, take `more` bytes.
    fn put(self, batch: &mut BytesMut, kind: v1::UpdateKind, id: JobId, more: usize) {
        let (seconds, nanos) = time::split(self.time.0);
        // Neither is negative.
        let (seconds, nanos) = (seconds.unsigned_abs(), nanos.unsigned_abs().into());
        let time_bytes = number_len(1, seconds) + number_len(2, nanos);
        let kind = i32::from(kind).unsigned_abs().into();
        let mut text = [0; JobId::TEXT_BYTES];
        let id = id.text(&mut text).as_bytes();
        let queue = self.queue.as_str().as_bytes();
        let own = number_len(1, self.sequence.0)
            + number_len(2, kind)
            + text_len(3, id)
            + text_len(4, queue)
            + delimited_len(5, time_bytes);
        put_length(batch, UPDATES_TAG, own + more);
        put_number(batch, 1, self.sequence.0);
        put_number(batch, 2, kind);
        put_text(batch, 3, id);
        put_text(batch, 4, queue);
        put_length(batch, 5, time_bytes);
        put_number(batch, 1, seconds);
        put_number(batch, 2, nanos);
    }
}

/// A plain `JobSpec`.
struct Spec<'a> {
    queue: &'a [u8],
    payload: &'a [u8],
    /// As `sint32` has it.
    priority: u64,
    due: Option<(u64, u64)>,
}

impl<'a> Spec<'a> {
    fn of(job: &'a Submitted, queue: &'a QueueName, parts: Parts) -> Spec<'a> {
        let priority = i32::from(job.priority);
        let zigzag = (priority << 1) ^ (priority >> 31);
        let due = (job.due != Timestamp(0)).then(|| {
            let (seconds, nanos) = time::split(job.due.0);
            (seconds.unsigned_abs(), nanos.unsigned_abs().into())
        });
        let payload: &[u8] = if parts.payload { &job.payload.0 } else { &[] };
        Spec { queue: queue.as_str().as_bytes(), payload, priority: zigzag.unsigned_abs().into(), due }
    }

    fn bytes(&self) -> usize {
        let due = self.due.map_or(0, |due| delimited_len(5, due_bytes(due)));
        text_len(1, self.queue) + text_len(2, self.payload) + number_len(4, self.priority) + due
    }

    fn put(&self, batch: &mut BytesMut) {
        put_text(batch, 1, self.queue);
        put_text(batch, 2, self.payload);
        put_number(batch, 4, self.priority);
        if let Some(due) = self.due {
            put_length(batch, 5, due_bytes(due));
            put_number(batch, 1, due.0);
            put_number(batch, 2, due.1);
        }
    }
}

fn due_bytes((seconds, nanos): (u64, u64)) -> usize {
    number_len(1, seconds) + number_len(2, nanos)
}

/// Fields that have their default are left out, as proto3 has it.
fn number_len(tag: u32, number: u64) -> usize {
    if number == 0 { 0 } else { key_len(tag) + encoded_len_varint(number) }
}

fn put_number(batch: &mut BytesMut, tag: u32, number: u64) {
    if number != 0 {
        encode_key(tag, WireType::Varint, batch);
        encode_varint(number, batch);
    }
}

fn text_len(tag: u32, text: &[u8]) -> usize {
    if text.is_empty() { 0 } else { delimited_len(tag, text.len()) }
}

fn put_text(batch: &mut BytesMut, tag: u32, text: &[u8]) {
    if !text.is_empty() {
        put_length(batch, tag, text.len());
        batch.put_slice(text);
    }
}

/// Bytes of a field that holds a message or a run of bytes; there also if that is empty.
fn delimited_len(tag: u32, bytes: usize) -> usize {
    key_len(tag) + encoded_len_varint(bytes as u64) + bytes
}

fn put_length(batch: &mut BytesMut, tag: u32, bytes: usize) {
    encode_key(tag, WireType::LengthDelimited, batch);
    encode_varint(bytes as u64, batch);
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::grpc::convert::update::Parts;
    use crate::grpc::convert::update::UPDATES_TAG;
    use crate::grpc::convert::update::plain::Head;
    use crate::grpc::convert::update::plain::encode;
    use crate::grpc::convert::update::to_update;
    use crate::job::event::Event;
    use crate::job::event::Submitted;
    use crate::job::id::JobId;
    use crate::job::id::QueueNo;
    use crate::job::id::Sequence;
    use crate::job::spec::Payload;
    use bytes::Bytes;
    use bytes::BytesMut;
    use proptest::prelude::*;

    fn time() -> impl Strategy<Value = Timestamp> {
        prop_oneof![Just(0), Just(5_000), 0..Timestamp::END.0].prop_map(Timestamp)
    }

    fn payload() -> impl Strategy<Value = Payload> {
        prop_oneof![Just(0), 1..200_usize, Just(70_000)].prop_map(|size| Payload(Bytes::from(vec![7; size])))
    }

    fn event() -> impl Strategy<Value = Event> {
        let id = || any::<u128>().prop_map(JobId::from_u128);
        let text = || prop_oneof![Just(""), Just("worker-1"), Just("ä")];
        let attempt = || prop_oneof![Just(1), any::<u32>()];
        let queue = QueueNo(0);
        let submitted =
            (id(), -100..=100_i8, time(), payload()).prop_map(move |(id, priority, due, payload)| {
                Event::Submitted(Submitted { id, queue, priority, due, policy: None, extra: None, payload })
            });
        let started = (id(), attempt(), text()).prop_map(move |(id, attempt, worker)| Event::Started {
            id,
            queue,
            attempt,
            worker: worker.into(),
        });
        let succeeded = (id(), attempt(), payload(), text()).prop_map(move |(id, attempt, result, text)| {
            Event::Succeeded { id, queue, attempt, result, content_type: text.into(), usage: None }
        });
        prop_oneof![submitted, started, succeeded]
    }

    proptest! {
        /// Whatever is written straight is what the message would be, byte for byte.
        #[test]
        fn plain_updates_have_the_bytes_of_their_message(
            event in event(),
            sequence in prop_oneof![1..300_u64, any::<u64>()],
            time in time(),
            payload in any::<bool>(),
            result in any::<bool>(),
        ) {
            let (sequence, queue, parts) = (Sequence(sequence), "mail".parse().unwrap(), Parts { payload, result });
            let (mut straight, mut message) = (BytesMut::new(), BytesMut::new());
            let head = Head { sequence, time, queue: &queue };
            let plain = encode(&mut straight, head, &event, parts);
            prop_assert!(plain);
            let update = to_update(sequence, time, &queue, &event, parts).unwrap();
            prost::encoding::message::encode(UPDATES_TAG, &update, &mut message);
            prop_assert_eq!(straight, message);
        }
    }
}
