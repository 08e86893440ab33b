//! The `gangline` program: become the spawner if asked, otherwise parse, run, and end with the exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    gangline::pool::spawner::run_if_asked();
    gangline::cli::main()
}
