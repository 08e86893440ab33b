//! A queue: its name, settings, and what is in it. Made on first use, never removed: its number is for ever.

use crate::job::id::QueueName;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::spec::QueueSettings;
use crate::job::table::Slot;
use serde::Deserialize;
use serde::Serialize;
use std::collections::BTreeSet;
use std::collections::HashMap;

/// How many jobs of a queue are where, and how many ended how since the queue was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counts {
    /// Jobs that wait, ready or scheduled.
    pub waiting: u64,
    /// Jobs under a lease.
    pub running: u64,
    /// Jobs that failed for good and are kept.
    pub dead: u64,
    /// Jobs ever submitted.
    pub submitted_total: u64,
    /// Jobs that ever succeeded.
    pub succeeded_total: u64,
    /// Deaths ever; an operator's retry may let a job die again.
    pub dead_total: u64,
    /// Jobs ever cancelled.
    pub cancelled_total: u64,
    /// Jobs that ever expired.
    pub expired_total: u64,
    /// Attempts ever started.
    pub started_total: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Counts>>(queues: I) -> Counts {
        queues.fold(Counts::default(), |all, one| Counts {
            waiting: all.waiting + one.waiting,
            running: all.running + one.running,
            dead: all.dead + one.dead,
            submitted_total: all.submitted_total + one.submitted_total,
            succeeded_total: all.succeeded_total + one.succeeded_total,
            dead_total: all.dead_total + one.dead_total,
            cancelled_total: all.cancelled_total + one.cancelled_total,
            expired_total: all.expired_total + one.expired_total,
            started_total: all.started_total + one.started_total,
        })
    }
}

/// One queue.
#[derive(Clone, Debug)]
pub struct Queue {
    /// Its name.
    pub name: QueueName,
    /// Its settings.
    pub settings: QueueSettings,
    /// Its counts.
    pub counts: Counts,
    /// Its dead jobs, oldest death first, so that the bound takes the oldest. [DEAD-1]
    pub dead: BTreeSet<(Sequence, Slot)>,
}

/// All queues by number and by name.
#[derive(Clone, Debug, Default)]
pub struct Queues {
    list: Vec<Queue>,
    by_name: HashMap<QueueName, QueueNo>,
}

impl Queues {
    /// How many queues there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// Whether no queue was made yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// The number that the next queue gets.
    #[must_use]
    pub fn next_no(&self) -> QueueNo {
        QueueNo(u32::try_from(self.list.len()).expect("queues are limited far below 4 billion"))
    }

    /// The number of the queue called `name`.
    #[must_use]
    pub fn find(&self, name: &QueueName) -> Option<QueueNo> {
        self.by_name.get(name).copied()
    }

    /// The queue with that number.
    #[must_use]
    pub fn get(&self, queue: QueueNo) -> Option<&Queue> {
        self.list.get(queue.0 as usize)
    }

    /// The queue with that number, to be changed by `apply`.
    pub(in crate::job) fn get_mut(&mut self, queue: QueueNo) -> Option<&mut Queue> {
        self.list.get_mut(queue.0 as usize)
    }

    /// Adds a queue and says its number, which is [`Queues::next_no`].
    pub(in crate::job) fn add(&mut self, name: QueueName) -> QueueNo {
        let number = self.next_no();
        self.by_name.insert(name.clone(), number);
        self.list.push(Queue {
            name,
            settings: QueueSettings::default(),
            counts: Counts::default(),
            dead: BTreeSet::new(),
        });
        number
    }

    /// All queues in the order they were made.
    pub fn iter(&self) -> impl Iterator<Item = (QueueNo, &Queue)> {
        self.list
            .iter()
            .enumerate()
            .map(|(number, queue)| (QueueNo(u32::try_from(number).expect("limited as in next_no")), queue))
    }
}
