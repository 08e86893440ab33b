//! Wakes the threads that follow the log at their own pace (applier, checkpointer), and tells them to stop. Costs the
//! writer nothing while nobody sleeps.

use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// What a sleeper finds when it wakes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Woken {
    /// There is something to do, or the time is over.
    Up,
    /// It shall finish and end.
    Stop,
}

/// The bell.
#[derive(Debug, Default)]
pub(in crate::engine) struct Bell {
    rung: Mutex<Rung>,
    heard: Condvar,
    sleepers: AtomicUsize,
}

#[derive(Debug, Default)]
struct Rung {
    /// Position of the newest frame.
    newest: u64,
    stop: bool,
}

impl Bell {
    /// The frame at `newest` is published.
    pub(in crate::engine) fn ring(&self, newest: u64) {
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.rung.lock().unwrap_or_else(PoisonError::into_inner).newest = newest;
            self.heard.notify_all();
        }
    }

    /// Everybody shall end.
    pub(in crate::engine) fn stop(&self) {
        self.rung.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.heard.notify_all();
    }

    /// Sleeps until a frame above `seen` is published (`newest` tells which is the newest), for at most `patience`.
    pub(in crate::engine) fn wait_above(
        &self,
        seen: u64,
        newest: impl Fn() -> u64,
        patience: Duration,
    ) -> Woken {
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let mut rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        // A frame published before this sleeper was counted did not ring for it.
        rung.newest = rung.newest.max(newest());
        let asleep = |rung: &mut Rung| rung.newest <= seen && !rung.stop;
        let (rung, _) =
            self.heard.wait_timeout_while(rung, patience, asleep).unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        if rung.stop { Woken::Stop } else { Woken::Up }
    }

    /// Sleeps for `pause`, unless it is told to end.
    pub(in crate::engine) fn pause(&self, pause: Duration) -> Woken {
        let rung = self.rung.lock().unwrap_or_else(PoisonError::into_inner);
        let (rung, _) = self
            .heard
            .wait_timeout_while(rung, pause, |rung| !rung.stop)
            .unwrap_or_else(PoisonError::into_inner);
        if rung.stop { Woken::Stop } else { Woken::Up }
    }
}
