//! Tailing through a named cursor that the service moves by itself, a little behind what the transport took: a reader
//! that comes back may see a short tail again, and never misses an update.

use crate::clock::Tick;
use crate::engine::command;
use crate::job::id::Sequence;
use crate::service::Error;
use crate::service::Service;
use crate::service::cursors::Cursor;
use crate::service::tail::Follow;
use crate::service::tail::Render;
use crate::service::tail::Start;
use crate::service::tail::Tail;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// At most one commit of a reader in this time: each is an entry of the log.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// Steps taken within this time are remembered as one.
const MARK_INTERVAL: Duration = Duration::from_millis(100);

/// How far a cursor stays behind what the transport took. What it took may still be in buffers on the way, so both must
/// have passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CursorLag {
    /// It was taken at least so long ago.
    pub time: Duration,
    /// At least so many later updates were taken.
    pub updates: u64,
}

impl Default for CursorLag {
    fn default() -> CursorLag {
        CursorLag { time: Duration::from_secs(5), updates: 1_000 }
    }
}

/// Who reads through which named cursor now.
#[derive(Debug, Default)]
pub(in crate::service) struct Readers(Mutex<HashMap<Arc<str>, CancellationToken>>);

impl Readers {
    /// A new reader: the one before it is told.
    fn replace(&self, name: &Arc<str>) -> CancellationToken {
        let token = CancellationToken::new();
        if let Some(earlier) = self.lock().insert(Arc::clone(name), token.clone()) {
            earlier.cancel();
        }
        token
    }

    /// A reader that was not replaced has ended.
    fn remove(&self, name: &Arc<str>, token: &CancellationToken) {
        let mut readers = self.lock();
        if !token.is_cancelled() {
            readers.remove(name);
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<str>, CancellationToken>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reader's way along the log, kept under a name.
#[derive(Debug)]
pub struct NamedTail<R> {
    tail: Tail<R>,
    place: KeptPlace,
}

/// The named cursor of one reader.
#[derive(Debug)]
struct KeptPlace {
    service: Service,
    name: Arc<str>,
    /// Cancelled when a newer reader took over.
    replaced: CancellationToken,
    lag: Lag,
}

impl Service {
    /// Tails through the named cursor `name`, from the floor if it is new. A newer reader of the same name takes over.
    ///
    /// # Errors
    /// As [`Service::tail`].
    pub async fn named_tail<R: Render>(&self, name: Arc<str>, render: R) -> Result<NamedTail<R>, Error> {
        let replaced = self.readers.replace(&name);
        let kept = self.settings().cursor_lag;
        let lag = Lag::new(kept, Sequence(0));
        let mut place = KeptPlace { service: self.clone(), name: Arc::clone(&name), replaced, lag };
        let tail = self.tail(Start::Named(name), Follow::Follow, &[], render).await?;
        place.lag = Lag::new(kept, tail.told());
        Ok(NamedTail { tail, place })
    }
}

impl<R: Render> NamedTail<R> {
    /// The next updates. Asking for them says that the transport took all that came before.
    ///
    /// # Errors
    /// As [`Tail::next`], which also ends it; [`Error::ReaderReplaced`]; what refuses to keep the cursor.
    pub async fn next(&mut self) -> Result<Option<R::Batch>, Error> {
        let NamedTail { tail, place } = self;
        loop {
            place.took(tail.told());
            let mut next = std::pin::pin!(tail.next());
            let step = loop {
                place.commit().await?;
                let patience = place.lag.patience(place.now());
                tokio::select! {
                    step = &mut next => break step?,
                    () = place.replaced.cancelled() => return Err(Error::ReaderReplaced),
                    () = sleep(patience) => {}
                }
            };
            match step {
                // Nothing for the reader: only its cursor moved.
                Some(step) if step.batch.is_none() => {}
                Some(step) => return Ok(step.batch),
                None => return Ok(None),
            }
        }
    }

    /// What the reader was told last.
    #[must_use]
    pub fn told(&self) -> Sequence {
        self.tail.told()
    }
}

async fn sleep(patience: Option<Duration>) {
    match patience {
        Some(patience) => tokio::time::sleep(patience).await,
        None => std::future::pending().await,
    }
}

impl KeptPlace {
    fn now(&self) -> Tick {
        self.service.engine().clock().now().tick
    }

    fn took(&mut self, sequence: Sequence) {
        self.lag.took(sequence, self.now());
    }

    /// Commits what is far enough behind, if anything is.
    async fn commit(&mut self) -> Result<(), Error> {
        if self.replaced.is_cancelled() {
            return Err(Error::ReaderReplaced);
        }
        let now = self.now();
        let Some(sequence) = self.lag.due(now) else { return Ok(()) };
        let cursor = Cursor { store: None, sequence };
        match self.service.commit_cursor(Arc::clone(&self.name), cursor).await {
            Ok(()) => self.lag.committed(sequence, now),
            // The reader loses nothing: it is tried again, and until then more would be repeated.
            Err(Error::Command(command::Error::DiskFull)) => self.lag.put_off(now),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

impl Drop for KeptPlace {
    fn drop(&mut self) {
        self.service.readers.remove(&self.name, &self.replaced);
    }
}

/// What the transport took and when: pure, so that it can be tested without waiting.
#[derive(Debug)]
struct Lag {
    kept: CursorLag,
    taken: Sequence,
    /// Up to which update everything was taken long enough ago.
    aged: Sequence,
    marks: VecDeque<Mark>,
    committed: Sequence,
    next_commit: Tick,
}

/// Everything up to `sequence` was taken by `last`.
#[derive(Debug)]
struct Mark {
    sequence: Sequence,
    first: Tick,
    last: Tick,
}

impl Lag {
    /// The cursor of a reader that begins after `start`.
    fn new(kept: CursorLag, start: Sequence) -> Lag {
        Lag {
            kept,
            taken: start,
            aged: start,
            marks: VecDeque::new(),
            committed: start,
            next_commit: Tick::default(),
        }
    }

    fn took(&mut self, sequence: Sequence, now: Tick) {
        if sequence <= self.taken {
            return;
        }
        self.taken = sequence;
        match self.marks.back_mut() {
            Some(mark) if now.since(mark.first) < MARK_INTERVAL => {
                (mark.sequence, mark.last) = (sequence, now);
            }
            Some(_) | None => self.marks.push_back(Mark { sequence, first: now, last: now }),
        }
    }

    /// What is to be committed now.
    fn due(&mut self, now: Tick) -> Option<Sequence> {
        while let Some(mark) = self.marks.front()
            && now.since(mark.last) >= self.kept.time
        {
            self.aged = mark.sequence;
            self.marks.pop_front();
        }
        let target = self.aged.min(self.behind());
        (target > self.committed && now >= self.next_commit).then_some(target)
    }

    /// The newest update that enough others followed.
    fn behind(&self) -> Sequence {
        Sequence(self.taken.0.saturating_sub(self.kept.updates))
    }

    /// When to look again; `None`: not before more is taken.
    fn patience(&self, now: Tick) -> Option<Duration> {
        if self.behind() <= self.committed {
            return None;
        }
        let aged = self.aged > self.committed;
        let ages = self.marks.front().map(|mark| mark.last.after(self.kept.time));
        let at = if aged { self.next_commit } else { ages?.max(self.next_commit) };
        Some(at.since(now))
    }

    fn committed(&mut self, sequence: Sequence, now: Tick) {
        self.committed = sequence;
        self.put_off(now);
    }

    fn put_off(&mut self, now: Tick) {
        self.next_commit = now.after(COMMIT_INTERVAL);
    }
}

#[cfg(test)]
mod tests {
    use crate::clock::Tick;
    use crate::job::id::Sequence;
    use crate::service::named::CursorLag;
    use crate::service::named::Lag;
    use std::time::Duration;

    fn at(millis: u64) -> Tick {
        Tick(millis * 1_000_000)
    }

    #[test]
    fn a_cursor_stays_behind_by_time_and_by_updates() {
        let mut lag = Lag::new(CursorLag::default(), Sequence(100));
        lag.took(Sequence(100), at(0));
        lag.took(Sequence(1_500), at(1_000));
        lag.took(Sequence(1_600), at(1_050));
        assert_eq!((lag.due(at(5_999)), lag.patience(at(5_999))), (None, Some(Duration::from_millis(51))));
        assert_eq!(lag.due(at(6_050)), Some(Sequence(600)));
        lag.committed(Sequence(600), at(6_050));
        assert_eq!((lag.due(at(60_000)), lag.patience(at(60_000))), (None, None));
        // The next ones were taken just now: what is old enough moves on with them, not they.
        lag.took(Sequence(9_000), at(60_000));
        assert_eq!(lag.due(at(60_000)), Some(Sequence(1_600)));
        lag.committed(Sequence(1_600), at(60_000));
        assert_eq!(lag.due(at(65_000)), Some(Sequence(8_000)));
    }

    #[test]
    fn commits_are_at_most_one_a_second_and_marks_stay_few() {
        let mut lag = Lag::new(CursorLag { time: Duration::from_secs(5), updates: 0 }, Sequence(0));
        let mut commits = 0;
        for millis in 0..20_000 {
            lag.took(Sequence(millis + 1), at(millis));
            if let Some(sequence) = lag.due(at(millis)) {
                assert!(sequence.0 + 4_900 <= millis, "{sequence} was taken less than 5 s ago");
                lag.committed(sequence, at(millis));
                commits += 1;
            }
            assert!(lag.marks.len() < 60);
        }
        assert_eq!(commits, 15);
    }
}
