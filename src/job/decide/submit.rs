//! Accepting jobs: all of a batch or none of it, and a repeat makes nothing new. [ID-1]

use crate::job::decide::Limits;
use crate::job::decide::Refused;
use crate::job::dedupe;
use crate::job::dedupe::Range;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::spec::NewJob;
use crate::job::state::State;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::sync::Arc;

/// Jobs to be accepted together.
#[derive(Clone, Debug)]
pub struct Batch {
    /// The jobs, in order.
    pub jobs: Vec<NewJob>,
    /// What makes a repeat of the batch recognizable.
    pub origin: Origin,
}

/// What makes a repeat of a submit recognizable. [ID-1]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Nothing: a repeat makes new jobs.
    Anonymous,
    /// A key of the client's choice, and a fingerprint of everything in the batch.
    Key {
        /// The key.
        key: Arc<str>,
        /// Equal for equal batches, different for different ones.
        fingerprint: u64,
    },
    /// A producer that numbers its jobs 1, 2, 3 …
    Producer {
        /// Its name.
        producer: Arc<str>,
        /// Ordinal of the batch's first job.
        ordinal: u64,
    },
}

/// What became of a batch: ranges of jobs, in the batch's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Consecutive ids and sequences; `ordinal` counts from 0 unless the batch came from a producer.
    pub ranges: Vec<Range>,
    /// How many of the jobs were known already.
    pub repeated: u64,
}

/// Decides what accepting `batch` leads to, and adds its events. New jobs get ids from `first_id` on.
///
/// # Errors
/// [`Refused`] with no event added: a batch is accepted whole or not at all.
pub fn submit(
    state: &State,
    batch: Batch,
    first_id: JobId,
    limits: &Limits,
    events: &mut Vec<Event>,
) -> Result<Accepted, Refused> {
    match batch.origin {
        Origin::Anonymous => {
            let range = make(state, batch.jobs, 0, first_id, limits, events, None)?;
            Ok(Accepted { ranges: range.into_iter().collect(), repeated: 0 })
        }
        Origin::Key { key, fingerprint } => {
            keyed(state, batch.jobs, key, fingerprint, first_id, limits, events)
        }
        Origin::Producer { producer, ordinal } => {
            produced(state, batch.jobs, producer, ordinal, first_id, limits, events)
        }
    }
}

fn keyed(
    state: &State,
    jobs: Vec<NewJob>,
    key: Arc<str>,
    fingerprint: u64,
    first_id: JobId,
    limits: &Limits,
    events: &mut Vec<Event>,
) -> Result<Accepted, Refused> {
    if let Some(known) = state.keys().get(dedupe::digest(&key)) {
        if known.fingerprint != fingerprint {
            return Err(Refused::KeyReused { first: known.first });
        }
        let jobs = u64::from(known.jobs);
        let range = Range { ordinal: 0, first: known.first, first_sequence: known.first_sequence, jobs };
        return Ok(Accepted { ranges: vec![range], repeated: jobs });
    }
    if jobs.is_empty() {
        return Ok(Accepted { ranges: Vec::new(), repeated: 0 });
    }
    if state.keys().len() >= limits.keys_max {
        return Err(Refused::DedupeFull { keys: limits.keys_max });
    }
    let count = u32::try_from(jobs.len()).expect("a batch is limited far below 4 billion jobs");
    let taken = Event::KeyTaken { key, fingerprint, first: first_id, jobs: count };
    let range = make(state, jobs, 0, first_id, limits, events, Some(taken))?;
    Ok(Accepted { ranges: range.into_iter().collect(), repeated: 0 })
}

fn produced(
    state: &State,
    mut jobs: Vec<NewJob>,
    producer: Arc<str>,
    ordinal: u64,
    first_id: JobId,
    limits: &Limits,
    events: &mut Vec<Event>,
) -> Result<Accepted, Refused> {
    let known = state.producers().get(&producer);
    let last = known.map_or(0, |known| known.last_ordinal);
    if ordinal > last + 1 || ordinal == 0 {
        return Err(Refused::OrdinalGap { expected: last + 1, found: ordinal });
    }
    if known.is_none() && state.producers().len() >= limits.producers_max {
        return Err(Refused::DedupeFull { keys: limits.producers_max });
    }
    let repeated = (last + 1 - ordinal).min(jobs.len() as u64);
    let end = ordinal + jobs.len() as u64;
    let mut ranges: Vec<Range> = known.map(|known| known.since(ordinal).collect()).unwrap_or_default();
    for range in &mut ranges {
        range.jobs = range.jobs.min(end.saturating_sub(range.ordinal));
    }
    ranges.retain(|range| range.jobs > 0);
    jobs.drain(..usize::try_from(repeated).expect("at most the batch's length"));
    if !jobs.is_empty() {
        let count = u32::try_from(jobs.len()).expect("a batch is limited far below 4 billion jobs");
        let ordinal = ordinal + repeated;
        let advanced = Event::ProducerAdvanced { producer, ordinal, first: first_id, jobs: count };
        ranges.extend(make(state, jobs, ordinal, first_id, limits, events, Some(advanced))?);
    }
    Ok(Accepted { ranges, repeated })
}

/// Adds the events of new jobs behind `before`, or none at all.
fn make(
    state: &State,
    jobs: Vec<NewJob>,
    ordinal: u64,
    first_id: JobId,
    limits: &Limits,
    events: &mut Vec<Event>,
    before: Option<Event>,
) -> Result<Option<Range>, Refused> {
    let count = jobs.len() as u64;
    let live = state.jobs().len() as u64;
    if live + count > limits.live_max {
        return Err(Refused::ServiceFull { live, live_max: limits.live_max });
    }
    let numbers = number_queues(state, &jobs, limits)?;
    let made = numbers.made.into_iter().map(|(name, queue)| Event::QueueMade { queue, name });
    events.extend(made.chain(before));
    let with_queue = jobs.into_iter().zip(numbers.of_jobs);
    events.extend(with_queue.zip(0..).map(|((job, queue), step)| {
        Event::Submitted(Submitted {
            id: first_id.plus(step),
            queue,
            priority: job.priority,
            due: job.run_at,
            policy: job.policy,
            extra: job.extra,
            payload: job.payload,
        })
    }));
    let first_sequence = state.sequence().plus(1);
    Ok((count > 0).then_some(Range { ordinal, first: first_id, first_sequence, jobs: count }))
}

struct Numbers {
    of_jobs: Vec<QueueNo>,
    made: Vec<(QueueName, QueueNo)>,
}

/// The queue number of each job, the queues that must be made for that, and a check that each has room.
///
/// Most batches go to one queue, so names are looked up only where the queue changes from one job to the next.
fn number_queues(state: &State, jobs: &[NewJob], limits: &Limits) -> Result<Numbers, Refused> {
    let mut of_jobs: Vec<QueueNo> = Vec::with_capacity(jobs.len());
    let mut made: HashMap<&QueueName, QueueNo> = HashMap::new();
    let mut entering: BTreeMap<QueueNo, u64> = BTreeMap::new();
    for run in jobs.chunk_by(|job, next| job.queue == next.queue) {
        let name = &run[0].queue;
        let number = match state.queues().find(name).or_else(|| made.get(name).copied()) {
            Some(number) => number,
            None => {
                let number = next_number(state, name, made.len(), limits)?;
                made.insert(name, number);
                number
            }
        };
        of_jobs.resize(of_jobs.len() + run.len(), number);
        *entering.entry(number).or_default() += run.len() as u64;
    }
    check_room(state, entering)?;
    let mut made: Vec<(QueueName, QueueNo)> = made.into_iter().map(|(name, no)| (name.clone(), no)).collect();
    made.sort_unstable_by_key(|(_, number)| *number);
    Ok(Numbers { of_jobs, made })
}

fn next_number(state: &State, name: &QueueName, made: usize, limits: &Limits) -> Result<QueueNo, Refused> {
    let made = u32::try_from(made).expect("at most the batch's length");
    let next = QueueNo(state.queues().next_no().0 + made);
    if next.0 >= limits.queues_max {
        return Err(Refused::QueuesFull { queue: name.clone(), queues_max: limits.queues_max });
    }
    Ok(next)
}

fn check_room(state: &State, entering: BTreeMap<QueueNo, u64>) -> Result<(), Refused> {
    for (number, jobs) in entering {
        if let Some(queue) = state.queues().get(number)
            && let Some(max_pending) = queue.settings.max_pending
            && queue.counts.waiting + jobs > max_pending
        {
            let (queue, waiting) = (queue.name.clone(), queue.counts.waiting);
            return Err(Refused::QueueFull { queue, waiting, max_pending });
        }
    }
    Ok(())
}
