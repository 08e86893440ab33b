//! The life of a job: its vocabulary, what may happen to it (`decide`) and what that changes (`apply`).
//! Pure: no clock, store, channel, random number or log line.

pub mod apply;
mod chunks;
pub mod decide;
pub mod dedupe;
pub mod event;
pub mod extra;
pub mod id;
pub mod intern;
#[cfg(test)]
mod journal;
#[cfg(test)]
mod model_test;
pub mod queue;
pub mod retry;
pub mod saved;
pub mod spec;
pub mod state;
pub mod table;
