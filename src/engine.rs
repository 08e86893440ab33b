//! The engine: one writer that owns all state changes, and what it publishes to everyone else.

pub mod chance;
pub mod checkpoint;
pub mod command;
pub mod core;
pub mod ids;
pub mod index;
pub mod overlay;
pub mod recover;
pub mod view;
pub mod workers;
