//! A table of values that many jobs share (policies, worker names): each job holds a 4-byte reference. Counted,
//! so that a value goes with its last holder.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::num::NonZeroU32;

/// A reference to a value that is kept elsewhere: its place there, counted from 1, so that having none takes no more space.
/// Not stored: checkpoints write the value.
#[derive(Debug, PartialEq, Eq, Hash)]
pub struct Ref<T>(NonZeroU32, PhantomData<fn() -> T>);

impl<T> Clone for Ref<T> {
    fn clone(&self) -> Ref<T> {
        *self
    }
}

impl<T> Copy for Ref<T> {}

impl<T> Ref<T> {
    pub(in crate::job) fn at(place: u32) -> Ref<T> {
        Ref(NonZeroU32::MIN.saturating_add(place), PhantomData)
    }

    pub(in crate::job) fn place(self) -> u32 {
        self.0.get() - 1
    }
}

/// The table.
#[derive(Debug)]
pub struct Interner<T> {
    values: Vec<Option<(T, u32)>>,
    free: Vec<u32>,
    index: HashMap<T, u32>,
}

impl<T> Default for Interner<T> {
    fn default() -> Interner<T> {
        Interner { values: Vec::new(), free: Vec::new(), index: HashMap::new() }
    }
}

impl<T: Clone + Eq + Hash> Interner<T> {
    /// A reference to `value`, held by one more job.
    pub(in crate::job) fn hold(&mut self, value: &T) -> Ref<T> {
        if let Some(&number) = self.index.get(value) {
            let (_, holders) = self.values[number as usize].as_mut().expect("indexed values are there");
            *holders += 1;
            return Ref::at(number);
        }
        let number = self.free.pop().unwrap_or_else(|| {
            self.values.push(None);
            u32::try_from(self.values.len() - 1).expect("no more values than live jobs")
        });
        self.values[number as usize] = Some((value.clone(), 1));
        self.index.insert(value.clone(), number);
        Ref::at(number)
    }

    /// One job less holds `reference`.
    pub(in crate::job) fn drop_hold(&mut self, reference: Ref<T>) {
        let entry = &mut self.values[reference.place() as usize];
        let (value, holders) = entry.as_mut().expect("a held value is there");
        *holders -= 1;
        if *holders == 0 {
            self.index.remove(&*value);
            *entry = None;
            self.free.push(reference.place());
        }
    }

    /// How many values are held.
    #[cfg(test)]
    pub(in crate::job) fn len(&self) -> usize {
        self.index.len()
    }

    /// The value.
    ///
    /// # Panics
    /// If nobody holds it.
    #[must_use]
    pub fn get(&self, reference: Ref<T>) -> &T {
        &self.values[reference.place() as usize].as_ref().expect("a held value is there").0
    }
}

#[cfg(test)]
mod tests {
    use crate::job::intern::Interner;

    #[test]
    fn equal_values_share_a_place_and_the_last_holder_frees_it() {
        let mut table = Interner::default();
        let (first, second) = (table.hold(&"a".to_owned()), table.hold(&"a".to_owned()));
        let other = table.hold(&"b".to_owned());
        assert_eq!(first, second);
        assert_ne!(first, other);
        table.drop_hold(first);
        assert_eq!(table.get(second), "a");
        table.drop_hold(second);
        assert_eq!(table.hold(&"c".to_owned()), first, "the place is used again");
        assert_eq!(table.get(first), "c");
        assert_eq!(table.get(other), "b");
        assert_eq!(table.len(), 2);
    }

    #[test]
    fn a_value_that_comes_back_is_held_anew() {
        let mut table = Interner::default();
        for _ in 0..3 {
            let held = table.hold(&7_u32);
            assert_eq!(table.get(held), &7);
            table.drop_hold(held);
        }
        assert_eq!(table.len(), 0);
        assert_eq!(table.values.len(), 1);
    }
}
