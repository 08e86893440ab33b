//! Whether the work tree of a stopped directory says what the log says. It is the only tool here that opens sled, and only
//! on a private copy: sled writes when it opens, and panics on what is damaged.
//!
//! The copy is brought up to the end of the log as a start would do it, a second tree is built from the log alone, and the
//! two are compared job by job.

use crate::clock::Clock;
use crate::engine::seeds;
use crate::job::event::Event;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::StoreId;
use crate::log::Error;
use crate::offline::DataDirectory;
use crate::offline::Fault;
use crate::offline::From;
use crate::offline::Kind;
use crate::offline::Located;
use crate::offline::Step;
use crate::offline::Tail;
use crate::work;
use crate::work::AppliedFrame;
use crate::work::Filter;
use crate::work::Opened;
use crate::work::Options;
use crate::work::Place;
use crate::work::Query;
use crate::work::Record;
use crate::work::Span;
use crate::work::WorkTree;
use std::collections::VecDeque;
use std::path::Path;
use std::path::PathBuf;

/// Bytes of log that are applied at once.
const BATCH_BYTES: usize = 8 << 20;
/// Jobs that are compared at once.
const PAGE_JOBS: usize = 4_096;

/// What was found out about the work tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It says what the log says of so many jobs.
    Same(u64),
    /// So many jobs differ; each was told.
    Differs(u64),
    /// The next start builds a new one anyway: why.
    Rebuilt(String),
}

/// A private copy of a work tree.
#[derive(Debug)]
pub struct Copied {
    kept: PathBuf,
    fresh: PathBuf,
}

impl Copied {
    /// Copies the work tree of `directory` below `scratch`, which must be empty. No server may run on the directory.
    ///
    /// # Errors
    /// [`Error::InUse`], or an input/output error.
    pub fn take(directory: &DataDirectory, scratch: &Path) -> Result<Copied, Error> {
        let _stopped = directory.files().stopped()?;
        let (kept, fresh) = (scratch.join("kept"), scratch.join("fresh"));
        copy(&directory.files().work_path(), &kept)?;
        Ok(Copied { kept, fresh })
    }

    /// Compares the copy with the log, which was read to `tail` without a fault. Tells `see` of each job that differs.
    ///
    /// # Errors
    /// An input/output error.
    pub fn check(
        &self,
        directory: &DataDirectory,
        tail: &Tail,
        see: &mut dyn FnMut(Fault),
    ) -> Result<Checked, Error> {
        match self.compare(directory, tail, see) {
            Ok(checked) => Ok(checked),
            Err(Failed::Log(error)) => Err(error),
            Err(Failed::Work(work::Error::Io { action, place, source })) => {
                Err(Error::Io { action, place, source })
            }
            // Whatever is wrong with it, a start throws it away.
            Err(Failed::Work(error)) => Ok(Checked::Rebuilt(error.to_string())),
        }
    }

    fn compare(
        &self,
        directory: &DataDirectory,
        tail: &Tail,
        see: &mut dyn FnMut(Fault),
    ) -> Result<Checked, Failed> {
        let floor = directory.floor().map_or(Position(1), |floor| floor.position);
        let span = Span { head: tail.position, floor };
        let boot = work::boot_id()?;
        let store = directory.store_id().unwrap_or(StoreId([0; 16]));
        let tree = |dir: &Path| {
            let place = Place { dir: dir.to_owned(), store, boot: boot.clone() };
            WorkTree::new(place, Options::default())
        };
        let kept = tree(&self.kept);
        let opened = kept.open(span)?;
        if let Some(why) = opened.rebuilt {
            return Ok(Checked::Rebuilt(why));
        }
        drive(directory, opened, tail.position)?;
        let fresh = tree(&self.fresh);
        let opened = fresh.open(span)?;
        drive(directory, opened, tail.position)?;
        let (mut kept, mut fresh) = (Jobs::of(kept.query()), Jobs::of(fresh.query()));
        let (mut jobs, mut differ) = (0, 0);
        while let Some((id, difference)) = next_job(&mut kept, &mut fresh, floor)? {
            jobs += 1;
            if let Some(what) = difference {
                differ += 1;
                let mut fault = directory.fault(Kind::Work, &directory.files().work_path(), what.to_owned());
                fault.job = Some(id);
                see(fault);
            }
        }
        Ok(if differ == 0 { Checked::Same(jobs) } else { Checked::Differs(differ) })
    }
}

/// Goes past the next job of either tree: which it is, and in what they differ. `None` at the end of both.
fn next_job(
    kept: &mut Jobs,
    fresh: &mut Jobs,
    floor: Position,
) -> Result<Option<(JobId, Option<&'static str>)>, work::Error> {
    let (one, other) = (kept.peek()?, fresh.peek()?);
    let Some(id) = one.iter().chain(&other).map(|job| job.id).min() else { return Ok(None) };
    let one = one.filter(|job| job.id == id).inspect(|_| kept.step());
    let other = other.filter(|job| job.id == id).inspect(|_| fresh.step());
    let difference = match (one, other) {
        (Some(one), Some(other)) if same(&one, &other, floor) => None,
        (Some(_), Some(_)) => Some("the work tree says something else of the job than the log"),
        (Some(_), None) => Some("the work tree knows a job that the log does not tell of"),
        (None, _) => Some("the work tree does not know the job"),
    };
    Ok(Some((id, difference)))
}

/// Why the comparison failed.
enum Failed {
    Log(Error),
    Work(work::Error),
}

impl std::convert::From<Error> for Failed {
    fn from(error: Error) -> Failed {
        Failed::Log(error)
    }
}

impl std::convert::From<work::Error> for Failed {
    fn from(error: work::Error) -> Failed {
        Failed::Work(error)
    }
}

/// Applies the log to a tree, up to and including `head`.
fn drive(directory: &DataDirectory, opened: Opened, head: Position) -> Result<(), Failed> {
    let Opened { mut applier, resume_from, .. } = opened;
    if applier.wants_seed() {
        let mut jobs = Vec::new();
        if let Some(newest) = directory.checkpoints()?.first().copied() {
            let read = seeds::of_checkpoint(&mut directory.checkpoint(newest)?, resume_from, &mut |job| {
                jobs.push(job);
            });
            read.map_err(|error| work::Error::Broken(error.to_string()))?;
        }
        applier.seed(jobs)?;
    }
    let clock = Clock::system();
    let mut batch: Vec<(Located, Vec<Event>)> = Vec::new();
    let mut bytes = 0;
    for step in directory.walk_from(From::Position(resume_from))? {
        let Step::Frame(located) = step? else { continue };
        if located.frame.position < resume_from || located.frame.position > head {
            continue;
        }
        let events = located.frame.events().map_err(|error| work::Error::Broken(error.to_string()))?;
        bytes += located.frame.body.len();
        batch.push((located, events));
        if bytes >= BATCH_BYTES {
            applier.apply(&applied(&batch), clock.now().tick)?;
            batch.clear();
            bytes = 0;
        }
    }
    applier.apply(&applied(&batch), clock.now().tick)?;
    Ok(())
}

fn applied(batch: &[(Located, Vec<Event>)]) -> Vec<AppliedFrame<'_>> {
    batch
        .iter()
        .map(|(located, events)| AppliedFrame {
            position: located.frame.position,
            time: located.frame.time,
            first_sequence: located.frame.first_sequence,
            events,
        })
        .collect()
}

/// Whether both trees say the same. Of jobs from before the log a rebuilt tree knows only what is left of them.
fn same(kept: &Record, fresh: &Record, floor: Position) -> bool {
    let whole = |record: &Record| record.submitted.is_some_and(|mark| mark.at.position >= floor);
    if whole(kept) && whole(fresh) {
        kept == fresh
    } else {
        (kept.queue, kept.state) == (fresh.queue, fresh.state)
    }
}

/// All jobs of a tree, page by page.
struct Jobs {
    query: Query,
    page: VecDeque<Record>,
    after: Option<JobId>,
}

impl Jobs {
    fn of(query: Query) -> Jobs {
        Jobs { query, page: VecDeque::new(), after: Some(JobId::MIN) }
    }

    fn peek(&mut self) -> Result<Option<Record>, work::Error> {
        while self.page.is_empty()
            && let Some(after) = self.after
        {
            let page = self.query.list(after, &Filter::ALL, PAGE_JOBS)?;
            (self.page, self.after) = (page.records.into(), page.next);
        }
        Ok(self.page.front().copied())
    }

    fn step(&mut self) {
        self.page.pop_front();
    }
}

/// Copies a directory with what is in it; nothing if it is not there.
fn copy(from: &Path, to: &Path) -> Result<(), Error> {
    let io = |action: &'static str, place: &Path| {
        let place = place.display().to_string();
        move |source: std::io::Error| Error::Io { action, place, source }
    };
    std::fs::create_dir(to).map_err(io("making", to))?;
    if !from.is_dir() {
        return Ok(());
    }
    for entry in std::fs::read_dir(from).map_err(io("listing", from))? {
        let path = entry.map_err(io("listing", from))?.path();
        let target = to.join(path.file_name().unwrap_or_default());
        if path.is_dir() {
            copy(&path, &target)?;
        } else {
            std::fs::copy(&path, &target).map_err(io("copying", &path))?;
        }
    }
    Ok(())
}
