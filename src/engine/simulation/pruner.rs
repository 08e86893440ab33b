//! The pruner: it proposes jobs, due or not, and the writer takes exactly those whose time is over.

use crate::clock::Timestamp;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::command::Reply;
use crate::engine::simulation::life::Known;
use crate::engine::simulation::life::Life;
use crate::engine::simulation::world::World;
use crate::job::decide::prune::Finished;
use crate::job::id::JobId;

/// At most so many jobs are proposed at once: they fit the smallest frame.
const PROPOSED_MAX: usize = 16;

impl World {
    /// Proposes jobs alone in a step, so that what is due is known before.
    pub(in crate::engine::simulation) fn prune(&mut self) {
        self.step();
        let now = self.log_time.max(self.core.state().time());
        let due = |known: &Known| {
            let finished = matches!(known.life, Life::Succeeded | Life::Cancelled | Life::Expired);
            let retention_ms = self.reference.queues[known.queue.0 as usize].settings.retention_ms;
            let over = known.over.unwrap_or_default();
            finished && retention_ms.is_some_and(|retention_ms| over.0 + retention_ms <= now.0)
        };
        // Whoever looks a job up may be late: some have not ended, or live again.
        let there = self.reference.jobs.iter().filter(|(_, known)| known.life != Life::Deleted);
        let jobs: Vec<(JobId, Known, bool)> =
            there.take(PROPOSED_MAX).map(|(id, known)| (*id, known.clone(), due(known))).collect();
        let finished = |(id, known, _): &(JobId, Known, bool)| Finished {
            id: *id,
            queue: known.queue,
            ended: known.over.unwrap_or(Timestamp(0)),
        };
        let (reply, mut answer) = Reply::once();
        self.commands.push(Command::Prune(jobs.iter().map(finished).collect(), reply));
        self.step();
        match answer.try_recv().expect("every call is answered with its step") {
            Ok(pruned) => self.check_pruned(&jobs, pruned),
            Err(error) => {
                assert!(error == Error::OutcomeUnknown || error == Error::DiskFull && self.full, "{error}");
            }
        }
    }

    fn check_pruned(&self, jobs: &[(JobId, Known, bool)], pruned: u64) {
        assert_eq!(pruned, jobs.iter().filter(|(.., due)| *due).count() as u64);
        for (id, before, due) in jobs {
            let life = self.reference.jobs[id].life;
            assert_eq!(life == Life::Deleted, *due, "{before:?}");
        }
    }
}
