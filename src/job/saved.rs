//! The state as a checkpoint stores it: tables first, then the live jobs in id order. Canonical, so that equal
//! states give equal bytes, and sorted, so that a new checkpoint is made by merging the old one with the log
//! since, holding only the touched jobs in memory. [LOG-3]

mod row;

pub use crate::job::saved::row::SavedJob;

use crate::clock::Timestamp;
use crate::codec;
use crate::codec::Reader;
use crate::codec::Run;
use crate::codec::Writer;
use crate::job::dedupe::Key;
use crate::job::dedupe::Producer;
use crate::job::extra::Rare;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::id::Sequence;
use crate::job::queue::Counts;
use crate::job::saved::row::SavedStage;
use crate::job::saved::row::pass_row;
use crate::job::saved::row::put_row;
use crate::job::saved::row::take_row;
use crate::job::spec::QueueSettings;
use crate::job::state::Job;
use crate::job::state::NamedCursor;
use crate::job::state::Stage;
use crate::job::state::State;
use serde::Deserialize;
use serde::Serialize;
use std::io::Write;
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Why a saved state could not be merged.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The saved state is not what this release writes.
    #[error("a saved state cannot be read")]
    Codec(#[from] codec::Error),
    /// The merged state could not be written.
    #[error("a state cannot be written")]
    Io(#[from] std::io::Error),
}

/// What the end of the jobs takes.
const END_BYTES: usize = 1;

/// Everything but the jobs, keys and producers, which are streamed.
#[derive(Serialize, Deserialize)]
struct Tables {
    position: Position,
    sequence: Sequence,
    time: Timestamp,
    last_id: JobId,
    queues: Vec<SavedQueue>,
    cursors: Vec<(Arc<str>, NamedCursor)>,
    keys: u64,
    producers: u64,
}

#[derive(Serialize, Deserialize)]
struct SavedQueue {
    name: QueueName,
    settings: QueueSettings,
    counts: Counts,
}

impl State {
    /// Writes the whole state.
    ///
    /// # Errors
    /// Those of `out`.
    pub fn save(&self, out: &mut Writer<'_>) -> std::io::Result<()> {
        self.save_tables(out)?;
        for (_, job) in self.jobs.in_id_order() {
            out.put_by(|out| put_row(Some(&self.saved(job)), out))?;
        }
        out.put_by(|out| put_row(None, out))
    }

    /// Reads a whole state.
    ///
    /// # Errors
    /// If the stream is not what [`State::save`] writes.
    pub fn load(input: &mut Reader<'_>) -> Result<State, codec::Error> {
        let mut state = State::load_tables(input)?;
        while let (Some(job), _) = input.take_by(take_row)? {
            state.restore(job)?;
        }
        Ok(state)
    }

    /// Reads the tables of a saved state and those of its jobs that `wanted` says, none of them behind `last`: what comes
    /// there is not looked at.
    ///
    /// # Errors
    /// If the stream is not what [`State::save`] writes.
    pub fn load_where(
        input: &mut Reader<'_>,
        wanted: impl Fn(JobId) -> bool,
        last: JobId,
    ) -> Result<State, codec::Error> {
        let mut state = State::load_tables(input)?;
        // A row is read over to its end first: then it is known whether it is wanted.
        let row = |run: &mut Run<'_>| {
            let mut row = run.clone();
            let id = pass_row(run)?;
            Ok((id, if id.is_some_and(&wanted) { take_row(&mut row)? } else { None }))
        };
        while let ((Some(id), job), _) = input.take_by(row)? {
            if let Some(job) = job {
                state.restore(job)?;
            }
            if id >= last {
                break;
            }
        }
        Ok(state)
    }

    /// Writes the state that follows from the saved state `old` and this one, which holds the tables as they are now
    /// and, of the jobs in `old`, only those that `touched` says, none of them behind `last`. The jobs that are not in `old`
    /// come after all that are.
    ///
    /// # Errors
    /// If `old` is not what [`State::save`] writes, or those of `out`.
    pub fn save_merged(
        &self,
        old: &mut Reader<'_>,
        touched: impl Fn(JobId) -> bool,
        last: JobId,
        out: &mut Writer<'_>,
    ) -> Result<(), Error> {
        self.save_tables(out)?;
        skip_tables(old)?;
        let mut own = self.jobs.in_id_order().map(|(_, job)| job).peekable();
        // Rows are copied as they stand: most jobs of a large backlog are not touched, and those that came last not even
        // looked at.
        while let (Some(id), stored) = old.take_by(pass_row)? {
            while let Some(before) = own.next_if(|own| own.id <= id) {
                out.put_by(|out| put_row(Some(&self.saved(before)), out))?;
            }
            if !touched(id) {
                out.put_bytes(stored)?;
            }
            if id >= last {
                old.pass_on::<Error>(END_BYTES, |stored| out.put_bytes(stored))?;
            }
        }
        for job in own {
            out.put_by(|out| put_row(Some(&self.saved(job)), out))?;
        }
        Ok(out.put_by(|out| put_row(None, out))?)
    }

    /// A digest of the canonical bytes: equal for equal states. [LOG-3]
    #[must_use]
    pub fn digest(&self) -> u128 {
        struct Digest(Xxh3);
        impl Write for Digest {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.update(bytes);
                Ok(bytes.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut digest = Digest(Xxh3::new());
        Writer::over(&mut digest, |out| self.save(out)).expect("a digest takes every write");
        digest.0.digest128()
    }

    fn save_tables(&self, out: &mut Writer<'_>) -> std::io::Result<()> {
        let keys = self.keys.in_order();
        let queues = self.queues.iter().map(|(_, queue)| SavedQueue {
            name: queue.name.clone(),
            settings: queue.settings.clone(),
            counts: queue.counts,
        });
        let tables = Tables {
            position: self.position,
            sequence: self.sequence,
            time: self.time,
            last_id: self.last_id,
            queues: queues.collect(),
            cursors: self.cursors.iter().map(|(name, cursor)| (name.clone(), *cursor)).collect(),
            keys: keys.len() as u64,
            producers: self.producers.len() as u64,
        };
        out.version()?;
        out.put(&tables)?;
        for key in keys {
            out.put(key)?;
        }
        for entry in &self.producers {
            out.put(&entry)?;
        }
        Ok(())
    }

    fn load_tables(input: &mut Reader<'_>) -> Result<State, codec::Error> {
        let tables = read_tables(input)?;
        let mut state = State {
            position: tables.position,
            sequence: tables.sequence,
            time: tables.time,
            last_id: tables.last_id,
            cursors: tables.cursors.into_iter().collect(),
            ..State::default()
        };
        for saved in tables.queues {
            let number = state.queues.add(saved.name);
            let queue = state.queues.get_mut(number).expect("the queue was just added");
            (queue.settings, queue.counts) = (saved.settings, saved.counts);
        }
        for _ in 0..tables.keys {
            state.keys.insert(input.take::<Key>()?);
        }
        for _ in 0..tables.producers {
            let (name, producer) = input.take::<(Arc<str>, Producer)>()?;
            state.producers.insert(name, producer);
        }
        Ok(state)
    }

    fn saved(&self, job: &Job) -> SavedJob {
        let rare = self.rare(job);
        SavedJob {
            id: job.id,
            stage: match job.stage() {
                Stage::Waiting { due } => SavedStage::Waiting { due },
                Stage::Running { token, worker } => {
                    SavedStage::Running { token, worker: self.workers.get(worker).clone() }
                }
                Stage::Dead { sequence } => SavedStage::Dead { sequence },
            },
            submitted: job.submitted,
            submitted_at: job.submitted_at(),
            expires: rare.expires,
            failures: rare.failures.clone(),
            payload_bytes: job.payload_bytes,
            queue: job.queue,
            policy: self.own_policy(job).cloned(),
            key: self.key(job).map(|key| self.keys.digest_of(key)),
            attempt: job.attempt,
            failed: rare.failed,
            crashed: rare.crashed,
            timed_out: rare.timed_out,
            lost: rare.lost,
            generation: rare.generation,
            priority: job.priority,
        }
    }

    fn restore(&mut self, saved: SavedJob) -> Result<(), codec::Error> {
        if saved.id <= self.jobs.newest() || saved.id > self.last_id {
            let why = format!("job {} is out of order, or above the newest job {}", saved.id, self.last_id);
            return Err(codec::Error::Malformed(why));
        }
        if saved.submitted_at.position > Job::POSITION_MAX {
            let why = format!("job {} was submitted where no log reaches", saved.id);
            return Err(codec::Error::Malformed(why));
        }
        let stage = match saved.stage {
            SavedStage::Waiting { due } => Stage::Waiting { due },
            SavedStage::Running { token, worker } => {
                Stage::Running { token, worker: self.workers.hold(&worker) }
            }
            SavedStage::Dead { sequence } => Stage::Dead { sequence },
        };
        let (due, submitted) = (Timestamp(0), (saved.submitted, saved.submitted_at));
        let mut job =
            Job::waiting(saved.id, due, submitted, saved.queue, saved.priority, saved.payload_bytes);
        job.set_stage(stage);
        job.attempt = saved.attempt;
        let slot = self.jobs.insert(job);
        let policy = saved.policy.map(|policy| self.policies.hold(&policy));
        let key = saved.key.and_then(|digest| self.keys.slot_of(digest));
        let rare = Rare {
            expires: saved.expires,
            failures: saved.failures,
            failed: saved.failed,
            crashed: saved.crashed,
            timed_out: saved.timed_out,
            lost: saved.lost,
            generation: saved.generation,
        };
        self.change_extra(slot, |extra| {
            (extra.policy, extra.key) = (policy, key);
            extra.change_rare(|now| *now = rare);
        });
        if let Stage::Dead { sequence } = stage
            && let Some(queue) = self.queues.get_mut(saved.queue)
        {
            queue.dead.insert((sequence, slot));
        }
        Ok(())
    }
}

/// Reads the live jobs of a saved state, one at a time, in id order.
///
/// # Errors
/// If the stream is not what [`State::save`] writes.
pub fn each_job(input: &mut Reader<'_>, mut see: impl FnMut(SavedJob)) -> Result<(), codec::Error> {
    skip_tables(input)?;
    while let (Some(job), _) = input.take_by(take_row)? {
        see(job);
    }
    Ok(())
}

/// Reads the names of the queues of a saved state, in the order of their numbers, and nothing behind them.
///
/// # Errors
/// If the stream is not what [`State::save`] writes.
pub fn queue_names(input: &mut Reader<'_>) -> Result<Vec<QueueName>, codec::Error> {
    Ok(read_tables(input)?.queues.into_iter().map(|queue| queue.name).collect())
}

fn read_tables(input: &mut Reader<'_>) -> Result<Tables, codec::Error> {
    input.version()?;
    input.take()
}

fn skip_tables(input: &mut Reader<'_>) -> Result<(), codec::Error> {
    let tables = read_tables(input)?;
    for _ in 0..tables.keys {
        input.take::<Key>()?;
    }
    for _ in 0..tables.producers {
        input.take::<(Arc<str>, Producer)>()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::codec;
    use crate::codec::Reader;
    use crate::codec::Writer;
    use crate::job::decide::submit::Origin;
    use crate::job::id::JobId;
    use crate::job::id::Position;
    use crate::job::journal::Journal;
    use crate::job::journal::apply_frame;
    use crate::job::journal::job;
    use crate::job::saved::SavedJob;
    use crate::job::saved::row::put_row;
    use crate::job::state::State;

    /// What loading the tables of `state` with these jobs gives.
    fn loaded(state: &State, jobs: &[SavedJob]) -> Result<State, codec::Error> {
        let mut bytes = Vec::new();
        let written = Writer::over(&mut bytes, |out| {
            state.save_tables(out)?;
            jobs.iter().try_for_each(|job| out.put_by(|out| put_row(Some(job), out)))?;
            out.put_by(|out| put_row(None, out))
        });
        written.unwrap();
        State::load(&mut Reader::over(&mut bytes.as_slice()))
    }

    #[test]
    fn jobs_that_no_state_can_hold_so_are_refused_by_name() {
        let mut journal = Journal::new();
        journal.submit(vec![job("q"), job("q")], Origin::Anonymous).unwrap();
        let state = &journal.state;
        let saved = || state.jobs().in_id_order().map(|(_, job)| state.saved(job));
        let (first, second) = (|| saved().next().unwrap(), || saved().last().unwrap());
        let refused = |jobs: &[SavedJob]| loaded(state, jobs).unwrap_err().to_string();

        assert_eq!(loaded(state, &[first(), second()]).unwrap().digest(), state.digest());
        let behind = refused(&[second(), first()]);
        assert!(behind.contains(&format!("job {} is out of order", first().id)), "{behind}");
        assert!(refused(&[first(), first()]).contains("out of order"));
        let above = refused(&[first(), SavedJob { id: JobId::MAX, ..second() }]);
        assert!(above.contains(&format!("above the newest job {}", second().id)), "{above}");
        let mut far = second();
        far.submitted_at.position = Position(1 << 48);
        assert!(refused(&[first(), far]).contains("where no log reaches"));
    }

    fn bytes_of(state: &State) -> Vec<u8> {
        let mut bytes = Vec::new();
        Writer::over(&mut bytes, |out| state.save(out)).unwrap();
        bytes
    }

    /// [LOG-3]
    #[test]
    fn what_is_merged_is_the_whole_state_wherever_jobs_were_touched() {
        for places in [&[][..], &[0], &[0, 1, 2, 3, 700], &[1_999], &[0, 1_999], &[1_000, 1_001], &[1_998]] {
            let mut journal = Journal::new();
            journal.submit((0..2_000).map(|_| job("q")).collect(), Origin::Anonymous).unwrap();
            let old = bytes_of(&journal.state);
            let ids: Vec<JobId> = journal.state.jobs().in_id_order().map(|(_, job)| job.id).collect();
            let touched: Vec<JobId> = places.iter().map(|place| ids[*place]).collect();
            let before = journal.frames.len();
            for (number, id) in touched.iter().enumerate() {
                if number % 2 == 0 {
                    journal.work_off(*id)
                } else {
                    journal.claim(*id);
                }
            }
            journal.submit(vec![job("q"), job("r")], Origin::Anonymous).unwrap();

            let (is_touched, last) =
                (|id| touched.contains(&id), touched.last().copied().unwrap_or_default());
            let (mut first_pass, mut second_pass) = (old.as_slice(), old.as_slice());
            let mut state = State::load_where(&mut Reader::over(&mut first_pass), is_touched, last).unwrap();
            for frame in &journal.frames[before..] {
                apply_frame(&mut state, frame).unwrap();
            }
            let mut merged = Vec::new();
            let saved = Writer::over(&mut merged, |out| {
                state.save_merged(&mut Reader::over(&mut second_pass), is_touched, last, out)
            });
            saved.unwrap();
            assert!(merged == bytes_of(&journal.state), "{places:?}");
        }
    }
}
