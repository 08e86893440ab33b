//! Two questions. What does a job in `each` mode cost over a plain spawn and wait of the same program? How many
//! no-op jobs a second do two `serve` processes take?

use bytes::Bytes;
use gangline::clock::Clock;
use gangline::job::id::JobId;
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
use std::io::BufRead;
use std::io::Write;
use std::num::NonZeroUsize;
use std::process::Stdio;
use std::time::Duration;
use tokio::sync::mpsc::Receiver;

/// First argument that makes this program the no-op worker.
const WORKER: &str = "no-op-worker";

const ROUNDS: usize = 5;
const EXECS: u64 = 400;
const JOBS: u64 = 200_000;

fn main() {
    gangline::pool::spawner::run_if_asked();
    if std::env::args().nth(1).as_deref() == Some(WORKER) {
        return work().expect("the pipes hold");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("a runtime").block_on(measure());
}

#[allow(clippy::print_stdout, reason = "figures are the output of a benchmark")]
async fn measure() {
    let clock = Clock::system();
    let shutdown = Shutdown::new();
    let spawner = Spawner::start(&shutdown).expect("the spawner starts");
    for slots in [1, 2] {
        let each = Mode::Each(Command::new(["/bin/true"]));
        let (pool, mut reports) = start(each, slots, &spawner, &clock, &shutdown);
        let mut ratios = Vec::new();
        for _ in 0..ROUNDS {
            let plain = time(&clock, || {
                std::thread::scope(|scope| {
                    for _ in 0..slots {
                        scope.spawn(|| (0..EXECS / slots as u64).for_each(|_| plain_exec()));
                    }
                })
            });
            let began = clock.now().tick;
            drive(&pool, &mut reports, EXECS).await;
            let pooled = clock.now().tick.since(began);
            ratios.push(pooled.as_secs_f64() / plain.as_secs_f64());
            println!(
                "each, {slots} slot(s): plain {:.0} us an exec, pool {:.0} us",
                micros(plain, EXECS),
                micros(pooled, EXECS)
            );
        }
        ratios.sort_by(f64::total_cmp);
        println!("each, {slots} slot(s): median ratio {:.2}", ratios[ROUNDS / 2]);
    }
    let this = std::env::current_exe().expect("this program has a path");
    let command = Command::new([this.into_os_string(), WORKER.into()]);
    let (pool, mut reports) = start(Mode::Serve(command, Recycle::default()), 2, &spawner, &clock, &shutdown);
    for _ in 0..ROUNDS {
        let began = clock.now().tick;
        drive(&pool, &mut reports, JOBS).await;
        let took = clock.now().tick.since(began);
        println!("serve, 2 processes: {:.0} jobs/s", JOBS as f64 / took.as_secs_f64());
    }
    shutdown.begin();
    drop((pool, spawner));
    shutdown.wait(Duration::from_secs(10)).await;
}

fn start(
    mode: Mode,
    slots: usize,
    spawner: &Spawner,
    clock: &Clock,
    shutdown: &Shutdown,
) -> (Pool, Receiver<Report>) {
    let processes = NonZeroUsize::new(slots).expect("at least one slot");
    Pool::start(Config { processes, ..Config::new(mode) }, spawner, clock, shutdown).expect("the pool starts")
}

fn time(clock: &Clock, work: impl FnOnce()) -> Duration {
    let began = clock.now().tick;
    work();
    clock.now().tick.since(began)
}

fn micros(all: Duration, count: u64) -> f64 {
    all.as_secs_f64() * 1e6 / count as f64
}

/// What a program without a pool would do for a job: the same pipes, the same scrubbed environment.
fn plain_exec() {
    let mut command = std::process::Command::new("/bin/true");
    command.env_clear().envs(std::env::vars_os().filter(|(name, _)| name == "PATH" || name == "HOME"));
    let pipes = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = pipes.spawn().and_then(|child| child.wait_with_output()).expect("true runs");
    assert!(output.status.success());
}

/// Gives `count` no-op jobs and waits until all have completed.
async fn drive(pool: &Pool, reports: &mut Receiver<Report>, count: u64) {
    let (mut given, mut ended) = (0, 0);
    // Every job ends once: the sum of their numbers would tell a lost one from a doubled one.
    let mut numbers = 0;
    let mut batch = Vec::with_capacity(256);
    while ended < count {
        let room = (Pool::WAITING_MAX - pool.waiting()) as u64;
        let jobs: Vec<Execution> = (given..count.min(given + room)).map(no_op).collect();
        given += jobs.len() as u64;
        assert!(pool.give(jobs).is_empty());
        reports.recv_many(&mut batch, 256).await;
        for report in batch.drain(..) {
            let Report::Ended(execution, Outcome::Completed { result, .. }) = &report else {
                panic!("{report:?}")
            };
            // The no-op worker answers with the length of the line it read: proof that it read this job's.
            assert!(result.is_empty() || result.len() == 3, "{report:?}");
            numbers += execution.0;
            ended += 1;
        }
    }
    assert_eq!(numbers, count * (count - 1) / 2);
}

fn no_op(number: u64) -> Execution {
    let job = Assignment {
        id: JobId::from_u128(number.into()),
        attempt: 1,
        queue: "bench".parse().expect("a queue name"),
        payload: Bytes::from_static(&[b'x'; 100]),
        content_type: "".into(),
        traceparent: "".into(),
        labels: Vec::new(),
        timeout: Some(Duration::from_secs(60)),
    };
    Execution { number: ExecutionNo(number), job }
}

/// The worker: answers each line, and flushes when it has read all that was there.
fn work() -> std::io::Result<()> {
    let mut input = std::io::BufReader::with_capacity(64 << 10, std::io::stdin().lock());
    let mut output = std::io::BufWriter::with_capacity(64 << 10, std::io::stdout().lock());
    let mut line = String::new();
    while input.read_line(&mut line)? > 0 {
        let id = line.split('"').nth(3).unwrap_or_default();
        writeln!(output, "{{\"id\":\"{id}\",\"result\":{}}}", line.len())?;
        line.clear();
        if input.buffer().is_empty() {
            output.flush()?;
        }
    }
    Ok(())
}
