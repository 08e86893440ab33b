//! The tasks of a Python module as a worker: which Python runs them, and which queues they take jobs from.

use crate::job::id::QueueName;
use crate::pool::Command;
use std::ffi::OsString;

/// The Python that runs a module, if not this one.
const VARIABLE: &str = "GANGLINE_PYTHON";
const PYTHON: &str = "python3";
/// The part of the Python package that runs a module as a serve worker.
const WORKER: &str = "gangline.worker";
/// What a Python says that does not have the package.
const NO_PACKAGE: &str = "No module named 'gangline'";
/// What such a Python needs of the environment to find its modules.
const INHERITS: [&str; 2] = ["PYTHONPATH", "VIRTUAL_ENV"];

/// The tasks of a Python module cannot be worked on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// Their queues are not known.
    #[error("--python: which queues the tasks of {module} take jobs from cannot be found out: {said}")]
    Module {
        /// The module.
        module: String,
        /// What its Python said.
        said: String,
    },
    /// It has several, and lines are for one.
    #[error("--python: {module} has {count} tasks: say with --task which gets the lines, one of: {names}")]
    NotOneTask {
        /// The module.
        module: String,
        /// How many.
        count: usize,
        /// Their queues.
        names: String,
    },
    /// It does not have that one.
    #[error("--task: {module} has no task for queue {task:?}, only for {names}")]
    NoSuchTask {
        /// The module.
        module: String,
        /// As it was named.
        task: String,
        /// Their queues.
        names: String,
    },
}

/// The worker of the module, with these arguments before the module's name.
pub(crate) fn worker(arguments: &[&str], module: &str) -> Command {
    let python = std::env::var_os(VARIABLE).filter(|python| !python.is_empty());
    let python = python.unwrap_or_else(|| PYTHON.into());
    let words = ["-m", WORKER].into_iter().chain(arguments.iter().copied()).chain([module]);
    Command {
        inherit: INHERITS.map(OsString::from).to_vec(),
        ..Command::new(std::iter::once(python).chain(words.map(OsString::from)))
    }
}

/// The queues of the module's tasks, at least one, as the module itself says.
///
/// # Errors
/// A Python that is not there; a module that cannot be imported or has no task.
pub(crate) fn queues(module: &str) -> anyhow::Result<Vec<QueueName>> {
    let answer = worker(&["--queues"], module).ask()?;
    let failed = |said: &[u8]| {
        let mut said = String::from_utf8_lossy(said).trim_end().to_owned();
        if said.contains(NO_PACKAGE) {
            said += "; install the package for it, or name the Python that has it in ";
            said += VARIABLE;
        }
        Error::Module { module: module.to_owned(), said }
    };
    if !answer.status.success() {
        return Err(failed(&answer.stderr).into());
    }
    let names = str::from_utf8(&answer.stdout).map_err(|_| failed(&answer.stdout))?;
    let queues: Vec<QueueName> =
        names.lines().map(str::parse).collect::<Result<_, _>>().map_err(|_| failed(&answer.stdout))?;
    if queues.is_empty() { Err(failed(b"it named none").into()) } else { Ok(queues) }
}

/// The queue of the module's task that is meant: the one that is named, or the only one.
///
/// # Errors
/// As [`queues`]; no such task, or several and none is named.
pub(crate) fn one_task(module: &str, task: Option<&QueueName>) -> anyhow::Result<QueueName> {
    let mut queues = queues(module)?;
    let names = queues.iter().map(QueueName::as_str).collect::<Vec<_>>().join(", ");
    let (module, count) = (module.to_owned(), queues.len());
    match task {
        Some(task) if queues.contains(task) => Ok(task.clone()),
        Some(task) => Err(Error::NoSuchTask { module, task: task.to_string(), names }.into()),
        None if count == 1 => Ok(queues.remove(0)),
        None => Err(Error::NotOneTask { module, count, names }.into()),
    }
}
