//! Our own binary started once more, as the warden or as a spawner, and what is said where that cannot be done.

use crate::pool::spawner::MARK;
use rustix::fd::OwnedFd;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

/// This process's own binary, also after its file was replaced or deleted.
pub(crate) const OURSELVES: &str = "/proc/self/exe";

/// Starts `program` as what `arguments` say, with `socket` as its stdin.
///
/// # Errors
/// The system's own, with which program could not be started and what to do about it.
pub(crate) fn start(program: &Path, arguments: &[&str], socket: OwnedFd) -> io::Result<Child> {
    Command::new(program)
        .arg0("gangline")
        .args(arguments)
        .env(MARK, "1")
        .stdin(Stdio::from(socket))
        .stdout(Stdio::null())
        .process_group(0)
        .spawn()
        .map_err(|error| explained(program, &error))
}

/// What to do about it, where that is known.
const ADVICE: [(io::ErrorKind, &str); 4] = [
    (
        io::ErrorKind::PermissionDenied,
        "; it starts itself again for its workers, so it has to stay executable for the user it runs as",
    ),
    (
        io::ErrorKind::NotFound,
        "; it starts itself again for its workers, so it has to be there, and /proc has to be mounted",
    ),
    (
        io::ErrorKind::WouldBlock,
        "; the limit of processes is reached: raise ulimit -u, or TasksMax of the service",
    ),
    (io::ErrorKind::OutOfMemory, "; the machine, or its cgroup, has no memory left"),
];

fn explained(program: &Path, error: &io::Error) -> io::Error {
    // The path that people know. What cannot be resolved is named as it is.
    let path = std::fs::read_link(program).unwrap_or_else(|_| program.to_owned());
    let advice = ADVICE.iter().find(|(kind, _)| *kind == error.kind()).map_or("", |(_, advice)| *advice);
    io::Error::new(error.kind(), format!("{} cannot be executed: {error}{advice}", path.display()))
}
