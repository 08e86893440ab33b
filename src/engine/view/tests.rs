use crate::clock::Timestamp;
use crate::engine::overlay::JobView;
use crate::engine::view::Published;
use crate::engine::view::RING_AT_REST_BYTES;
use crate::engine::view::Seen;
use crate::engine::view::View;
use crate::job::id::JobId;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::job::id::QueueNo;
use crate::job::id::Sequence;
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
            numbers: None,
            body_bytes: 100,
            encoded: [OnceLock::new(), OnceLock::new()],
        })
    };
    positions.map(frame).collect()
}

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

/// [MEM-1]
#[test]
fn a_view_at_rest_keeps_the_newest_frames_and_gives_its_space_back() {
    let view = view(10_000);
    let job = |number: u64| {
        JobView::tombstone(
            JobId::from_u128(number.into()),
            QueueNo(0),
            Sequence(number),
            Pointer { position: Position(number), index: 0 },
            Timestamp(0),
        )
    };
    {
        let mut inner = view.write();
        frames(6..=10_000).into_iter().for_each(|frame| inner.put_frame(frame));
        inner.newest = Position(10_000);
        (0..10_000).for_each(|number| inner.jobs.insert(job(number)));
        (10..10_000).for_each(|number| inner.jobs.remove(JobId::from_u128(number)));
    }
    view.rest();
    let kept = view.frames(Position(10_000), 10).unwrap();
    assert_eq!(kept.len(), 1);
    assert!(view.frames(Position(6), 10).is_none(), "the log answers for the oldest");
    let inner = view.read();
    let bytes: usize = inner.frames.iter().map(|frame| 2 * frame.body_bytes + 256).sum();
    assert_eq!(inner.frames_bytes, bytes);
    assert!((RING_AT_REST_BYTES - 456..=RING_AT_REST_BYTES).contains(&bytes), "{bytes}");
    assert!(inner.jobs.capacity() < 1_000, "{}", inner.jobs.capacity());
    assert_eq!(inner.jobs.len(), 10);
    drop(inner);
    view.rest();
    assert_eq!(view.frames(Position(10_000), 10).unwrap().len(), 1);
}
