//! The lives of the jobs, folded from the log by a small model of its own.

use crate::check::Final;
use crate::check::Findings;
use crate::history::History;
use crate::plan;
use crate::plan::Ending;
use gangline::proto::v1;
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::HashSet;
use v1::FailureKind;
use v1::JobState;
use v1::UpdateKind;

/// Where a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Waiting,
    Running { token: u64 },
    Ended(JobState),
}

/// One job.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    pub(crate) payload: String,
    pub(crate) submitted: u64,
    stage: Stage,
    attempts: u32,
    generation: u32,
    failed: u32,
    crashed: u32,
    last: u64,
}

/// How the log says that an attempt ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct End {
    pub(crate) kind: UpdateKind,
    pub(crate) failure: Option<FailureKind>,
}

/// Every job of the log.
#[derive(Debug, Default)]
pub(crate) struct Lives {
    pub(crate) jobs: BTreeMap<String, Life>,
    pub(crate) of_payload: HashMap<String, String>,
    /// Ends of attempts, by lease token.
    pub(crate) ends: HashMap<u64, End>,
    /// What workers say they sent, by lease token.
    sent: HashSet<(u64, Ending)>,
    /// Leases of the server's own pool: nobody outside saw them.
    own: HashSet<u64>,
}

impl Ending {
    fn all() -> [Ending; 5] {
        [Ending::Completed, Ending::Failed, Ending::FailedForGood, Ending::Crashed, Ending::Released]
    }

    /// Whether the log's end of an attempt is what this ending leads to.
    pub(crate) fn leads_to(self, end: End) -> bool {
        let failed = matches!(end.kind, UpdateKind::Retrying | UpdateKind::Dead);
        match self {
            Ending::Completed => end.kind == UpdateKind::Succeeded,
            Ending::Released => end.kind == UpdateKind::Released,
            Ending::Failed => failed && end.failure == Some(FailureKind::Failed),
            Ending::FailedForGood => end.kind == UpdateKind::Dead && end.failure == Some(FailureKind::Failed),
            Ending::Crashed => failed && end.failure == Some(FailureKind::Crashed),
        }
    }
}

impl Lives {
    pub(crate) fn fold(history: &History, updates: &[v1::Update], findings: &mut Findings) -> Lives {
        let sent = history.finishes.iter().map(|finish| (finish.token, finish.ending)).collect();
        let mut lives = Lives { sent, ..Lives::default() };
        for update in updates {
            if update.kind() == UpdateKind::Submitted {
                lives.submitted(history, update, findings);
            } else if let Some(mut life) = lives.jobs.remove(&update.job_id) {
                lives.step(&mut life, update, findings);
                life.last = update.sequence;
                lives.jobs.insert(update.job_id.clone(), life);
            } else {
                let what = format!(
                    "update {} is about {}, which was never submitted",
                    update.sequence, update.job_id
                );
                findings.add("JOB-2", what);
            }
        }
        lives
    }

    fn submitted(&mut self, history: &History, update: &v1::Update, findings: &mut Findings) {
        let job = &update.job_id;
        let bytes = update.spec.as_ref().map(|spec| spec.payload.to_vec()).unwrap_or_default();
        let payload = String::from_utf8_lossy(&bytes).into_owned();
        if plan::parse(&payload).is_none() || !history.asked.contains(&payload) {
            findings.add("ACK-1", format!("{job} has a payload that nobody submitted: {payload:?}"));
        }
        if let Some(first) = self.of_payload.insert(payload.clone(), job.clone()) {
            findings
                .add("ID-1", format!("{payload} was submitted once and became two jobs, {first} and {job}"));
        }
        let life = Life {
            payload,
            submitted: update.sequence,
            stage: Stage::Waiting,
            attempts: 0,
            generation: 0,
            failed: 0,
            crashed: 0,
            last: update.sequence,
        };
        if self.jobs.insert(job.clone(), life).is_some() {
            findings.add("LOG-1", format!("{job} was submitted twice"));
        }
    }

    fn step(&mut self, life: &mut Life, update: &v1::Update, findings: &mut Findings) {
        let (job, sequence, kind) = (&update.job_id, update.sequence, update.kind());
        let ended = matches!(life.stage, Stage::Ended(_));
        match kind {
            UpdateKind::Started => {
                if ended {
                    findings.add("JOB-1", format!("{job} started again after its end, at {sequence}"));
                } else if life.stage != Stage::Waiting || update.attempt != life.attempts + 1 {
                    let what = format!(
                        "{job} has an attempt {} that nothing explains, at {sequence}",
                        update.attempt
                    );
                    findings.add("JOB-3", what);
                }
                life.attempts = update.attempt;
                life.stage = Stage::Running { token: sequence };
                if update.worker_id.starts_with('@') {
                    self.own.insert(sequence);
                }
            }
            UpdateKind::Retrying | UpdateKind::Released | UpdateKind::Succeeded | UpdateKind::Dead => {
                self.end(life, update, findings);
            }
            UpdateKind::Cancelled | UpdateKind::Expired => {
                if ended {
                    findings.add("JOB-1", format!("{job} has a second terminal update, at {sequence}"));
                }
                let cancelled = kind == UpdateKind::Cancelled;
                life.stage = Stage::Ended(if cancelled { JobState::Cancelled } else { JobState::Expired });
            }
            UpdateKind::Retried => {
                if life.stage != Stage::Ended(JobState::Dead) || update.generation != life.generation + 1 {
                    findings.add("JOB-1", format!("{job} was retried without being dead, at {sequence}"));
                }
                (life.failed, life.crashed, life.generation) = (0, 0, update.generation);
                life.stage = Stage::Waiting;
            }
            UpdateKind::Progress if matches!(life.stage, Stage::Running { .. }) => {}
            UpdateKind::Progress | UpdateKind::Deleted | UpdateKind::Submitted | UpdateKind::Unspecified => {
                findings.add("JOB-1", format!("{job} has an update {kind:?} out of place, at {sequence}"));
            }
        }
    }

    /// The end of an attempt.
    fn end(&mut self, life: &mut Life, update: &v1::Update, findings: &mut Findings) {
        let (job, sequence, kind) = (&update.job_id, update.sequence, update.kind());
        let failure = update.failure.as_ref().map(v1::Failure::kind);
        let end = End { kind, failure };
        match life.stage {
            Stage::Running { token } if update.attempt == life.attempts => {
                self.ends.insert(token, end);
                self.explain(token, end, update, findings);
            }
            Stage::Ended(_) => {
                findings.add("JOB-1", format!("{job} has a second terminal update, at {sequence}"));
            }
            Stage::Waiting | Stage::Running { .. } => {
                let what = format!("attempt {} of {job} ends at {sequence} but did not run", update.attempt);
                findings.add("JOB-3", what);
            }
        }
        life.failed += u32::from(failure == Some(FailureKind::Failed));
        life.crashed += u32::from(failure == Some(FailureKind::Crashed));
        life.stage = match kind {
            UpdateKind::Succeeded => Stage::Ended(JobState::Succeeded),
            UpdateKind::Dead => Stage::Ended(JobState::Dead),
            UpdateKind::Retrying
            | UpdateKind::Released
            | UpdateKind::Unspecified
            | UpdateKind::Submitted
            | UpdateKind::Started
            | UpdateKind::Progress
            | UpdateKind::Cancelled
            | UpdateKind::Expired
            | UpdateKind::Retried
            | UpdateKind::Deleted => Stage::Waiting,
        };
        if kind == UpdateKind::Succeeded && update.result != plan::result(&life.payload).as_bytes() {
            findings.add("ACK-1", format!("the result of {job} is not what its worker sent"));
        }
        self.budgets(life, update, end, findings);
    }

    /// An attempt ends only because its worker said so, or is lost.
    fn explain(&self, token: u64, end: End, update: &v1::Update, findings: &mut Findings) {
        let said = |ending: &Ending| ending.leads_to(end) && self.sent.contains(&(token, *ending));
        let lost = end.failure == Some(FailureKind::Lost);
        if !lost && !self.own.contains(&token) && !Ending::all().iter().any(said) {
            let (job, attempt, sequence) = (&update.job_id, update.attempt, update.sequence);
            let what = format!("no worker ended attempt {attempt} of {job} as {end:?}, at {sequence}");
            findings.add("JOB-3", what);
        }
    }

    fn budgets(&self, life: &Life, update: &v1::Update, end: End, findings: &mut Findings) {
        let (job, sequence) = (&update.job_id, update.sequence);
        let used = life.failed >= plan::ATTEMPTS_MAX || life.crashed >= plan::CRASHES_MAX;
        if end.kind == UpdateKind::Retrying && used {
            findings.add("RETRY-1", format!("{job} is retried beyond its budget, at {sequence}"));
        }
        let for_good = plan::parse(&life.payload) == Some(plan::Plan::Mend);
        if end.kind == UpdateKind::Dead && (end.failure == Some(FailureKind::Lost) || !(used || for_good)) {
            findings
                .add("RETRY-1", format!("{job} died of {:?} with budget left, at {sequence}", end.failure));
        }
    }

    pub(crate) fn all_ended(&self, findings: &mut Findings) {
        for (job, life) in &self.jobs {
            if !matches!(life.stage, Stage::Ended(_)) {
                findings.add("JOB-1", format!("{job} never ended: {:?}", life.stage));
            }
        }
    }

    /// Get and List say what the log says.
    pub(crate) fn compare(&self, last: &Final, findings: &mut Findings) {
        let mut listed = last.listed.iter();
        for (id, life) in &self.jobs {
            let Some(job) = listed.next().filter(|job| job.id == *id) else {
                return findings.add("ACK-1", format!("{id} is not where it belongs in the list of jobs"));
            };
            life.compare(job, findings);
        }
        if let Some(job) = listed.next() {
            findings.add("LOG-1", format!("{} is listed and has no update", job.id));
        }
        for got in &last.got {
            match got {
                Ok(job) => self.compare_got(job, findings),
                Err(error) => findings.add("ACK-1", format!("a job cannot be read: {error}")),
            }
        }
    }

    fn compare_got(&self, job: &v1::Job, findings: &mut Findings) {
        let Some(life) = self.jobs.get(&job.id) else {
            return findings.add("LOG-1", format!("{} can be read and has no update", job.id));
        };
        life.compare(job, findings);
        let payload = job.spec.as_ref().map(|spec| spec.payload.clone()).unwrap_or_default();
        let result = plan::result(&life.payload);
        let succeeded = job.state() == JobState::Succeeded;
        if payload != life.payload.as_bytes() || (succeeded && job.result != result.as_bytes()) {
            findings.add("ACK-1", format!("payload or result of {} is not what was sent", job.id));
        }
    }
}

impl Life {
    fn compare(&self, job: &v1::Job, findings: &mut Findings) {
        let state = match self.stage {
            Stage::Waiting => JobState::Waiting,
            Stage::Running { .. } => JobState::Running,
            Stage::Ended(state) => state,
        };
        let said = (job.state(), job.attempts, job.generation, job.submitted_sequence, job.last_sequence);
        let folded = (state, self.attempts, self.generation, self.submitted, self.last);
        if said != folded {
            findings.add("LOG-3", format!("{} is {said:?} and the log says {folded:?}", job.id));
        }
    }
}
