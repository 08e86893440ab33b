//! The writer: the one thread that decides, appends and syncs. It drains what is there, with no timer, syncs
//! itself, and sleeps until its next deadline otherwise.

use crate::clock::Clock;
use crate::engine::core::Core;
use crate::engine::inbox::Found;
use crate::engine::inbox::Inbox;
use crate::log;
use crate::log::Log;
use std::sync::Arc;
use std::time::Duration;

/// How often the writer looks whether the next segment is ready, in the rare case that it must wait for it.
const LOOK_FOR_ROOM: Duration = Duration::from_millis(1);

/// Runs until the inbox is closed and empty, and then vouches for everything and returns.
///
/// # Errors
/// The log's. Nothing is acknowledged any more: every caller gets [`crate::engine::command::Error::OutcomeUnknown`].
/// [ACK-2]
pub(in crate::engine) fn run<L: Log>(
    mut core: Core<L>,
    inbox: &Arc<Inbox>,
    clock: &Clock,
) -> Result<(), log::Error> {
    let result = serve(&mut core, inbox, clock);
    inbox.abandon();
    result?;
    core.close(clock.now())
}

fn serve<L: Log>(core: &mut Core<L>, inbox: &Inbox, clock: &Clock) -> Result<(), log::Error> {
    loop {
        let patience = core.next_step().map(|at| at.since(clock.now().tick));
        let items = match inbox.take(patience) {
            Found::Commands(items) => items,
            Found::Closed => return Ok(()),
        };
        while !core.has_room() {
            std::thread::sleep(LOOK_FOR_ROOM);
        }
        let (commands, shares): (Vec<_>, Vec<_>) = items.into_iter().map(|item| item.split()).unzip();
        core.step(commands, clock.now())?;
        drop(shares);
    }
}
