//! A log in memory, the work tree that indexes it, and what the tree should say, worked out the plain way.

use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::job::event::Event;
use crate::job::event::Failure;
use crate::job::event::FailureKind;
use crate::job::event::Submitted;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::job::spec::Payload;
use crate::work::AppliedFrame;
use crate::work::Applier;
use crate::work::Error;
use crate::work::Filter;
use crate::work::Mark;
use crate::work::Opened;
use crate::work::Options;
use crate::work::Place;
use crate::work::Query;
use crate::work::Record;
use crate::work::Span;
use crate::work::State;
use crate::work::Trace;
use crate::work::WorkTree;
use bytes::Bytes;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

/// Small enough that a test of a few hundred jobs folds many times.
pub(super) const SMALL: Options = Options {
    cache_bytes: 1 << 20,
    fold_at: 40,
    fold_at_max: 160,
    fold_every: Duration::from_secs(60),
    flush_every: Duration::from_secs(5),
    slices_a_page: 5,
};

pub(super) struct Rig {
    pub(super) dir: TempDir,
    pub(super) frames: Vec<Vec<Event>>,
    pub(super) floor: Position,
    pub(super) boot: String,
    pub(super) options: Options,
    pub(super) tree: WorkTree,
    pub(super) query: Query,
    pub(super) applier: Option<Applier>,
    /// Where the applier wants to go on.
    pub(super) next: Position,
    pub(super) rebuilt: Option<String>,
    pub(super) now: Tick,
    jobs: u64,
}

impl Rig {
    pub(super) fn new(options: Options) -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let tree = WorkTree::new(place(&dir, "boot one"), options);
        let mut rig = Rig {
            query: tree.query(),
            dir,
            frames: Vec::new(),
            floor: Position(1),
            boot: "boot one".to_owned(),
            options,
            tree,
            applier: None,
            next: Position(1),
            rebuilt: None,
            now: Tick(0),
            jobs: 0,
        };
        rig.open();
        rig
    }

    pub(super) fn span(&self) -> Span {
        Span { head: self.head(), floor: self.floor }
    }

    pub(super) fn head(&self) -> Position {
        Position(self.frames.len() as u64)
    }

    /// The directory whose number is `number`.
    pub(super) fn home(&self, number: u32) -> PathBuf {
        self.dir.path().join(format!("work/{number:04}"))
    }

    pub(super) fn applier(&mut self) -> &mut Applier {
        self.applier.as_mut().expect("the tree is open")
    }

    /// Opens the tree anew, and seeds it if it wants that.
    pub(super) fn open(&mut self) {
        self.tree = WorkTree::new(place(&self.dir, &self.boot), self.options);
        self.query = self.tree.query();
        let opened = self.tree.open(self.span()).unwrap();
        self.take(opened);
    }

    /// As a supervisor does it.
    pub(super) fn rebuild(&mut self) {
        let opened = self.tree.rebuild(self.span(), "the test says so").unwrap();
        self.take(opened);
    }

    fn take(&mut self, opened: Opened) {
        self.next = opened.resume_from;
        self.rebuilt = opened.rebuilt;
        let mut applier = opened.applier;
        if applier.wants_seed() {
            let model = self.model(self.head());
            let kept = model.into_values().filter(|job| matches!(job.state, State::Live | State::Dead));
            applier.seed(kept).unwrap();
        }
        self.applier = Some(applier);
    }

    pub(super) fn close(&mut self) {
        self.applier.take().expect("the tree is open").close().unwrap();
    }

    /// What a kill leaves: no mark, and sled's files as they are.
    pub(super) fn kill(&mut self) {
        self.applier = None;
        self.tree = WorkTree::new(place(&self.dir, &self.boot), self.options);
        self.query = self.tree.query();
    }

    /// New jobs, not yet in any frame; their ids leave gaps, as times do.
    pub(super) fn submit(&mut self, count: u64) -> Vec<Event> {
        self.jobs += 10;
        (0..count)
            .map(|_| {
                self.jobs += 1;
                submitted(JobId::from_u128(u128::from(self.jobs)), QueueNo((self.jobs % 3) as u32))
            })
            .collect()
    }

    pub(super) fn append(&mut self, events: Vec<Event>) {
        self.frames.push(events);
    }

    /// Applies what is in the log, `batch` frames at a time.
    pub(super) fn apply(&mut self, batch: usize) -> Result<(), Error> {
        while self.next <= self.head() {
            self.apply_one(batch)?;
        }
        Ok(())
    }

    /// Applies one batch of up to `frames` frames.
    pub(super) fn apply_one(&mut self, frames: usize) -> Result<(), Error> {
        let first = (self.next.0 - 1) as usize;
        let last = (first + frames).min(self.frames.len());
        let batch: Vec<_> = (first..last).map(|at| frame(&self.frames, at)).collect();
        self.applier.as_mut().expect("the tree is open").apply(&batch, self.now)?;
        self.next = Position(last as u64 + 1);
        Ok(())
    }

    /// One call without frames.
    pub(super) fn tend(&mut self) {
        let now = self.now;
        self.applier().tend(now).unwrap();
    }

    /// What the jobs are once the frames up to `through` happened: one plain pass over the log.
    pub(super) fn model(&self, through: Position) -> BTreeMap<JobId, Record> {
        let mut jobs = BTreeMap::new();
        for at in 0..through.0 as usize {
            let frame = frame(&self.frames, at);
            for (index, event) in frame.events.iter().enumerate() {
                let at = Pointer { position: frame.position, index: index as u32 };
                let updates = frame.events[..index].iter().filter(|event| event.is_update()).count();
                let mark = Mark { at, sequence: frame.first_sequence.plus(updates as u64) };
                happen(&mut jobs, event, mark, frame.time);
            }
        }
        jobs.retain(|_, job| {
            matches!(job.state, State::Live | State::Dead) || job.last.at.position >= self.floor
        });
        jobs
    }

    /// Everything that a client can see, page by page.
    pub(super) fn list(&self, filter: &Filter, limit: usize) -> Vec<Record> {
        let (mut after, mut all) = (JobId::MIN, Vec::new());
        loop {
            let page = self.query.list(after, filter, limit).unwrap();
            all.extend(page.records);
            match page.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    /// What the log alone tells, page by page, while few jobs are remembered.
    fn traced(&self, limit: usize) -> Vec<Record> {
        let (mut after, mut all) = (JobId::MIN, Vec::new());
        loop {
            let mut trace = Trace::after(after, &Filter::ALL).with_jobs_max(40);
            self.feed(&mut trace);
            let page = trace.page(limit, self.floor, self.head());
            all.extend(page.records);
            match page.next {
                Some(next) => after = next,
                None => return all,
            }
        }
    }

    fn feed(&self, trace: &mut Trace) {
        let old = self.model(self.head()).into_values().filter(|job| job.submitted_position() < self.floor);
        old.filter(|job| matches!(job.state, State::Live | State::Dead)).for_each(|job| trace.seed(job));
        for at in self.floor.0 as usize - 1..self.frames.len() {
            trace.take(&frame(&self.frames, at));
        }
    }

    /// The tree says what the model says, job by job and page by page, and so does the log without it.
    pub(super) fn check(&self, limit: usize) {
        self.check_list(&self.traced(limit));
        self.check_list(&self.list(&Filter::ALL, limit));
        let model = self.model(self.head());
        for id in (0..self.jobs + 2).map(|number| JobId::from_u128(u128::from(number))) {
            let got = self.query.get(id).unwrap();
            let expected =
                model.get(&id).map(|expected| got.map_or(*expected, |got| as_far_as_known(*expected, &got)));
            assert_eq!(got, expected);
        }
    }

    fn check_list(&self, listed: &[Record]) {
        let model = self.model(self.head());
        let expected: Vec<Record> =
            model.values().zip(listed).map(|(expected, got)| as_far_as_known(*expected, got)).collect();
        assert_eq!(listed, expected);
        assert_eq!(listed.len(), model.len());
    }
}

pub(super) fn place(dir: &TempDir, boot: &str) -> Place {
    Place { dir: dir.path().join("work"), store: StoreId([7; 16]), boot: boot.to_owned() }
}

/// Of a job whose beginning the log let go of, a rebuild knows the end.
fn as_far_as_known(expected: Record, got: &Record) -> Record {
    let Record { attempts, generation, payload_bytes, submitted, .. } = *got;
    match submitted {
        Some(_) => expected,
        None => Record { attempts, generation, payload_bytes, submitted, ..expected },
    }
}

fn frame(frames: &[Vec<Event>], at: usize) -> AppliedFrame<'_> {
    let before = frames[..at].iter().flatten().filter(|event| event.is_update()).count();
    AppliedFrame {
        position: Position(at as u64 + 1),
        time: Timestamp(1_000_000 + at as u64),
        first_sequence: Sequence(before as u64 + 1),
        events: &frames[at],
    }
}

fn happen(jobs: &mut BTreeMap<JobId, Record>, event: &Event, mark: Mark, time: Timestamp) {
    let Some((id, queue)) = event.job() else { return };
    if let Event::Submitted(job) = event {
        let payload_bytes = job.payload.0.len() as u32;
        let (state, submitted) = (State::Live, Some(mark));
        let record = Record {
            id,
            queue,
            state,
            attempts: 0,
            generation: 0,
            payload_bytes,
            submitted,
            last: mark,
            since: time,
        };
        assert_eq!(jobs.insert(id, record), None);
        return;
    }
    let job = jobs.get_mut(&id).expect("only jobs that exist change");
    let state = match event {
        Event::Succeeded { attempt, .. } => {
            job.attempts = *attempt as u8;
            State::Succeeded
        }
        Event::Dead { attempt, .. } => {
            job.attempts = *attempt as u8;
            State::Dead
        }
        Event::Cancelled { attempt, .. } => {
            job.attempts = *attempt as u8;
            State::Cancelled
        }
        Event::Expired { .. } => State::Expired,
        Event::Retried { generation, .. } => {
            job.generation = *generation;
            State::Live
        }
        Event::Deleted { .. } => {
            jobs.remove(&id);
            return;
        }
        Event::Submitted(_)
        | Event::Started { .. }
        | Event::Progress { .. }
        | Event::Retrying { .. }
        | Event::Released { .. }
        | Event::QueueMade { .. }
        | Event::QueueSet { .. }
        | Event::CursorSet { .. }
        | Event::CursorDropped { .. }
        | Event::KeyTaken { .. }
        | Event::KeysForgotten { .. }
        | Event::ProducerAdvanced { .. }
        | Event::ProducersForgotten { .. }
        | Event::Opened { .. } => return,
    };
    (job.state, job.last, job.since) = (state, mark, time);
}

pub(super) fn submitted(id: JobId, queue: QueueNo) -> Event {
    let payload = Payload(Bytes::from(vec![0; (id.as_u128() % 50) as usize]));
    Event::Submitted(Submitted {
        id,
        queue,
        priority: 0,
        due: Timestamp(0),
        policy: None,
        extra: None,
        payload,
    })
}

pub(super) fn started(id: JobId, queue: QueueNo) -> Event {
    Event::Started { id, queue, attempt: 1, worker: "w".into() }
}

pub(super) fn succeeded(id: JobId, queue: QueueNo, attempt: u32) -> Event {
    Event::Succeeded { id, queue, attempt, result: Payload::default(), content_type: "".into(), usage: None }
}

pub(super) fn dead(id: JobId, queue: QueueNo, attempt: u32) -> Event {
    let failure = Failure { kind: FailureKind::Failed, message: "no".into(), process: None };
    Event::Dead { id, queue, attempt, failure }
}
