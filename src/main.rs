//! The `gangline` program: become the spawner if asked, otherwise parse, run, and end with the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    // A process that was started from /proc/self/exe is called "exe" in ps, top and pgrep; only its name suffers if this fails.
    rustix::thread::set_name(c"gangline").ok();
    gangline::pool::spawner::run_if_asked();
    gangline::cli::main()
}
