//! What people do to jobs they name: cancel, retry, delete. Each job of a call has its own outcome.

use crate::engine::Handle;
use crate::engine::command;
use crate::engine::command::Command;
use crate::engine::command::Reply;
use crate::job::decide::Refused;
use crate::job::id::JobId;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::JobState;
use crate::service::Error;
use crate::service::Service;
use crate::service::lookup;
use crate::service::lookup::Located;
use std::collections::HashSet;
use std::sync::Arc;

/// Bytes of log that one command may need: all its events go into one frame, together with others.
const COMMAND_BYTES_MAX: usize = 256 * 1_024;
/// What an event of a command takes in the log besides the caller's words.
const EVENT_BYTES: usize = 64;

/// What became of one job of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done.
    Done {
        /// Its state now; `None`: it is forgotten.
        state: Option<JobState>,
        /// Sequence of the update.
        sequence: Sequence,
    },
    /// No such job, or it has been forgotten.
    NotFound,
    /// Its state, which does not allow it.
    WrongState(JobState),
}

type Answers = Vec<Result<Sequence, command::Error>>;

impl Service {
    /// Cancels jobs that wait or run; outcomes in the order of `ids`.
    ///
    /// # Errors
    /// [`Error::Command`]; [`Error::Rebuilding`] or [`Error::WorkTree`] if what is not live cannot be told apart from what
    /// never was. [`command::Error::OutcomeUnknown`] if only a part was done: a repeat does the rest.
    pub async fn cancel(&self, ids: Vec<JobId>, reason: Arc<str>) -> Result<Vec<Outcome>, Error> {
        let each = EVENT_BYTES + reason.len();
        let command = |ids: Vec<JobId>, reply| Command::Cancel(ids, Arc::clone(&reason), reply);
        let answers = self.command_each(&ids, each, command).await?;
        self.outcomes(ids, answers, Some(JobState::Cancelled)).await
    }

    /// Gives dead jobs a new generation; outcomes in the order of `ids`.
    ///
    /// # Errors
    /// As [`Service::cancel`].
    pub async fn retry(&self, ids: Vec<JobId>) -> Result<Vec<Outcome>, Error> {
        let answers = self.command_each(&ids, EVENT_BYTES, Command::Retry).await?;
        self.outcomes(ids, answers, Some(JobState::Waiting)).await
    }

    /// Forgets finished and dead jobs; outcomes in the order of `ids`.
    ///
    /// A finished job is known to the readers' side only, so it is looked up there, and the engine takes our word for it.
    /// That is why one call at a time looks up and deletes, to the end even if its caller goes away: between the two
    /// nobody else may delete the same job. Once the engine has answered, the readers' side says that the job is gone.
    ///
    /// # Errors
    /// As [`Service::cancel`].
    pub async fn delete(&self, ids: Vec<JobId>) -> Result<Vec<Outcome>, Error> {
        let service = self.clone();
        let deleted = self.shutdown.spawn(async move {
            let _one_at_a_time = service.deleting.lock().await;
            service.look_up_and_delete(ids).await
        });
        match deleted.await {
            Ok(outcomes) => outcomes,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            Err(_stopped) => Err(Error::Command(command::Error::OutcomeUnknown)),
        }
    }

    async fn look_up_and_delete(&self, ids: Vec<JobId>) -> Result<Vec<Outcome>, Error> {
        let engine = self.engine.clone();
        let (ids, jobs) = self
            .read(move || {
                let jobs = to_delete(&engine, &ids)?;
                Ok((ids, jobs))
            })
            .await?;
        let answers = self.command_each(&jobs, EVENT_BYTES, Command::Delete).await?;
        let answers = spread(&ids, &jobs, answers);
        self.outcomes(ids, answers, None).await
    }

    /// Sends `jobs` in commands that are small enough for one frame each, one after another.
    async fn command_each<T: Clone>(
        &self,
        jobs: &[T],
        each_bytes: usize,
        command: impl Fn(Vec<T>, Reply<Answers>) -> Command,
    ) -> Result<Answers, Error> {
        let mut answers = Vec::with_capacity(jobs.len());
        for part in jobs.chunks((COMMAND_BYTES_MAX / each_bytes).max(1)) {
            let answered = self.engine.call(part.len() * each_bytes, |reply| command(part.to_vec(), reply));
            match answered.await {
                Ok(answered) => answers.extend(answered),
                Err(error) => return Err(in_part(&answers, error.into())),
            }
        }
        Ok(answers)
    }

    async fn outcomes(
        &self,
        ids: Vec<JobId>,
        answers: Answers,
        done: Option<JobState>,
    ) -> Result<Vec<Outcome>, Error> {
        if answers.iter().all(Result::is_ok) {
            let done = |answer| Outcome::Done { state: done, sequence: answer };
            return Ok(answers.into_iter().flatten().map(done).collect());
        }
        let engine = self.engine.clone();
        self.read(move || {
            let outcome = |(id, answer): (JobId, &Result<Sequence, command::Error>)| match answer {
                Ok(sequence) => Ok(Outcome::Done { state: done, sequence: *sequence }),
                Err(command::Error::Refused(_)) => Ok(match lookup::locate(&engine, id)? {
                    Some(located) => Outcome::WrongState(located.state()),
                    None => Outcome::NotFound,
                }),
                Err(error) => Err(Error::Command(error.clone())),
            };
            let outcomes: Result<Vec<Outcome>, Error> = ids.into_iter().zip(&answers).map(outcome).collect();
            outcomes.map_err(|error| in_part(&answers, error))
        })
        .await
    }
}

/// The jobs of `ids` that may be there to be deleted, each once, finished ones with their queue.
fn to_delete(engine: &Handle, ids: &[JobId]) -> Result<Vec<(JobId, Option<QueueNo>)>, Error> {
    let mut seen = HashSet::new();
    let mut jobs = Vec::with_capacity(ids.len());
    for id in ids.iter().copied().filter(|id| seen.insert(*id)) {
        let finished = |located: &Located| match located.state() {
            JobState::Succeeded | JobState::Cancelled | JobState::Expired => Some(located.queue()),
            // The engine has these, and knows best whether they ended since.
            JobState::Waiting | JobState::Running | JobState::Dead => None,
        };
        if let Some(located) = lookup::locate(engine, id)? {
            jobs.push((id, finished(&located)));
        }
    }
    Ok(jobs)
}

/// An answer for each of `ids`. One that was not there, or was named before in the same call, was not sent.
fn spread(ids: &[JobId], sent: &[(JobId, Option<QueueNo>)], answers: Answers) -> Answers {
    let mut answers = sent.iter().zip(answers).peekable();
    let of_id = |id: &JobId| match answers.next_if(|((sent, _), _)| sent == id) {
        Some((_, answer)) => answer,
        None => Err(Refused::NotLive(*id).into()),
    };
    ids.iter().map(of_id).collect()
}

/// "Nothing happened" may be said only if nothing did.
fn in_part(answers: &Answers, error: Error) -> Error {
    if answers.iter().any(Result::is_ok) { Error::Command(command::Error::OutcomeUnknown) } else { error }
}
