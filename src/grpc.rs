//! The gRPC edge: the listener, its limits, and the one place each that knows statuses and conversions.

pub mod convert;
pub mod limits;
pub mod listener;
pub mod pulled;
#[cfg(test)]
mod rig;
pub mod status;
pub mod updates;
pub mod workers;
