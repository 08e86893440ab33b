//! Frames that have left memory, read back from the log. It may block.

use crate::engine::history::History;
use crate::engine::view::Published;
use crate::engine::view::View;
use crate::job::event::glimpse::Glimpse;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::log;
use crate::log::frame::Frame;
use crate::service::Error;
use std::sync::Arc;

/// Published frames from `from` on, read back from the log.
pub(in crate::service) fn frames(
    history: &dyn History,
    view: &View,
    from: Position,
    last: Option<Position>,
    bytes: usize,
) -> Result<Vec<Arc<Published>>, log::Error> {
    read(history, view, from, (last, bytes), |frame| {
        frame.events().map(|events| Published::of(frame, events))
    })
}

/// The same, for a reader of the updates that are `wanted`: the others are not decoded.
pub(in crate::service::tail) fn frames_for(
    history: &dyn History,
    view: &View,
    from: Position,
    (last, bytes): (Option<Position>, usize),
    mut wanted: impl FnMut(&Glimpse) -> bool,
) -> Result<Vec<Arc<Published>>, log::Error> {
    read(history, view, from, (last, bytes), |frame| {
        let updates = frame.updates_where(&mut wanted);
        updates.map(|(numbers, events)| Published::some_of(frame, numbers, events))
    })
}

fn read<E: std::fmt::Display>(
    history: &dyn History,
    view: &View,
    from: Position,
    (last, bytes): (Option<Position>, usize),
    mut publish: impl FnMut(&Frame) -> Result<Published, E>,
) -> Result<Vec<Arc<Published>>, log::Error> {
    let frames = history.read(from, bytes)?;
    // What the view does not show yet may name queues that it does not know.
    let end = view.seen().position.min(last.unwrap_or(Position(u64::MAX)));
    let shown = frames.iter().take_while(|frame| frame.position <= end);
    let published = shown.map(|frame| match publish(frame) {
        Ok(published) => Ok(Arc::new(published)),
        Err(error) => Err(log::Error::Damaged {
            file: "the log".to_owned(),
            offset: 0,
            position: frame.position,
            sequence: frame.first_sequence,
            what: error.to_string(),
        }),
    });
    published.collect()
}

/// What a failed read means for a reader whose cursor is `wanted`. [LOG-2]
pub(in crate::service::tail) fn failed(error: log::Error, wanted: Sequence, history: &dyn History) -> Error {
    if let log::Error::BelowFloor { .. } = error {
        Error::BelowFloor { wanted, floor: history.floor().sequence }
    } else {
        Error::Log(error)
    }
}
