//! Retention: taking out of the slices what the log has let go of, a few slices with each batch.
//!
//! Readers do not see such jobs from the moment the floor rises; this only gives the space back to sled.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Error;
use crate::work::applier::Applier;
use crate::work::slice;
use crate::work::tail::put_slices;
use std::ops::ControlFlow;

/// How many slices are looked at between two batches.
pub(crate) const PRUNE_PIECE: usize = 64;

/// How far pruning has come.
#[derive(Debug, Default)]
pub(crate) struct Pruning {
    /// The floor of the newest pass.
    floor: Position,
    /// Where the pass goes on; `None` between passes.
    next: Option<JobId>,
}

impl Pruning {
    pub(crate) fn is_under_way(&self) -> bool {
        self.next.is_some()
    }
}

impl Applier {
    /// Looks at `count` slices from where it stopped, and removes or shrinks those with forgotten jobs.
    ///
    /// A pass begins at the smallest key whenever the floor has risen and ends at the first job submitted above it.
    pub(crate) fn prune(&mut self, count: usize) -> Result<(), Error> {
        if self.pruning.next.is_none() && self.shared.floor() > self.pruning.floor {
            self.pruning = Pruning { floor: self.shared.floor(), next: Some(JobId::MIN) };
        }
        let Some(from) = self.pruning.next else { return Ok(()) };
        let floor = self.pruning.floor;
        let mut looked_at = 0;
        let mut next = None;
        let mut changed = Vec::new();
        let mut damage = Ok(());
        self.tree.scan(from, |key, bytes| {
            if looked_at == count {
                next = Some(key);
                return ControlFlow::Break(());
            }
            looked_at += 1;
            match slice::decode(key, bytes) {
                Ok(records) if records[0].submitted_position() >= floor => return ControlFlow::Break(()),
                Ok(mut records) => {
                    let found = records.len();
                    records.retain(|record| !record.is_forgotten(floor));
                    if records.len() < found {
                        changed.push((key, records));
                    }
                }
                Err(error) => {
                    damage = Err(error);
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        })?;
        damage?;
        // The last slice is still in use.
        for (key, records) in changed.into_iter().filter(|(key, _)| !self.tail.covers(*key)) {
            if records.is_empty() {
                self.tree.remove(key)?;
            } else {
                put_slices(&self.tree, key, &records)?;
            }
        }
        self.pruning.next = next;
        Ok(())
    }
}
