//! The engine without threads: commands and the time go in, one frame comes out, is synced, published and answered.
//! Deterministic: the same log, commands, times and seed give the same frames, so a simulation can replay it.
//!
//! One step: decide and apply what is there, what time brings, and what free slots can take; append one frame; sync
//! it; publish; answer. Two syncs from submit to result: a submit that meets a free slot is claimed in its own frame,
//! and a finish shares its frame with the next claim of its slot.

mod carry_out;
mod dead;
mod leases;
mod publish;
mod room;
mod time;
mod write;

use crate::clock::Now;
use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::codec;
use crate::engine::chance::Chance;
use crate::engine::command::Command;
use crate::engine::command::Error;
use crate::engine::core::dead::Warned;
use crate::engine::core::time::Timeouts;
use crate::engine::ids::Ids;
use crate::engine::index::Index;
use crate::engine::overlay::JobView;
use crate::engine::view::Health;
use crate::engine::view::Published;
use crate::engine::view::Seen;
use crate::engine::view::View;
use crate::engine::workers::Workers;
use crate::job::apply::At;
use crate::job::apply::Change;
use crate::job::decide::Limits;
use crate::job::event::Event;
use crate::job::event::Progress;
use crate::job::id::Epoch;
use crate::job::id::JobId;
use crate::job::id::LeaseToken;
use crate::job::id::Pointer;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::state::Job;
use crate::job::state::Stage;
use crate::job::state::State;
use crate::job::table::Slot;
use crate::log;
use crate::log::Log;
use crate::log::Room;
use crate::log::frame::Frame;
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many started attempts, lapses or timers one step deals with at most; the rest follows in the next.
const EVENTS_OF_TIME_MAX: usize = 2_000;

/// What the engine may be told by configuration.
#[derive(Clone, Debug)]
pub struct Options {
    /// What may be kept live.
    pub limits: Limits,
    /// A worker that gave no sign of life for this long loses its leases. [LEASE-2]
    pub lease_period: Duration,
    /// How long leases outlive a link that closed without a word. [LEASE-2]
    pub reconnect_grace: Duration,
    /// How long submit keys and producers are remembered after their jobs ended. [ID-1]
    pub dedupe_window: Duration,
    /// At most one progress update of a job in this time.
    pub progress_interval: Duration,
    /// How long after the last sync an idle writer vouches for it with an empty frame.
    pub vouch_after: Duration,
    /// Bytes of recent frames kept in memory for readers. [MEM-1]
    pub ring_bytes: usize,
    /// How much longer than its time-out an attempt may run before the engine itself ends it; the supervisor of the
    /// worker process is the one to do it, exactly.
    pub timeout_slack: Duration,
    /// The largest result or failure that ends an attempt; a full disk keeps room for it. [ACK-2]
    pub outcome_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            limits: Limits::default(),
            lease_period: Duration::from_secs(15),
            reconnect_grace: Duration::from_secs(1),
            dedupe_window: Duration::from_secs(24 * 3_600),
            progress_interval: Duration::from_millis(500),
            vouch_after: Duration::from_millis(20),
            ring_bytes: 16 * 1_024 * 1_024,
            timeout_slack: Duration::from_secs(15),
            outcome_bytes_max: 1_024 * 1_024,
        }
    }
}

/// The engine's deciding side: one owner.
#[derive(Debug)]
pub struct Core<L: Log> {
    log: L,
    options: Options,
    epoch: Epoch,
    state: State,
    index: Index,
    workers: Workers,
    ids: Ids,
    chance: Chance,
    view: Arc<View>,
    now: Now,
    /// Since when the wall clock is behind log time, and log time then.
    behind: Option<Now>,
    room: Room,
    draft: Draft,
    /// Frames of this step that are full: appended, not yet synced.
    appended: Vec<(Draft, Frame)>,
    /// Why a full frame could not be appended; the step fails with it.
    failed: Option<log::Error>,
    answers: Vec<Answer>,
    /// Synced or empty frames that wait to be published with the next synced one.
    unpublished: Vec<Arc<Published>>,
    timeouts: Timeouts,
    warned: Warned,
    told: HashMap<Slot, Told>,
    late_progress: BTreeMap<(Tick, Slot), (LeaseToken, Progress)>,
    vouch_at: Option<Tick>,
    /// Until when the writer meant to sleep: a longer absence was not its own will.
    sleeping_until: Option<Tick>,
    /// When remembered keys and producers are looked through next.
    forget_at: Tick,
    /// A step gave as many leases as it may, and there are more to give.
    more_to_give: bool,
    /// Something that was due in this step found no space.
    starved: bool,
    draining: bool,
}

/// An answer that waits for the sync: told whether the frame became durable. [ACK-1]
struct Answer(Box<dyn FnOnce(Result<(), Error>) + Send>);

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Answer")
    }
}

/// When a running job told of its progress last.
#[derive(Debug)]
struct Told {
    token: LeaseToken,
    at: Tick,
    waiting: Option<Tick>,
}

/// The frame that is being decided.
#[derive(Debug, Default)]
struct Draft {
    events: Vec<Event>,
    body: Vec<u8>,
    /// Of each `submitted` event: its index, and where its payload ends in the body.
    payloads: Vec<(u32, usize)>,
    updates: u32,
    touched: Vec<Touched>,
    queues: BTreeSet<QueueNo>,
}

/// A job that an event of the draft is about.
#[derive(Debug)]
enum Touched {
    /// It is live after the event with this index.
    Live { id: JobId, slot: Slot, sequence: Sequence, index: u32 },
    /// The event took it out of the live jobs; the overlay holds it since before this step.
    Gone { id: JobId, sequence: Sequence, index: u32 },
    /// The event took it out, and the overlay may not hold it: what readers see of it now.
    Unheld(Box<JobView>),
    /// It was finished already when the event deleted it.
    Deleted { id: JobId, queue: QueueNo, sequence: Sequence, index: u32 },
}

impl<L: Log> Core<L> {
    /// Takes over a recovered log: `state` is the fold of all its durable frames. The first step appends `opened`, ends
    /// the leases of the last process's own workers, and gives the others a full period to return. [LEASE-2]
    #[must_use]
    pub fn open(log: L, state: State, options: Options, chance: Chance, now: Now) -> Core<L> {
        let head = log.head();
        let time = now.wall.max(state.time());
        let seen = Seen { position: head.position, sequence: head.sequence, time, epoch: head.epoch };
        let mut core = Core {
            epoch: Epoch(head.epoch.0 + 1),
            index: Index::of(&state, now.wall),
            ids: Ids::after(state.last_id()),
            view: Arc::new(View::new(seen)),
            room: log.room(),
            workers: Workers::default(),
            draft: Draft::default(),
            appended: Vec::new(),
            failed: None,
            answers: Vec::new(),
            unpublished: Vec::new(),
            timeouts: Timeouts::default(),
            warned: Warned::default(),
            told: HashMap::new(),
            late_progress: BTreeMap::new(),
            vouch_at: None,
            sleeping_until: None,
            forget_at: now.tick,
            more_to_give: false,
            starved: false,
            draining: false,
            log,
            options,
            state,
            chance,
            now,
            behind: None,
        };
        core.fill_view();
        core.begin(now);
        core.emit(Event::Opened { epoch: core.epoch, version: env!("CARGO_PKG_VERSION").into() }, None);
        core.restore_leases();
        core
    }

    /// What readers see.
    #[must_use]
    pub fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// The deciding state, for tests and checks: readers use the view.
    #[must_use]
    pub fn state(&self) -> &State {
        &self.state
    }

    /// The log's shared side.
    #[must_use]
    pub fn archive(&self) -> L::Archive {
        self.log.archive()
    }

    /// Carries out `commands` and what `now` brings, in one frame or as few as hold it, with one sync, and answers.
    ///
    /// # Errors
    /// The log's, after which everything is answered with [`Error::OutcomeUnknown`] and nothing may be called any more. [ACK-2]
    pub fn step(&mut self, commands: impl IntoIterator<Item = Command>, now: Now) -> Result<(), log::Error> {
        self.begin(now);
        for command in commands {
            self.carry_out(command);
        }
        self.let_time_pass();
        self.give_leases();
        let written = self.write();
        let told = if written.is_ok() { Ok(()) } else { Err(Error::OutcomeUnknown) };
        // Leases first: a worker starts while the others are answered.
        match written {
            Ok(()) => self.workers.flush(),
            Err(_) => self.view.set_health(Health::Poisoned),
        }
        for answer in self.answers.drain(..) {
            (answer.0)(told.clone());
        }
        written
    }

    /// When the next step is due without any command: monotonic time, and never more than 60 s away while a wall timer
    /// exists, because wall time may jump.
    #[must_use]
    pub fn next_step(&mut self) -> Option<Tick> {
        self.next_timer()
    }

    fn begin(&mut self, now: Now) {
        let gap = now.tick.since(self.now.tick);
        self.notice_gap(gap);
        self.now = Now { wall: self.log_time(now), tick: now.tick };
        self.room = self.log.room();
        self.starved = false;
        let health = match (self.draining, self.disk_full()) {
            (true, _) => Health::Draining,
            (false, true) => Health::DiskFull,
            (false, false) => Health::Serving,
        };
        self.view.set_health(health);
    }

    /// Log time at `now`, which never goes back. While the wall clock is behind because it was set back, log time goes on at
    /// half its pace: what is due later comes late but comes, and the two meet again.
    fn log_time(&mut self, now: Now) -> Timestamp {
        let last = self.now.wall.max(self.state.time());
        if now.wall >= last {
            self.behind = None;
            return now.wall;
        }
        let since = *self.behind.get_or_insert(Now { wall: last, tick: self.now.tick });
        since.wall.after(now.tick.since(since.tick) / 2).max(last)
    }

    /// Log time of the frame being decided.
    fn time(&self) -> Timestamp {
        self.now.wall
    }

    /// Adds an event to the frame, or to the next one if it may not fit any more. Whatever happens at once, thousands
    /// of leases that end included, no frame is larger than the log takes.
    fn emit(&mut self, event: Event, hint: Option<Slot>) {
        self.make_room(self.log.limits().frame_bytes_max / 2);
        self.add(event, hint);
    }

    /// Adds an event to the frame and applies it; keeps index, leases and the readers' view in step.
    fn add(&mut self, event: Event, hint: Option<Slot>) {
        let index =
            u32::try_from(self.draft.events.len()).expect("a frame is limited far below 4 billion events");
        let pointer = Pointer { position: self.log.head().position.next(), index };
        if self.draft.events.is_empty() {
            codec::begin(&mut self.draft.body);
        }
        event.put(&mut self.draft.body);
        if let Event::Submitted(_) = event {
            self.draft.payloads.push((index, self.draft.body.len()));
        }
        let before = self.leave_stage(&event, hint);
        let at = At { pointer, time: self.time() };
        let slot = before.as_ref().map(|(slot, _)| *slot);
        let change = self.state.apply(&event, at, slot).expect("what decide decides, apply applies");
        let sequence = self.state.sequence();
        self.note(&event, change, before, sequence, pointer);
        self.draft.updates += u32::from(event.is_update());
        self.draft.events.push(event);
    }

    /// The job of the event leaves the index or its lease, whatever it enters next. Gives what readers will see of it
    /// if it leaves the live jobs and the overlay may not hold it.
    fn leave_stage(&mut self, event: &Event, hint: Option<Slot>) -> Option<(Slot, Option<Box<JobView>>)> {
        let (id, _) = event.job()?;
        let (slot, job) = self.state.find(id, hint)?;
        let ends = matches!(
            event,
            Event::Succeeded { .. } | Event::Cancelled { .. } | Event::Expired { .. } | Event::Deleted { .. }
        );
        let view = (ends && !is_held(job)).then(|| {
            let pointer = job.submitted_at();
            Box::new(JobView::of(&self.state, job, job.submitted, pointer, self.state.time()))
        });
        match job.stage() {
            Stage::Waiting { .. } => self.index.leave(&self.state, slot),
            Stage::Running { .. } if !matches!(event, Event::Progress { .. }) => {
                self.end_lease(slot);
            }
            Stage::Running { .. } | Stage::Dead { .. } => {}
        }
        Some((slot, view))
    }

    fn note(
        &mut self,
        event: &Event,
        change: Change,
        before: Option<(Slot, Option<Box<JobView>>)>,
        sequence: Sequence,
        pointer: Pointer,
    ) {
        if let Event::QueueMade { queue, .. } | Event::QueueSet { queue, .. } = event {
            self.draft.queues.insert(*queue);
        }
        let Some((id, queue)) = event.job() else { return };
        self.draft.queues.insert(queue);
        let touched = match (change, before) {
            (Change::Live(slot), _) => {
                self.index.enter(&self.state, slot, self.now.wall);
                Touched::Live { id, slot, sequence, index: pointer.index }
            }
            (Change::Gone(_), Some((_, Some(mut view)))) => {
                view.finish(event, sequence, pointer, self.time());
                Touched::Unheld(view)
            }
            (Change::Gone(_), _) => Touched::Gone { id, sequence, index: pointer.index },
            (Change::None, _) => Touched::Deleted { id, queue, sequence, index: pointer.index },
        };
        self.draft.touched.push(touched);
    }
}

/// Whether the overlay holds the live job since before this step: it keeps every job that runs or is dead, and what runs was
/// started in an earlier step, because leases are given last.
fn is_held(job: &Job) -> bool {
    !matches!(job.stage(), Stage::Waiting { .. })
}

#[cfg(test)]
mod tests;
