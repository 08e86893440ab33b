//! What differs between two states: of two directories, or of one at two places. And whether their histories are one.

use crate::job::dedupe::Key;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::QueueName;
use crate::job::queue::Counts;
use crate::job::spec::QueueSettings;
use crate::job::state::JobState;
use crate::job::state::NamedCursor;
use crate::job::state::State;
use crate::log::Error;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::From;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Walk;
use crate::offline::live::LiveJob;
use std::cmp::Ordering;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

/// One of the two that are compared.
#[derive(Debug)]
pub struct Side {
    /// Where it was read.
    pub directory: DataDirectory,
    /// The state there.
    pub as_of: AsOf,
}

impl Side {
    fn state(&self) -> &State {
        &self.as_of.state
    }
}

/// How two logs go together, up to where the shorter one ends.
#[derive(Debug)]
pub enum Histories {
    /// They are one.
    Same,
    /// They have no frame in common, because of what was trimmed or lost.
    Apart,
    /// Here they are different, and in everything behind it.
    Forked(Box<Fork>),
}

/// The first frame that differs.
#[derive(Debug)]
pub struct Fork {
    /// The frame in the first one.
    pub a: Located,
    /// The frame with the same position in the other.
    pub b: Located,
    /// Whether the frame before was compared and is the same; otherwise they may have forked earlier.
    pub is_first: bool,
}

/// Both of something; `None` where it is not there.
pub type Both<T> = (Option<T>, Option<T>);

/// A job that is not the same in both.
#[derive(Clone, Debug)]
pub struct JobChange {
    /// As the two know it.
    pub jobs: Both<LiveJob>,
    /// How it ended in the one that does not have it any more, as far as its log tells.
    pub ended: Option<JobState>,
}

/// What differs.
#[derive(Debug)]
pub struct Diff {
    a: Side,
    b: Side,
    /// How the logs go together.
    pub histories: Histories,
    /// Jobs that live in one and have ended in the other, and how.
    ended: HashMap<JobId, JobState>,
}

impl Diff {
    /// Compares two sides.
    ///
    /// # Errors
    /// An input/output error.
    pub fn of(a: Side, b: Side) -> Result<Diff, Error> {
        let histories = histories(&a, &b)?;
        let mut diff = Diff { a, b, histories, ended: HashMap::new() };
        diff.find_ends()?;
        Ok(diff)
    }

    /// The two.
    #[must_use]
    pub fn sides(&self) -> [&Side; 2] {
        [&self.a, &self.b]
    }

    /// Whether a server would go on from both in the same way: one state, and no fork on the way to it.
    #[must_use]
    pub fn is_same(&self) -> bool {
        !matches!(self.histories, Histories::Forked(_)) && self.a.state().digest() == self.b.state().digest()
    }

    /// Queues that are not the same in both, by name.
    #[must_use]
    pub fn queues(&self) -> Vec<(QueueName, Both<(QueueSettings, Counts)>)> {
        let found = |side: &Side, name: &QueueName| {
            let queues = side.state().queues();
            let queue = queues.find(name).and_then(|number| queues.get(number))?;
            Some((queue.settings.clone(), queue.counts))
        };
        let names = |side: &Side| -> Vec<QueueName> {
            side.state().queues().iter().map(|(_, queue)| queue.name.clone()).collect()
        };
        let all: BTreeSet<QueueName> = names(&self.a).into_iter().chain(names(&self.b)).collect();
        let both = all.into_iter().map(|name| {
            let both = (found(&self.a, &name), found(&self.b, &name));
            (name, both)
        });
        both.filter(|(_, (a, b))| a != b).collect()
    }

    /// Named cursors that are not the same in both, by name.
    #[must_use]
    pub fn cursors(&self) -> Vec<(Arc<str>, Both<NamedCursor>)> {
        let [a, b] = self.sides().map(|side| side.state().cursors());
        let names: BTreeSet<&Arc<str>> = a.keys().chain(b.keys()).collect();
        let both = names.into_iter().map(|name| (name.clone(), (a.get(name).copied(), b.get(name).copied())));
        both.filter(|(_, (a, b))| a != b).collect()
    }

    /// How many submit keys only the first remembers, only the other, and both but not in the same way.
    #[must_use]
    pub fn keys(&self) -> [usize; 3] {
        let [a, b] = self.sides().map(|side| -> HashMap<u128, &Key> {
            side.state().keys().in_order().into_iter().map(|key| (key.digest, key)).collect()
        });
        let other = |key: &u128| a.get(key).zip(b.get(key)).is_some_and(|(a, b)| a != b);
        counted(&a.keys().copied().collect(), &b.keys().copied().collect(), other)
    }

    /// The same of producers.
    #[must_use]
    pub fn producers(&self) -> [usize; 3] {
        let [a, b] = self.sides().map(|side| side.state().producers());
        let other = |name: &Arc<str>| a.get(name).zip(b.get(name)).is_some_and(|(a, b)| a != b);
        counted(&a.keys().cloned().collect(), &b.keys().cloned().collect(), other)
    }

    /// Gives every job that is not the same in both to `see`, in the order of their ids.
    pub fn each_job(&self, see: &mut dyn FnMut(JobChange)) {
        self.each_pair(&mut |jobs| {
            let (one, other) = &jobs;
            if one == other {
                return;
            }
            let gone = if one.is_some() && other.is_some() { None } else { one.as_ref().or(other.as_ref()) };
            let ended = gone.and_then(|job| self.ended.get(&job.id).copied());
            see(JobChange { jobs, ended });
        });
    }

    fn each_pair(&self, see: &mut dyn FnMut(Both<LiveJob>)) {
        let mut a = LiveJob::all(self.a.state()).peekable();
        let mut b = LiveJob::all(self.b.state()).peekable();
        loop {
            let order = match (a.peek(), b.peek()) {
                (Some(one), Some(other)) => one.id.cmp(&other.id),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (None, None) => return,
            };
            see(match order {
                Ordering::Less => (a.next(), None),
                Ordering::Greater => (None, b.next()),
                Ordering::Equal => (a.next(), b.next()),
            });
        }
    }

    /// Reads how the jobs ended that only one of the two still has.
    fn find_ends(&mut self) -> Result<(), Error> {
        let (mut only_a, mut only_b) = (HashSet::new(), HashSet::new());
        self.each_pair(&mut |jobs| match jobs {
            (Some(job), None) => drop(only_a.insert(job.id)),
            (None, Some(job)) => drop(only_b.insert(job.id)),
            (Some(_), Some(_)) | (None, None) => {}
        });
        let from = match &self.histories {
            // What the shorter one has is still the same in the longer one.
            Histories::Same => self.a.state().position().min(self.b.state().position()),
            Histories::Forked(fork) if fork.is_first => fork.a.frame.position,
            Histories::Forked(_) | Histories::Apart => Position(1),
        };
        for (gone, side) in [(only_a, &self.b), (only_b, &self.a)] {
            if !gone.is_empty() && side.state().position() >= from {
                ends(side, from, &gone, &mut self.ended)?;
            }
        }
        Ok(())
    }
}

fn counted<T: Eq + std::hash::Hash>(
    a: &HashSet<T>,
    b: &HashSet<T>,
    differs: impl Fn(&T) -> bool,
) -> [usize; 3] {
    let changed = a.intersection(b).filter(|key| differs(key)).count();
    [a.difference(b).count(), b.difference(a).count(), changed]
}

fn histories(a: &Side, b: &Side) -> Result<Histories, Error> {
    let (end, other_end) = (a.state().position(), b.state().position());
    let is_one = same_place(a.directory.path(), b.directory.path());
    // Frames are chained, so that equal hashes say that everything before is equal too.
    if is_one || end.min(other_end) == Position(0) || (end == other_end && a.as_of.hash == b.as_of.hash) {
        return Ok(Histories::Same);
    }
    let end = end.min(other_end);
    let floor = |side: &Side| side.directory.floor().map_or(Position(1), |floor| floor.position);
    let from = From::Position(floor(a).max(floor(b)));
    let (mut one, mut other) = (a.directory.walk_from(from)?, b.directory.walk_from(from)?);
    let (mut left, mut right) = (next(&mut one, end)?, next(&mut other, end)?);
    let mut same = None;
    while let (Some(a), Some(b)) = (&left, &right) {
        match a.frame.position.cmp(&b.frame.position) {
            Ordering::Less => left = next(&mut one, end)?,
            Ordering::Greater => right = next(&mut other, end)?,
            Ordering::Equal if a.hash == b.hash => {
                same = Some(a.frame.position);
                (left, right) = (next(&mut one, end)?, next(&mut other, end)?);
            }
            Ordering::Equal => {
                let is_first = a.frame.position == Position(1)
                    || same.is_some_and(|same| same.next() == a.frame.position)
                    || a.frame.previous == b.frame.previous;
                let (a, b) = (a.clone(), b.clone());
                return Ok(Histories::Forked(Box::new(Fork { a, b, is_first })));
            }
        }
    }
    Ok(if same.is_some() { Histories::Same } else { Histories::Apart })
}

/// The next whole frame up to `end`. What is damaged is told of with the states.
fn next(walk: &mut Walk, end: Position) -> Result<Option<Located>, Error> {
    for step in walk {
        if let Step::Frame(located) = step? {
            return Ok((located.frame.position <= end).then_some(located));
        }
    }
    Ok(None)
}

/// How those of `gone` ended by the log of `side`, from a frame on.
fn ends(
    side: &Side,
    from: Position,
    gone: &HashSet<JobId>,
    ended: &mut HashMap<JobId, JobState>,
) -> Result<(), Error> {
    let last = side.state().sequence();
    for step in side.directory.walk_from(From::Position(from))? {
        let Step::Frame(located) = step? else { continue };
        if located.frame.first_sequence > last {
            break;
        }
        let Ok(events) = located.frame.events() else { continue };
        let mut sequence = located.frame.first_sequence;
        for event in &events {
            let own = sequence;
            sequence = own.plus(u64::from(event.is_update()));
            if let (Some((id, _)), Some(state)) = (event.job(), event.finishes())
                && own <= last
                && gone.contains(&id)
            {
                ended.insert(id, state);
            }
        }
    }
    Ok(())
}

/// Whether two paths are one directory.
fn same_place(a: &Path, b: &Path) -> bool {
    a == b || std::fs::canonicalize(a).ok().is_some_and(|a| std::fs::canonicalize(b).is_ok_and(|b| a == b))
}
