//! The clients' common pen: what they see goes into the file at once; only what the load itself steers by is kept.

use crate::history::Finished;
use crate::history::Saw;
use gangline::clock::Clock;
use gangline::proto::v1;
use std::fs::File;
use std::io::BufWriter;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use tokio::sync::watch;

/// What arrived may not count: the caller treats its link as broken.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Doubtful;

/// How far the steady reader has seen the log.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) sequence: u64,
    /// Jobs that have not ended.
    pub(crate) live: i64,
    /// Dead jobs that the operator is still to retry.
    pub(crate) to_mend: i64,
}

/// What the load steers by.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sum {
    pub(crate) acks: usize,
    finishes: usize,
    /// Finishes that the server has accepted.
    pub(crate) accepted: usize,
    /// When the newest acknowledgement of any kind arrived, in milliseconds since 1970.
    pub(crate) newest_ack_ms: u64,
    /// How often the power began or finished to be cut; odd while it is.
    cuts: u64,
    /// The queue of each reader and the newest update it saw.
    pub(crate) readers: Vec<(Option<String>, u64)>,
}

/// The history as the clients write it.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    book: Arc<Mutex<Book>>,
    tally: Arc<watch::Sender<Tally>>,
}

#[derive(Debug)]
struct Book {
    file: BufWriter<File>,
    sum: Sum,
}

impl Book {
    /// A line is the time in milliseconds since 1970 and what was seen.
    fn write(&mut self, saw: &Saw) {
        let now_ms = Clock::system().now().wall.0;
        self.sum.add(saw, now_ms);
        let line = serde_json::to_vec(&(now_ms, saw)).expect("what was seen can be written");
        let written = self.file.write_all(&line).and_then(|()| self.file.write_all(b"\n"));
        written.expect("there is space for the history");
    }
}

impl Sum {
    fn add(&mut self, saw: &Saw, now_ms: u64) {
        match saw {
            Saw::Acked(acks) => {
                self.acks += acks.len();
                self.newest_ack_ms = now_ms;
            }
            Saw::Answered(answers) if !answers.is_empty() => {
                let is_accepted = |answer: &&(usize, i32)| answer.1 == v1::FinishOutcome::Accepted as i32;
                self.accepted += answers.iter().filter(is_accepted).count();
                self.newest_ack_ms = now_ms;
            }
            Saw::Finishing(_) => self.finishes += 1,
            Saw::PowerChanges => self.cuts += 1,
            Saw::Reader(_, queue) => self.readers.push((queue.clone(), 0)),
            Saw::Read(index, seen) => {
                if let Some((newest, _)) = seen.last() {
                    self.readers[*index].1 = *newest;
                }
            }
            Saw::Answered(_)
            | Saw::Asked(_)
            | Saw::Resumed(_)
            | Saw::Leased(_)
            | Saw::Controlled(_)
            | Saw::Reconnects(_)
            | Saw::Failed(..)
            | Saw::Unsettled(_)
            | Saw::Refused(_)
            | Saw::Update(_)
            | Saw::Listed(_)
            | Saw::Got(_)
            | Saw::End => {}
        }
    }
}

impl Recorder {
    /// Writes to a new file.
    pub(crate) fn new(path: &Path) -> Recorder {
        let file = BufWriter::new(File::create(path).expect("a file for the history"));
        let book = Arc::new(Mutex::new(Book { file, sum: Sum::default() }));
        Recorder { book, tally: Arc::new(watch::Sender::new(Tally::default())) }
    }

    /// Records what a client is about to do, or what needs no answer to count.
    pub(crate) fn note(&self, saw: &Saw) {
        self.lock().write(saw);
    }

    /// Records a finish that is about to be sent; gives its count.
    pub(crate) fn finishing(&self, finish: Finished) -> usize {
        let mut book = self.lock();
        book.write(&Saw::Finishing(finish));
        book.sum.finishes - 1
    }

    /// Records a reader that begins; gives its count.
    pub(crate) fn reader(&self, name: &str, queue: Option<String>) -> usize {
        let mut book = self.lock();
        book.write(&Saw::Reader(name.to_owned(), queue));
        book.sum.readers.len() - 1
    }

    /// Records what a client received over a connection that it began at [`Recorder::cuts`], if it counts: what comes
    /// while the power is being cut, or over a connection from before, does not.
    pub(crate) fn receive(&self, cuts: u64, seen: &[Saw]) -> Result<(), Doubtful> {
        let mut book = self.lock();
        if book.sum.cuts != cuts || !cuts.is_multiple_of(2) {
            return Err(Doubtful);
        }
        seen.iter().for_each(|saw| book.write(saw));
        Ok(())
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.lock().sum.cuts
    }

    pub(crate) fn look<T>(&self, read: impl FnOnce(&Sum) -> T) -> T {
        read(&self.lock().sum)
    }

    pub(crate) fn tally(&self) -> watch::Receiver<Tally> {
        self.tally.subscribe()
    }

    pub(crate) fn count(&self, change: impl FnOnce(&mut Tally)) {
        self.tally.send_modify(change);
    }

    /// Everything recorded so far can be read.
    pub(crate) fn flush(&self) {
        self.lock().file.flush().expect("there is space for the history");
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().expect("no client panics while it records")
    }
}
