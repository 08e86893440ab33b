//! How events are stored. The three kinds that nearly all of a log consists of are written and read field by field: the same
//! bytes as [`codec::put`] and [`Run::take`] give, without a call for each byte of an id. Any other kind goes through those two.

use crate::clock::Timestamp;
use crate::codec;
use crate::codec::Run;
use crate::codec::parts::put_bytes;
use crate::codec::parts::put_integer;
use crate::codec::parts::put_option;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::event::Usage;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::spec::Extra;
use crate::job::spec::Payload;
use crate::job::spec::Policy;
use bytes::Bytes;

/// The numbers of their variants in the log, where they never change. [FMT-1]
pub(in crate::job::event) const SUBMITTED: u8 = 0;
pub(in crate::job::event) const STARTED: u8 = 1;
pub(in crate::job::event) const SUCCEEDED: u8 = 5;

impl Event {
    /// Appends the event to a run that [`codec::begin`] opened.
    pub fn put(&self, out: &mut Vec<u8>) {
        if let Event::Submitted(job) = self {
            put_head(SUBMITTED, job.id, job.queue, out);
            out.extend_from_slice(&job.priority.to_le_bytes());
            put_integer(job.due.0, out);
            put_option(job.policy.as_ref(), out, codec::put);
            put_option(job.extra.as_ref(), out, codec::put);
            put_bytes(&job.payload.0, out);
        } else if let Event::Started { id, queue, attempt, worker } = self {
            put_head(STARTED, *id, *queue, out);
            put_integer(u64::from(*attempt), out);
            put_bytes(worker.as_bytes(), out);
        } else if let Event::Succeeded { id, queue, attempt, result, content_type, usage } = self {
            put_head(SUCCEEDED, *id, *queue, out);
            put_integer(u64::from(*attempt), out);
            put_bytes(&result.0, out);
            put_bytes(content_type.as_bytes(), out);
            put_option(usage.as_ref(), out, |usage, out| {
                put_integer(usage.cpu_ms, out);
                put_integer(usage.rss_kib, out);
            });
        } else {
            codec::put(self, out);
        }
    }

    /// The next event of `run`.
    ///
    /// # Errors
    /// [`codec::Error`], if it is not what a writer of this release stores.
    pub fn take(run: &mut Run<'_>) -> Result<Event, codec::Error> {
        match run.variant() {
            Some(SUBMITTED) => take_submitted(run).map(Event::Submitted),
            Some(STARTED) => {
                let (id, queue) = take_head(run)?;
                Ok(Event::Started { id, queue, attempt: run.integer()?, worker: run.text()?.into() })
            }
            Some(SUCCEEDED) => {
                let (id, queue) = take_head(run)?;
                Ok(Event::Succeeded {
                    id,
                    queue,
                    attempt: run.integer()?,
                    result: Payload(Bytes::copy_from_slice(run.bytes()?)),
                    content_type: run.text()?.into(),
                    usage: take_usage(run)?,
                })
            }
            Some(_) | None => run.take(),
        }
    }
}

fn put_head(variant: u8, id: JobId, queue: QueueNo, out: &mut Vec<u8>) {
    out.push(variant);
    out.extend_from_slice(&id.to_bytes());
    put_integer(u64::from(queue.0), out);
}

/// Reads the variant's number, which is known, the job and its queue.
pub(in crate::job::event) fn take_head(run: &mut Run<'_>) -> Result<(JobId, QueueNo), codec::Error> {
    run.byte()?;
    Ok((JobId::from_bytes(run.array()?), QueueNo(run.integer()?)))
}

fn take_submitted(run: &mut Run<'_>) -> Result<Submitted, codec::Error> {
    let (id, queue) = take_head(run)?;
    Ok(Submitted {
        id,
        queue,
        priority: i8::from_le_bytes(run.array()?),
        due: Timestamp(run.integer()?),
        policy: run.option(Run::take::<Box<Policy>>)?,
        extra: run.option(Run::take::<Box<Extra>>)?,
        payload: Payload(Bytes::copy_from_slice(run.bytes()?)),
    })
}

pub(in crate::job::event) fn take_usage(run: &mut Run<'_>) -> Result<Option<Usage>, codec::Error> {
    run.option(|run| Ok(Usage { cpu_ms: run.integer()?, rss_kib: run.integer()? }))
}

#[cfg(test)]
mod tests {
    use crate::codec;
    use crate::codec::Run;
    use crate::job::event::Event;
    use crate::job::event::specimens::arbitrary;
    use crate::job::event::specimens::specimens;
    use proptest::prelude::*;

    /// The reference: what the codec makes of the structure, without its version byte.
    fn by_the_codec(event: &Event) -> Vec<u8> {
        codec::encode(event)[1..].to_vec()
    }

    fn by_hand(event: &Event) -> Vec<u8> {
        let mut bytes = Vec::new();
        event.put(&mut bytes);
        bytes
    }

    fn read(bytes: &[u8]) -> (Result<Event, codec::Error>, usize) {
        let mut run = Run::at(bytes, 0);
        let event = Event::take(&mut run);
        (event, run.remaining())
    }

    #[test]
    fn every_kind_is_stored_as_the_codec_stores_it_and_no_part_of_it_passes_for_the_whole() {
        for event in specimens() {
            let bytes = by_hand(&event);
            assert_eq!(bytes, by_the_codec(&event), "{event:?}");
            assert_eq!(read(&bytes), (Ok(event.clone()), 0));
            for end in 0..bytes.len() {
                assert_eq!(read(&bytes[..end]).0, Err(codec::Error::Cut), "{end} bytes of {event:?}");
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

        #[test]
        fn any_event_is_stored_as_the_codec_stores_it(event in arbitrary()) {
            let bytes = by_hand(&event);
            prop_assert_eq!(&bytes, &by_the_codec(&event));
            prop_assert_eq!(read(&bytes), (Ok(event), 0));
        }

        /// Also where the codec refuses: a reader of an old log must not take for an event what another takes for damage.
        #[test]
        fn any_bytes_are_the_event_that_the_codec_reads_or_refused_by_both(
            mut bytes in prop::collection::vec(any::<u8>(), 1..200),
            kind in 0_u8..8,
            small in any::<bool>(),
        ) {
            bytes[0] = kind;
            if small {
                // Bytes that are their own value get further.
                bytes.iter_mut().for_each(|byte| *byte %= 4);
                bytes[0] = kind;
            }
            let mut reference = Run::at(&bytes, 0);
            let expected = reference.take::<Event>();
            let (found, rest) = read(&bytes);
            prop_assert_eq!(found.is_ok(), expected.is_ok());
            if expected.is_ok() {
                prop_assert_eq!((found, rest), (expected, reference.remaining()));
            }
        }
    }
}
