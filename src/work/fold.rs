//! Folding: moving the changes that wait in memory into the slices, in order of job, a piece at a time.

use crate::clock::Tick;
use crate::work::Error;
use crate::work::applier::Applier;
use crate::work::record::Change;
use crate::work::slice;
use crate::work::tail;

/// How many changes are folded between two batches, so that no batch waits longer than some ten milliseconds.
pub(crate) const FOLD_PIECE: usize = 32_768;

/// A fold that finds fewer changes a slice than this is dear, so the next one waits for more of them.
const THIN: usize = 8;

/// A fold that finds more than this would have been good with fewer changes, too.
const THICK: usize = 32;

/// How many changes the slices of a fold got, and how many have to wait before the next one begins.
#[derive(Debug)]
pub(crate) struct Density {
    fold_at: usize,
    changes: usize,
    slices: usize,
}

impl Density {
    pub(crate) fn new(fold_at: usize) -> Density {
        Density { fold_at, changes: 0, slices: 0 }
    }
}

impl Applier {
    /// Begins a fold if one is due, and folds about `count` changes of it.
    pub(crate) fn fold(&mut self, count: usize, now: Tick) -> Result<(), Error> {
        let full = self.buffer.waiting() >= self.density.fold_at;
        if self.buffer.is_folding() {
            // The bound on memory goes before the bound on how long a batch takes. [MEM-1]
            self.fold_on(if full { usize::MAX } else { count })?;
        }
        if !self.buffer.is_folding() && self.is_fold_due(now) {
            self.buffer.begin_fold(self.newest);
            self.folded_at = Some(now);
            self.fold_on(count)?;
        }
        Ok(())
    }

    /// Folds everything there is.
    pub(crate) fn fold_all(&mut self) -> Result<(), Error> {
        self.fold_on(usize::MAX)?;
        self.buffer.begin_fold(self.newest);
        self.fold_on(usize::MAX)
    }

    /// By number; by time, so that a restart replays little; or because the log wants to let go of the frames that
    /// a restart would replay from.
    fn is_fold_due(&mut self, now: Tick) -> bool {
        let waiting = self.buffer.waiting();
        let folded_at = *self.folded_at.get_or_insert(now);
        waiting >= self.density.fold_at
            || waiting > 0 && now.since(folded_at) >= self.options.fold_every
            || waiting > 0 && self.shared.floor() > self.folded.next()
    }

    fn fold_on(&mut self, mut count: usize) -> Result<(), Error> {
        while count > 0 && self.buffer.is_folding() {
            let Some(piece) = self.buffer.next_piece(count.min(FOLD_PIECE)) else {
                return self.end_fold();
            };
            self.view.check()?;
            self.fold_piece(&piece)?;
            count = count.saturating_sub(piece.len());
        }
        Ok(())
    }

    fn end_fold(&mut self) -> Result<(), Error> {
        if let Some(through) = self.buffer.end_fold() {
            self.folded = self.folded.max(through);
            self.view.publish(self.buffer.runs());
        }
        let Density { fold_at, changes, slices } = &mut self.density;
        let full = *changes >= self.options.fold_at;
        if full && *changes < *slices * THIN {
            *fold_at = self.options.fold_at_max;
        } else if *changes > *slices * THICK {
            *fold_at = self.options.fold_at;
        }
        (*changes, *slices) = (0, 0);
        Ok(())
    }

    fn fold_piece(&mut self, piece: &[Change]) -> Result<(), Error> {
        self.density.changes += piece.len();
        let mut rest = piece;
        while let Some(first) = rest.first() {
            self.density.slices += 1;
            if self.tail.covers(first.id()) {
                self.tail.merge(rest);
                self.tail.write(&self.tree)?;
                return Ok(());
            }
            let count = self.fold_slice(rest)?;
            rest = &rest[count..];
        }
        Ok(())
    }

    /// Folds the changes that belong to the slice of the first of them, and says how many those are.
    fn fold_slice(&mut self, changes: &[Change]) -> Result<usize, Error> {
        let first = changes[0].id();
        let found = self.tree.slice_of(first, |key, bytes| (key, slice::decode(key, bytes)))?;
        let exists = found.is_some();
        let (key, records) = found.unwrap_or_else(|| (first, Ok(Vec::new())));
        let records = records?;
        let mut count =
            records.last().map_or(0, |last| changes.partition_point(|change| change.id() <= last.id));
        if count == 0 {
            // Jobs that no slice has: a rebuild found only their end. They go between this slice and the next.
            let end = self.tree.key_after(first)?;
            count = end.map_or(changes.len(), |end| changes.partition_point(|change| change.id() < end));
        }
        let mut merged = slice::merge(&records, &changes[..count]);
        let floor = self.shared.floor();
        merged.retain(|record| !record.is_forgotten(floor));
        if merged.is_empty() {
            if exists {
                self.tree.remove(key)?;
            }
        } else if merged != records {
            tail::put_slices(&self.tree, key, &merged)?;
        }
        Ok(count)
    }
}
