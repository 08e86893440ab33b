//! The jobs of the overlay: their views side by side in the order in which they came, and beside them a table that finds
//! them by id. The table holds places only, so it stays in the caches, and neighbours in time are neighbours in memory.

use crate::engine::overlay::JobView;
use crate::engine::view::IdHash;
use crate::job::id::JobId;
use hashbrown::HashTable;
use std::hash::BuildHasher;

/// The newest states of jobs, by id.
#[derive(Debug, Default)]
pub(in crate::engine) struct Held {
    places: HashTable<u32>,
    views: Vec<Option<JobView>>,
    free: Vec<u32>,
}

impl Held {
    /// How many jobs there are.
    pub(in crate::engine) fn len(&self) -> usize {
        self.places.len()
    }

    /// For how many jobs there is space.
    pub(in crate::engine) fn capacity(&self) -> usize {
        self.views.capacity()
    }

    /// The view of the job `id`.
    pub(in crate::engine) fn get(&self, id: JobId) -> Option<&JobView> {
        self.views[self.place_of(id)? as usize].as_ref()
    }

    /// The view of the job `id`, to be changed.
    pub(in crate::engine) fn get_mut(&mut self, id: JobId) -> Option<&mut JobView> {
        let place = self.place_of(id)?;
        self.views[place as usize].as_mut()
    }

    /// Takes the view of a job in, for the one it had if it had one.
    pub(in crate::engine) fn insert(&mut self, view: JobView) {
        match self.get_mut(view.id) {
            Some(held) => *held = view,
            None => self.add(view),
        }
    }

    /// Lets go of the job `id`.
    pub(in crate::engine) fn remove(&mut self, id: JobId) {
        let Held { places, views, free } = self;
        if let Ok(found) = places.find_entry(hash(id), |place| is_at(views, *place, id)) {
            let (place, _) = found.remove();
            views[place as usize] = None;
            free.push(place);
        }
    }

    /// All views, in no particular order.
    pub(in crate::engine) fn iter(&self) -> impl Iterator<Item = &JobView> {
        self.views.iter().flatten()
    }

    /// Keeps space for `jobs` jobs, or for those that there are if they are more.
    pub(in crate::engine) fn shrink_to(&mut self, jobs: usize) {
        let views = std::mem::take(self).views;
        let jobs = jobs.max(views.iter().flatten().count());
        *self = Held {
            places: HashTable::with_capacity(jobs),
            views: Vec::with_capacity(jobs),
            free: Vec::new(),
        };
        views.into_iter().flatten().for_each(|view| self.add(view));
    }

    /// Takes in a job that is not there.
    pub(in crate::engine) fn add(&mut self, view: JobView) {
        let id = view.id;
        debug_assert!(self.place_of(id).is_none(), "job {id} is there");
        let place = match self.free.pop() {
            Some(place) => {
                self.views[place as usize] = Some(view);
                place
            }
            None => {
                self.views.push(Some(view));
                u32::try_from(self.views.len() - 1).expect("the overlay is limited far below 4 billion jobs")
            }
        };
        let Held { places, views, .. } = self;
        places.insert_unique(hash(id), place, |place| {
            hash(views[*place as usize].as_ref().expect("a place in the table holds a view").id)
        });
    }

    fn place_of(&self, id: JobId) -> Option<u32> {
        self.places.find(hash(id), |place| is_at(&self.views, *place, id)).copied()
    }
}

fn is_at(views: &[Option<JobView>], place: u32, id: JobId) -> bool {
    views[place as usize].as_ref().is_some_and(|view| view.id == id)
}

fn hash(id: JobId) -> u64 {
    IdHash.hash_one(id)
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::engine::overlay::JobView;
    use crate::engine::view::held::Held;
    use crate::job::id::JobId;
    use crate::job::id::Pointer;
    use crate::job::id::Position;
    use crate::job::id::QueueNo;
    use crate::job::id::Sequence;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn view(id: JobId, last: u64) -> JobView {
        let at = Pointer { position: Position(last), index: 0 };
        JobView::tombstone(id, QueueNo(0), Sequence(last), at, Timestamp(0))
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn it_holds_what_a_map_would(steps in prop::collection::vec((0..60_u128, 0..8_u8), 1..400)) {
            let (mut held, mut map) = (Held::default(), BTreeMap::new());
            for ((number, what), last) in steps.into_iter().zip(1..) {
                let id = JobId::from_u128(number << 64);
                match what {
                    0..4 => {
                        held.insert(view(id, last));
                        map.insert(id, last);
                    }
                    4..7 => {
                        held.remove(id);
                        map.remove(&id);
                    }
                    _ => held.shrink_to(number as usize),
                }
                prop_assert_eq!(held.len(), map.len());
                prop_assert_eq!(held.get(id).map(|view| view.last.0), map.get(&id).copied());
                prop_assert_eq!(held.get_mut(id).is_some(), map.contains_key(&id));
            }
            let mut all: Vec<(JobId, u64)> = held.iter().map(|view| (view.id, view.last.0)).collect();
            all.sort_unstable();
            prop_assert_eq!(all, map.into_iter().collect::<Vec<_>>());
        }
    }

    #[test]
    fn what_a_burst_took_is_given_back() {
        let mut held = Held::default();
        let ids = || (0..10_000).map(JobId::from_u128);
        ids().for_each(|id| held.insert(view(id, 1)));
        ids().skip(10).for_each(|id| held.remove(id));
        held.shrink_to(100);
        assert_eq!(held.len(), 10);
        assert!(held.capacity() < 500, "{}", held.capacity());
        assert!(ids().take(10).all(|id| held.get(id).is_some()));
    }
}
