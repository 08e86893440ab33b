//! The only file that prints: data on stdout, talk on stderr. A reader that closes the pipe is not an error.

use crate::cli::exit::Exit;
use std::fmt::Display;
use std::io;
use std::io::Write;

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// As far as known.
    There,
    /// It closed its end: stop quietly.
    Gone,
}

/// Prints a line of data and hands it on at once.
///
/// # Errors
/// What the operating system says, unless it only says that the reader has gone.
pub(crate) fn line(text: impl Display) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Says what went wrong, why, and what to do.
pub(crate) fn failure(error: &anyhow::Error, advice: Option<&str>) {
    let mut text = format!("gangline: {error}\n");
    for cause in error.chain().skip(1) {
        text.push_str(&format!("  because: {cause}\n"));
    }
    if let Some(advice) = advice {
        text.push_str(&format!("  to do: {advice}\n"));
    }
    talk(&text);
}

/// Prints what clap has to say: help on stdout, mistakes on stderr.
pub(crate) fn usage(error: &clap::Error) -> Exit {
    // Nobody is left to tell if this fails.
    error.print().ok();
    if error.use_stderr() { Exit::USAGE } else { Exit::OK }
}

fn talk(text: &str) {
    // A closed stderr leaves nobody to tell.
    io::stderr().lock().write_all(text.as_bytes()).ok();
}
