//! Gangline: a persistent job queue with a durable, resumable update log.

pub mod cli;
pub mod client;
pub mod clock;
pub mod codec;
pub mod config;
pub mod engine;
pub mod grpc;
pub mod job;
pub mod log;
pub mod offline;
pub mod pool;
pub mod proto;
#[cfg(any(test, feature = "seeded-bugs"))]
pub mod seeded;
pub mod server;
pub mod service;
pub mod shutdown;
pub mod work;
