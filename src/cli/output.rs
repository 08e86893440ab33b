//! The only file that prints: data on stdout, talk on stderr. A reader that closes the pipe is not an error.

use crate::cli::exit::Exit;
use serde::Serialize;
use std::error::Error;
use std::fmt::Display;
use std::io;
use std::io::Write;
use tonic::Status;

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
    bytes(format!("{text}\n").as_bytes())
}

/// Prints lines of data in one piece.
///
/// # Errors
/// As [`line`].
pub(crate) fn lines(lines: impl Iterator<Item = String>) -> io::Result<Reader> {
    let mut text = String::new();
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    bytes(text.as_bytes())
}

/// Prints objects as JSON, each on a line, in one piece.
///
/// # Errors
/// As [`line`].
pub(crate) fn json(objects: impl IntoIterator<Item = impl Serialize>) -> anyhow::Result<Reader> {
    let mut text = Vec::new();
    for object in objects {
        serde_json::to_writer(&mut text, &object)?;
        text.push(b'\n');
    }
    Ok(bytes(&text)?)
}

/// Objects as JSON, each on a line, of which there may be many: they are printed in pieces.
#[derive(Debug, Default)]
pub(crate) struct Objects {
    text: Vec<u8>,
}

impl Objects {
    /// A piece is about so long.
    const PIECE_BYTES: usize = 256 * 1024;

    /// One more.
    ///
    /// # Errors
    /// As [`line`].
    pub(crate) fn add(&mut self, object: &impl Serialize) -> anyhow::Result<Reader> {
        serde_json::to_writer(&mut self.text, object)?;
        self.text.push(b'\n');
        if self.text.len() < Objects::PIECE_BYTES { Ok(Reader::There) } else { self.print() }
    }

    /// Prints what is not printed yet.
    ///
    /// # Errors
    /// As [`line`].
    pub(crate) fn print(&mut self) -> anyhow::Result<Reader> {
        let reader = bytes(&self.text)?;
        self.text.clear();
        Ok(reader)
    }
}

/// Prints data as it is and hands it on at once.
///
/// # Errors
/// As [`line`].
pub(crate) fn bytes(data: &[u8]) -> io::Result<Reader> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::There),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(error),
    }
}

/// Says what went wrong, why, and what to do.
pub(crate) fn failure(error: &anyhow::Error, advice: Option<&str>) {
    let mut text = format!("gangline: {error}\n");
    // A status only repeats, in the transport's words, what the client's error says.
    let is_status = |cause: &&(dyn Error + 'static)| cause.is::<Status>() || cause.is::<Box<Status>>();
    for cause in error.chain().skip(1).filter(|cause| !is_status(cause)) {
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

/// Says something that is not data.
pub(crate) fn note(text: impl Display) {
    talk(&format!("gangline: {text}\n"));
}

fn talk(text: &str) {
    // A closed stderr leaves nobody to tell.
    io::stderr().lock().write_all(text.as_bytes()).ok();
}
