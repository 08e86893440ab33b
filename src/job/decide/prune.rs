//! What retention does to finished jobs. The pruner looks for them and proposes; here it is decided, by the time and the
//! settings of the moment.

use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::state::State;

/// A job that succeeded, was cancelled or expired, as whoever looked it up says: it has left the live jobs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Finished {
    /// The job.
    pub id: JobId,
    /// Its queue.
    pub queue: QueueNo,
    /// Log time of its end.
    pub ended: Timestamp,
}

/// Decides whether a finished job is forgotten: its queue keeps finished jobs for a time, as it is set now, and that is
/// over. Waiting, running and dead jobs are never forgotten for their age. [DEAD-1]
#[must_use]
pub fn prune(state: &State, job: Finished, now: Timestamp) -> Option<Event> {
    let Finished { id, queue, ended } = job;
    let until = state.queues().get(queue)?.settings.keeps_until(ended)?;
    let gone = until <= now && state.find(id, None).is_none();
    gone.then_some(Event::Deleted { id, queue })
}

#[cfg(test)]
mod tests {
    use crate::clock::Timestamp;
    use crate::job::decide::control::set_queue;
    use crate::job::decide::prune::Finished;
    use crate::job::decide::prune::prune;
    use crate::job::event::Event;
    use crate::job::event::FailureKind;
    use crate::job::id::JobId;
    use crate::job::id::QueueNo;
    use crate::job::journal::Journal;
    use crate::job::journal::picture;
    use crate::job::journal::queue;
    use crate::job::retry::Retryable;
    use crate::job::spec::Policy;
    use crate::job::spec::QueueSettings;
    use std::time::Duration;

    const QUEUE: QueueNo = QueueNo(0);

    fn keep(journal: &mut Journal, retention_ms: Option<u64>) {
        let mut events = Vec::new();
        let settings = QueueSettings { retention_ms, ..QueueSettings::default() };
        set_queue(&journal.state, &queue("q"), settings, &journal.limits, &mut events).unwrap();
        journal.append(&events);
    }

    fn decided(journal: &Journal, id: JobId, ended: Timestamp) -> Option<Event> {
        prune(&journal.state, Finished { id, queue: QUEUE, ended }, journal.now)
    }

    #[test]
    fn a_finished_job_is_forgotten_when_the_time_of_its_queue_is_over_and_not_before() {
        let mut journal = Journal::new();
        let id = journal.one(Policy::default());
        journal.work_off(id);
        let ended = journal.now;
        journal.advance(Duration::from_secs(100));
        assert_eq!(decided(&journal, id, ended), None, "as long as the log");
        keep(&mut journal, Some(100_001));
        assert_eq!(decided(&journal, id, ended), None);
        journal.advance(Duration::from_millis(1));
        let event = Event::Deleted { id, queue: QUEUE };
        assert_eq!(decided(&journal, id, ended), Some(event.clone()));
        journal.append(&[event]);
        assert_eq!(picture(&journal.replayed()), picture(&journal.state));
        // The settings of the moment decide, not those of its end.
        keep(&mut journal, Some(200_000));
        assert_eq!(decided(&journal, id, ended), None);
        keep(&mut journal, None);
        assert_eq!(decided(&journal, id, ended), None);
        let elsewhere = Finished { id, queue: QueueNo(9), ended };
        assert_eq!(prune(&journal.state, elsewhere, journal.now), None, "a queue that was never made");
    }

    /// [DEAD-1]
    #[test]
    fn no_job_that_waits_runs_or_is_dead_is_forgotten_for_its_age() {
        let mut journal = Journal::new();
        let [waiting, running, dead] = [0; 3].map(|_| journal.one(Policy::default()));
        journal.claim(running);
        assert!(journal.attempt(dead, FailureKind::Failed, Retryable::No));
        keep(&mut journal, Some(1));
        journal.advance(Duration::from_secs(1_000_000));
        for id in [waiting, running, dead] {
            assert_eq!(decided(&journal, id, Timestamp(1)), None);
        }
    }
}
