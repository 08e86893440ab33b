//! Questions: how fast is a data directory read without a server, frames alone and with every check of `verify`? How much
//! memory does `verify` take for each live job?
//!
//! Run with `cargo bench --bench offline`. The log: 500,000 jobs of 100 bytes, submitted, started and succeeded by the
//! thousand, so 1,500,000 records; for the memory 1,000,000 jobs that wait. Files go to `GANGLINE_BENCH_DIR`, else to the
//! target folder, and are in the page cache when they are read.

use bytes::Bytes;
use divan::Bencher;
use divan::counter::BytesCount;
use divan::counter::ItemsCount;
use gangline::clock::Timestamp;
use gangline::job::event::Event;
use gangline::job::event::Submitted;
use gangline::job::id::Epoch;
use gangline::job::id::JobId;
use gangline::job::id::QueueNo;
use gangline::job::spec::Payload;
use gangline::log::Log;
use gangline::log::directory::Directory;
use gangline::log::directory::DirectoryOptions;
use gangline::log::frame::Frame;
use gangline::log::frame::body_of;
use gangline::offline::DataDirectory;
use gangline::offline::Life;
use gangline::offline::Stats;
use gangline::offline::Step;
use gangline::offline::Verified;
use gangline::offline::export;
use gangline::offline::export::Filter;
use gangline::offline::export::Go;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;
use std::sync::OnceLock;
use tempfile::TempDir;
use wait4::Wait4;

const JOBS: u32 = 500_000;
const LIVE_JOBS: u32 = 1_000_000;
const JOBS_A_FRAME: u32 = 1_000;
const PAYLOAD_BYTES: usize = 100;
const FIRST_ID: u128 = 0x0198_a5c2_6f00_7000_8000 << 48;

fn main() {
    memory();
    divan::main();
}

#[allow(clippy::print_stdout, reason = "a benchmark prints its figures")]
fn memory() {
    let place = place();
    let data = written(&place, LIVE_JOBS, &|_, _| Vec::new());
    let mut child = Command::new(env!("CARGO_BIN_EXE_gangline"));
    let child =
        child.arg("verify").arg(&data).stdout(Stdio::null()).spawn().expect("the binary was just built");
    let ended = child.wait4().expect("it is our child");
    assert!(ended.status.success(), "nothing is wrong with the directory");
    let peak = ended.rusage.maxrss;
    println!(
        "verify, {LIVE_JOBS} live jobs: {} MiB at its peak, {} bytes a live job",
        peak >> 20,
        peak / u64::from(LIVE_JOBS)
    );
}

fn place() -> TempDir {
    let parent = std::env::var("GANGLINE_BENCH_DIR").unwrap_or(env!("CARGO_TARGET_TMPDIR").to_owned());
    TempDir::new_in(parent).expect("the folder can be written to")
}

fn id(number: u32) -> JobId {
    JobId::from_u128(FIRST_ID + u128::from(number))
}

/// Writes a log of `jobs` jobs by the frame; `more` gives what follows each frame of submissions.
fn written(place: &TempDir, jobs: u32, more: &dyn Fn(u32, u32) -> Vec<Vec<Event>>) -> PathBuf {
    let data = place.path().join("data");
    let mut log = Directory::open(&data, DirectoryOptions::default()).expect("a new directory").log;
    append(&mut log, &[Event::QueueMade { queue: QueueNo(0), name: "q".parse().expect("a name") }]);
    for first in (0..jobs).step_by(JOBS_A_FRAME as usize) {
        let submitted = |number: u32| {
            Event::Submitted(Submitted {
                id: id(number),
                queue: QueueNo(0),
                priority: 0,
                due: Timestamp(0),
                policy: None,
                extra: None,
                payload: Payload(Bytes::from(vec![number as u8; PAYLOAD_BYTES])),
            })
        };
        let end = first + JOBS_A_FRAME;
        append(&mut log, &(first..end).map(submitted).collect::<Vec<Event>>());
        more(first, end).iter().for_each(|events| append(&mut log, events));
    }
    append(&mut log, &[]);
    data
}

fn append(log: &mut Directory, events: &[Event]) {
    let head = log.head();
    let frame = Frame {
        position: head.position.next(),
        epoch: Epoch(1),
        first_sequence: head.sequence.plus(1),
        updates: u32::try_from(events.iter().filter(|event| event.is_update()).count()).expect("few"),
        time: Timestamp(1_755_000_000_000 + head.position.0),
        previous: head.hash,
        body: body_of(events),
    };
    log.append(&frame).expect("there is space");
    log.sync().expect("the disk is good");
}

/// The log that is read, and how many bytes its frames take.
fn log() -> &'static (TempDir, PathBuf, u64) {
    static LOG: OnceLock<(TempDir, PathBuf, u64)> = OnceLock::new();
    LOG.get_or_init(|| {
        let place = place();
        let (queue, attempt) = (QueueNo(0), 1);
        let started = |number| Event::Started { id: id(number), queue, attempt, worker: "worker-1".into() };
        let succeeded = |number| Event::Succeeded {
            id: id(number),
            queue,
            attempt,
            result: Payload(Bytes::from_static(b"done")),
            content_type: "".into(),
            usage: None,
        };
        let data = written(&place, JOBS, &|first, end| {
            vec![(first..end).map(started).collect(), (first..end).map(succeeded).collect()]
        });
        let directory = DataDirectory::open(&data).expect("it was just written");
        let spans = directory.walk().map(|step| match step.expect("it can be read") {
            Step::Frame(located) => located.span,
            Step::Fault(fault) => panic!("{fault}"),
        });
        let bytes = spans.sum();
        (place, data, bytes)
    })
}

fn bench(bencher: Bencher<'_, '_>, read: impl Fn(&DataDirectory) -> u64) {
    let (_, data, bytes) = log();
    let records = 3 * JOBS;
    bencher.counter(BytesCount::new(*bytes)).counter(ItemsCount::new(records)).bench_local(|| {
        let directory = DataDirectory::open(data).expect("it was just written");
        read(&directory)
    });
}

/// Every frame with its checksums and the chain, without decoding its events.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn walk(bencher: Bencher<'_, '_>) {
    bench(bencher, |directory| directory.walk().count() as u64);
}

/// `inspect job`.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn life(bencher: Bencher<'_, '_>) {
    bench(bencher, |directory| {
        Life::of(directory, id(JOBS / 2)).expect("it can be read").moments.len() as u64
    });
}

/// `inspect stats`: every event decoded and applied.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn stats(bencher: Bencher<'_, '_>) {
    bench(bencher, |directory| Stats::of(directory).expect("it can be read").live);
}

/// `verify`.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn verify(bencher: Bencher<'_, '_>) {
    bench(bencher, |directory| {
        let verified = Verified::of(directory, &mut |fault| panic!("{fault}")).expect("it can be read");
        verified.updates
    });
}

/// `export`, without printing.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn exported(bencher: Bencher<'_, '_>) {
    bench(bencher, |directory| {
        let mut jobs = 0;
        export::jobs(directory, &Filter::default(), &mut |_| {
            jobs += 1;
            Go::On
        })
        .expect("it can be read");
        jobs
    });
}
