//! What the log says of the lines, folded from its updates: pure, so that the rules of `run` can be tested without it.
//!
//! Only lines that live are kept: how many that are is the window's business. [MEM-1]

use crate::job::id::InvalidId;
use crate::job::id::JobId;
use crate::proto::v1;
use bytes::Bytes;
use std::collections::HashMap;

/// The lines as far as the log has been read.
#[derive(Debug, Default)]
pub(super) struct Fold {
    live: HashMap<JobId, Line>,
    live_bytes: usize,
    retried: HashMap<JobId, u32>,
    submitted: u64,
    finished: u64,
    dead: u64,
}

#[derive(Debug)]
struct Line {
    number: u64,
    input: Bytes,
}

/// A line whose job has ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Done {
    /// Its number, from 1.
    pub(super) number: u64,
    /// Its job.
    pub(super) id: JobId,
    /// The line.
    pub(super) input: Bytes,
    /// How often it was tried; 0 if it never was, or if that is not known.
    pub(super) attempts: u32,
    /// How it ended.
    pub(super) ended: Ended,
}

/// How a line's job ended.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Ended {
    /// With a result.
    Succeeded(Bytes),
    /// It failed for good.
    Dead(v1::Failure),
    /// Somebody cancelled it, and said why or did not.
    Cancelled(String),
    /// It was too late to start it.
    Expired,
}

impl Fold {
    /// Nothing read yet. A dead update of a job that was `retried` since is not its end.
    pub(super) fn new(retried: HashMap<JobId, u32>) -> Fold {
        Fold { retried, ..Fold::default() }
    }

    /// The next update; the line that it ends, if it ends one.
    ///
    /// # Errors
    /// An update of a job without an id.
    pub(super) fn take(&mut self, update: v1::Update) -> Result<Option<Done>, InvalidId> {
        let id: JobId = update.job_id.parse()?;
        let ended = match update.kind() {
            v1::UpdateKind::Submitted => {
                self.submitted += 1;
                let input = update.spec.unwrap_or_default().payload;
                self.live_bytes += input.len();
                self.live.insert(id, Line { number: self.submitted, input });
                return Ok(None);
            }
            v1::UpdateKind::Dead if self.is_superseded(id) => return Ok(None),
            v1::UpdateKind::Dead => Ended::Dead(update.failure.unwrap_or_default()),
            v1::UpdateKind::Succeeded => Ended::Succeeded(update.result),
            v1::UpdateKind::Cancelled => Ended::Cancelled(update.reason),
            v1::UpdateKind::Expired => Ended::Expired,
            v1::UpdateKind::Unspecified
            | v1::UpdateKind::Started
            | v1::UpdateKind::Progress
            | v1::UpdateKind::Retrying
            | v1::UpdateKind::Released
            | v1::UpdateKind::Retried
            | v1::UpdateKind::Deleted => return Ok(None),
        };
        // A line that was dead, and is retried by hand while we look, has been told of; the next run tells its new end.
        let Some(Line { number, input }) = self.live.remove(&id) else { return Ok(None) };
        self.live_bytes -= input.len();
        self.finished += 1;
        self.dead += u64::from(!matches!(ended, Ended::Succeeded(_)));
        Ok(Some(Done { number, id, input, attempts: update.attempt, ended }))
    }

    fn is_superseded(&mut self, id: JobId) -> bool {
        let Some(left) = self.retried.get_mut(&id) else { return false };
        *left -= 1;
        if *left == 0 {
            self.retried.remove(&id);
        }
        true
    }

    /// How many lines have ended.
    pub(super) fn finished(&self) -> u64 {
        self.finished
    }

    /// How many of them without a result.
    pub(super) fn dead(&self) -> u64 {
        self.dead
    }

    /// The bytes of the lines that have not ended.
    pub(super) fn live_bytes(&self) -> usize {
        self.live_bytes
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::run::fold::Done;
    use crate::cli::run::fold::Ended;
    use crate::cli::run::fold::Fold;
    use crate::job::id::JobId;
    use crate::proto::v1;
    use crate::proto::v1::UpdateKind;
    use bytes::Bytes;
    use std::collections::HashMap;

    fn update(id: u128, kind: UpdateKind, text: &'static str) -> v1::Update {
        let spec = v1::JobSpec { payload: Bytes::from(text), ..v1::JobSpec::default() };
        v1::Update {
            kind: kind.into(),
            job_id: JobId::from_u128(id).to_string(),
            attempt: 1,
            spec: (kind == UpdateKind::Submitted).then_some(spec),
            result: if kind == UpdateKind::Succeeded { Bytes::from(text) } else { Bytes::new() },
            ..v1::Update::default()
        }
    }

    fn fold(fold: &mut Fold, updates: &[(u128, UpdateKind, &'static str)]) -> Vec<Done> {
        let take =
            |&(id, kind, text): &(u128, UpdateKind, &'static str)| fold.take(update(id, kind, text)).unwrap();
        updates.iter().filter_map(take).collect()
    }

    /// Equal lines are different jobs; the order of their submission is the order of the lines.
    #[test]
    fn the_nth_submitted_job_is_line_n() {
        let mut state = Fold::default();
        let done = fold(
            &mut state,
            &[
                (7, UpdateKind::Submitted, "same"),
                (9, UpdateKind::Submitted, "same"),
                (9, UpdateKind::Started, ""),
                (9, UpdateKind::Succeeded, "second"),
                (7, UpdateKind::Succeeded, "first"),
            ],
        );
        let seen: Vec<_> = done.iter().map(|done| (done.number, done.ended.clone())).collect();
        let succeeded = |text: &'static str| Ended::Succeeded(Bytes::from(text));
        assert_eq!(seen, [(2, succeeded("second")), (1, succeeded("first"))]);
        assert_eq!((state.finished(), state.dead(), state.live_bytes()), (2, 0, 0));
    }

    /// A line that was dead in an earlier run and was tried again ends once, with its newest end.
    #[test]
    fn a_dead_line_that_was_retried_is_not_dead() {
        let updates = [
            (7, UpdateKind::Submitted, "a"),
            (7, UpdateKind::Dead, ""),
            (7, UpdateKind::Retried, ""),
            (7, UpdateKind::Succeeded, "A"),
        ];
        let mut state = Fold::new(HashMap::from([(JobId::from_u128(7), 1)]));
        let done = fold(&mut state, &updates);
        assert_eq!(done.len(), 1);
        assert_eq!((state.finished(), state.dead()), (1, 0));
        let mut state = Fold::default();
        assert!(matches!(fold(&mut state, &updates)[..], [Done { ended: Ended::Dead(_), .. }]));
        assert_eq!((state.finished(), state.dead()), (1, 1), "retried by hand, after it was told of");
    }
}
