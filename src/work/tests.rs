//! The work tree against a log kept in memory and a reference model, with the real sled on a real file system.

mod faults;
mod model;
mod reading;
mod restart;
mod rig;
