//! Drives the work tree behind the writer, and watches over it: a tree that errs, panics or hangs is abandoned and
//! rebuilt from the log. Nothing waits for it but reads of what has left memory.

use crate::clock::Clock;
use crate::engine::bell::Bell;
use crate::engine::bell::Woken;
use crate::engine::seeds;
use crate::engine::view::Health;
use crate::engine::view::Published;
use crate::engine::view::View;
use crate::job::id::Position;
use crate::log::Archive;
use crate::log::causes::in_one_line;
use crate::work;
use crate::work::AppliedFrame;
use crate::work::Applier;
use crate::work::Span;
use crate::work::Tended;
use crate::work::WorkTree;
use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

/// Frames that one batch takes at most; a batch is what is there.
const FRAMES_MAX: usize = 1_024;
/// How much log a batch takes whose frames have left memory.
const READ_BYTES: usize = 8 << 20;
/// How long frames collect before the next batch: short, so that a trickle shows at once; the buffer makes it cheap.
const COLLECT: Duration = Duration::from_millis(50);
/// How long an idle tree waits for frames before it is tended again.
const TEND_EVERY: Duration = Duration::from_secs(20);
/// Once nothing has come for so long, the memory that serves readers of a busy server goes back.
const REST_AFTER: Duration = Duration::from_secs(1);
/// One call of sled that takes longer than this twice over hangs.
const HANG: Duration = Duration::from_secs(10);
/// With less space than this left on the disk the tree is not written: a batch and a fold take less.
const TIGHT_BYTES: u64 = 8 << 20;
/// How often a tree that is left alone looks for space.
const LOOK_FOR_SPACE: Duration = Duration::from_millis(500);
/// How long to wait before a broken tree is rebuilt: it may be the disk.
const REBUILD_AFTER: Duration = Duration::from_secs(1);

/// Why a round of driving the tree ended.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Work(#[from] work::Error),
    #[error(transparent)]
    Log(#[from] crate::log::Error),
    #[error("a frame cannot be read")]
    Frame(#[from] crate::codec::Error),
    #[error("the thread that drives it panicked")]
    Panicked,
    #[error("one call of sled has taken over {} s", 2 * HANG.as_secs())]
    Hangs,
}

/// What a driver needs.
#[derive(Debug)]
pub(in crate::engine) struct Driving<A> {
    pub(in crate::engine) view: Arc<View>,
    pub(in crate::engine) archive: A,
    pub(in crate::engine) tree: Arc<WorkTree>,
    pub(in crate::engine) bell: Arc<Bell>,
    pub(in crate::engine) clock: Clock,
}

impl<A: Archive> Driving<A> {
    /// Drives the tree until the bell says stop, then closes it. Whatever fails is logged and mended by rebuilding.
    pub(in crate::engine) fn supervise(self) {
        let this = Arc::new(self);
        let mut reason: Option<String> = None;
        while this.wait_for_space() == Woken::Up {
            let opened = match &reason {
                None => this.tree.open(this.span()),
                Some(reason) => this.tree.rebuild(this.span(), reason),
            };
            let ended = match opened {
                Ok(opened) => this.clone().watch(opened),
                Err(error) => Err(Failed::Work(error)),
            };
            let Err(failed) = ended else { return };
            let failed = in_one_line(&failed);
            tracing::error!(
                error = failed,
                "the work tree is abandoned and rebuilt from the log; no job is affected"
            );
            reason = Some(failed);
            if let Err(error) = this.tree.abandon() {
                let error = in_one_line(&error);
                tracing::warn!(error, "the abandoned work tree still takes space");
            }
            // If it was the disk, the log answers from now on.
            this.is_tight();
            if this.bell.pause(REBUILD_AFTER) == Woken::Stop {
                return;
            }
        }
    }

    /// On a full disk a tree can neither be opened nor built: one that was good could be lost by trying. The log answers
    /// for it meanwhile. [ACK-2]
    fn wait_for_space(&self) -> Woken {
        while self.is_tight() {
            if self.bell.pause(LOOK_FOR_SPACE) == Woken::Stop {
                return Woken::Stop;
            }
        }
        Woken::Up
    }

    /// Whether the disk has so little space that writing could fail, which readers are told too. sled does not even
    /// read any more after a failed write, so its tree is left alone until there is space: reads of it stay quick, and
    /// it need not be built anew. [ACK-2]
    fn is_tight(&self) -> bool {
        let full = self.view.health() == Health::DiskFull;
        let tight = full || self.tree.free_bytes().is_some_and(|free| free < TIGHT_BYTES);
        self.view.set_tree_waits(tight);
        tight
    }

    fn span(&self) -> Span {
        Span { head: self.archive.durable(), floor: self.archive.floor().position }
    }

    /// Runs the driver on a thread of its own, and gives it up if it hangs.
    fn watch(self: Arc<Self>, opened: work::Opened) -> Result<(), Failed> {
        if let Some(why) = &opened.rebuilt {
            tracing::info!(why, from = opened.resume_from.0, "the work tree is built from the log");
        }
        let pulse = opened.applier.pulse();
        let (done, ended) = mpsc::channel();
        let driver = self.clone();
        let thread = std::thread::Builder::new().name("applier".to_owned()).spawn(move || {
            let result = driver.drive(opened.applier, opened.resume_from);
            // The watcher may have given this thread up.
            let _ = done.send(result);
        });
        let thread = thread.map_err(|error| Failed::Work(work::Error::Broken(error.to_string())))?;
        let mut before = pulse.reading();
        loop {
            match ended.recv_timeout(HANG) {
                Ok(result) => {
                    return thread.join().map_err(|_panic| Failed::Panicked).and(result);
                }
                Err(RecvTimeoutError::Disconnected) => return Err(Failed::Panicked),
                Err(RecvTimeoutError::Timeout) => {
                    let now = pulse.reading();
                    if now.busy && now == before {
                        // The thread cannot be stopped; it notices that its tree was abandoned and ends.
                        return Err(Failed::Hangs);
                    }
                    before = now;
                }
            }
        }
    }

    fn drive(&self, mut applier: Applier, resume_from: Position) -> Result<(), Failed> {
        if applier.wants_seed() {
            let mut jobs = Vec::new();
            seeds::each(&self.archive, resume_from, &mut |job| jobs.push(job))?;
            applier.seed(jobs)?;
        }
        let mut next = resume_from;
        let mut rests = false;
        loop {
            // What readers ask of frames that are not applied yet, the overlay answers.
            if self.wait_for_space() == Woken::Stop {
                return Ok(());
            }
            let frames = self.frames(next)?;
            let Some(last) = frames.last() else {
                let tended = applier.tend(self.clock.now().tick)?;
                let patience = match tended {
                    Tended::More => Duration::ZERO,
                    Tended::Done if rests => TEND_EVERY,
                    Tended::Done => REST_AFTER,
                };
                let newest = || self.view.seen().position.0;
                let woken = self.bell.wait_above(next.0 - 1, newest, patience);
                // The writer has ended before the bell says stop: what came in between is applied first.
                if woken == Woken::Stop && self.view.seen().position < next {
                    return Ok(applier.close()?);
                }
                if tended == Tended::Done && !rests && self.view.seen().position < next {
                    self.view.rest();
                    rests = true;
                }
                continue;
            };
            rests = false;
            next = last.position.next();
            let batch: Vec<AppliedFrame<'_>> = frames.iter().map(|frame| applied(frame)).collect();
            applier.apply(&batch, self.clock.now().tick)?;
            self.view.applied(&frames);
            if self.view.seen().position >= next {
                continue;
            }
            self.bell.pause(COLLECT);
        }
    }

    /// The next frames, from memory or from the log.
    fn frames(&self, from: Position) -> Result<Vec<Arc<Published>>, Failed> {
        if let Some(frames) = self.view.frames(from, FRAMES_MAX) {
            return Ok(frames);
        }
        let frames = self.archive.read(from, READ_BYTES)?;
        let seen = self.view.seen().position;
        let published = frames.iter().take_while(|frame| frame.position <= seen);
        published.map(|frame| Ok(Arc::new(Published::of(frame, frame.events()?)))).collect()
    }
}

fn applied(frame: &Published) -> AppliedFrame<'_> {
    AppliedFrame {
        position: frame.position,
        time: frame.time,
        first_sequence: frame.first_sequence,
        events: &frame.events,
    }
}
