//! The fault campaign: the real binary under load, killed, cut off from power, with failing and full disks, damaged files,
//! too many readers and too much work, paused and robbed of its work tree, and a checker that judges what its clients saw.
//! One binary, one test at a time; `scripts/campaign` runs it.
//!
//! The variables that the tests name scale it, `GANGLINE_SEED` replays its choices (moments of a fault cannot be replayed
//! exactly), `GANGLINE_BINARY` names another binary than the one built here. A part that needs root, loop devices, python3,
//! strace or libfaketime says so when it is skipped.

#![allow(clippy::print_stderr, reason = "the figures of the campaign are what it is run for")]

mod behind;
mod brittle;
mod check;
mod clocks;
mod crowd;
mod cuts;
mod damage;
mod failing;
mod figures;
mod full;
mod history;
mod kills;
mod load;
mod pauses;
mod plan;
mod seeded;
mod server;
mod strace;
mod tier;
mod tree;
mod volume;
