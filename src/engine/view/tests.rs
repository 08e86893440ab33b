use crate::clock::Timestamp;
use crate::engine::view::Published;
use crate::engine::view::Seen;
use crate::engine::view::View;
use crate::job::id::Position;
use std::sync::Arc;
use std::sync::OnceLock;

/// Frames of 100 bytes, as they come from memory or are read back from the log.
fn frames(positions: std::ops::RangeInclusive<u64>) -> Vec<Arc<Published>> {
    let frame = |position| {
        Arc::new(Published {
            position: Position(position),
            first_sequence: crate::job::id::Sequence(1),
            updates: 0,
            time: Timestamp(0),
            events: Vec::new(),
            body_bytes: 100,
            encoded: [OnceLock::new(), OnceLock::new()],
        })
    };
    positions.map(frame).collect()
}
            numbers: None,

fn at(position: u64) -> Seen {
    Seen { position: Position(position), ..Seen::default() }
}

/// A view that began at frame 5 and has published the frames 6 to `newest`.
fn view(newest: u64) -> View {
    let view = View::new(at(5));
    for position in 6..=newest {
        view.set_seen(at(position));
        view.announce(at(position), (position - 5) * 100);
    }
    view
}

#[test]
fn the_lag_is_what_was_published_and_not_applied() {
    let view = view(10);
    view.applied(&frames(3..=5));
    assert_eq!(view.lag_bytes(), 500, "what was there at the start was not published since");
    view.applied(&frames(4..=7));
    assert_eq!(view.lag_bytes(), 300);
    view.applied(&frames(1..=6));
    assert_eq!(view.lag_bytes(), 300, "a tree that is built anew applies frames again");
    view.applied(&frames(7..=9));
    assert_eq!(view.lag_bytes(), 100);
    view.applied(&frames(10..=10));
    assert_eq!(view.lag_bytes(), 0);
}

#[test]
fn a_tree_at_the_head_is_not_behind_whatever_it_passed_over() {
    let view = view(10);
    view.applied(&frames(9..=9));
    assert_eq!(view.lag_bytes(), 400);
    view.applied(&frames(10..=10));
    assert_eq!(view.lag_bytes(), 0);
}
