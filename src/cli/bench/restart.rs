//! A restart after a kill -9 under load, with a long log and many jobs that live: how long until the server answers, and how
//! long until everything that ever happened can be read again; with the work tree as the kill left it, and without one.

use crate::cli::bench::drive::Submitter;
use crate::cli::bench::figures::Figures;
use crate::cli::bench::lifecycle::Life;
use crate::cli::bench::lifecycle::Pace;
use crate::cli::bench::offline;
use crate::cli::bench::setup::Bench;
use crate::cli::bench::setup::IDLE;
use crate::cli::bench::setup::QUEUE;
use crate::cli::bench::worker::Worker;
use crate::clock::Tick;
use crate::proto::v1;
use crate::proto::v1::job_service_client::JobServiceClient;
use crate::proto::v1::queue_service_client::QueueServiceClient;
use crate::shutdown::Shutdown;
use anyhow::Context;
use anyhow::bail;
use std::convert::Infallible;
use std::time::Duration;
use tokio::task::JoinHandle;
use tonic::Code;
use tonic::transport::Channel;

/// Jobs that finish before all others: the oldest part of the log.
const OLDEST: u64 = 20_000;
/// In how many parts the rest comes: a worker that has nothing to do for long, while jobs that live are submitted, is taken for
/// dead.
const PARTS: u64 = 50;
/// For how long there is load before the kill: longer than the work tree takes to hand its files to the system.
const LOAD: Duration = Duration::from_secs(6);
/// Jobs of that load a second: fewer than are worked off, so that it leaves no backlog.
const LOAD_PER_S: u64 = 20_000;
/// How often some of them are sent.
const BEAT: Duration = Duration::from_millis(10);
/// How often the server is asked while it does not have everything yet.
const ASK_EVERY: Duration = Duration::from_millis(5);
/// How long it may take until then.
const PATIENCE: Duration = Duration::from_secs(600);

/// What becomes of the work tree between the kill and the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WorkTree {
    Left,
    Deleted,
}

impl WorkTree {
    fn name(self) -> &'static str {
        match self {
            WorkTree::Left => "as the kill left it",
            WorkTree::Deleted => "deleted",
        }
    }
}

/// What is asked for after a restart.
#[derive(Debug)]
struct Known {
    finished: String,
    live: String,
    /// How many jobs live in the queue that nobody works on.
    waiting: u64,
}

/// Two restarts, and then what it takes to read the same log without a server.
pub(in crate::cli::bench) async fn measure(mut bench: Bench) -> anyhow::Result<Vec<Figures>> {
    let mut known = fill(&bench).await?;
    let mut series = Vec::new();
    for (number, tree) in (1..).zip([WorkTree::Left, WorkTree::Deleted]) {
        let load = Load::start(&bench, number).await?;
        tokio::time::sleep(LOAD).await;
        series.push(restart(&mut bench, tree, load, &mut known).await?);
    }
    let updates = bench.look().await?.head_sequence;
    bench.kill()?;
    series.extend(offline::measure(&bench, &known.finished, known.waiting, updates).await?);
    Ok(series)
}

/// Finished jobs, and between them those that live, until the log is as long as was asked for, or a little longer.
async fn fill(bench: &Bench) -> anyhow::Result<Known> {
    let arguments = &bench.arguments;
    let (batch, window, live) = (arguments.batch as u64, arguments.window, arguments.pending_jobs);
    let mut life = Life::begin(bench, arguments.slots).await?;
    life.run(OLDEST, Pace::Window(window), "restart").await?;
    let mut submitter = Submitter::open_to(bench, "live", vec![IDLE.to_owned()]).await?;
    let finished = finished(bench)?;
    for part in 1..=PARTS {
        let until = live * part / PARTS;
        submitter.send_all(until, batch, window).await?;
        let jobs = finished * part / PARTS - finished * (part - 1) / PARTS;
        life.run(jobs, Pace::Window(window), "restart").await?;
    }
    drop(life);
    let mut jobs = JobServiceClient::new(bench.connect().await?);
    let mut oldest = async |queue: &str, state: v1::JobState| {
        first(&mut jobs, queue, state)
            .await?
            .with_context(|| format!("no job of the queue {queue} is listed"))
    };
    Ok(Known {
        finished: oldest(QUEUE, v1::JobState::Succeeded).await?,
        live: oldest(IDLE, v1::JobState::Waiting).await?,
        waiting: live,
    })
}

/// How many more jobs have to finish, by what the first ones took.
fn finished(bench: &Bench) -> anyhow::Result<u64> {
    let each = log_bytes(bench)? as f64 / OLDEST as f64;
    // A live job has no result, no start and no end; what it takes is not counted, so that the log is surely long enough.
    let missing = bench.arguments.restart_log as f64 / each - OLDEST as f64;
    Ok(missing.max(0.0) as u64)
}

fn log_bytes(bench: &Bench) -> anyhow::Result<u64> {
    bench.log_bytes()?.context("the log of a server that was running before is not measured")
}

/// The whole life of jobs at a pace, until the server is gone.
#[derive(Debug)]
struct Load {
    workers: Vec<Worker>,
    submitting: JoinHandle<anyhow::Result<Infallible>>,
}

impl Load {
    async fn start(bench: &Bench, number: u32) -> anyhow::Result<Load> {
        let mut workers = Vec::new();
        for stream in 1..=2 {
            let name = format!("load-{number}-{stream}");
            workers.push(Worker::start(bench, &name, bench.arguments.slots, vec![QUEUE.to_owned()]).await?);
        }
        let submitter = Submitter::open(bench, &format!("load-{number}")).await?;
        let submitting = Shutdown::new().spawn(submit_on(submitter));
        Ok(Load { workers, submitting })
    }
}

/// Submits at the pace of the load until it fails.
async fn submit_on(mut submitter: Submitter) -> anyhow::Result<Infallible> {
    let mut beat = tokio::time::interval(BEAT);
    let each = LOAD_PER_S * u64::try_from(BEAT.as_millis())? / 1_000;
    loop {
        beat.tick().await;
        submitter.deliver(each).await?;
    }
}

/// Kills the server under `load`, starts it again, and waits until it has everything.
async fn restart(
    bench: &mut Bench,
    tree: WorkTree,
    load: Load,
    known: &mut Known,
) -> anyhow::Result<Figures> {
    let Load { workers, submitting } = load;
    if submitting.is_finished() {
        submitting.await?.context("the load ended before the kill")?;
    }
    bench.kill()?;
    // The submitter ends with the server.
    drop(workers);
    if tree == WorkTree::Deleted {
        std::fs::remove_dir_all(bench.data().join("work")).context("the work tree cannot be deleted")?;
    }
    let killed = bench.clock.now().tick;
    bench.start_again()?;
    let channel = bench.connect().await?;
    let mut jobs = JobServiceClient::new(channel.clone());
    submit(&mut jobs, bench).await?;
    known.waiting += 1;
    let submitted = bench.clock.now().tick;
    wait_for(bench, &mut jobs, &known.live, v1::JobState::Waiting).await?;
    let answered = bench.clock.now().tick;
    let behind = bench.look().await?;
    wait_for(bench, &mut jobs, &known.finished, v1::JobState::Succeeded).await?;
    while bench.look().await?.applied_position < behind.head_position {
        patience(bench, answered)?;
        tokio::time::sleep(ASK_EVERY).await;
    }
    let complete = bench.clock.now().tick;
    if first(&mut jobs, QUEUE, v1::JobState::Succeeded).await?.as_ref() != Some(&known.finished) {
        bail!("the first finished job that is listed is not the oldest one");
    }
    let waiting = waiting(channel).await?;
    if waiting != known.waiting {
        bail!("{waiting} of {} live jobs are there after the restart", known.waiting);
    }
    let ms = |from: Tick, to: Tick| Some(to.since(from).as_secs_f64() * 1_000.0);
    Ok(Figures {
        work_tree: Some(tree.name()),
        pending: Some(waiting),
        log_bytes: Some(log_bytes(bench)?),
        submit_ms: ms(killed, submitted),
        restart_ms: ms(killed, answered),
        applier_lag: Some(behind.head_position.saturating_sub(behind.applied_position)),
        history_ms: ms(answered, complete),
        cpu_s: Some(bench.server_cpu()?.as_secs_f64()),
        rss_peak_bytes: Some(bench.memory()?.peak_bytes),
        ..bench.figures("restart")
    })
}

/// One job, which is on disk when this returns.
async fn submit(jobs: &mut JobServiceClient<Channel>, bench: &Bench) -> anyhow::Result<()> {
    let spec = v1::JobSpec { queue: IDLE.to_owned(), payload: bench.payload(), ..v1::JobSpec::default() };
    let request = v1::SubmitJobsRequest { jobs: vec![spec], ..v1::SubmitJobsRequest::default() };
    jobs.submit_jobs(request).await?;
    Ok(())
}

/// Asks for a job until the server can tell of it.
async fn wait_for(
    bench: &Bench,
    jobs: &mut JobServiceClient<Channel>,
    id: &str,
    state: v1::JobState,
) -> anyhow::Result<()> {
    let began = bench.clock.now().tick;
    loop {
        let request = v1::GetJobRequest {
            job_id: id.to_owned(),
            include_payload: true,
            include_result: true,
            ..v1::GetJobRequest::default()
        };
        match jobs.get_job(request).await {
            Ok(answer) => {
                let job = answer.into_inner().job.context("the server answered without the job")?;
                if job.state() != state {
                    bail!("the job {id} is {} after the restart", job.state().as_str_name());
                }
                return Ok(());
            }
            // The work tree is being built.
            Err(status) if status.code() == Code::Unavailable => patience(bench, began)?,
            Err(status) => return Err(status.into()),
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn patience(bench: &Bench, began: Tick) -> anyhow::Result<()> {
    if bench.clock.now().tick > began.after(PATIENCE) {
        bail!("the history is not complete after {} s", PATIENCE.as_secs());
    }
    Ok(())
}

/// The oldest job of a queue in a state.
async fn first(
    jobs: &mut JobServiceClient<Channel>,
    queue: &str,
    state: v1::JobState,
) -> anyhow::Result<Option<String>> {
    let mut token = String::new();
    loop {
        let request = v1::ListJobsRequest {
            queue: queue.to_owned(),
            states: vec![state.into()],
            page_size: 1,
            page_token: token,
            ..v1::ListJobsRequest::default()
        };
        let page = jobs.list_jobs(request).await?.into_inner();
        token = page.next_page_token;
        let found = page.jobs.into_iter().next().map(|job| job.id);
        if found.is_some() || token.is_empty() {
            return Ok(found);
        }
    }
}

/// How many jobs wait in the queue that nobody works on.
async fn waiting(channel: Channel) -> anyhow::Result<u64> {
    let request = v1::GetQueueRequest { name: IDLE.to_owned() };
    let answer = QueueServiceClient::new(channel).get_queue(request).await?;
    let queue = answer.into_inner().queue.context("a queue was asked for")?;
    Ok(queue.ready + queue.scheduled)
}
