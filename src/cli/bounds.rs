//! Bounds on a job that a verb with worker processes takes as flags.

use crate::cli::words;
use crate::pool::limits::Limits;

/// What all processes of a job may use together.
#[derive(Clone, Copy, Debug, Default, clap::Args)]
pub(crate) struct Bounds {
    /// Kill a job whose processes use more memory than this together
    #[arg(long, value_name = "BYTES", value_parser = words::bytes)]
    memory_bytes_max: Option<u64>,
    /// Kill a job that has more processes and threads than this
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    processes_max: Option<u64>,
}

impl Bounds {
    /// `limits` with these bounds.
    pub(crate) fn on(self, limits: Limits) -> Limits {
        Limits { memory_bytes_max: self.memory_bytes_max, processes_max: self.processes_max, ..limits }
    }
}
