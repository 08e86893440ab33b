//! Preparing segments ahead of need: a thread keeps one spare ready, zero-filled in small paced steps and durable
//! in name and content, so that taking it touches no metadata and asks the file system for nothing.
//!
//! It also keeps the reserve: a file that only takes up space, given up so that a checkpoint can be written on a
//! full disk and old segments can go.

use crate::job::id::StoreId;
use crate::log::Error;
use crate::log::causes::in_one_line;
use crate::log::directory::DirectoryOptions;
use crate::log::directory::format;
use crate::log::directory::format::FORMAT;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use crate::log::directory::layout::Unfinished;
use crate::log::directory::layout::io;
use crate::log::directory::layout::is_full;
use crate::log::directory::reader::Reader;
use crate::log::directory::segment::Salt;
use crate::log::directory::segment::SegmentHeader;
use std::collections::VecDeque;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::thread::JoinHandle;
use std::time::Duration;

/// How many segments are kept ready.
const SPARES: usize = 1;
/// Bytes written and synced at once while filling a file, so that no other sync waits long behind it.
const STEP_BYTES: usize = 1024 * 1024;
/// Pause after each step, unless someone waits for the segment.
const STEP_PAUSE: Duration = Duration::from_millis(2);
/// How long an append waits for a segment that is being prepared.
const SPARE_WAIT: Duration = Duration::from_secs(10);
/// Zeros to write, and to compare with.
pub(crate) static ZEROS: [u8; STEP_BYTES] = [0; STEP_BYTES];

/// Space for the log: spares and the reserve. Shared by the writer, the thread and the archive.
#[derive(Debug)]
pub(crate) struct Space {
    layout: Layout,
    store: StoreId,
    options: DirectoryOptions,
    stock: Mutex<Stock>,
    changed: Condvar,
    /// Held while something takes space that another could not do without.
    gate: Mutex<()>,
}

#[derive(Debug, Default)]
struct Stock {
    spares: VecDeque<Reader>,
    /// Number of the next segment to prepare.
    next: u64,
    full: bool,
    urgent: bool,
    reserve: bool,
    /// It was said that the reserve cannot be made.
    reserve_told: bool,
    stop: bool,
}

impl Space {
    /// The space of a directory whose last segment is `next - 1`, with `spares` found ready.
    pub(crate) fn new(
        layout: Layout,
        store: StoreId,
        options: DirectoryOptions,
        spares: VecDeque<Reader>,
        next: u64,
    ) -> Space {
        let kept = std::fs::metadata(layout.reserve()).is_ok_and(|file| file.len() >= options.reserve_bytes);
        let reserve = kept || options.reserve_bytes == 0;
        let stock = Mutex::new(Stock { spares, next, reserve, ..Stock::default() });
        Space { layout, store, options, stock, changed: Condvar::new(), gate: Mutex::new(()) }
    }

    /// Size of new segments.
    pub(crate) fn segment_bytes(&self) -> u64 {
        self.options.segment_bytes
    }

    /// Takes the next segment; waits for one that is being prepared, but not for a disk that is full.
    pub(crate) fn take(&self) -> Option<Reader> {
        let spare = self.settled().spares.pop_front();
        self.changed.notify_all();
        spare
    }

    /// Waits for a segment that is being prepared, but not for a disk that is full.
    pub(crate) fn wait(&self) {
        drop(self.settled());
    }

    fn settled(&self) -> MutexGuard<'_, Stock> {
        let mut stock = self.lock();
        if stock.spares.is_empty() {
            stock.urgent = true;
            self.changed.notify_all();
            let waiting = |stock: &mut Stock| stock.spares.is_empty() && !stock.full;
            stock = self.changed.wait_timeout_while(stock, SPARE_WAIT, waiting).expect(NO_PANIC).0;
            stock.urgent = false;
        }
        stock
    }

    /// How many spares are ready, and whether the last try to prepare one failed for want of space.
    pub(crate) fn ready(&self) -> (usize, bool) {
        let stock = self.lock();
        (stock.spares.len(), stock.full)
    }

    /// Runs `write`; if the disk is full, gives up the reserve and runs it once more.
    pub(crate) fn with_reserve<T>(&self, mut write: impl FnMut() -> Result<T, Error>) -> Result<T, Error> {
        match write() {
            Err(error) if is_full(&error) => {
                // The preparer must not take what is freed here: it waits at the gate.
                let _gate = self.gate.lock().expect(NO_PANIC);
                layout::remove(&self.layout.reserve())?;
                self.lock().reserve = self.options.reserve_bytes == 0;
                self.changed.notify_all();
                write()
            }
            other => other,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Stock> {
        self.stock.lock().expect(NO_PANIC)
    }

    /// Prepares and keeps watch until told to stop.
    fn run(&self) {
        loop {
            let idle = |stock: &mut Stock| !stock.stop && stock.spares.len() >= SPARES && stock.reserve;
            let stock = self.changed.wait_while(self.lock(), idle).expect(NO_PANIC);
            if stock.stop {
                return;
            }
            let (number, spare_wanted) = (stock.next, stock.spares.len() < SPARES);
            drop(stock);
            let made = if spare_wanted { self.make_spare(number) } else { self.make_reserve() };
            if let Err(error) = made {
                self.report(&error, spare_wanted);
                let retry = Duration::from_millis(self.options.retry_ms);
                let stock = self.lock();
                drop(self.changed.wait_timeout_while(stock, retry, |stock| !stock.stop).expect(NO_PANIC));
            }
        }
    }

    fn make_spare(&self, number: u64) -> Result<(), Error> {
        let _gate = self.gate.lock().expect(NO_PANIC);
        let bytes = self.options.segment_bytes;
        self.expect_room(bytes)?;
        let spare = create_segment(&self.layout, number, self.store, bytes, &mut || self.pause())?;
        let mut stock = self.lock();
        stock.spares.push_back(spare);
        stock.next = number + 1;
        stock.full = false;
        self.changed.notify_all();
        Ok(())
    }

    fn make_reserve(&self) -> Result<(), Error> {
        let _gate = self.gate.lock().expect(NO_PANIC);
        self.expect_room(self.options.reserve_bytes)?;
        let path = self.layout.reserve();
        let unfinished = Unfinished::create(&path)?;
        fill_zeros(&unfinished.file, 0, self.options.reserve_bytes, &path, &mut || self.pause())?;
        unfinished.publish()?;
        let mut stock = self.lock();
        (stock.reserve, stock.reserve_told) = (true, false);
        Ok(())
    }

    /// Refuses before the last free bytes are taken from others only to be handed back.
    fn expect_room(&self, bytes: u64) -> Result<(), Error> {
        let full = layout::bytes_free(self.layout.root())?.is_some_and(|free| free < bytes);
        if full { Err(Error::Full { bytes: usize::try_from(bytes).unwrap_or(usize::MAX) }) } else { Ok(()) }
    }

    /// Waits between two steps of filling; says whether to go on.
    fn pause(&self) -> bool {
        let waiting = |stock: &mut Stock| !stock.stop && !stock.urgent;
        let stock = self.changed.wait_timeout_while(self.lock(), STEP_PAUSE, waiting).expect(NO_PANIC).0;
        !stock.stop
    }

    /// Any failure to prepare is treated as want of space: it is tried again, and nothing that was promised is at stake.
    fn report(&self, error: &Error, spare_wanted: bool) {
        let mut stock = self.lock();
        let (place, error) = (self.layout.root().display(), in_one_line(error));
        if spare_wanted {
            if !stock.stop && !stock.full {
                tracing::warn!(%place, error, "cannot prepare space for the log; trying again until it is there");
            }
            stock.full = true;
        } else {
            if !stock.stop && !stock.reserve_told {
                tracing::warn!(%place, error, "cannot make the reserve; trying again until it is there");
            }
            stock.reserve_told = true;
        }
        self.changed.notify_all();
    }
}

const NO_PANIC: &str = "no holder of this lock panics";

/// The thread; dropping this ends it and waits for it.
#[derive(Debug)]
pub(crate) struct Preparer {
    space: Arc<Space>,
    thread: Option<JoinHandle<()>>,
}

impl Preparer {
    pub(crate) fn start(space: Arc<Space>) -> Result<Preparer, Error> {
        let worker = Arc::clone(&space);
        let place = space.layout.root().to_owned();
        let thread = std::thread::Builder::new().name("log-preparer".to_owned()).spawn(move || worker.run());
        Ok(Preparer { space, thread: Some(thread.map_err(io("starting the preparer thread of", &place))?) })
    }
}

impl Drop for Preparer {
    fn drop(&mut self) {
        self.space.lock().stop = true;
        self.space.changed.notify_all();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that prepares log segments panicked");
        }
    }
}

/// Makes an empty segment, durable in name and content when this returns.
pub(crate) fn create_segment(
    layout: &Layout,
    number: u64,
    store: StoreId,
    bytes: u64,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<Reader, Error> {
    let path = layout.segment(number);
    let salt = Salt::new(format::random()?);
    let header = SegmentHeader { format: FORMAT, number, store, salt, bytes };
    let unfinished = Unfinished::create(&path)?;
    fill_zeros(&unfinished.file, 0, bytes, &path, go_on)?;
    unfinished.file.write_all_at(&header.encode(), 0).map_err(io("writing", &path))?;
    let file = unfinished.publish()?;
    Ok(Reader::new(header, file, path))
}

/// Writes zeros from `from` to `to`, each step synced before the next.
pub(crate) fn fill_zeros(
    file: &File,
    from: u64,
    to: u64,
    path: &Path,
    go_on: &mut dyn FnMut() -> bool,
) -> Result<(), Error> {
    let mut at = from;
    while at < to {
        let step = usize::try_from(to - at).map_or(STEP_BYTES, |left| left.min(STEP_BYTES));
        file.write_all_at(&ZEROS[..step], at).map_err(io("filling", path))?;
        file.sync_data().map_err(io("syncing", path))?;
        at += step as u64;
        if at < to && !go_on() {
            return Err(io("filling", path)(std::io::ErrorKind::Interrupted.into()));
        }
    }
    Ok(())
}
