//! What is in a data directory: jobs per queue and state, segments, rates over time, the oldest live job.

use crate::clock::Timestamp;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::queue::Counts;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::log::Error;
use crate::log::Floor;
use crate::offline::DataDirectory;
use crate::offline::Faults;
use crate::offline::Fold;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Tail;
use crate::offline::Until;
use crate::offline::fold;
use crate::offline::rates::Rates;
use std::collections::BTreeMap;

/// A segment and what is in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SegmentStats {
    /// Its number.
    pub number: u64,
    /// Size of the file.
    pub bytes: u64,
    /// Bytes that frames take.
    pub used_bytes: u64,
    /// Frames.
    pub frames: u64,
    /// Updates.
    pub updates: u64,
    /// Its first frame; 0 if it is empty.
    pub first: Position,
    /// Log time of its last frame; 0 if it is empty.
    pub last_time: Timestamp,
}

/// The oldest job in a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Oldest {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueName,
    /// Its state.
    pub state: JobState,
    /// Attempts started so far.
    pub attempts: u32,
}

/// What is in a data directory.
#[derive(Debug)]
pub struct Stats {
    /// Where the log begins; `None` if that is not known.
    pub floor: Option<Floor>,
    /// Log time of the first frame; 0 if there is none.
    pub first_time: Timestamp,
    /// Log time of the last frame; 0 if there is none.
    pub last_time: Timestamp,
    /// Every queue by name, with its counts.
    pub queues: Vec<(QueueName, Counts)>,
    /// Jobs in memory of a server: waiting, running and dead.
    pub live: u64,
    /// The oldest waiting, running and dead job, as far as there are any.
    pub oldest: Vec<Oldest>,
    /// Events in the retained log by kind.
    pub kinds: BTreeMap<&'static str, u64>,
    /// Segments, oldest first; the last ones may be empty.
    pub segments: Vec<SegmentStats>,
    /// Checkpoints, newest first.
    pub checkpoints: Vec<Position>,
    /// What happened when, over the retained log.
    pub rates: Rates,
    /// Whether frames are lost, so that jobs are missing in the counts.
    pub partial: bool,
    /// What was wrong, in the order of the log.
    pub faults: Faults,
    /// Where the log ended.
    pub tail: Tail,
}

impl Stats {
    /// Reads the whole log once.
    ///
    /// # Errors
    /// An input/output error. Damage is in `faults`.
    pub fn of(directory: &DataDirectory) -> Result<Stats, Error> {
        let segments = directory.segments()?.into_iter();
        let mut stats = Stats {
            floor: directory.floor(),
            first_time: Timestamp(0),
            last_time: Timestamp(0),
            queues: Vec::new(),
            live: 0,
            oldest: Vec::new(),
            kinds: BTreeMap::new(),
            segments: segments
                .map(|(number, bytes)| SegmentStats { number, bytes, ..SegmentStats::default() })
                .collect(),
            checkpoints: directory.checkpoints()?,
            rates: Rates::default(),
            partial: false,
            faults: Faults::of(directory),
            tail: Tail::default(),
        };
        let mut fold = Fold::newest(directory, Until::End, &mut |fault| stats.faults.add(fault))?;
        let mut walk = directory.walk();
        for step in &mut walk {
            match step? {
                Step::Frame(located) => stats.frame(directory, &located, &mut fold)?,
                Step::Fault(fault) => stats.faults.add(fault),
            }
        }
        stats.tail = walk.tail().clone();
        stats.partial = fold.is_torn();
        stats.read_state(fold.state());
        Ok(stats)
    }

    fn frame(&mut self, directory: &DataDirectory, located: &Located, fold: &mut Fold) -> Result<(), Error> {
        let frame = &located.frame;
        if self.first_time == Timestamp(0) {
            self.first_time = frame.time;
        }
        self.last_time = self.last_time.max(frame.time);
        if let Ok(at) = self.segments.binary_search_by_key(&located.segment, |segment| segment.number) {
            let segment = &mut self.segments[at];
            if segment.frames == 0 {
                segment.first = frame.position;
            }
            segment.frames += 1;
            segment.updates += u64::from(frame.updates);
            segment.used_bytes += located.span;
            segment.last_time = frame.time;
        }
        let events = match frame.events() {
            Ok(events) => events,
            Err(error) => {
                self.faults.add(fold::unreadable(directory, located, &error.to_string()));
                return Ok(());
            }
        };
        for event in &events {
            *self.kinds.entry(event.kind_name()).or_default() += 1;
        }
        self.rates.frame(located, &events);
        if frame.position > fold.base() {
            fold.events(directory, located, &events, Until::End, &mut |fault| self.faults.add(fault))?;
        }
        Ok(())
    }

    fn read_state(&mut self, state: &State) {
        self.live = state.jobs().len() as u64;
        self.queues = state.queues().iter().map(|(_, queue)| (queue.name.clone(), queue.counts)).collect();
        self.queues.sort_by(|one, other| one.0.cmp(&other.0));
        for wanted in [JobState::Waiting, JobState::Running, JobState::Dead] {
            let jobs = state.jobs().iter().map(|(_, job)| job).filter(|job| job.state() == wanted);
            self.oldest.extend(jobs.min_by_key(|job| job.id).map(|job| Oldest {
                id: job.id,
                queue: state.queue_name(job.queue),
                state: wanted,
                attempts: job.attempt,
            }));
        }
    }
}
