//! `gangline serve`: run the service until SIGTERM or SIGINT.
//!
//! The first line on stdout is `listening on ADDRESS`, printed when calls are answered. A first signal stops it as
//! `docs/cli.md` says, a second one at once.

use crate::cli::damaged;
use crate::cli::exit::Exit;
use crate::cli::memory;
use crate::cli::output;
use crate::cli::pool::Tasks;
use crate::cli::setting::Flags;
use crate::cli::signals::Signals;
use crate::cli::telling;
use crate::config::Config;
use crate::server;
use crate::server::Running;
use anyhow::Context;
use std::time::Duration;

/// After the log failed: how long answers and health checks have to reach those who wait.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// What `serve` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Only read: serve what is in the data directory now, up to the damage if it is damaged, and write nothing
    #[arg(long, conflicts_with = "python")]
    read_only: bool,
    #[command(flatten)]
    tasks: Tasks,
    #[command(flatten)]
    settings: Flags,
}

/// Runs the service.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let mut config = arguments.settings.load()?.config;
    arguments.tasks.add_to(&mut config)?;
    telling::begin(&config.log);
    memory::bound();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(config.threads)
        .thread_name("serve")
        .enable_all()
        .build()
        .context("cannot start the threads that serve calls")?;
    let mode = if arguments.read_only { Mode::ReadOnly } else { Mode::Whole };
    let exit = runtime.block_on(serve(&config, mode));
    // What did not end in time does not hold the process up.
    runtime.shutdown_background();
    exit
}

/// What is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// Everything.
    Whole,
    /// Reads alone.
    ReadOnly,
}

async fn start(config: &Config, mode: Mode) -> Result<Running, server::Error> {
    match mode {
        Mode::Whole => server::start(config).await,
        Mode::ReadOnly => server::start_read_only(config).await,
    }
}

async fn serve(config: &Config, mode: Mode) -> anyhow::Result<Exit> {
    let mut signals = Signals::new().context("cannot listen for signals")?;
    let running = tokio::select! {
        started = start(config, mode) => started.map_err(|error| damaged::refused(&config.data, error))?,
        // Recovery may be killed anywhere, so nothing has to be undone.
        () = signals.next() => return Ok(Exit::INTERRUPTED),
    };
    // A reader that has gone does not stop the service.
    output::line(format_args!("listening on {}", running.address()))?;
    tokio::select! {
        () = signals.next() => stop(running, signals).await,
        () = running.failed() => {
            tracing::error!("the log failed: ending, so that a restart can recover what is durable");
            // The engine has told all callers by now; their answers and the health only have to get out.
            tokio::time::sleep(LAST_WORDS).await;
            Ok(Exit::DISK)
        }
    }
}

async fn stop(running: Running, mut signals: Signals) -> anyhow::Result<Exit> {
    tokio::select! {
        stopped = running.stop() => {
            stopped.context("the log failed while the server stopped")?;
            tracing::info!("stopped");
            Ok(Exit::OK)
        }
        () = signals.next() => {
            tracing::warn!("a second signal: stopping at once; the next start recovers");
            Ok(Exit::INTERRUPTED)
        }
    }
}
