//! What time brings: due jobs, expiries, lapsed leases, time-outs, late progress, forgotten keys.

use crate::clock::Tick;
use crate::clock::Timestamp;
use crate::engine::command::END_BYTES;
use crate::engine::command::weight_of_progress;
use crate::engine::core::Core;
use crate::engine::core::EVENTS_OF_TIME_MAX;
use crate::engine::core::Told;
use crate::job::decide::claim;
use crate::job::decide::control;
use crate::job::decide::finish;
use crate::job::decide::finish::Holder;
use crate::job::event::Event;
use crate::job::event::FailureKind;
use crate::job::event::Progress;
use crate::job::id::LeaseToken;
use crate::job::state::Stage;
use crate::job::table::Slot;
use crate::log::Log;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::time::Duration;

/// An engine that was away this long was stopped, not slow: its workers are not to blame. [LEASE-2]
const GAP: Duration = Duration::from_secs(1);
/// Wall time may jump, so while a wall timer exists nobody sleeps longer than this.
const SLEEP_MAX: Duration = Duration::from_secs(60);
/// While leases can lapse the engine looks at the clock this often, so that it can tell its own absence from theirs.
const NOTICE_GAP_IN: Duration = Duration::from_millis(500);
/// How often an engine without space looks for it.
const LOOK_FOR_SPACE_IN: Duration = Duration::from_millis(250);
/// How often at most keys and producers are forgotten: a frame each time would be noise.
const FORGET_EVERY: Duration = Duration::from_secs(60);

impl<L: Log> Core<L> {
    /// If the engine was away, every deadline moves by the gap. [LEASE-2]
    ///
    /// `gap` is the time since the last step or, for an engine that slept until its next timer, since that timer.
    pub(in crate::engine::core) fn notice_gap(&mut self, gap: Duration) {
        let slept = self.sleeping_until.take().map_or(Duration::ZERO, |until| until.since(self.now.tick));
        let away = gap.saturating_sub(slept);
        if away >= GAP {
            self.workers.forgive(away);
            self.timeouts.forgive(away);
        }
    }

    pub(in crate::engine::core) fn let_time_pass(&mut self) {
        for queue in self.index.promote(&self.state, self.now.wall, EVENTS_OF_TIME_MAX) {
            self.draft.queues.insert(queue);
        }
        for slot in self.index.expired(self.now.wall, EVENTS_OF_TIME_MAX) {
            if let Some(event) = claim::expire(&self.state, self.state.jobs().at(slot), self.now.wall) {
                self.emit_if_afforded(event, Some(slot));
            }
        }
        self.lapse_leases();
        self.end_overdue();
        self.tell_late_progress();
        self.forget_repeats();
    }

    /// When the next step is due, on the monotonic clock.
    pub(in crate::engine::core) fn next_timer(&mut self) -> Option<Tick> {
        if std::mem::take(&mut self.more_to_give) && !self.starved {
            return Some(self.now.tick);
        }
        let in_at_most = |most: Duration, at: Tick| at.min(self.now.tick.after(most));
        let due =
            self.index.next_timer().map(|at| self.now.tick.after(at.since(self.now.wall).min(SLEEP_MAX)));
        let remembers = !self.state.keys().is_empty() || !self.state.producers().is_empty();
        let forget = remembers.then_some(self.forget_at);
        let lapse = self.workers.next_deadline(self.options.lease_period);
        let leases = [lapse, self.timeouts.next()].into_iter().flatten().min();
        let leases = leases.map(|at| in_at_most(NOTICE_GAP_IN, at));
        let progress = self.late_progress.first_key_value().map(|((at, _), _)| *at);
        let next = [due, forget, leases, progress, self.vouch_at].into_iter().flatten().min();
        let look_for_space = self.now.tick.after(LOOK_FOR_SPACE_IN);
        let next = match next {
            // What is due cannot be decided before there is space.
            _ if self.starved => Some(look_for_space),
            next if self.disk_full() => Some(next.map_or(look_for_space, |next| next.min(look_for_space))),
            next => next,
        };
        self.sleeping_until = next;
        next
    }

    /// Takes a progress report: at most one update of a job in the interval, the newest wins, nobody is answered. [MEM-1]
    pub(in crate::engine::core) fn progress(&mut self, holder: Holder, progress: Progress) {
        let Ok(event) = finish::progress(&self.state, holder, progress.clone()) else { return };
        let Some((slot, _)) = self.state.find(holder.id, holder.hint) else { return };
        let now = self.now.tick;
        if self.nearly_out() || !self.affords(weight_of_progress(&progress)) {
            return;
        }
        let interval = self.options.progress_interval;
        match self.told.get_mut(&slot) {
            Some(told) if told.token == holder.token && now.since(told.at) < interval => {
                let at = told.at.after(interval);
                told.waiting = Some(at);
                self.late_progress.insert((at, slot), (holder.token, progress));
            }
            Some(_) | None => {
                self.forget_progress(slot);
                self.told.insert(slot, Told { token: holder.token, at: now, waiting: None });
                self.emit(event, Some(slot));
            }
        }
    }

    fn tell_late_progress(&mut self) {
        for _ in 0..EVENTS_OF_TIME_MAX {
            let Some((&(at, slot), _)) = self.late_progress.first_key_value() else { return };
            if at > self.now.tick {
                return;
            }
            let (token, progress) = self.late_progress.remove(&(at, slot)).expect("it was just seen");
            let id = self.state.jobs().at(slot).id;
            self.progress(Holder { id, token, hint: Some(slot) }, progress);
        }
    }

    /// The attempt in `slot` is over, and what it told last with it.
    pub(in crate::engine::core) fn forget_progress(&mut self, slot: Slot) {
        if let Some(Told { waiting: Some(at), .. }) = self.told.remove(&slot) {
            self.late_progress.remove(&(at, slot));
        }
    }

    /// The engine is the last to end an attempt over its time: its supervisor should have, and may be gone.
    pub(in crate::engine::core) fn watch_timeout(&mut self, slot: Slot) {
        let job = self.state.jobs().at(slot);
        if self.state.own_policy(job).is_none() {
            return;
        }
        if let (Stage::Running { token, .. }, Some(timeout_ms)) =
            (job.stage(), self.state.policy(job).timeout_ms)
        {
            let allowed = Duration::from_millis(timeout_ms).saturating_add(self.options.timeout_slack);
            self.timeouts.set(slot, token, self.now.tick.after(allowed));
        }
    }

    fn end_overdue(&mut self) {
        for (slot, token) in self.timeouts.take_due(self.now.tick) {
            let job = self.state.jobs().get(slot);
            if job
                .is_some_and(|job| matches!(job.stage(), Stage::Running { token: held, .. } if held == token))
            {
                if !self.affords(END_BYTES) {
                    self.timeouts.set(slot, token, self.now.tick.after(LOOK_FOR_SPACE_IN));
                    continue;
                }
                self.tell_of_loss(slot);
                self.fail(
                    slot,
                    FailureKind::TimedOut,
                    "it ran past its time-out, and its worker did not end it",
                );
            }
        }
    }

    /// Forgets submit keys and producers whose window is over. What is forgotten is logged: replays forget the same. [ID-1]
    fn forget_repeats(&mut self) {
        if self.now.tick < self.forget_at {
            return;
        }
        self.forget_at = self.now.tick.after(FORGET_EVERY);
        let window = u64::try_from(self.options.dedupe_window.as_millis()).unwrap_or(u64::MAX);
        let before = Timestamp(self.now.wall.0.saturating_sub(window));
        if self.state.keys().oldest_end().is_some_and(|ended| ended < before) {
            self.emit_if_afforded(Event::KeysForgotten { ended_before: before }, None);
        }
        let producers = control::idle_producers(&self.state, before, EVENTS_OF_TIME_MAX);
        if !producers.is_empty() {
            self.emit_if_afforded(Event::ProducersForgotten { producers }, None);
        }
    }
}

/// Deadlines of running attempts that have a time-out.
#[derive(Debug, Default)]
pub(in crate::engine::core) struct Timeouts {
    by_time: BTreeSet<(Tick, Slot)>,
    by_slot: HashMap<Slot, (Tick, LeaseToken)>,
}

impl Timeouts {
    fn set(&mut self, slot: Slot, token: LeaseToken, deadline: Tick) {
        self.forget(slot);
        self.by_time.insert((deadline, slot));
        self.by_slot.insert(slot, (deadline, token));
    }

    /// The attempt in `slot` is over.
    pub(in crate::engine::core) fn forget(&mut self, slot: Slot) {
        if self.by_slot.is_empty() {
            return;
        }
        if let Some((deadline, _)) = self.by_slot.remove(&slot) {
            self.by_time.remove(&(deadline, slot));
        }
    }

    fn take_due(&mut self, now: Tick) -> Vec<(Slot, LeaseToken)> {
        let due = self.by_time.iter().take_while(|(deadline, _)| *deadline <= now).take(EVENTS_OF_TIME_MAX);
        let slots: Vec<Slot> = due.map(|(_, slot)| *slot).collect();
        let taken = slots.into_iter().filter_map(|slot| {
            let (deadline, token) = self.by_slot.remove(&slot)?;
            self.by_time.remove(&(deadline, slot));
            Some((slot, token))
        });
        taken.collect()
    }

    fn next(&self) -> Option<Tick> {
        self.by_time.first().map(|(deadline, _)| *deadline)
    }

    fn forgive(&mut self, gap: Duration) {
        self.by_time = self.by_time.iter().map(|(deadline, slot)| (deadline.after(gap), *slot)).collect();
        for (deadline, _) in self.by_slot.values_mut() {
            *deadline = deadline.after(gap);
        }
    }
}
