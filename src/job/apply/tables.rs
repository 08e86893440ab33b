//! What the events that are about no job change: queues, cursors, keys, producers.

use crate::clock::Timestamp;
use crate::job::apply::At;
use crate::job::dedupe::Key;
use crate::job::dedupe::Range;
use crate::job::dedupe::digest;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::state::NamedCursor;
use crate::job::state::OpenBatch;
use crate::job::state::State;
use std::sync::Arc;

impl State {
    pub(in crate::job::apply) fn apply_to_tables(
        &mut self,
        event: &Event,
        at: At,
    ) -> Result<(), &'static str> {
        match event {
            Event::QueueMade { queue, name } => self.queue_made(*queue, name)?,
            Event::QueueSet { queue, settings } => {
                self.queues.get_mut(*queue).ok_or("the queue was never made")?.settings = settings.clone();
            }
            Event::CursorSet { sequence, .. } if *sequence > self.sequence => {
                return Err("it is ahead of the log");
            }
            Event::CursorSet { name, sequence } => {
                self.cursors.insert(name.clone(), NamedCursor { sequence: *sequence, committed: at.time });
            }
            Event::CursorDropped { name } => {
                self.cursors.remove(name).ok_or("there is no such cursor")?;
            }
            Event::KeyTaken { key, fingerprint, first, jobs } => {
                self.key_taken(digest(key), *fingerprint, *first, *jobs)?;
            }
            Event::KeysForgotten { ended_before } => self.keys.forget_ended_before(*ended_before),
            Event::ProducerAdvanced { producer, ordinal, first, jobs } => {
                let jobs = u64::from(*jobs);
                let first_sequence = self.sequence.plus(1);
                let range = Range { ordinal: *ordinal, first: *first, first_sequence, jobs };
                self.producer_advanced(producer, range, at.time)?;
            }
            Event::ProducersForgotten { producers } => {
                for producer in producers {
                    self.producers.remove(producer);
                }
            }
            Event::Opened { .. } => {}
            Event::Submitted(_)
            | Event::Started { .. }
            | Event::Progress { .. }
            | Event::Retrying { .. }
            | Event::Released { .. }
            | Event::Succeeded { .. }
            | Event::Dead { .. }
            | Event::Cancelled { .. }
            | Event::Expired { .. }
            | Event::Retried { .. }
            | Event::Deleted { .. } => unreachable!("updates are about a job and were told apart before"),
        }
        Ok(())
    }

    fn queue_made(&mut self, queue: QueueNo, name: &QueueName) -> Result<(), &'static str> {
        if queue != self.queues.next_no() || self.queues.find(name).is_some() {
            return Err("its number is not the next one, or its name is taken");
        }
        self.queues.add(name.clone());
        Ok(())
    }

    fn key_taken(
        &mut self,
        digest: u128,
        fingerprint: u64,
        first: JobId,
        jobs: u32,
    ) -> Result<(), &'static str> {
        if jobs == 0 || self.open_batch.is_some() || self.keys.slot_of(digest).is_some() {
            return Err("it is for no jobs, inside the batch of another key, or taken again");
        }
        let first_sequence = self.sequence.plus(1);
        let key =
            Key { digest, fingerprint, first, first_sequence, jobs, live: jobs, ended: Timestamp::default() };
        self.open_batch = Some(OpenBatch { key: self.keys.insert(key), next: first, left: jobs });
        Ok(())
    }

    fn producer_advanced(
        &mut self,
        producer: &Arc<str>,
        range: Range,
        now: Timestamp,
    ) -> Result<(), &'static str> {
        let last = self.producers.get(producer).map_or(0, |known| known.last_ordinal);
        let follows = last.checked_add(1) == Some(range.ordinal);
        if !follows || range.jobs == 0 || range.ordinal.checked_add(range.jobs).is_none() {
            return Err("its ordinals do not follow the last one");
        }
        self.producers.entry(producer.clone()).or_default().advance(range, now);
        Ok(())
    }
}
