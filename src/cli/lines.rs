//! Lines of input, from files or stdin, read on a thread of its own so that a slow pipe holds nobody up. At most a few
//! chunks are in memory. [MEM-1]

use bytes::Bytes;
use std::fs::File;
use std::io;
use std::io::BufRead;
use std::io::BufReader;
use std::io::Read;
use std::path::PathBuf;
use tokio::sync::mpsc;

/// The longest line: the server's limit of a payload, unless it was changed.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;
/// Lines and bytes of a chunk, and chunks between the thread and the reader.
const CHUNK_LINES: usize = 1_000;
const CHUNK_BYTES: usize = 256 << 10;
const CHUNKS_MAX: usize = 4;

/// Why there is no next line.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// A file cannot be opened or read.
    #[error("cannot read {name}")]
    Read {
        /// The file, or stdin.
        name: String,
        #[source]
        source: io::Error,
    },
    /// A line is longer than a payload may be.
    #[error(
        "line {number} of the input has more than {LINE_BYTES_MAX} bytes, which is the most that a job can hold"
    )]
    TooLong {
        /// Counted over all files, from 1.
        number: u64,
    },
}

/// The lines of some files, one after the other, without their line ends.
#[derive(Debug)]
pub(crate) struct Lines {
    chunks: mpsc::Receiver<Result<Vec<Bytes>, Error>>,
    chunk: std::vec::IntoIter<Bytes>,
    taken: u64,
}

impl Lines {
    /// Opens every file, so that a missing one is told before anything happens; no file is stdin, and so is `-`.
    ///
    /// # Errors
    /// [`Error::Read`].
    pub(crate) fn open(files: &[PathBuf]) -> Result<Lines, Error> {
        let mut sources: Vec<(String, Box<dyn Read + Send>)> = Vec::new();
        for file in files {
            let name = file.display().to_string();
            if name == "-" {
                sources.push(("stdin".to_owned(), Box::new(io::stdin())));
            } else {
                match File::open(file) {
                    Ok(opened) => sources.push((name, Box::new(opened))),
                    Err(source) => return Err(Error::Read { name, source }),
                }
            }
        }
        if sources.is_empty() {
            sources.push(("stdin".to_owned(), Box::new(io::stdin())));
        }
        let (sender, chunks) = mpsc::channel(CHUNKS_MAX);
        // It may wait in a read for ever; it holds nothing that the end of the process would harm.
        let thread = std::thread::Builder::new().name("input".to_owned());
        let read = move || {
            if let Err(error) = read_all(sources, &sender) {
                // Nobody reads any more: nobody to tell.
                sender.blocking_send(Err(error)).ok();
            }
        };
        match thread.spawn(read) {
            Ok(_detached) => Ok(Lines { chunks, chunk: Vec::new().into_iter(), taken: 0 }),
            Err(source) => Err(Error::Read { name: "the input".to_owned(), source }),
        }
    }

    /// How many lines have been taken: the number of the last one, from 1.
    pub(crate) fn taken(&self) -> u64 {
        self.taken
    }

    /// The next line; `None` after the last. May be dropped at any time, nothing is lost.
    ///
    /// # Errors
    /// [`Error`].
    pub(crate) async fn next(&mut self) -> Result<Option<Bytes>, Error> {
        loop {
            if let Some(line) = self.at_hand() {
                return Ok(Some(line));
            }
            match self.chunks.recv().await {
                None => return Ok(None),
                Some(chunk) => self.chunk = chunk?.into_iter(),
            }
        }
    }

    /// The next line if it is there without waiting.
    pub(crate) fn at_hand(&mut self) -> Option<Bytes> {
        let line = self.chunk.next()?;
        self.taken += 1;
        Some(line)
    }
}

type Sender = mpsc::Sender<Result<Vec<Bytes>, Error>>;

fn read_all(sources: Vec<(String, Box<dyn Read + Send>)>, sender: &Sender) -> Result<(), Error> {
    let mut number = 0;
    for (name, source) in sources {
        let mut reader = BufReader::with_capacity(CHUNK_BYTES, source);
        let (mut chunk, mut bytes) = (Vec::new(), 0);
        loop {
            number += 1;
            let line = read_line(&mut reader, number, &name)?;
            let ended = line.is_none();
            bytes += line.as_ref().map_or(0, Bytes::len);
            chunk.extend(line);
            // What was typed or piped so far goes on at once.
            let pause = reader.buffer().is_empty();
            if (ended || pause || chunk.len() >= CHUNK_LINES || bytes >= CHUNK_BYTES)
                && !chunk.is_empty()
                && sender.blocking_send(Ok(std::mem::take(&mut chunk))).is_err()
            {
                return Ok(());
            }
            if ended {
                number -= 1;
                break;
            }
            if chunk.is_empty() {
                bytes = 0;
            }
        }
    }
    Ok(())
}

fn read_line(reader: &mut impl BufRead, number: u64, name: &str) -> Result<Option<Bytes>, Error> {
    let mut line = Vec::new();
    let mut limited = reader.take(LINE_BYTES_MAX as u64 + 1);
    let read = limited.read_until(b'\n', &mut line);
    match read.map_err(|source| Error::Read { name: name.to_owned(), source })? {
        0 => return Ok(None),
        _ if line.last() == Some(&b'\n') => {
            line.pop();
        }
        _ if line.len() > LINE_BYTES_MAX => return Err(Error::TooLong { number }),
        _ => {}
    }
    Ok(Some(Bytes::from(line)))
}

#[cfg(test)]
mod tests {
    use crate::cli::lines::CHUNKS_MAX;
    use crate::cli::lines::Error;
    use crate::cli::lines::LINE_BYTES_MAX;
    use crate::cli::lines::read_all;
    use bytes::Bytes;
    use std::io::Cursor;
    use std::io::Read;
    use tokio::sync::mpsc;

    fn lines(inputs: &[&[u8]]) -> Result<Vec<Bytes>, Error> {
        let source = |input: &&[u8]| -> (String, Box<dyn Read + Send>) {
            ("test".to_owned(), Box::new(Cursor::new(input.to_vec())))
        };
        let sources = inputs.iter().map(source).collect();
        let (sender, mut chunks) = mpsc::channel(CHUNKS_MAX);
        let reader = std::thread::spawn(move || read_all(sources, &sender));
        let mut lines = Vec::new();
        while let Some(chunk) = chunks.blocking_recv() {
            lines.extend(chunk?);
        }
        reader.join().unwrap().map(|()| lines)
    }

    #[test]
    fn every_line_of_every_file_comes_once_and_in_order() {
        assert_eq!(lines(&[b"a\n\nb", b"", b"c\n"]).unwrap(), ["a", "", "b", "c"]);
        assert!(lines(&[b""]).unwrap().is_empty());
        let many: Vec<String> = (0..5_000).map(|number| number.to_string()).collect();
        assert_eq!(lines(&[many.join("\n").as_bytes()]).unwrap(), many);
    }

    #[test]
    fn the_longest_line_is_taken_and_a_longer_one_is_named() {
        let longest = vec![b'x'; LINE_BYTES_MAX];
        assert_eq!(lines(&[&[&longest[..], b"\n"].concat()]).unwrap(), std::slice::from_ref(&longest));
        let error = lines(&[b"a\n", &[&longest[..], b"xx"].concat()]).unwrap_err();
        assert!(matches!(error, Error::TooLong { number: 2 }), "{error}");
    }
}
