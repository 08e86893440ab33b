//! The live jobs, each in a slot that it keeps, and their order by id, which stores slots only.

mod order;

use crate::job::chunks::Chunks;
use crate::job::id::JobId;
use crate::job::state::Job;
use crate::job::table::order::Order;
use std::fmt;

/// Where a live job lies in memory. Only a hint outside the writer: it is checked against the id. Not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index.
    #[must_use]
    pub const fn index(self) -> usize {
        self.0 as usize
    }
}

/// Slots and order of live jobs.
#[derive(Default)]
pub struct Table {
    slots: Chunks<Option<Job>>,
    order: Order,
}

impl fmt::Debug for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Table({} jobs)", self.len())
    }
}

impl Table {
    /// How many jobs are live.
    #[must_use]
    pub fn len(&self) -> usize {
        self.order.len()
    }

    /// Whether no job is live.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.order.len() == 0
    }

    /// One past the highest slot ever used.
    #[must_use]
    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The slot of the job `id`, if it is live. `hint` is where it was last seen, and saves the look-up if it is right.
    #[must_use]
    pub fn find(&self, id: JobId, hint: Option<Slot>) -> Option<Slot> {
        if let Some(slot) = hint
            && self.get(slot).is_some_and(|job| job.id == id)
        {
            return Some(slot);
        }
        self.order.find(id, |slot| self.at(slot).id == id)
    }

    /// The job in `slot`, if there is one.
    #[must_use]
    pub fn get(&self, slot: Slot) -> Option<&Job> {
        self.slots.get(slot.0)?.as_ref()
    }

    /// The job in `slot`.
    ///
    /// # Panics
    /// If the slot is empty: slots come from [`Table::find`] or [`Table::insert`] and are used at once.
    #[must_use]
    pub fn at(&self, slot: Slot) -> &Job {
        self.get(slot).expect("a slot in use holds a job")
    }

    /// The job in `slot`, to be changed by `apply`.
    ///
    /// # Panics
    /// As [`Table::at`].
    pub(in crate::job) fn at_mut(&mut self, slot: Slot) -> &mut Job {
        self.slots[slot.0].as_mut().expect("a slot in use holds a job")
    }

    /// The highest id of all jobs that were ever added.
    pub(in crate::job) fn newest(&self) -> JobId {
        self.order.newest()
    }

    /// Adds a job and says where it lies.
    ///
    /// # Panics
    /// If its id is not above [`Table::newest`].
    pub(in crate::job) fn insert(&mut self, job: Job) -> Slot {
        let id = job.id;
        let slot = Slot(self.slots.insert(Some(job)));
        self.order.push(id, slot);
        slot
    }

    /// Takes the job out of `slot`.
    ///
    /// # Panics
    /// As [`Table::at`].
    pub(in crate::job) fn remove(&mut self, slot: Slot) -> Job {
        let job = self.slots.replace(slot.0, None).expect("a slot in use holds a job");
        self.order.remove(job.id, slot);
        job
    }

    /// All live jobs with their slots, in no particular order.
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Job)> {
        let slots = self.slots.iter().zip(0..);
        slots.filter_map(|(job, place)| job.as_ref().map(|job| (Slot(place), job)))
    }

    /// All live jobs with their slots, in id order.
    pub fn in_id_order(&self) -> impl Iterator<Item = (Slot, &Job)> {
        self.order.slots().map(|slot| (slot, self.at(slot)))
    }
}

#[cfg(test)]
mod tests;
