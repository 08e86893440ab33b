//! Which segments somebody still reads file by file: a trim lets go of nothing from there on.
//!
//! Frame readers need no pin, they are told that the log begins later now. A backup cannot go on without its next file.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

/// The pins of one directory.
#[derive(Debug, Default)]
pub(crate) struct Pins(Mutex<Pinned>);

#[derive(Debug, Default)]
struct Pinned {
    next: u64,
    /// The lowest segment of each pin.
    segments: BTreeMap<u64, u64>,
}

/// Keeps a segment and all later ones until it is dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pins: Arc<Pins>,
    key: u64,
}

impl Pins {
    /// Keeps `segment` and all later ones. The caller holds off trims, so that they are still there.
    pub(crate) fn take(pins: &Arc<Pins>, segment: u64) -> Pin {
        let mut pinned = pins.0.lock().expect(NO_PANIC);
        let key = pinned.next;
        pinned.next += 1;
        pinned.segments.insert(key, segment);
        Pin { pins: Arc::clone(pins), key }
    }

    /// The lowest segment that must stay, if any must.
    pub(crate) fn lowest(&self) -> Option<u64> {
        self.0.lock().expect(NO_PANIC).segments.values().min().copied()
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.pins.0.lock().expect(NO_PANIC).segments.remove(&self.key);
    }
}

const NO_PANIC: &str = "no holder of the pins panics";
