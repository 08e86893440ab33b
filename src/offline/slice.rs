//! Some jobs of a directory as of a place of its log, and their submissions in the order in which they were made.
//!
//! A job that was deleted by then is none of them. In memory are the ids of those that are chosen, never a payload.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::state::JobState;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::Faults;
use crate::offline::Fold;
use crate::offline::Names;
use crate::offline::Step;
use crate::offline::Until;
use crate::offline::export::Go;
use crate::offline::fold;
use crate::offline::fold::Reached;
use crate::offline::fold::Told;
use std::collections::BTreeMap;
use std::collections::HashMap;

/// Which jobs are wanted; what is empty wants all.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Of these queues.
    pub queues: Vec<QueueName>,
    /// In these states.
    pub states: Vec<JobState>,
    /// These alone.
    pub jobs: Vec<JobId>,
    /// Submitted from there on.
    pub from: Option<Until>,
    /// Submitted up to there.
    pub to: Option<Until>,
}

/// What is to be known of a job to tell whether it is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// Its identity.
    pub id: JobId,
    /// Its queue.
    pub queue: &'a QueueName,
    /// Its state.
    pub state: JobState,
    /// Sequence of its `submitted` update; `None` if the log no longer tells.
    pub submitted: Option<Sequence>,
}

impl Wanted {
    /// Whether the job is wanted.
    #[must_use]
    pub fn admits(&self, job: Candidate<'_>) -> bool {
        let Wanted { queues, states, jobs, from, to } = self;
        (queues.is_empty() || queues.contains(job.queue))
            && (states.is_empty() || states.contains(&job.state))
            && (jobs.is_empty() || jobs.contains(&job.id))
            && from.is_none_or(|from| is_from(job.id.time(), job.submitted, from))
            && to.is_none_or(|to| is_up_to(job.id.time(), job.submitted, to))
    }
}

fn is_from(time: Timestamp, submitted: Option<Sequence>, from: Until) -> bool {
    match from {
        Until::End | Until::Position(_) => false,
        Until::Sequence(sequence) => submitted.is_some_and(|own| own >= sequence),
        Until::Time(from) => time >= from,
    }
}

fn is_up_to(time: Timestamp, submitted: Option<Sequence>, to: Until) -> bool {
    match to {
        Until::End | Until::Position(_) => true,
        // What the log no longer tells is older than all of it.
        Until::Sequence(sequence) => submitted.is_none_or(|own| own <= sequence),
        Until::Time(to) => time <= to,
    }
}

/// The jobs that are wanted.
#[derive(Debug)]
pub struct Slice {
    /// Their states.
    pub jobs: HashMap<JobId, JobState>,
    /// How many there are of each queue.
    pub queues: BTreeMap<QueueName, u64>,
    /// What was wrong, in the order of the log.
    pub faults: Faults,
}

/// A job of a slice.
#[derive(Clone, Debug)]
pub struct Chosen {
    /// Its queue.
    pub queue: QueueName,
    /// Its state.
    pub state: JobState,
    /// What was submitted.
    pub submitted: Submitted,
}

impl Slice {
    /// Chooses the jobs of `directory` as of `until`.
    ///
    /// # Errors
    /// An input/output error. Damage is in `faults`.
    pub fn of(directory: &DataDirectory, wanted: &Wanted, until: Until) -> Result<Slice, Error> {
        let mut faults = Faults::of(directory);
        let mut fold = Fold::oldest(directory)?;
        let slice = Slice { jobs: HashMap::new(), queues: BTreeMap::new(), faults: Faults::default() };
        let names = Names::of(directory)?;
        let mut choosing = Choosing { directory, wanted, names, slice, failed: Ok(()) };
        for step in &mut directory.walk() {
            let located = match step? {
                Step::Frame(located) => located,
                Step::Fault(fault) => {
                    faults.add(fault);
                    continue;
                }
            };
            if let Until::Time(time) = until
                && located.frame.time > time
            {
                break;
            }
            let events = match located.frame.events() {
                Ok(events) => events,
                Err(error) => {
                    faults.add(fold::unreadable(directory, &located, &error.to_string()));
                    continue;
                }
            };
            let mut see = |fault| faults.add(fault);
            let reached = fold.watched(directory, &located, &events, until, &mut see, &mut |told| {
                let done = choosing.see(told);
                if choosing.failed.is_ok() {
                    choosing.failed = done;
                }
            })?;
            std::mem::replace(&mut choosing.failed, Ok(()))?;
            if reached == Reached::Yes {
                break;
            }
        }
        let state = fold.state();
        for (_, job) in state.jobs().iter() {
            let queue = state.queue_name(job.queue);
            let (id, submitted) = (job.id, Some(job.submitted));
            choosing.add(Candidate { id, queue: &queue, state: job.state(), submitted });
        }
        let Choosing { mut slice, .. } = choosing;
        slice.faults = faults;
        Ok(slice)
    }

    /// Gives the submission of every job to `take`, in the order in which they were submitted; says which are lost.
    ///
    /// # Errors
    /// An input/output error.
    pub fn submissions(
        self,
        directory: &DataDirectory,
        take: &mut dyn FnMut(Chosen) -> Go,
    ) -> Result<Vec<JobId>, Error> {
        let (mut left, mut names) = (self.jobs, Names::of(directory)?);
        let mut give = |submitted: Submitted, names: &mut Names| -> Result<Go, Error> {
            let Some(state) = left.remove(&submitted.id) else { return Ok(Go::On) };
            let queue = names.get(directory, submitted.queue)?;
            Ok(take(Chosen { queue, state, submitted }))
        };
        if let Some(carried) = directory.carried() {
            for at in carried.pointers() {
                let event = match carried.event(at?) {
                    Ok(event) => event,
                    // It is lost, and named as a fault by whoever verifies.
                    Err(Error::Damaged { .. }) => None,
                    Err(error) => return Err(error),
                };
                if let Some(Event::Submitted(submitted)) = event
                    && give(submitted, &mut names)? == Go::Stop
                {
                    return Ok(Vec::new());
                }
            }
        }
        for step in directory.walk() {
            let Step::Frame(located) = step? else { continue };
            let Ok(events) = located.frame.events() else { continue };
            for event in events {
                names.see(&event);
                if let Event::Submitted(submitted) = event
                    && give(submitted, &mut names)? == Go::Stop
                {
                    return Ok(Vec::new());
                }
            }
        }
        let mut lost: Vec<JobId> = left.into_keys().collect();
        lost.sort_unstable();
        Ok(lost)
    }
}

struct Choosing<'a> {
    directory: &'a DataDirectory,
    wanted: &'a Wanted,
    names: Names,
    slice: Slice,
    failed: Result<(), Error>,
}

impl Choosing<'_> {
    /// Looks at an event before it is applied: jobs that finish are not in the state any more.
    fn see(&mut self, told: &Told<'_>) -> Result<(), Error> {
        self.names.see(told.event);
        let Some((id, queue)) = told.event.job() else { return Ok(()) };
        if let Event::Deleted { .. } = told.event
            && self.slice.jobs.remove(&id).is_some()
        {
            let queue = self.names.get(self.directory, queue)?;
            self.slice.queues.entry(queue).and_modify(|jobs| *jobs -= 1);
        }
        let Some(state) = told.event.finishes() else { return Ok(()) };
        let submitted = told.state.find(id, None).map(|(_, job)| job.submitted);
        if submitted.is_none() && !told.torn {
            // It cannot have ended twice: `verify` names it.
            return Ok(());
        }
        let queue = self.names.get(self.directory, queue)?;
        self.add(Candidate { id, queue: &queue, state, submitted });
        Ok(())
    }

    fn add(&mut self, job: Candidate<'_>) {
        if self.wanted.admits(job) && self.slice.jobs.insert(job.id, job.state).is_none() {
            *self.slice.queues.entry(job.queue.clone()).or_default() += 1;
        }
    }
}
