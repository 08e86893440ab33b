//! Tailing the update log: from a place in it, every later update exactly once and in order, for as long as the reader
//! likes. [LOG-2]
//!
//! Frames come from memory or, for readers that are further behind, from the log; which of the two is decided frame by
//! frame, so there is neither a gap nor a repeat between them. Nothing is fetched before the reader asks for it: a slow
//! reader holds one batch, not a backlog. [MEM-1]

mod filter;
mod names;
mod pending;
pub(in crate::service) mod read_back;
mod start;
mod wake;

pub use crate::service::tail::filter::Filter;
pub use crate::service::tail::filter::Kind;
pub use crate::service::tail::names::Names;
pub use crate::service::tail::pending::Pending;
pub use crate::service::tail::start::Start;
pub(in crate::service) use crate::service::tail::start::check;

use crate::clock::Tick;
use crate::engine::Handle;
use crate::engine::view::Published;
use crate::job::event::glimpse::Glimpse;
use crate::job::id::JobId;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::job::id::StoreId;
use crate::service::Error;
use crate::service::Service;
use crate::service::tail::wake::Wake;
use crate::service::tail::wake::Woken;
use std::sync::Arc;
use std::time::Duration;

/// How many frames are taken from memory at a time.
const FRAMES_MAX: usize = 256;
/// How many bytes of log are read back at a time; the last frame may go over it. [MEM-1]
const READ_BYTES: usize = 1_024 * 1_024;
/// How long a reader that passes updates of no interest to it hears nothing of its cursor.
const SILENCE_MAX: Duration = Duration::from_secs(1);

/// Makes what a reader gets out of updates. Updates read back from the log are rendered on a thread that may block.
pub trait Render: Send + 'static {
    /// What a reader gets at a time.
    type Batch: Send + 'static;

    /// Takes a bounded number of updates from `pending`, at least one if there is any; `None` if none of those it took is
    /// of interest.
    fn render(&mut self, pending: &mut Pending) -> Option<Self::Batch>;

    /// Whether some updates are of no interest, as [`Render::wants`] tells of each.
    fn is_choosy(&self) -> bool {
        false
    }

    /// Whether an update is of interest. Asked of a choosy reader for updates that are read back, before they are decoded:
    /// the frames it gets then hold no others.
    fn wants(&mut self, _update: &Glimpse) -> bool {
        true
    }
}

/// What happens when the reader has seen everything.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The tail waits for new updates.
    Follow,
    /// The tail ends at the head as of the call.
    StopAtHead,
}

/// One step of a tail.
#[derive(Debug)]
pub struct Step<B> {
    /// Updates; `None` if the step only tells how far the reader is.
    pub batch: Option<B>,
    /// The newest update.
    pub head: Sequence,
    /// The reader has got every update up to this one that is of interest to it.
    pub cursor: Sequence,
    /// Which store the cursor belongs to; in the first step only.
    pub store: Option<StoreId>,
}

/// A reader's way along the log.
#[derive(Debug)]
pub struct Tail<R> {
    engine: Handle,
    heartbeat: Duration,
    wake: Wake,
    /// Lent to a blocking thread while updates are read back.
    desk: Option<Box<Desk<R>>>,
    /// The frame that is fetched next.
    next: Position,
    /// The last frame, for a reader that stops at the head.
    last: Option<Position>,
    /// Frames above this one are noted if a watched job is touched.
    watched_above: Position,
    /// What the reader was told last, and when; `None` before the first step.
    told: Option<(Sequence, Tick)>,
}

/// What the reader works on: the frames it has and what makes batches of them.
#[derive(Debug)]
struct Desk<R> {
    render: R,
    pending: Pending,
    from: Source,
}

/// Where the frames on the desk come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Memory: somebody may have rendered them already.
    Memory,
    /// The log.
    Log,
}

/// What moving along the log led to.
enum Moved<B> {
    /// Updates of interest.
    Batch(B),
    /// Updates, none of them of interest.
    Passed,
    /// There is nothing more.
    AtHead,
}

impl Service {
    /// Begins a tail at `start`. Of a reader that is interested in no more jobs than [`Filter::watchable`] gives, other jobs
    /// cost nothing while it waits.
    ///
    /// # Errors
    /// [`Error::BelowFloor`], [`Error::AheadOfLog`], [`Error::OtherStore`]; [`Error::Log`].
    pub async fn tail<R: Render>(
        &self,
        start: Start,
        follow: Follow,
        watchable: &[JobId],
        render: R,
    ) -> Result<Tail<R>, Error> {
        let watched = match follow {
            Follow::Follow => watchable,
            Follow::StopAtHead => &[],
        };
        // From here on touches are noted, so `seen` below is the last frame that may not be.
        let wake = Wake::new(self, watched);
        let seen = self.engine().view().seen();
        let place = start::find(self, start).await?;
        let last = match follow {
            Follow::Follow => None,
            Follow::StopAtHead => Some(seen.position),
        };
        Ok(Tail {
            engine: self.engine().clone(),
            heartbeat: self.settings().heartbeat,
            wake,
            desk: Some(Box::new(Desk {
                render,
                pending: Pending::after(place.cursor),
                from: Source::Memory,
            })),
            next: place.next,
            last,
            watched_above: seen.position,
            told: None,
        })
    }
}

impl<R: Render> Tail<R> {
    /// The next step: the first comes at once, then whenever there are updates, and now and then without. `None` once a
    /// reader that stops at the head is there.
    ///
    /// # Errors
    /// [`Error::BelowFloor`] if trimming overtook the reader, [`Error::ShuttingDown`], [`Error::Log`]. The tail is over then;
    /// [`Tail::told`] says where to resume.
    pub async fn next(&mut self) -> Result<Option<Step<R::Batch>>, Error> {
        if self.told.is_none() {
            return Ok(Some(self.step(None)));
        }
        loop {
            self.wake.check()?;
            if self.is_over() {
                return self.end();
            }
            match self.advance().await? {
                Moved::Batch(batch) => return Ok(Some(self.step(Some(batch)))),
                Moved::Passed if self.silence_left(SILENCE_MAX).is_zero() => {
                    return Ok(Some(self.step(None)));
                }
                Moved::Passed => {}
                Moved::AtHead if self.is_over() => {}
                Moved::AtHead if self.engine.damaged_end().is_some() => return self.end(),
                Moved::AtHead => match self.wake.wait(self.patience()).await {
                    Woken::ToLook => {}
                    Woken::ByTime => return Ok(Some(self.step(None))),
                },
            }
        }
    }

    /// The last step, and after it that there is no more; or that there was more, and it is damaged.
    fn end(&mut self) -> Result<Option<Step<R::Batch>>, Error> {
        if self.cursor() > self.told() {
            return Ok(Some(self.step(None)));
        }
        self.engine.damaged_end().map_or(Ok(None), |damaged| Err(Error::Damaged(damaged.clone())))
    }

    /// What the reader was told last: it resumes after this update.
    #[must_use]
    pub fn told(&self) -> Sequence {
        self.told.map_or(self.cursor(), |(cursor, _)| cursor)
    }

    fn cursor(&self) -> Sequence {
        self.desk().pending.cursor()
    }

    fn step(&mut self, batch: Option<R::Batch>) -> Step<R::Batch> {
        let cursor = self.cursor();
        let store = self.told.is_none().then(|| self.engine.history().store_id());
        self.told = Some((cursor, self.engine.clock().now().tick));
        // A reader may be served from the log what the view is about to show.
        let head = self.engine.view().seen().sequence.max(cursor);
        Step { batch, head, cursor, store }
    }

    /// Whether a reader that stops at the head is there.
    fn is_over(&self) -> bool {
        self.last.is_some_and(|last| self.next > last) && self.desk().pending.is_empty()
    }

    /// How long the reader may go on hearing nothing, if that is at most `most`.
    fn silence_left(&self, most: Duration) -> Duration {
        let told = self.told.map_or(Tick::default(), |(_, at)| at);
        most.saturating_sub(self.engine.clock().now().tick.since(told))
    }

    /// How long to wait for updates before the reader is told of its cursor or the head; `None`: for ever.
    fn patience(&self) -> Option<Duration> {
        match self.wake {
            Wake::Jobs(..) => None,
            Wake::Frames(_) if self.cursor() > self.told() => Some(self.silence_left(SILENCE_MAX)),
            Wake::Frames(_) => Some(self.silence_left(self.heartbeat)),
        }
    }

    async fn advance(&mut self) -> Result<Moved<R::Batch>, Error> {
        if self.desk().pending.is_empty() {
            match self.fetch() {
                Fetched::Frames(frames) => self.put(frames),
                Fetched::Nothing => return Ok(Moved::AtHead),
                Fetched::OnlyInLog { bytes } => self.read_back(bytes).await?,
            }
        }
        let batch = match self.desk().from {
            Source::Memory => self.desk_mut().render(),
            Source::Log => self.on_blocking_thread(|desk| Ok(desk.render())).await?,
        };
        Ok(batch.map_or(Moved::Passed, Moved::Batch))
    }

    /// Frames from memory, or where else they are.
    fn fetch(&mut self) -> Fetched {
        // Read before the touches: what was published up to here has been noted by then.
        let seen = self.engine.view().seen();
        if self.next > self.watched_above
            && let Wake::Jobs(_, jobs) = &self.wake
        {
            match jobs.touched_since(self.next).map(|positions| positions.first().copied()) {
                // It may be newer than `seen`: a touch is noted, and its watcher woken, just before the frame is announced.
                Some(Some(position)) => {
                    self.next = position;
                    return self.look(1, 0);
                }
                Some(None) => {
                    self.next = self.next.max(seen.position.next());
                    self.desk_mut().pending.pass(seen.sequence);
                    return Fetched::Nothing;
                }
                // Too many to remember: they are looked for in every frame up to here.
                None => self.watched_above = seen.position,
            }
        }
        self.look(FRAMES_MAX, READ_BYTES)
    }

    fn look(&self, limit: usize, bytes: usize) -> Fetched {
        match self.engine.view().frames(self.next, limit) {
            Some(frames) if frames.is_empty() => Fetched::Nothing,
            Some(frames) => Fetched::Frames(frames),
            None => Fetched::OnlyInLog { bytes },
        }
    }

    fn put(&mut self, mut frames: Vec<Arc<Published>>) {
        if let Some(last) = self.last {
            frames.retain(|frame| frame.position <= last);
        }
        self.next = frames.last().map_or(self.next, |frame| frame.position.next());
        let desk = self.desk_mut();
        desk.from = Source::Memory;
        desk.pending.put(frames);
    }

    async fn read_back(&mut self, bytes: usize) -> Result<(), Error> {
        let (history, view) = (Arc::clone(self.engine.history()), Arc::clone(self.engine.view()));
        let (from, last, cursor) = (self.next, self.last, self.cursor());
        self.next = self
            .on_blocking_thread(move |desk| {
                let frames = if desk.render.is_choosy() {
                    let wanted = |update: &Glimpse| desk.render.wants(update);
                    read_back::frames_for(&*history, &view, from, (last, bytes), wanted)
                } else {
                    read_back::frames(&*history, &view, from, last, bytes)
                };
                let frames = frames.map_err(|error| read_back::failed(error, cursor, &*history))?;
                let next = frames.last().map_or(from, |frame| frame.position.next());
                desk.from = Source::Log;
                desk.pending.put(frames);
                Ok(next)
            })
            .await?;
        Ok(())
    }

    /// Lends the desk to a thread that may block.
    async fn on_blocking_thread<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Desk<R>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut desk = self.desk.take().expect(RETURNED);
        let lent = tokio::task::spawn_blocking(move || {
            let done = work(&mut desk);
            (desk, done)
        });
        let (desk, done) = match lent.await {
            Ok(back) => back,
            Err(failed) if failed.is_panic() => std::panic::resume_unwind(failed.into_panic()),
            // The runtime refuses blocking work only when it is going down.
            Err(_stopped) => return Err(Error::ShuttingDown),
        };
        self.desk = Some(desk);
        done
    }

    fn desk(&self) -> &Desk<R> {
        self.desk.as_ref().expect(RETURNED)
    }

    fn desk_mut(&mut self) -> &mut Desk<R> {
        self.desk.as_mut().expect(RETURNED)
    }
}

const RETURNED: &str = "the desk comes back with every step; a tail that failed is not asked again";

/// What was found of the next frames.
enum Fetched {
    /// They are here.
    Frames(Vec<Arc<Published>>),
    /// They have left memory: about so many bytes are to be read.
    OnlyInLog { bytes: usize },
    /// There are none yet.
    Nothing,
}

impl<R: Render> Desk<R> {
    fn render(&mut self) -> Option<R::Batch> {
        if self.pending.is_empty() { None } else { self.render.render(&mut self.pending) }
    }
}
