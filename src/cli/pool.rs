//! What a pool is told on the command line: which queues, how many processes, which command and how it is run.

use crate::cli::bounds::Bounds;
use crate::cli::python;
use crate::cli::words;
use crate::config::Config;
use crate::config::Sources;
use crate::job::id::QueueName;
use crate::pool;
use crate::pool::Command;
use crate::pool::Mode;
use crate::pool::Recycle;
use crate::pool::claims::PoolSpec;
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

/// Which pool is meant is not clear.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// There is none, or more than one.
    #[error("{} has {count} pools: say with --pool which to run, one of: {names}", file.display())]
    NotOnePool {
        /// The configuration file.
        file: PathBuf,
        /// How many pools it has.
        count: usize,
        /// What they are called.
        names: String,
    },
    /// Another pool has the name.
    #[error("--python: a pool of the configuration file is called {0:?} too: rename it")]
    NameTaken(String),
}

/// Where jobs come from and how many are worked on at a time.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Slots {
    /// A queue to take jobs from; may be repeated [default: the queues of the Python module's tasks, or "default"]
    #[arg(long = "queue", short, value_name = "NAME", env = "GANGLINE_WORK_QUEUES", value_delimiter = ',')]
    queues: Vec<QueueName>,
    /// How many processes work at the same time [default: one a core]
    #[arg(long, short = 'j', value_name = "NUMBER", env = "GANGLINE_WORK_PROCESSES")]
    processes: Option<NonZeroUsize>,
}

/// How the processes are run. One of them is needed.
#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
pub(crate) struct How {
    /// A process a job: the payload is its input, what it prints is the result
    #[arg(long)]
    each: bool,
    /// Processes that stay: they read a JSON object a line and answer with one
    #[arg(long)]
    serve: bool,
    /// Processes that stay and run the tasks of a Python module: $GANGLINE_PYTHON or python3, -m gangline.worker MODULE
    #[arg(long, value_name = "MODULE", conflicts_with = "command")]
    python: Option<String>,
    /// The pool of this configuration file, with every setting that a [[pools]] table has
    #[arg(long, value_name = "FILE", conflicts_with_all = ["command", "queues", "processes", "inherit"])]
    #[arg(conflicts_with_all = ["memory_bytes_max", "processes_max", "stop_grace", "kill_grace"])]
    config: Option<PathBuf>,
}

/// Everything about the processes of a pool that runs a command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Workforce {
    #[command(flatten)]
    slots: Slots,
    #[command(flatten)]
    how: How,
    /// The program that does the work, and its arguments; never through a shell
    #[arg(last = true, value_name = "COMMAND", required_unless_present_any = ["python", "config"])]
    command: Vec<OsString>,
    /// Which pool of the configuration file, if it has several
    #[arg(long, value_name = "NAME", requires = "config", conflicts_with_all = ["each", "serve", "python"])]
    pool: Option<String>,
    /// A variable of this environment that the processes get, beside PATH, HOME and a few more; may be repeated
    #[arg(long, value_name = "VARIABLE")]
    inherit: Vec<OsString>,
    #[command(flatten)]
    bounds: Bounds,
    /// How long running jobs may go on after SIGTERM
    #[arg(long, value_name = "DURATION", value_parser = words::span, default_value = "30s")]
    #[arg(env = "GANGLINE_WORK_STOP_GRACE")]
    stop_grace: Duration,
    /// How long a process has between SIGTERM and SIGKILL
    #[arg(long, value_name = "DURATION", value_parser = words::span, default_value = "5s")]
    #[arg(env = "GANGLINE_WORK_KILL_GRACE")]
    kill_grace: Duration,
}

/// A pool of Python tasks inside a server.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Tasks {
    /// Run the tasks of a Python module in processes of the server's own: $GANGLINE_PYTHON or python3, -m gangline.worker
    /// MODULE
    #[arg(long, value_name = "MODULE")]
    python: Option<String>,
    /// A queue that the Python processes take jobs from; may be repeated [default: the queues of the module's tasks]
    #[arg(long = "queue", short, value_name = "NAME", requires = "python")]
    queues: Vec<QueueName>,
    /// How many Python processes work at the same time [default: one a core]
    #[arg(long, short = 'j', value_name = "NUMBER", requires = "python")]
    processes: Option<NonZeroUsize>,
}

impl Tasks {
    /// Adds the pool, if there is to be one, checked as far as that is possible.
    ///
    /// # Errors
    /// A Python that is not there, or another pool of its name.
    pub(crate) fn add_to(self, config: &mut Config) -> anyhow::Result<()> {
        let Some(module) = self.python else { return Ok(()) };
        let command = python::worker(&[], &module);
        let mut slots = Slots { queues: self.queues, processes: self.processes };
        slots.ask_for_queues(&module)?;
        command.resolve()?;
        let mut spec = slots.spec(Mode::Serve(command, Recycle::default()));
        spec.name = module.into();
        spec.config.stop_grace = config.shutdown_grace;
        spec.config.result_bytes_max = config.sizes.result_bytes_max;
        if config.pools.iter().any(|pool| pool.name == spec.name) {
            return Err(Error::NameTaken(spec.name.to_string()).into());
        }
        config.pools.push(spec);
        Ok(())
    }
}

impl Workforce {
    /// The pool, checked as far as that is possible before anything is started.
    ///
    /// # Errors
    /// A command that is not there, a file that has no such pool.
    pub(crate) fn spec(mut self) -> anyhow::Result<PoolSpec> {
        if let Some(file) = self.how.config {
            return from_file(file, self.pool.as_deref());
        }
        let mut command = match &self.how.python {
            Some(module) => {
                self.slots.ask_for_queues(module)?;
                python::worker(&[], module)
            }
            None => Command::new(&self.command),
        };
        command.inherit.extend(self.inherit);
        command.limits = self.bounds.on(command.limits);
        command.resolve()?;
        let mode = if self.how.each { Mode::Each(command) } else { Mode::Serve(command, Recycle::default()) };
        let mut spec = self.slots.spec(mode);
        spec.config.stop_grace = self.stop_grace;
        spec.config.kill_grace = self.kill_grace;
        Ok(spec)
    }
}

impl Slots {
    /// Takes jobs from the queues of the module's tasks, if no other ones are named.
    fn ask_for_queues(&mut self, module: &str) -> anyhow::Result<()> {
        if self.queues.is_empty() {
            self.queues = python::queues(module)?;
        }
        Ok(())
    }

    fn spec(self, mode: Mode) -> PoolSpec {
        let mut config = pool::Config::new(mode);
        config.processes = self.processes.unwrap_or(config.processes);
        let mut queues = self.queues;
        if queues.is_empty() {
            queues.push("default".parse().expect("it is a name"));
        }
        PoolSpec { name: queues[0].as_str().into(), queues, config }
    }
}

/// The pool of that name, or the only one. The rest of the file is about a server, and only checked.
fn from_file(file: PathBuf, name: Option<&str>) -> anyhow::Result<PoolSpec> {
    let sources = Sources { file: Some(file.clone()), ..Sources::default() };
    let pools = Config::load(sources)?.config.pools;
    let names: Vec<&str> = pools.iter().map(|pool| &*pool.name).collect();
    let error = Error::NotOnePool { file, count: pools.len(), names: names.join(", ") };
    let mut wanted = pools.iter().filter(|pool| name.is_none_or(|name| *pool.name == *name));
    match (wanted.next(), wanted.next()) {
        (Some(pool), None) => Ok(pool.clone()),
        (Some(_), Some(_)) | (None, _) => Err(error.into()),
    }
}
