//! What does each piece of the writer's path cost by itself, for a frame of 1,000 jobs: encoding, decoding and chaining it, deciding and
//! applying, the index of ready jobs, updates for readers, a checkpoint? Does it cost more beside a backlog, or with many queues?
//!
//! `cargo bench --bench pieces`, or `cargo bench --bench pieces -- index` for those whose name says so. Nothing is written to a disk, no
//! thread is beside, and jobs and results have 100 bytes. The engine as a whole is in `engine.rs`, the work tree in `applier.rs`.

use bytes::BytesMut;
use divan::Bencher;
use divan::black_box;
use divan::counter::BytesCount;
use divan::counter::ItemsCount;
use gangline::clock::Timestamp;
use gangline::codec::Writer;
use gangline::engine::checkpoint;
use gangline::engine::checkpoint::CheckpointHead;
use gangline::engine::index::Index;
use gangline::grpc::convert::update::Parts;
use gangline::grpc::convert::update::encode_update;
use gangline::job::apply::At;
use gangline::job::apply::Change;
use gangline::job::decide::Limits;
use gangline::job::decide::claim::claim;
use gangline::job::decide::finish::Finish;
use gangline::job::decide::finish::Holder;
use gangline::job::decide::finish::finish;
use gangline::job::decide::submit::Batch;
use gangline::job::decide::submit::Origin;
use gangline::job::decide::submit::submit;
use gangline::job::event::Event;
use gangline::job::id::Epoch;
use gangline::job::id::LeaseToken;
use gangline::job::id::Pointer;
use gangline::job::id::Position;
use gangline::job::id::QueueName;
use gangline::job::id::QueueNo;
use gangline::job::id::Sequence;
use gangline::job::id::StoreId;
use gangline::job::spec::NewJob;
use gangline::job::spec::Payload;
use gangline::job::state::State;
use gangline::job::table::Slot;
use gangline::log::Log;
use gangline::log::frame::Frame;
use gangline::log::frame::Hash;
use gangline::log::frame::body_of;
use gangline::log::memory::Disk;
use gangline::proto::GetUpdatesResponse;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;

/// Jobs of a frame.
const JOBS: usize = 1_000;
/// Jobs that wait beside.
const BACKLOGS: [usize; 2] = [1_000, 100_000];
const QUEUES: [usize; 2] = [1, 1_000];
/// Jobs of a checkpoint, and jobs that wait beside those that enter and leave the index.
const MANY: usize = 100_000;
const NOW: Timestamp = Timestamp(1_700_000_000_000);

fn main() {
    divan::main();
}

fn payload() -> Payload {
    Payload(vec![b'x'; 100].into())
}

/// A state whose jobs wait, run and finish in the order in which they came, a frame of them at a time.
struct Life {
    state: State,
    queues: Vec<QueueName>,
    worker: Arc<str>,
    waiting: VecDeque<Slot>,
    running: Vec<Holder>,
    /// Events of the newest frame so far.
    index: u32,
}

impl Life {
    /// One with so many jobs that wait, in turn in its queues.
    fn begin(waiting: usize, queues: usize) -> Life {
        let mut life = Life {
            state: State::default(),
            queues: (0..queues).map(|n| format!("queue-{n}").parse().expect("a queue name")).collect(),
            worker: "worker".into(),
            waiting: VecDeque::new(),
            running: Vec::new(),
            index: 0,
        };
        while life.waiting.len() < waiting {
            life.submit(life.jobs());
        }
        life
    }

    /// The jobs of the next frame.
    fn jobs(&self) -> Vec<NewJob> {
        let queues = self.queues.iter().cycle().skip(self.waiting.len() % self.queues.len());
        let job = |queue: &QueueName| NewJob {
            queue: queue.clone(),
            priority: 0,
            run_at: Timestamp(0),
            policy: None,
            extra: None,
            payload: payload(),
        };
        queues.take(JOBS).map(job).collect()
    }

    fn next_frame(&mut self) {
        self.state.applied(self.state.position().next(), NOW);
        self.index = 0;
    }

    /// Applies an event of the newest frame.
    fn apply(&mut self, event: &Event, hint: Option<Slot>) -> Change {
        let pointer = Pointer { position: self.state.position(), index: self.index };
        self.index += 1;
        self.state.apply(event, At { pointer, time: NOW }, hint).expect("what was decided fits")
    }

    fn submit(&mut self, jobs: Vec<NewJob>) -> Vec<Event> {
        self.next_frame();
        let mut events = Vec::with_capacity(jobs.len());
        let batch = Batch { jobs, origin: Origin::Anonymous };
        let first = self.state.last_id().plus(1);
        submit(&self.state, batch, first, &Limits::default(), &mut events).expect("there is room");
        for event in &events {
            if let Change::Live(slot) = self.apply(event, None) {
                self.waiting.push_back(slot);
            }
        }
        events
    }

    /// Leases the oldest jobs, a frame of them.
    fn claim(&mut self) -> Vec<Event> {
        self.next_frame();
        let mut events = Vec::with_capacity(JOBS);
        for slot in self.waiting.drain(..JOBS).collect::<Vec<_>>() {
            let job = self.state.jobs().at(slot);
            let id = job.id;
            let event = claim(&self.state, job, &self.worker, NOW).expect("it waits");
            self.apply(&event, Some(slot));
            let token = LeaseToken(self.state.sequence().0);
            self.running.push(Holder { id, token, hint: Some(slot) });
            events.push(event);
        }
        events
    }

    /// Completes what was leased, with a result for each.
    fn finish(&mut self, results: Vec<Payload>) -> Vec<Event> {
        self.next_frame();
        let mut events = Vec::with_capacity(JOBS);
        for (holder, result) in std::mem::take(&mut self.running).into_iter().zip(results) {
            let end = Finish::Complete { result, content_type: "".into(), usage: None };
            let slot = finish(&self.state, holder, end, NOW, 0, &mut events).expect("the lease holds");
            let event = events.pop().expect("it was just decided");
            self.apply(&event, Some(slot));
            events.push(event);
        }
        events
    }

    fn results() -> Vec<Payload> {
        vec![payload(); JOBS]
    }

    /// The events of a frame in which jobs are submitted, others start, and those before them succeed.
    fn mixed(&mut self) -> Vec<Event> {
        let mut events = self.claim();
        events.extend(self.finish(Life::results()));
        events.extend(self.submit(self.jobs()));
        events
    }
}

/// A frame of 3,000 updates: the submits, starts and ends of 1,000 jobs each, in so many queues.
fn frame(queues: usize) -> (Vec<Event>, Frame) {
    let mut life = Life::begin(JOBS, queues);
    let first_sequence = life.state.sequence().plus(1);
    let events = life.mixed();
    let updates = events.iter().filter(|event| event.is_update()).count();
    let frame = Frame {
        position: Position(1),
        epoch: Epoch(1),
        first_sequence,
        updates: u32::try_from(updates).expect("a few thousand"),
        time: NOW,
        previous: Hash::ZERO,
        body: body_of(&events),
    };
    (events, frame)
}

// A frame's bytes: items are updates.

fn counted<'a, 'b>(bencher: Bencher<'a, 'b>, frame: &Frame) -> Bencher<'a, 'b> {
    bencher.counter(ItemsCount::new(frame.updates)).counter(BytesCount::new(frame.body.len()))
}

#[divan::bench]
fn frame_encode(bencher: Bencher<'_, '_>) {
    let (events, frame) = frame(1);
    counted(bencher, &frame).bench_local(|| body_of(black_box(&events)));
}

#[divan::bench]
fn frame_decode(bencher: Bencher<'_, '_>) {
    let (_, frame) = frame(1);
    counted(bencher, &frame).bench_local(|| frame.events().expect("it was just encoded"));
}

/// For a reader of one queue of a thousand.
#[divan::bench]
fn frame_decode_filtered(bencher: Bencher<'_, '_>) {
    let (_, frame) = frame(1_000);
    let of_one = |queue| queue == QueueNo(500);
    counted(bencher, &frame).bench_local(|| {
        let wanted = frame.updates_where(|glimpse| glimpse.job().is_some_and(|(_, queue)| of_one(queue)));
        wanted.expect("it was just encoded")
    });
}

/// What every reader of the log, and every checkpoint, checks.
#[divan::bench]
fn frame_chain_hash(bencher: Bencher<'_, '_>) {
    let (_, frame) = frame(1);
    counted(bencher, &frame).bench_local(|| black_box(&frame).hash());
}

/// What the directory writes behind every frame.
#[divan::bench]
fn frame_crc(bencher: Bencher<'_, '_>) {
    let (_, frame) = frame(1);
    counted(bencher, &frame).bench_local(|| crc32c::crc32c(black_box(&frame.body)));
}

// Decide and apply, beside a backlog: items are jobs.

#[divan::bench(args = BACKLOGS, sample_size = 1)]
fn life_submit(bencher: Bencher<'_, '_>, waiting: usize) {
    let life = RefCell::new(Life::begin(waiting, 1));
    let make_room = || {
        let mut life = life.borrow_mut();
        life.claim();
        life.finish(Life::results());
        life.jobs()
    };
    let bencher = bencher.counter(ItemsCount::new(JOBS)).with_inputs(make_room);
    bencher.bench_local_values(|jobs| life.borrow_mut().submit(jobs));
}

#[divan::bench(args = BACKLOGS, sample_size = 1)]
fn life_claim(bencher: Bencher<'_, '_>, waiting: usize) {
    let life = RefCell::new(Life::begin(waiting, 1));
    let fill_up = || {
        let mut life = life.borrow_mut();
        life.finish(Life::results());
        while life.waiting.len() < waiting {
            let jobs = life.jobs();
            life.submit(jobs);
        }
    };
    let bencher = bencher.counter(ItemsCount::new(JOBS)).with_inputs(fill_up);
    bencher.bench_local_values(|()| life.borrow_mut().claim());
}

#[divan::bench(args = BACKLOGS, sample_size = 1)]
fn life_finish(bencher: Bencher<'_, '_>, waiting: usize) {
    let life = RefCell::new(Life::begin(waiting, 1));
    let lease = || {
        let mut life = life.borrow_mut();
        life.claim();
        let jobs = life.jobs();
        life.submit(jobs);
        Life::results()
    };
    let bencher = bencher.counter(ItemsCount::new(JOBS)).with_inputs(lease);
    bencher.bench_local_values(|results| life.borrow_mut().finish(results));
}

// The index of ready jobs, a hundred thousand of them in one queue or in a thousand: items are jobs.

struct Ready {
    life: Life,
    index: Index,
    queues: usize,
    out: Vec<Slot>,
}

impl Ready {
    fn begin(queues: usize) -> RefCell<Ready> {
        let life = Life::begin(MANY, queues);
        let index = Index::of(&life.state, NOW);
        RefCell::new(Ready { life, index, queues, out: Vec::with_capacity(JOBS) })
    }

    /// Takes the next job of each queue in turn.
    fn take(&mut self) {
        for turn in 0..JOBS {
            let queue = QueueNo(u32::try_from(turn % self.queues).expect("a thousand at the most"));
            let slot = self.index.first_ready(queue).expect("there are more jobs than are taken");
            self.index.leave(&self.life.state, slot);
            self.out.push(slot);
        }
    }

    fn enter(&mut self) {
        for slot in self.out.drain(..) {
            self.index.enter(&self.life.state, slot, NOW);
        }
    }
}

#[divan::bench(args = QUEUES, sample_size = 1)]
fn index_next_and_leave(bencher: Bencher<'_, '_>, queues: usize) {
    let ready = Ready::begin(queues);
    let bencher = bencher.counter(ItemsCount::new(JOBS)).with_inputs(|| ready.borrow_mut().enter());
    bencher.bench_local_values(|()| ready.borrow_mut().take());
}

#[divan::bench(args = QUEUES, sample_size = 1)]
fn index_enter(bencher: Bencher<'_, '_>, queues: usize) {
    let ready = Ready::begin(queues);
    let bencher = bencher.counter(ItemsCount::new(JOBS)).with_inputs(|| ready.borrow_mut().take());
    bencher.bench_local_values(|()| ready.borrow_mut().enter());
}

/// What a start with so many jobs begins with.
#[divan::bench(args = QUEUES)]
fn index_build(bencher: Bencher<'_, '_>, queues: usize) {
    let life = Life::begin(MANY, queues);
    bencher.counter(ItemsCount::new(MANY)).bench_local(|| Index::of(&life.state, NOW));
}

// The updates of a frame as readers get them, payloads and results included: items are updates.

fn encoded(events: &[Event], first: Sequence) -> BytesMut {
    let queue: QueueName = "queue-0".parse().expect("a queue name");
    let (mut bytes, mut sequence) = (BytesMut::new(), first);
    let parts = Parts { payload: true, result: true };
    for event in events {
        if encode_update(&mut bytes, sequence, NOW, &queue, event, parts) {
            sequence = sequence.plus(1);
        }
    }
    bytes
}

/// Once for all readers.
#[divan::bench]
fn updates_encode(bencher: Bencher<'_, '_>) {
    let (events, frame) = frame(1);
    let bytes = encoded(&events, frame.first_sequence).len();
    let bencher = bencher.counter(ItemsCount::new(frame.updates)).counter(BytesCount::new(bytes));
    bencher.bench_local(|| encoded(black_box(&events), frame.first_sequence));
}

/// What a client written in Rust does with them.
#[divan::bench]
fn updates_decode(bencher: Bencher<'_, '_>) {
    let (events, frame) = frame(1);
    let batch = encoded(&events, frame.first_sequence).freeze();
    let bencher = bencher.counter(ItemsCount::new(frame.updates)).counter(BytesCount::new(batch.len()));
    let response = GetUpdatesResponse { batch, ..GetUpdatesResponse::default() };
    bencher.bench_local(|| response.updates().expect("it was just encoded"));
}

// A checkpoint of 100,000 jobs that wait: items are jobs.

fn save(state: &State) -> Vec<u8> {
    let head = CheckpointHead { hash: Hash::ZERO, epoch: Epoch(1), last_id: state.last_id() };
    let mut bytes = Vec::new();
    let saved = Writer::over(&mut bytes, |out| {
        checkpoint::write_head(&head, out)?;
        state.save(out)
    });
    saved.expect("a Vec takes every write");
    bytes
}

#[divan::bench(sample_size = 1)]
fn checkpoint_save(bencher: Bencher<'_, '_>) {
    let life = Life::begin(MANY, 1);
    let bytes = save(&life.state).len();
    let bencher = bencher.counter(ItemsCount::new(MANY)).counter(BytesCount::new(bytes));
    bencher.bench_local(|| save(&life.state));
}

#[divan::bench(sample_size = 1)]
fn checkpoint_load(bencher: Bencher<'_, '_>) {
    let bytes = save(&Life::begin(MANY, 1).state);
    let bencher = bencher.counter(ItemsCount::new(MANY)).counter(BytesCount::new(bytes.len()));
    bencher.bench_local(|| checkpoint::load_from(&mut bytes.as_slice()).expect("it was just saved"));
}

/// The next one, from the one before and a frame in which 1,000 of its jobs finished and as many came.
#[divan::bench(sample_size = 1, sample_count = 30)]
fn checkpoint_merge(bencher: Bencher<'_, '_>) {
    let mut log = Disk::new(StoreId([1; 16]), 1).open();
    let archive = log.archive();
    let mut life = Life::begin(0, 1);
    let mut append = |life: &Life, events: &[Event], before: Sequence| {
        let head = log.head();
        let frame = Frame {
            position: head.position.next(),
            epoch: Epoch(1),
            first_sequence: head.sequence.plus(1),
            updates: u32::try_from(life.state.sequence().0 - before.0).expect("a few thousand"),
            time: NOW,
            previous: head.hash,
            body: body_of(events),
        };
        log.append(&frame).expect("there is space");
        log.sync().expect("nothing fails here");
    };
    while life.waiting.len() < MANY {
        let before = life.state.sequence();
        let events = life.submit(life.jobs());
        append(&life, &events, before);
    }
    let advance = || checkpoint::advance(&archive, Position(u64::MAX), u64::MAX).expect("the log is good");
    let first = advance();
    let bencher = bencher.counter(ItemsCount::new(MANY)).counter(BytesCount::new(first.bytes));
    let next = || {
        let before = life.state.sequence();
        let events = life.mixed();
        append(&life, &events, before);
    };
    bencher.with_inputs(next).bench_local_values(|()| advance());
}
