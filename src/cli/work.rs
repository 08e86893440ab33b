//! `gangline work`: a pool of worker processes for a server somewhere else.
//!
//! It says on stderr when it is ready: its stream is open and its slots are offered; and again whenever that is so after the
//! link was broken. A first signal lets running jobs finish, a second one hands them back at once.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::pool::Workforce;
use crate::cli::remote::Address;
use crate::cli::signals::Signals;
use crate::cli::telling;
use crate::cli::words;
use crate::client::Client;
use crate::client::Options;
use crate::client::unique_name;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Sources;
use crate::pool::Mode;
use crate::pool::Spawner;
use crate::pool::claims::Left;
use crate::pool::claims::PoolSpec;
use crate::pool::remote;
use crate::pool::remote::Identity;
use crate::pool::remote::Standing;
use crate::shutdown::Shutdown;
use crate::shutdown::Waited;
use anyhow::Context;
use std::time::Duration;

/// Threads that talk to the server and to the processes.
const THREADS: usize = 2;
/// A link on which nothing moves is given up after this time.
const SILENCE: Duration = Duration::from_secs(10);
/// How long the processes have to be gone once the pool has ended.
const GOODBYE: Duration = Duration::from_secs(3);
/// The longest description that the API takes, in bytes.
const DESCRIPTION_BYTES_MAX: usize = 256;

/// What `work` is told.
#[derive(Debug, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Arguments {
    #[command(flatten)]
    workforce: Workforce,
    /// The pool's own name, one for each pool that lives; a pool that takes the name of another replaces it
    /// [default: host, process id and chance]
    #[arg(long, value_name = "NAME", env = "GANGLINE_WORK_NAME", value_parser = words::name)]
    name: Option<String>,
    #[command(flatten)]
    address: Address,
    /// What to log: error, warn, info, debug, or by module such as warn,gangline::worker=debug
    #[arg(long, value_name = "TEXT", env = "GANGLINE_LOG_FILTER", default_value = "warn")]
    log_filter: String,
    /// Lines for people, or JSON; auto: for people on a terminal. What is told about the pool itself is for people
    #[arg(long, value_name = "auto|human|json", env = "GANGLINE_LOG_FORMAT", default_value = "human")]
    log_format: String,
}

const EXAMPLES: &str = "\
Examples:
  gangline work --server jobs.internal:4264 --queue thumbnails --each -- convert - -resize 200x jpg:-
  gangline work --queue a --queue b --processes 8 --serve -- node worker.js
  gangline work --python shop.tasks
  gangline work --config gangline.toml --pool thumbnails";

/// Runs `work`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let log = vec![("log.filter", arguments.log_filter), ("log.format", arguments.log_format)];
    let log = Config::load(Sources { flags: log, ..Sources::default() })?.config.log;
    let spec = arguments.workforce.spec()?;
    telling::begin(&log);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("work")
        .enable_all()
        .build()
        .context("cannot start the threads of the pool")?;
    let exit = runtime.block_on(work(spec, arguments.name, &arguments.address));
    // What did not end in time does not hold the process up.
    runtime.shutdown_background();
    exit
}

async fn work(spec: PoolSpec, name: Option<String>, address: &Address) -> anyhow::Result<Exit> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let options = Options {
        patience: Duration::MAX,
        first_patience: Duration::ZERO,
        silence: SILENCE,
        ..Options::default()
    };
    let client = Client::connect(address.as_str(), options)?;
    let identity = identity(name, &spec)?;
    let ready = ready(&spec, &identity.name, client.address());
    let grace = spec.config.stop_grace;
    let shutdown = Shutdown::new();
    let spawner = Spawner::start(&shutdown)?;
    let mut pool = remote::start(&client, identity, spec, &spawner, &Clock::system(), &shutdown)?;
    let (mut ended, mut signalled) = (None, Exit::OK);
    while ended.is_none() {
        tokio::select! {
            end = &mut pool.ended => ended = Some(end),
            changed = pool.standing.changed() => {
                // Its end is told by the branch above.
                if changed.is_err() {
                    ended = Some((&mut pool.ended).await);
                } else if *pool.standing.borrow_and_update() == Standing::Ready {
                    output::note(&ready);
                }
            }
            () = signals.next(), if signalled == Exit::OK => {
                if shutdown.token().is_cancelled() {
                    pool.stop_now();
                    signalled = Exit::INTERRUPTED;
                } else {
                    let grace = humantime::format_duration(grace);
                    output::note(format_args!(
                        "stopping: running jobs have {grace} to finish; a second signal hands them back at once"
                    ));
                    shutdown.begin();
                }
            }
        }
    }
    shutdown.begin();
    drop(pool);
    drop(spawner);
    if let Waited::Left(tasks) = shutdown.wait(GOODBYE).await {
        tracing::warn!(tasks, "tasks of the pool did not end in time and were cut");
    }
    let left = ended.expect("the loop ends with it").context("the pool's own task failed")??;
    Ok(farewell(left, signalled))
}

/// Says what the exit code does not say.
fn farewell(left: Left, signalled: Exit) -> Exit {
    if signalled != Exit::OK || left.finishes == 0 {
        return signalled;
    }
    let finishes = left.finishes;
    output::note(format_args!(
        "{finishes} results could not be told: the server was away; their jobs are executed again"
    ));
    Exit::UNAVAILABLE
}

/// The line that an operator can wait for.
fn ready(spec: &PoolSpec, name: &str, server: &str) -> String {
    let queues: Vec<&str> = spec.queues.iter().map(|queue| queue.as_str()).collect();
    format!("ready: {} slots for {} at {server}, as {name}", spec.config.processes, queues.join(", "))
}

fn identity(name: Option<String>, spec: &PoolSpec) -> anyhow::Result<Identity> {
    let host = rustix::system::uname().nodename().to_string_lossy().into_owned();
    let process = std::process::id();
    let name = match name {
        Some(name) => name,
        None => {
            // A host's name may be longer than a worker's.
            let host = &host[..host.floor_char_boundary(64)];
            format!("{host}-{process}-{}", &unique_name()?[..8])
        }
    };
    // Without its arguments, which may hold what is nobody's business.
    let program = match &spec.config.mode {
        Mode::Each(command) | Mode::Serve(command, _) => command.argv.first(),
        Mode::Handler(_) => None,
    };
    let program = program.map(|program| program.to_string_lossy()).unwrap_or_default();
    let mut description = format!("{program}, process {process} on {host}");
    description.truncate(description.floor_char_boundary(DESCRIPTION_BYTES_MAX));
    Ok(Identity { name, description })
}
