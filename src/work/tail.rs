//! The end of the tree: the last, part-filled slice, kept in memory together with what a batch adds to it.
//!
//! It is rewritten with each batch that touches it, so that jobs that come one by one do not make slices of one,
//! for which every List would pay for ever.

use crate::job::id::JobId;
use crate::job::id::Position;
use crate::work::Error;
use crate::work::record::Change;
use crate::work::record::Record;
use crate::work::slice;
use crate::work::slice::RECORDS_MAX;
use crate::work::tree::Tree;

/// The jobs from the last part-filled slice on.
#[derive(Debug, Default)]
pub(crate) struct Tail {
    key: Option<JobId>,
    records: Vec<Record>,
    changed: bool,
}

impl Tail {
    /// Cuts off what lies beyond `applied`, and takes up the last slice if it has room. Also gives the last job.
    ///
    /// A killed process leaves slices beyond the stored position. A replay cuts slices elsewhere, so one that stayed
    /// would hide behind a new one, or shadow it.
    pub(crate) fn recover(tree: &Tree, applied: Position) -> Result<(Tail, JobId), Error> {
        while let Some((key, records)) =
            tree.slice_of(JobId::MAX, |key, bytes| (key, slice::decode(key, bytes)))?
        {
            let mut records = records?;
            let found = records.len();
            records.retain(|record| record.submitted_position() <= applied);
            let Some(last) = records.last().map(|record| record.id) else {
                tree.remove(key)?;
                continue;
            };
            if records.len() < found {
                put_slices(tree, key, &records)?;
            }
            if records.len() == RECORDS_MAX {
                return Ok((Tail::default(), last));
            }
            return Ok((Tail { key: Some(key), records, changed: false }, last));
        }
        Ok((Tail::default(), JobId::MIN))
    }

    /// Adds a job, whose id is above all others.
    pub(crate) fn push(&mut self, record: Record) {
        self.records.push(record);
        self.changed = true;
    }

    /// Makes the change if the job is here; says whether it is.
    pub(crate) fn change(&mut self, change: &Change) -> bool {
        let Some(at) = self.find(change.id()) else { return false };
        match change.apply_to(self.records[at]) {
            Some(record) => self.records[at] = record,
            None => drop(self.records.remove(at)),
        }
        self.changed = true;
        true
    }

    /// Whether a job with this id would be in the last slice.
    pub(crate) fn covers(&self, id: JobId) -> bool {
        self.key.is_some_and(|key| key <= id)
    }

    /// Makes changes of a fold, all of them to jobs that the last slice covers.
    pub(crate) fn merge(&mut self, changes: &[Change]) {
        self.records = slice::merge(&self.records, changes);
        self.changed = true;
    }

    /// Writes what changed and keeps the last slice if it has room. Says how many slices were written.
    pub(crate) fn write(&mut self, tree: &Tree) -> Result<usize, Error> {
        if !std::mem::take(&mut self.changed) {
            return Ok(0);
        }
        let Some(first) = self.records.first() else {
            if let Some(key) = self.key.take() {
                tree.remove(key)?;
            }
            return Ok(0);
        };
        let key = self.key.unwrap_or(first.id);
        put_slices(tree, key, &self.records)?;
        let slices = self.records.len().div_ceil(RECORDS_MAX);
        let rest = self.records.len() % RECORDS_MAX;
        if rest == 0 {
            self.close();
        } else if slices > 1 {
            self.records.drain(..self.records.len() - rest);
            self.key = self.records.first().map(|record| record.id);
        } else {
            self.key = Some(key);
        }
        Ok(slices)
    }

    /// Lets the last slice stand as it is; the next job begins a new one.
    pub(crate) fn close(&mut self) {
        *self = Tail::default();
    }

    fn find(&self, id: JobId) -> Option<usize> {
        let first = self.records.first()?.id;
        // Ids of one batch are consecutive, so the first guess is nearly always right.
        let guess = usize::try_from(id.as_u128().checked_sub(first.as_u128())?).ok();
        let guess = guess.filter(|at| self.records.get(*at).is_some_and(|record| record.id == id));
        guess.or_else(|| self.records.binary_search_by_key(&id, |record| record.id).ok())
    }
}

/// Writes `records` as slices, the first of them under `key`.
///
/// That one comes last: if records moved from it into a new slice, a reader finds them in one of the two all the time.
pub(crate) fn put_slices(tree: &Tree, key: JobId, records: &[Record]) -> Result<(), Error> {
    let mut bytes = Vec::with_capacity(4 + RECORDS_MAX * Record::BYTES);
    for records in records.chunks(RECORDS_MAX).skip(1) {
        slice::encode(records, &mut bytes);
        tree.put(records[0].id, &bytes)?;
    }
    slice::encode(&records[..records.len().min(RECORDS_MAX)], &mut bytes);
    tree.put(key, &bytes)
}
