//! Where each live job lies, by its id: blocks of jobs in id order. Not the jobs themselves.
//!
//! Ids only rise, so a new job always goes to the end of the last block, and jobs that come and go together are together
//! here: with millions of them a look-up still finds its block in the caches, where a hash table would spread
//! neighbours over all of its memory, and would copy all of itself when it grows.

use crate::job::id::JobId;
use crate::job::table::Slot;

/// Jobs in a full block.
pub(in crate::job::table) const BLOCK: usize = 64;
/// A block of which so few are left gives its space back.
const FEW: usize = BLOCK / 8;
/// So few empty blocks are left in their place.
const EMPTY_MIN: usize = 16;

/// One job of a block.
#[derive(Clone, Copy, Debug)]
struct Entry {
    /// The lowest bits of its id: they tell it from most others without a look at the job.
    mark: u32,
    slot: Slot,
}

/// The slots of the live jobs in id order.
#[derive(Debug, Default)]
pub(in crate::job::table) struct Order {
    /// The id that each block began with, rising. What comes before the next block's is in it or nowhere.
    firsts: Vec<JobId>,
    blocks: Vec<Vec<Entry>>,
    /// Blocks of which nothing is left.
    empty: usize,
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
        let entry = Entry { mark: mark(id), slot };
        self.len += 1;
        if let Some(last) = self.blocks.last_mut()
            && (1..BLOCK).contains(&last.len())
        {
            last.push(entry);
            return;
        }
        let mut block = Vec::with_capacity(BLOCK);
        block.push(entry);
        self.firsts.push(id);
        self.blocks.push(block);
    }

    /// The slot of the job `id`, if it is here. `is_in` says whether a slot holds it.
    pub(in crate::job::table) fn find(&self, id: JobId, is_in: impl Fn(Slot) -> bool) -> Option<Slot> {
        let block = &self.blocks[self.block_of(id)?];
        let mark = mark(id);
        block.iter().find(|entry| entry.mark == mark && is_in(entry.slot)).map(|entry| entry.slot)
    }

    /// Takes out the job `id`, which lies in `slot`.
    ///
    /// # Panics
    /// If it is not here.
    pub(in crate::job::table) fn remove(&mut self, id: JobId, slot: Slot) {
        let place = self.block_of(id).expect("a job that lives is in a block");
        let last = place + 1 == self.blocks.len();
        let block = &mut self.blocks[place];
        let entry = block.iter().position(|entry| entry.slot == slot).expect("and nowhere else");
        block.remove(entry);
        self.len -= 1;
        match block.len() {
            0 => {
                *block = Vec::new();
                self.empty += 1;
                self.drop_empty();
            }
            FEW if !last => block.shrink_to_fit(),
            _ => {}
        }
    }

    /// All slots in id order.
    pub(in crate::job::table) fn slots(&self) -> impl Iterator<Item = Slot> {
        self.blocks.iter().flatten().map(|entry| entry.slot)
    }

    fn block_of(&self, id: JobId) -> Option<usize> {
        self.firsts.partition_point(|first| *first <= id).checked_sub(1)
    }

    /// Lets go of the empty blocks once they are most of the list, so that each costs the same however long it is.
    fn drop_empty(&mut self) {
        if self.empty < EMPTY_MIN.max(self.blocks.len() / 2) {
            return;
        }
        let mut full = self.blocks.iter().map(|block| !block.is_empty());
        self.firsts.retain(|_| full.next().is_some_and(|full| full));
        self.blocks.retain(|block| !block.is_empty());
        self.empty = 0;
        self.firsts.shrink_to(2 * self.blocks.len());
        self.blocks.shrink_to(2 * self.blocks.len());
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

    const JOBS: u32 = 100 * BLOCK as u32;

    fn id(number: u32) -> JobId {
        JobId::from_u128(0x0198_a5c2_6f00_7000_8000_0000_0000_0000 + u128::from(number))
    }

    fn bytes(order: &Order) -> usize {
        let blocks: usize = order.blocks.iter().map(|block| 8 * block.capacity()).sum();
        16 * order.firsts.capacity() + 24 * order.blocks.capacity() + blocks
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
        order
    }

    #[test]
    fn what_is_left_of_a_block_takes_little_memory() {
        let full = thinned(|_| true);
        assert!(bytes(&full) < 10 * JOBS as usize, "{} bytes", bytes(&full));
        let scattered = thinned(|number| number % 64 == 5);
        assert!(bytes(&scattered) <= 150 * scattered.len(), "{} bytes", bytes(&scattered));
    }

    #[test]
    fn blocks_that_are_empty_go_however_many_jobs_pass_through() {
        let mut order = Order::default();
        for number in 0..50 * JOBS {
            order.push(id(number), Slot(number));
            if number >= 100 {
                order.remove(id(number - 100), Slot(number - 100));
            }
        }
        assert_eq!(order.len(), 100);
        assert!(bytes(&order) < 8_192, "{} bytes", bytes(&order));
        assert_eq!(order.slots().count(), 100);
    }
}
