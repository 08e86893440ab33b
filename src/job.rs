//! The life of a job: its vocabulary, what may happen to it (`decide`) and what that changes (`apply`).
//! Pure: no clock, store, channel, random number or log line.

pub mod event;
pub mod id;
pub mod spec;
