//! Letting go of old segments, after the events of live jobs in them are safe in a new carry file.
//!
//! It may be killed anywhere: the carry file with the highest floor says where the log begins, and what is left
//! below is removed at the next opening.

use crate::codec;
use crate::job::id::Pointer;
use crate::job::id::Position;
use crate::log::Archive;
use crate::log::Error;
use crate::log::Floor;
use crate::log::causes::in_one_line;
use crate::log::directory::archive::DirectoryArchive;
use crate::log::directory::archive::NO_PANIC;
use crate::log::directory::archive::Retention;
use crate::log::directory::carry;
use crate::log::directory::layout;
use crate::log::directory::layout::Layout;
use std::sync::Arc;

pub(crate) fn trim(
    archive: &DirectoryArchive,
    before: Position,
    live: &mut dyn Iterator<Item = Pointer>,
) -> Result<Floor, Error> {
    let shared = &*archive.shared;
    let _trimming = shared.trimming.lock().expect(NO_PANIC);
    // A segment goes only when the next one begins with a durable frame, so that what stays says where the log begins.
    let limit = before.min(archive.durable());
    let segments = shared.retained.read().expect(NO_PANIC).segments.clone();
    let kept = segments.partition_point(|segment| segment.first.position <= limit).saturating_sub(1);
    let pinned = shared.pins.lowest().unwrap_or(u64::MAX);
    let kept = kept.min(segments.partition_point(|segment| segment.number < pinned));
    if kept == 0 {
        return Ok(archive.floor());
    }
    let Retention { number, first: floor } = segments[kept];
    let mut pointers: Vec<Pointer> = live.filter(|at| at.position < floor.position).collect();
    debug_assert!(pointers.is_sorted(), "the contract asks for ascending pointers");
    pointers.dedup();
    let mut event = |at: Pointer| match archive.carried(at)? {
        Some(bytes) => Ok(bytes),
        None => {
            let event = match archive.event_of(at) {
                Err(Error::BelowFloor { .. }) => return Err(Error::Forgotten { at }),
                other => other?,
            };
            event.as_ref().map(codec::encode).ok_or(Error::Forgotten { at })
        }
    };
    let write = || carry::write(&shared.layout, shared.store, number, floor, &pointers, &mut event);
    let carry = Arc::new(shared.space.with_reserve(write)?);
    {
        let mut retained = shared.retained.write().expect(NO_PANIC);
        retained.carry = Some(carry);
        retained.segments.drain(..kept);
    }
    archive.forget_below(number);
    // What cannot be removed now takes up space until the next opening removes it; the log is the same without it.
    if let Err(error) = remove_below(&shared.layout, number, floor.position) {
        tracing::warn!(error = in_one_line(&error), "old log files could not be removed");
    }
    Ok(floor)
}

/// Removes the carry files and segments that a carry file with this floor has replaced.
pub(crate) fn remove_below(layout: &Layout, segment: u64, floor: Position) -> Result<(), Error> {
    carry::remove_old(layout, floor)?;
    for number in layout::numbers(&layout.log(), "seg")? {
        if number < segment {
            layout::remove(&layout.segment(number))?;
        }
    }
    layout::sync_directory(&layout.log())
}
