//! Resource limits of worker processes, set by the spawner on each process right after it starts.
//!
//! A process runs for a moment before its limits hold. They bound accidents; they are not a sandbox.

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::prlimit;
use serde::Deserialize;
use serde::Serialize;

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
}

impl Limits {
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
