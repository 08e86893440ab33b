//! What must hold between any two steps: state, readers' view and leases say the same as the durable frames.

use crate::engine::command::Command;
use crate::engine::command::Reply;
use crate::engine::overlay::JobView;
use crate::engine::recover::recover;
use crate::engine::simulation::life::Known;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::world::World;
use crate::engine::workers::LOCAL_PREFIX;
use crate::engine::workers::WorkerView;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::state::JobState;
use crate::log::Archive;
use std::collections::BTreeSet;
use std::time::Duration;

const SLEEP_MAX: Duration = Duration::from_secs(60);
const LOOK_AT_LEASES: Duration = Duration::from_millis(500);

impl World {
    pub(in crate::engine::simulation) fn check(&mut self) {
        self.check_state();
        self.check_view();
        self.check_frames();
        if !self.full {
            self.check_leases();
            self.check_timer();
        }
    }

    /// The engine does not sleep past what it must do: a job that becomes due, a lease that may lapse.
    fn check_timer(&mut self) {
        let wall = self.log_time.max(self.reference.time);
        let dues = self.reference.jobs.values().filter_map(|job| match job.life {
            // What was due before the clock went back is ready already.
            Life::Waiting(due) if due > wall => Some(due.since(wall).min(SLEEP_MAX)),
            Life::Running(_) if !job.worker.starts_with(LOCAL_PREFIX) => Some(LOOK_AT_LEASES),
            Life::Waiting(_)
            | Life::Running(_)
            | Life::Succeeded
            | Life::Dead
            | Life::Cancelled
            | Life::Expired
            | Life::Deleted => None,
        });
        if let Some(most) = dues.min() {
            let next = self.core.next_step().expect("there is something to wait for");
            let sleep = next.since(self.now.tick);
            assert!(sleep <= most, "it would sleep for {sleep:?} where {most:?} is the most");
        }
    }

    /// [LOG-3]
    fn check_state(&self) {
        let live = self.core.state();
        let archive = self.archive();
        if live.position() == archive.durable() {
            assert_eq!(live.digest(), self.reference.replayed.digest(), "live state and replay [LOG-3]");
        }
        let recovered = recover(&archive).unwrap().state;
        assert_eq!(recovered.digest(), self.reference.replayed.digest(), "recovery and replay [LOG-3]");
    }

    fn check_view(&self) {
        let view = self.core.view();
        let queues = view.queues();
        assert_eq!(queues.len(), self.reference.queues.len());
        for (queue, known) in queues.iter().zip(&self.reference.queues) {
            assert_eq!(
                (&queue.name, &queue.settings, queue.counts),
                (&known.name, &known.settings, known.counts)
            );
        }
        let cursors = view.cursors().into_iter().map(|(name, cursor)| (name, cursor.sequence)).collect();
        assert_eq!(self.reference.cursors, cursors);
        assert_eq!(view.seen().sequence.0, self.reference.updates.len() as u64);
        for (id, known) in &self.reference.jobs {
            match view.job(*id) {
                Some(job) => self.check_job(&job, known),
                None => self.check_absent(*id, known),
            }
        }
    }

    fn check_job(&self, job: &JobView, known: &Known) {
        let touched = known.last.0 > self.opened_at as u64;
        assert!(!touched || job.last == known.last, "{job:?} {known:?}");
        if known.life == Life::Deleted {
            return assert!(job.deleted, "{job:?}");
        }
        assert_eq!((job.state, job.attempt, job.generation), (state(known), known.attempt, known.generation));
        let worker = matches!(known.life, Life::Running(_)).then_some(&known.worker);
        assert_eq!(job.worker.as_ref(), worker);
    }

    /// The work tree answers for it: it has not changed since it was submitted, or it had left before this engine began.
    fn check_absent(&self, id: JobId, known: &Known) {
        assert!(known.last.0 <= self.opened_at as u64, "{id} is missing: {known:?}");
        let unchanged = matches!(known.life, Life::Waiting(_)) && known.attempt == 0 && known.generation == 0;
        assert!(
            unchanged || (known.life.is_over() && known.life != Life::Dead),
            "{id} is missing: {known:?}"
        );
    }

    /// The readers' frames are the newest of the log, without a gap.
    fn check_frames(&self) {
        let (view, archive) = (self.core.view(), self.archive());
        let newest = view.seen().position;
        let from = Position(newest.0.saturating_sub(4).max(archive.floor().position.0));
        if let Some(published) = view.frames(from, 100) {
            let positions: Vec<u64> = published.iter().map(|frame| frame.position.0).collect();
            assert_eq!(positions, (from.0..=newest.0).collect::<Vec<u64>>(), "[LOG-2]");
            for frame in published {
                let stored = &archive.read(frame.position, 1).unwrap()[0];
                assert_eq!(frame.events, stored.events().unwrap(), "[LOG-2]");
                assert_eq!(frame.first_sequence, stored.first_sequence);
            }
        }
    }

    /// Every running job has one holder; and no worker waits for a job that waits for a worker.
    fn check_leases(&mut self) {
        let (reply, mut answer) = Reply::once();
        self.commands.push(Command::ListWorkers(reply));
        self.step();
        let Ok(workers) = answer.try_recv().unwrap() else { return };
        let held: Vec<JobId> = workers.iter().flat_map(|worker| worker.jobs.iter().copied()).collect();
        let holders: BTreeSet<JobId> = held.iter().copied().collect();
        assert_eq!(held.len(), holders.len(), "a job has one holder");
        let jobs = &self.reference.jobs;
        let before: Vec<_> = jobs.iter().filter(|(_, job)| matches!(job.life, Life::Running(_))).collect();
        for (id, job) in before {
            assert!(holders.contains(id), "{id} runs without a holder: {job:?}");
        }
        for worker in workers.iter().filter(|worker| worker.connected && worker.free > 0) {
            self.check_idle(worker);
        }
    }

    fn check_idle(&self, worker: &WorkerView) {
        for job in self.reference.jobs.values() {
            let queue = &self.reference.queues[job.queue.0 as usize];
            let ready = matches!(job.life, Life::Waiting(due) if due <= self.now.wall);
            let takes = worker.queues.contains(&queue.name) && !queue.settings.paused;
            assert!(!(ready && takes), "{} has room and {job:?} waits", worker.name);
        }
    }
}

fn state(known: &Known) -> JobState {
    match known.life {
        Life::Waiting(_) => JobState::Waiting,
        Life::Running(_) => JobState::Running,
        Life::Succeeded => JobState::Succeeded,
        Life::Dead | Life::Deleted => JobState::Dead,
        Life::Cancelled => JobState::Cancelled,
        Life::Expired => JobState::Expired,
    }
}
