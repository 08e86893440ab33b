//! A pool under test: real spawner, real processes, short graces.

use bytes::Bytes;
use gangline::clock::Clock;
use gangline::job::event::Failure;
use gangline::job::event::FailureKind;
use gangline::job::event::Progress;
use gangline::job::id::JobId;
use gangline::job::retry::Retryable;
use gangline::pool::Assignment;
use gangline::pool::Command;
use gangline::pool::Config;
use gangline::pool::Execution;
use gangline::pool::ExecutionNo;
use gangline::pool::Mode;
use gangline::pool::Outcome;
use gangline::pool::Pool;
use gangline::pool::Recycle;
use gangline::pool::Report;
use gangline::pool::Spawner;
use gangline::shutdown::Shutdown;
use gangline::shutdown::Waited;
use std::num::NonZeroUsize;
use std::path::Path;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// Longer than anything here takes on a busy machine; a test that needs it hangs and so fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Rig {
    pub(crate) pool: Pool,
    pub(crate) reports: Receiver<Report>,
    pub(crate) spawner: Spawner,
    pub(crate) shutdown: Shutdown,
    pub(crate) progress: Vec<Progress>,
}

pub(crate) fn each(script: &str) -> Mode {
    Mode::Each(Command::new(["sh", "-c", script]))
}

pub(crate) fn serve(script: &str) -> Mode {
    Mode::Serve(Command::new(["sh", "-c", script]), Recycle::default())
}

/// A `serve` worker that does `body` for each job, with `$id` and `$payload` set.
pub(crate) fn worker(body: &str) -> String {
    format!(
        r#"answer() {{ printf '{{"id":"%s",%s}}\n' "$id" "$1"; }}
        while IFS= read -r line; do
            id=${{line#*\"id\":\"}}; id=${{id%%\"*}}
            payload=${{line#*\"payload\":\"}}; payload=${{payload%%\"*}}
            {body}
        done"#
    )
}

/// One slot, and graces of a fraction of a second.
pub(crate) fn config(mode: Mode) -> Config {
    Config {
        processes: NonZeroUsize::MIN,
        kill_grace: Duration::from_millis(200),
        stop_grace: Duration::from_millis(300),
        ..Config::new(mode)
    }
}

pub(crate) fn job(number: u128, payload: impl Into<Bytes>) -> Assignment {
    Assignment {
        id: JobId::from_u128(number),
        attempt: 1,
        queue: "zoo".parse().expect("a queue name"),
        payload: payload.into(),
        content_type: "".into(),
        traceparent: "".into(),
        labels: Vec::new(),
        timeout: None,
    }
}

/// The execution of a job, with the number of the job.
pub(crate) fn execution(job: Assignment) -> Execution {
    Execution { number: execution_no(job.id.as_u128()), job }
}

pub(crate) fn execution_no(number: u128) -> ExecutionNo {
    ExecutionNo(number.try_into().expect("tests count from 0"))
}

impl Rig {
    pub(crate) fn new(config: Config) -> Rig {
        Rig::started_from(Path::new(env!("CARGO_BIN_EXE_gangline")), config)
    }

    /// With `program` in the place of our own binary.
    pub(crate) fn started_from(program: &Path, config: Config) -> Rig {
        let shutdown = Shutdown::new();
        let spawner = Spawner::start_from(program, &shutdown).expect("the spawner starts");
        let (pool, reports) =
            Pool::start(config, &spawner, &Clock::system(), &shutdown).expect("the pool starts");
        Rig { pool, reports, spawner, shutdown, progress: Vec::new() }
    }

    pub(crate) fn of(mode: Mode) -> Rig {
        Rig::new(config(mode))
    }

    pub(crate) fn give(&self, job: Assignment) {
        self.give_all(vec![execution(job)]);
    }

    pub(crate) fn give_all(&self, executions: Vec<Execution>) {
        assert_eq!(self.pool.give(executions), [], "there is room");
    }

    /// The next report.
    pub(crate) async fn report(&mut self) -> Report {
        let report = tokio::time::timeout(PATIENCE, self.reports.recv()).await;
        report.expect("a report comes in time").expect("the slots live")
    }

    /// The next job that ended; progress before it is kept.
    pub(crate) async fn ended(&mut self) -> (ExecutionNo, Outcome) {
        loop {
            match self.report().await {
                Report::Progress(_, progress) => self.progress.push(progress),
                Report::Ended(number, outcome) => return (number, outcome),
            }
        }
    }

    /// Runs one job.
    pub(crate) async fn run(&mut self, job: Assignment) -> Outcome {
        let execution = execution(job);
        let given = execution.number;
        self.give_all(vec![execution]);
        let (number, outcome) = self.ended().await;
        assert_eq!(number, given);
        outcome
    }

    /// Ends everything and checks that nothing is left.
    pub(crate) async fn end(self) {
        let warden = self.spawner.pid();
        self.shutdown.begin();
        drop(self.pool);
        drop(self.spawner);
        drop(self.reports);
        assert_eq!(self.shutdown.wait(PATIENCE).await, Waited::Ended);
        // It ends when all that was below it has.
        assert!(!alive(warden), "the warden ends and is reaped");
    }
}

/// The result of a completed job, as text.
pub(crate) fn text(outcome: Outcome) -> String {
    match outcome {
        Outcome::Completed { result, .. } => String::from_utf8_lossy(&result).into_owned(),
        Outcome::Failed { .. } | Outcome::Released { .. } | Outcome::Cancelled => {
            panic!("not completed: {outcome:?}")
        }
    }
}

pub(crate) fn failed(outcome: Outcome, kind: FailureKind) -> (Failure, Retryable) {
    match outcome {
        Outcome::Failed { failure, retry } if failure.kind == kind => (failure, retry),
        Outcome::Failed { .. }
        | Outcome::Completed { .. }
        | Outcome::Released { .. }
        | Outcome::Cancelled => {
            panic!("not {kind:?}: {outcome:?}")
        }
    }
}

/// Whether a process is there and not only waits to be reaped.
pub(crate) fn alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// The children of a process of one thread.
pub(crate) fn children(pid: u32) -> Vec<u32> {
    let listed = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
    listed.split_whitespace().map(|child| child.parse().expect("a process id")).collect()
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

pub(crate) async fn gone(pid: u32) {
    until(&format!("process {pid} goes away"), || !alive(pid)).await;
}
