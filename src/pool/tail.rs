//! The log of a worker process, its stderr: the end of it is kept for the case that the process dies, and
//! every line goes to the server's own log at debug level.

use crate::job::event::Failure;

/// The longest line that is passed on; longer ones are cut in pieces.
const LINE_BYTES_MAX: usize = 1_024;

#[derive(Debug, Default)]
pub(crate) struct Tail {
    kept: Vec<u8>,
    line: Vec<u8>,
}

impl Tail {
    /// Takes what process `pid` wrote.
    pub(crate) fn push(&mut self, bytes: &[u8], pid: u32) {
        self.kept.extend_from_slice(&bytes[bytes.len().saturating_sub(Failure::STDERR_BYTES_MAX)..]);
        let surplus = self.kept.len().saturating_sub(Failure::STDERR_BYTES_MAX);
        self.kept.drain(..surplus);
        if tracing::enabled!(target: "gangline::worker", tracing::Level::DEBUG) {
            self.pass_on(bytes, pid);
        }
    }

    /// Forgets what was kept: another job begins.
    pub(crate) fn clear(&mut self) {
        self.kept.clear();
    }

    fn pass_on(&mut self, bytes: &[u8], pid: u32) {
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            for part in piece.chunks(LINE_BYTES_MAX) {
                self.line.extend_from_slice(part);
                if self.line.ends_with(b"\n") || self.line.len() >= LINE_BYTES_MAX {
                    let line = String::from_utf8_lossy(self.line.trim_ascii_end());
                    // With "?", which escapes control characters: a worker must not forge lines of our log.
                    tracing::debug!(target: "gangline::worker", pid, ?line);
                    self.line.clear();
                }
            }
        }
    }

    /// The end of what was written, at most [`Failure::STDERR_BYTES_MAX`] bytes.
    pub(crate) fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.kept);
        let from = text.len().saturating_sub(Failure::STDERR_BYTES_MAX);
        text[text.ceil_char_boundary(from)..].to_owned()
    }

    /// The last line that says something.
    pub(crate) fn last_line(&self) -> Option<String> {
        self.text().lines().rev().find(|line| !line.trim().is_empty()).map(|line| line.trim().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use crate::job::event::Failure;
    use crate::pool::tail::Tail;

    #[test]
    fn the_end_is_kept_and_never_more_than_the_limit() {
        let mut tail = Tail::default();
        for number in 0..10_000 {
            tail.push(format!("line {number}\n").as_bytes(), 1);
        }
        tail.push(b"the last\n\n", 1);
        assert_eq!(tail.last_line().as_deref(), Some("the last"));
        assert_eq!(tail.text().len(), Failure::STDERR_BYTES_MAX);
        // Bytes that are not UTF-8 grow when they are replaced.
        tail.push(&[0xff; 10_000], 1);
        assert!(tail.text().len() <= Failure::STDERR_BYTES_MAX);
    }
}
