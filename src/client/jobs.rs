//! Calls about jobs: submit a batch, get, list, cancel, retry, delete.

use crate::client::Client;
use crate::client::Error;
use crate::client::Repeat;
use crate::client::jobs_of;
use crate::client::unique_name;
use crate::grpc::convert::time;
use crate::grpc::status::Reason;
use crate::job::id::JobId;
use crate::proto::v1;
use std::time::Duration;

/// The longest wait of one `GetJob`; a longer one is several calls.
const WAIT_MAX: Duration = Duration::from_secs(30);
/// Jobs a page of a listing.
const PAGE_SIZE: u32 = 1_000;

/// Jobs that are on stable storage. [ACK-1]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Their ids, in the order of the jobs.
    pub ids: Vec<JobId>,
    /// A reader of updates after `first_sequence - 1` sees all that happens to them; 0: they are no longer kept.
    pub first_sequence: u64,
    /// Whether the key had been used before, so that nothing was submitted now.
    pub repeat: bool,
}

impl Client {
    /// Submits a batch: all of its jobs or none. Without a `key` it makes one, so that the repeats of this call never
    /// make a second job; with the caller's own, repeats of the whole program do not either. [ID-1]
    ///
    /// # Errors
    /// [`Error`]. If its effect is unknown, calling again with the same key and jobs is harmless.
    pub async fn submit(&self, jobs: Vec<v1::JobSpec>, key: Option<&str>) -> Result<Submitted, Error> {
        let key = key.map_or_else(unique_name, |key| Ok(key.to_owned()))?;
        let count = jobs.len();
        let request = v1::SubmitJobsRequest { jobs, key };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                jobs_of(channel).submit_jobs(request).await
            })
            .await?;
        let ids: Vec<JobId> = answer.job_ids.iter().map(|id| self.job_id(id)).collect::<Result<_, _>>()?;
        if ids.len() != count {
            return Err(self.odd("it names another number of jobs than were submitted"));
        }
        Ok(Submitted { ids, first_sequence: answer.first_sequence, repeat: answer.repeat })
    }

    /// Reads one job as it is now.
    ///
    /// # Errors
    /// [`Error`]; [`Reason::JobNotFound`].
    pub async fn get(&self, id: JobId, with: With) -> Result<v1::Job, Error> {
        self.get_after(id, with, None).await
    }

    /// Reads one job when it has finished or died, or as it is when `wait` is over.
    ///
    /// # Errors
    /// [`Error`]; [`Reason::JobNotFound`].
    pub async fn get_finished(&self, id: JobId, with: With, wait: Duration) -> Result<v1::Job, Error> {
        let mut left = wait;
        loop {
            let now = left.min(WAIT_MAX);
            left -= now;
            let job = self.get_after(id, with, Some(now)).await?;
            if left.is_zero() || is_final(job.state()) {
                return Ok(job);
            }
        }
    }

    async fn get_after(&self, id: JobId, with: With, wait: Option<Duration>) -> Result<v1::Job, Error> {
        let request = v1::GetJobRequest {
            job_id: id.to_string(),
            wait: wait.map(|wait| time::to_duration(time::whole_millis(wait))),
            include_payload: with.payload,
            include_result: with.result,
        };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                jobs_of(channel).get_job(request).await
            })
            .await?;
        answer.job.ok_or_else(|| self.odd("it has no job"))
    }

    /// Begins to list the jobs that pass `filter`, whose page fields are ignored.
    #[must_use]
    pub fn list(&self, filter: v1::ListJobsRequest) -> Listing {
        Listing {
            client: self.clone(),
            request: Some(v1::ListJobsRequest { page_token: String::new(), ..filter }),
        }
    }

    /// Cancels jobs, waiting or running.
    ///
    /// # Errors
    /// [`Error`]. What became of each job is in its result. After a repeat `WRONG_STATE` with the state `CANCELLED` may
    /// be this call's own doing.
    pub async fn cancel(&self, ids: &[JobId], reason: &str) -> Result<Vec<v1::JobResult>, Error> {
        let request = v1::CancelJobsRequest { job_ids: texts(ids), reason: reason.to_owned() };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                jobs_of(channel).cancel_jobs(request).await
            })
            .await?;
        Ok(answer.results)
    }

    /// Gives dead jobs a new generation. Not repeated if its effect is unknown: the job may be dead again by then.
    ///
    /// # Errors
    /// [`Error`]. What became of each job is in its result.
    pub async fn retry(&self, ids: &[JobId]) -> Result<Vec<v1::JobResult>, Error> {
        let request = v1::RetryJobsRequest { job_ids: texts(ids) };
        let answer = self
            .call(Repeat::IfNothingHappened, request, |channel, request| async move {
                jobs_of(channel).retry_jobs(request).await
            })
            .await?;
        Ok(answer.results)
    }

    /// Forgets finished and dead jobs.
    ///
    /// # Errors
    /// [`Error`]. What became of each job is in its result. After a repeat `NOT_FOUND` may be this call's own doing.
    pub async fn delete(&self, ids: &[JobId]) -> Result<Vec<v1::JobResult>, Error> {
        let request = v1::DeleteJobsRequest { job_ids: texts(ids) };
        let answer = self
            .call(Repeat::Harmless, request, |channel, request| async move {
                jobs_of(channel).delete_jobs(request).await
            })
            .await?;
        Ok(answer.results)
    }

    pub(crate) fn job_id(&self, text: &str) -> Result<JobId, Error> {
        text.parse().map_err(|_not_an_id| self.odd("it has a job id that is not one"))
    }

    pub(crate) fn odd(&self, what: &'static str) -> Error {
        Error::Answer { address: self.address().to_owned(), what }
    }
}

/// What to read besides the job itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct With {
    /// The payload.
    pub payload: bool,
    /// The result.
    pub result: bool,
}

/// The pages of a list of jobs.
#[derive(Debug)]
pub struct Listing {
    client: Client,
    request: Option<v1::ListJobsRequest>,
}

impl Listing {
    /// Whether there are further pages.
    #[must_use]
    pub fn has_more(&self) -> bool {
        self.request.is_some()
    }

    /// The next page; `None` after the last. At most `most` jobs and at least one unless it is the last.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn next_page(&mut self, most: u64) -> Result<Option<v1::ListJobsResponse>, Error> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        request.page_size = u32::try_from(most).unwrap_or(PAGE_SIZE).clamp(1, PAGE_SIZE);
        let page = self
            .client
            .call(Repeat::Harmless, request.clone(), |channel, request| async move {
                jobs_of(channel).list_jobs(request).await
            })
            .await?;
        if !page.next_page_token.is_empty() {
            request.page_token.clone_from(&page.next_page_token);
            self.request = Some(request);
        }
        Ok(Some(page))
    }
}

/// Whether nothing more happens to a job by itself.
#[must_use]
pub fn is_final(state: v1::JobState) -> bool {
    match state {
        v1::JobState::Unspecified | v1::JobState::Waiting | v1::JobState::Running => false,
        v1::JobState::Succeeded | v1::JobState::Dead | v1::JobState::Cancelled | v1::JobState::Expired => {
            true
        }
    }
}

/// Whether the server does not know the job.
#[must_use]
pub fn is_not_found(error: &Error) -> bool {
    error.reason() == Some(Reason::JobNotFound)
}

fn texts(ids: &[JobId]) -> Vec<String> {
    ids.iter().map(JobId::to_string).collect()
}
