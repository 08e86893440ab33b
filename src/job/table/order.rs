//! Where each live job lies, by its id: blocks of jobs in id order. Not the jobs themselves.
//!
//! Ids only rise, so a new job always goes to the end of the last block, and jobs that come and go together are together
//! here: with millions of them a look-up still finds its block in the caches, where a hash table would spread
//! neighbours over all of its memory, and would copy all of itself when it grows.

use crate::job::chunks::Chunks;
use crate::job::id::JobId;
use crate::job::table::Slot;

/// Jobs in a full block.
pub(in crate::job::table) const BLOCK: usize = 64;
/// The list of blocks is tidied when there are more of them than one for so many jobs.
const JOBS_A_BLOCK_MIN: usize = BLOCK / 4;
/// So many blocks may be on the list for no job at all.
const SPARE_BLOCKS: usize = 16;
/// The place of a block of which nothing is left.
const NOWHERE: u32 = u32::MAX;

/// Some jobs that follow each other in id order.
#[derive(Debug)]
struct Block {
    len: usize,
    /// The lowest bits of each id: they tell it from most others without a look at the job.
    marks: [u32; BLOCK],
    slots: [Slot; BLOCK],
}

impl Block {
    const EMPTY: Block = Block { len: 0, marks: [0; BLOCK], slots: [Slot(0); BLOCK] };

    fn marks(&self) -> &[u32] {
        &self.marks[..self.len]
    }

    fn slots(&self) -> &[Slot] {
        &self.slots[..self.len]
    }

    fn push(&mut self, mark: u32, slot: Slot) {
        (self.marks[self.len], self.slots[self.len]) = (mark, slot);
        self.len += 1;
    }

    fn remove(&mut self, place: usize) {
        self.marks.copy_within(place + 1..self.len, place);
        self.slots.copy_within(place + 1..self.len, place);
        self.len -= 1;
    }

    fn find(&self, id: JobId, is_in: impl Fn(Slot) -> bool) -> Option<Slot> {
        let mark = mark(id);
        let alike = self.marks().iter().zip(self.slots()).filter(|(other, _)| **other == mark);
        alike.map(|(_, slot)| *slot).find(|slot| is_in(*slot))
    }
}

/// The slots of the live jobs in id order.
#[derive(Debug, Default)]
pub(in crate::job::table) struct Order {
    /// The id that each block began with, rising. What comes before the next block's is in it or nowhere.
    firsts: Vec<JobId>,
    /// Where each block is; `NOWHERE` if it is empty.
    places: Vec<u32>,
    blocks: Chunks<Block>,
    len: usize,
    /// The highest id that was ever added.
    newest: JobId,
}

impl Order {
    /// How many jobs there are.
    pub(in crate::job::table) fn len(&self) -> usize {
        self.len
    }

    /// The highest id that was ever added.
    pub(in crate::job::table) fn newest(&self) -> JobId {
        self.newest
    }

    /// Adds the job `id`.
    ///
    /// # Panics
    /// If it is not above [`Order::newest`].
    pub(in crate::job::table) fn push(&mut self, id: JobId, slot: Slot) {
        assert!(id > self.newest, "ids rise");
        self.newest = id;
        self.len += 1;
        let has_room = |place: &u32| *place != NOWHERE && self.blocks[*place].len < BLOCK;
        let last = self.places.last().copied().filter(has_room);
        let place = last.unwrap_or_else(|| {
            let place = self.blocks.insert(Block::EMPTY);
            self.firsts.push(id);
            self.places.push(place);
            place
        });
        self.blocks[place].push(mark(id), slot);
    }

    /// The slot of the job `id`, if it is here. `is_in` says whether a slot holds it.
    pub(in crate::job::table) fn find(&self, id: JobId, is_in: impl Fn(Slot) -> bool) -> Option<Slot> {
        let place = self.places[self.number_of(id)?];
        if place == NOWHERE { None } else { self.blocks[place].find(id, is_in) }
    }

    /// Takes out the job `id`, which lies in `slot`.
    ///
    /// # Panics
    /// If it is not here.
    pub(in crate::job::table) fn remove(&mut self, id: JobId, slot: Slot) {
        let number = self.number_of(id).expect("a job that lives is in a block");
        let place = self.places[number];
        let block = &mut self.blocks[place];
        let within = block.slots().iter().position(|other| *other == slot).expect("and nowhere else");
        block.remove(within);
        if block.len == 0 {
            self.places[number] = NOWHERE;
            self.blocks.replace(place, Block::EMPTY);
        }
        self.len -= 1;
        if self.places.len() > self.len / JOBS_A_BLOCK_MIN + SPARE_BLOCKS {
            self.tidy();
        }
    }

    /// All slots in id order.
    pub(in crate::job::table) fn slots(&self) -> impl Iterator<Item = Slot> {
        let places = self.places.iter().filter(|place| **place != NOWHERE);
        places.flat_map(|place| self.blocks[*place].slots()).copied()
    }

    /// Which block of the list the job would be in.
    fn number_of(&self, id: JobId) -> Option<usize> {
        self.firsts.partition_point(|first| *first <= id).checked_sub(1)
    }

    /// Brings each block that fits into the one before it together with that, and takes the empty ones off the list. Half of
    /// the jobs must go, or as many blocks come again, before this is due another time.
    fn tidy(&mut self) {
        let mut kept: usize = 0;
        for next in 0..self.places.len() {
            let (place, first) = (self.places[next], self.firsts[next]);
            if place == NOWHERE {
                continue;
            }
            if let Some(last) = kept.checked_sub(1)
                && self.blocks[self.places[last]].len + self.blocks[place].len <= BLOCK
            {
                self.pour(place, self.places[last]);
            } else {
                (self.places[kept], self.firsts[kept]) = (place, first);
                kept += 1;
            }
        }
        self.places.truncate(kept);
        self.firsts.truncate(kept);
    }

    fn pour(&mut self, from: u32, into: u32) {
        let block = self.blocks.replace(from, Block::EMPTY);
        for (mark, slot) in block.marks().iter().zip(block.slots()) {
            self.blocks[into].push(*mark, *slot);
        }
    }
}

fn mark(id: JobId) -> u32 {
    id.as_u128() as u32
}

#[cfg(test)]
mod tests {
    use crate::job::id::JobId;
    use crate::job::table::Slot;
    use crate::job::table::order::BLOCK;
    use crate::job::table::order::Order;

    const JOBS: u32 = 1_000 * BLOCK as u32;

    fn id(number: u32) -> JobId {
        JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0000 + u128::from(number))
    }

    /// After `JOBS` jobs of which those stay that `stays` says.
    fn thinned(stays: impl Fn(u32) -> bool) -> Order {
        let mut order = Order::default();
        for number in 0..JOBS {
            order.push(id(number), Slot(number));
        }
        for number in (0..JOBS).filter(|number| !stays(*number)) {
            order.remove(id(number), Slot(number));
        }
        let left: Vec<u32> = order.slots().map(|slot| slot.0).collect();
        assert_eq!(left, (0..JOBS).filter(|number| stays(*number)).collect::<Vec<_>>());
        order
    }

    #[test]
    fn what_is_left_of_many_blocks_is_brought_together() {
        for every in [2, 20, 63, 64, 1_000] {
            let order = thinned(|number| number % every == 5);
            let blocks = order.places.len();
            assert!(blocks <= order.len() / 16 + 16, "{blocks} blocks for {} jobs", order.len());
            assert!(order.firsts.is_sorted());
        }
    }

    #[test]
    fn blocks_are_used_again_however_many_jobs_pass_through() {
        let mut order = Order::default();
        for number in 0..20 * JOBS {
            order.push(id(number), Slot(number));
            if number >= 10_000 {
                order.remove(id(number - 10_000), Slot(number - 10_000));
            }
        }
        assert_eq!(order.slots().count(), 10_000);
        assert!(order.blocks.len() <= 158, "{} blocks for 10,000 jobs", order.blocks.len());
        assert!(order.places.len() <= 10_000 / 16 + 17, "{} blocks on the list", order.places.len());
    }
}
