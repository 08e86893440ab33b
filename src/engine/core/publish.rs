//! Publishing a synced frame: from here on readers see it. [ACK-1]

use crate::clock::Timestamp;
use crate::engine::core::Core;
use crate::engine::core::Draft;
use crate::engine::core::Touched;
use crate::engine::overlay::JobView;
use crate::engine::view::Inner;
use crate::engine::view::Published;
use crate::engine::view::QueueView;
use crate::engine::view::Seen;
use crate::engine::view::View;
use crate::job::event::Event;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
use crate::job::queue::Queue;
use crate::job::state::JobState;
use crate::job::state::State;
use crate::log::Log;
use crate::log::frame::Frame;
use std::sync::Arc;
use std::sync::OnceLock;

impl Published {
    /// The readers' form of a frame.
    #[must_use]
    pub fn of(frame: &Frame, events: Vec<Event>) -> Published {
        Published {
            position: frame.position,
            first_sequence: frame.first_sequence,
            updates: frame.updates,
            time: frame.time,
            events,
            numbers: None,
            body_bytes: frame.body.len(),
            encoded: [OnceLock::new(), OnceLock::new()],
        }
    }

    /// The form of a frame for a reader of these updates alone: see [`Published::numbers`].
    #[must_use]
    pub fn some_of(frame: &Frame, numbers: Vec<u32>, events: Vec<Event>) -> Published {
        Published { numbers: Some(numbers), ..Published::of(frame, events) }
    }
}

impl View {
    /// Shows the queues and cursors of `state`, and every live job of which a work tree cannot know the state.
    pub(in crate::engine) fn fill(&self, state: &State) {
        let mut inner = self.write();
        for (number, queue) in state.queues().iter() {
            set_queue(&mut inner, number, queue);
        }
        inner.cursors.clone_from(state.cursors());
        for (_, job) in state.jobs().iter() {
            let view = JobView::restored(state, job);
            if view.is_changed() {
                inner.jobs.insert(view);
            }
        }
    }
}

impl<L: Log> Core<L> {
    /// At start: queues, cursors, and every live job that the work tree cannot know the state of.
    pub(in crate::engine::core) fn fill_view(&mut self) {
        self.view.fill(&self.state);
        for (number, queue) in self.state.queues().iter() {
            self.warned.look_at(number, queue);
        }
    }

    pub(in crate::engine::core) fn publish(&mut self, draft: Draft, frame: &Frame) {
        let mut published_bytes = self.view.published_bytes();
        let mut inner = self.view.write();
        for queue in &draft.queues {
            set_queue(&mut inner, *queue, self.state.queue(*queue));
        }
        for touched in draft.touched {
            show(&mut inner, &self.state, touched, frame, &draft.events);
        }
        set_cursors(&mut inner, &self.state, &draft.events);
        notify(&inner, &draft.events, frame.position);
        let published = Arc::new(Published::of(frame, draft.events));
        for frame in self.unpublished.drain(..).chain([published]) {
            published_bytes += frame.body_bytes as u64;
            inner.put_frame(frame);
        }
        let old = inner.take_old_frames(self.options.ring_bytes);
        inner.newest = frame.position;
        let sequence = Sequence(frame.next_sequence().0 - 1);
        let seen = Seen { position: frame.position, sequence, time: frame.time, epoch: self.epoch };
        self.view.set_seen(seen);
        drop(inner);
        self.view.announce(seen, published_bytes);
        drop(old);
        for queue in &draft.queues {
            self.warned.look_at(*queue, self.state.queue(*queue));
        }
    }
}

fn set_queue(inner: &mut Inner, number: QueueNo, queue: &Queue) {
    let place = number.0 as usize;
    match inner.queues.get_mut(place) {
        Some(view) => {
            view.counts = queue.counts;
            if view.settings != queue.settings {
                view.settings = queue.settings.clone();
            }
        }
        // Queues are made in the order of their numbers, so a new one is always the next.
        None => {
            let (name, settings) = (queue.name.clone(), queue.settings.clone());
            inner.queue_numbers.insert(name.clone(), number);
            inner.queues.push(QueueView { name, settings, counts: queue.counts });
        }
    }
}

fn show(inner: &mut Inner, state: &State, touched: Touched, frame: &Frame, events: &[Event]) {
    let at = |index| Pointer { position: frame.position, index };
    match touched {
        Touched::Live { id, slot, sequence, index } => {
            let Some(job) = state.jobs().get(slot).filter(|job| job.id == id) else { return };
            let event = events.get(index as usize);
            match inner.jobs.get_mut(id) {
                Some(held) => {
                    held.change(state, job, sequence, at(index), frame.time);
                    tell(held, event, frame.time);
                }
                None => {
                    let mut view = JobView::of(state, job, sequence, at(index), frame.time);
                    tell(&mut view, event, frame.time);
                    inner.jobs.add(view);
                }
            }
        }
        Touched::Gone { id, sequence, index } => {
            let held = inner.jobs.get_mut(id);
            debug_assert!(held.is_some(), "the overlay keeps jobs that run or are dead");
            if let (Some(view), Some(event)) = (held, events.get(index as usize)) {
                view.finish(event, sequence, at(index), frame.time);
            }
        }
        Touched::Unheld(mut view) => {
            view.started = inner.jobs.get(view.id).map_or(Timestamp(0), |held| held.started);
            inner.jobs.insert(*view);
        }
        Touched::Deleted { id, queue, sequence, index } => {
            inner.jobs.insert(JobView::tombstone(id, queue, sequence, at(index), frame.time));
        }
    }
}

/// What the event alone says of the job.
fn tell(view: &mut JobView, event: Option<&Event>, time: Timestamp) {
    match event {
        Some(Event::Started { .. }) => view.started = time,
        Some(Event::Progress { progress, .. }) if view.state == JobState::Running => {
            view.progress = Some(Box::new(progress.clone()));
        }
        Some(_) | None => {}
    }
}

fn set_cursors(inner: &mut Inner, state: &State, events: &[Event]) {
    let changed = |event: &Event| matches!(event, Event::CursorSet { .. } | Event::CursorDropped { .. });
    if events.iter().any(changed) {
        inner.cursors.clone_from(state.cursors());
    }
}

fn notify(inner: &Inner, events: &[Event], position: Position) {
    if inner.watched.is_empty() {
        return;
    }
    for (id, _) in events.iter().filter_map(Event::job) {
        inner.watched.note(id, position);
    }
}
