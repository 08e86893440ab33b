//! Places for items that never move: they grow by chunks, so that a million items are not copied when one more comes, and
//! none takes space before it is there. A place that was given back is used again before the chunks grow.

use std::ops::Index;
use std::ops::IndexMut;

/// About how many bytes are asked of the allocator at a time. So many come from the system, and go back to it, each by
/// itself; smaller ones would fill gaps between frames that come and go, and hold them open.
const CHUNK_BYTES: usize = 2 * 1_024 * 1_024;

/// The places.
#[derive(Debug)]
pub(in crate::job) struct Chunks<T> {
    chunks: Vec<Vec<T>>,
    /// Places that were given back.
    free: Vec<u32>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Chunks<T> {
        Chunks { chunks: Vec::new(), free: Vec::new() }
    }
}

impl<T> Chunks<T> {
    /// Items in a full chunk: a power of two, so that finding one takes no division.
    pub(in crate::job) const CHUNK: usize = 1 << (CHUNK_BYTES / size_of::<T>()).ilog2();

    /// How many places there are, those that were given back included.
    pub(in crate::job) fn len(&self) -> usize {
        self.chunks.last().map_or(0, |last| (self.chunks.len() - 1) * Self::CHUNK + last.len())
    }

    /// Takes an item in and says where it is.
    ///
    /// # Panics
    /// If there are 2³² places already: what is kept live is limited far below.
    pub(in crate::job) fn insert(&mut self, item: T) -> u32 {
        if let Some(place) = self.free.pop() {
            self[place] = item;
            return place;
        }
        let place = u32::try_from(self.len()).expect("what is kept live is limited far below 4 billion");
        match self.chunks.last_mut() {
            Some(last) if last.len() < Self::CHUNK => last.push(item),
            Some(_) | None => {
                let mut chunk = Vec::with_capacity(Self::CHUNK);
                chunk.push(item);
                self.chunks.push(chunk);
            }
        }
        place
    }

    /// Takes out the item at `place` and gives the place back; `nothing` is there until it is used again.
    pub(in crate::job) fn replace(&mut self, place: u32, nothing: T) -> T {
        self.free.push(place);
        std::mem::replace(&mut self[place], nothing)
    }

    /// The item at `place`, if there is such a place.
    pub(in crate::job) fn get(&self, place: u32) -> Option<&T> {
        let place = place as usize;
        self.chunks.get(place / Self::CHUNK)?.get(place % Self::CHUNK)
    }

    /// What is in all places, in their order.
    pub(in crate::job) fn iter(&self) -> impl Iterator<Item = &T> {
        self.chunks.iter().flatten()
    }
}

impl<T> Index<u32> for Chunks<T> {
    type Output = T;

    fn index(&self, place: u32) -> &T {
        &self.chunks[place as usize / Self::CHUNK][place as usize % Self::CHUNK]
    }
}

impl<T> IndexMut<u32> for Chunks<T> {
    fn index_mut(&mut self, place: u32) -> &mut T {
        &mut self.chunks[place as usize / Self::CHUNK][place as usize % Self::CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use crate::job::chunks::Chunks;

    #[test]
    fn items_stay_where_they_are_across_chunks() {
        const CHUNK: usize = Chunks::<u64>::CHUNK;
        for items in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 5] {
            let mut list = Chunks::default();
            for number in 0..items as u64 {
                assert_eq!(u64::from(list.insert(number)), number);
            }
            assert_eq!(list.len(), items);
            assert!(list.iter().copied().eq(0..items as u64));
            assert!((0..items as u32).all(|place| list[place] == u64::from(place)));
            assert_eq!(list.get(items as u32), None);
            if items > 0 {
                list[items as u32 - 1] = 7;
                assert_eq!(list.get(items as u32 - 1), Some(&7));
            }
        }
    }

    #[test]
    fn places_that_were_given_back_are_used_again_first() {
        let mut list = Chunks::default();
        let places = ["a", "b", "c"].map(|item| list.insert(item));
        assert_eq!((list.replace(places[1], ""), list.replace(places[0], "")), ("b", "a"));
        assert_eq!((list.insert("d"), list.insert("e"), list.insert("f")), (places[0], places[1], 3));
        assert!(list.iter().copied().eq(["d", "e", "c", "f"]));
    }
}
