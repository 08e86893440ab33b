//! The signals that stop a service or a pool: the first in good order, the second at once.

use crate::clock::Clock;
use crate::clock::Tick;
use std::time::Duration;
use tokio::signal::unix::Signal;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

/// A signal so soon after another is the same one: `timeout` and others send it to the process and to its group.
const ECHO: Duration = Duration::from_millis(250);

/// SIGTERM and SIGINT.
pub(crate) struct Signals {
    terminate: Signal,
    interrupt: Signal,
    clock: Clock,
    last: Option<Tick>,
}

impl Signals {
    /// Begins to listen: from here on neither ends the process by itself.
    pub(crate) fn new() -> std::io::Result<Signals> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            clock: Clock::system(),
            last: None,
        })
    }

    /// The next of them.
    pub(crate) async fn next(&mut self) {
        loop {
            tokio::select! {
                _ = self.terminate.recv() => {}
                _ = self.interrupt.recv() => {}
            }
            let now = self.clock.now().tick;
            if self.last.is_none_or(|last| now.since(last) >= ECHO) {
                self.last = Some(now);
                return;
            }
        }
    }
}
