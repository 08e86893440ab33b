//! Gangline: a persistent job queue with a durable, resumable update log.

pub mod clock;
pub mod codec;
pub mod job;
pub mod log;
pub mod proto;
