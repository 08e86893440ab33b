//! Limits of worker processes. Most are resource limits of the kernel, set by the spawner on each process right after
//! it starts, so that a process runs for a moment before they hold. Those on a whole job the spawner watches.
//!
//! They bound accidents; they are not a sandbox.

use crate::pool::spawner::cgroup;
use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;
use serde::Deserialize;
use serde::Serialize;
use std::fmt;
use std::io;

/// What one worker process may use; `None` leaves what it inherits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Address space in bytes; allocating beyond it fails.
    pub address_space_bytes: Option<u64>,
    /// CPU time in seconds, over the life of the process; beyond it the kernel kills it.
    pub cpu_seconds: Option<u64>,
    /// Open files.
    pub open_files: Option<u64>,
    /// Largest core dump in bytes; 0 for none.
    pub core_bytes: Option<u64>,
    /// Processes of the *user* that runs the pool, all its other processes included. Root is not bound by it.
    pub processes: Option<u64>,
    /// Resident memory in bytes of the worker process and all that it started; over it all of them are killed. Looked at
    /// every 50 ms.
    pub memory_bytes_max: Option<u64>,
    /// Threads of the worker process and all that it started, of which every process has one at least; over it all of
    /// them are killed. Held by the kernel where a cgroup can be had (see [`Limits::check_processes_max`]), and looked
    /// at every 50 ms.
    pub processes_max: Option<u64>,
    /// Whether a program may run with more rights than the worker.
    pub new_privileges: NewPrivileges,
}

/// Whether set-user-id programs and file capabilities work below a worker (`no_new_privs` of the kernel).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewPrivileges {
    /// They do not: nothing below a worker can become a user that the service may not signal.
    #[default]
    Denied,
    /// They do, `sudo` for one.
    Allowed,
}

impl NewPrivileges {
    pub(crate) fn is_denied(self) -> bool {
        match self {
            NewPrivileges::Denied => true,
            NewPrivileges::Allowed => false,
        }
    }
}

/// The limit on a whole job that was exceeded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Over {
    Memory { memory_bytes: u64, memory_bytes_max: u64 },
    Processes { processes_max: u64 },
}

impl fmt::Display for Over {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Over::Memory { memory_bytes, memory_bytes_max } => {
                write!(f, "used {memory_bytes} bytes of memory, and {memory_bytes_max} are allowed")
            }
            Over::Processes { processes_max } => {
                write!(f, "wanted more than the {processes_max} processes and threads that are allowed")
            }
        }
    }
}

impl Limits {
    /// Whether the kernel will hold the bound on processes, so that a bomb cannot outrun the looks.
    ///
    /// # Errors
    /// Why it will not: no cgroup that counts processes can be made.
    pub fn check_processes_max(&self) -> io::Result<()> {
        if self.processes_max.is_some() { cgroup::probe() } else { Ok(()) }
    }

    /// Sets the limits on process `pid`, soft and hard.
    ///
    /// # Errors
    /// The kernel's refusal: a limit above the spawner's own hard limit, without the right to raise it.
    pub(crate) fn apply(&self, pid: Pid) -> Result<(), Errno> {
        let wanted = [
            (Resource::As, self.address_space_bytes),
            (Resource::Cpu, self.cpu_seconds),
            (Resource::Nofile, self.open_files),
            (Resource::Core, self.core_bytes),
            (Resource::Nproc, self.processes),
        ];
        for (resource, limit) in wanted {
            if limit.is_some() {
                match prlimit(Some(pid), resource, Rlimit { current: limit, maximum: limit }) {
                    // The process has already ended, so there is nothing left to limit.
                    Ok(_) | Err(Errno::SRCH) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}
