//! The work tree against a log kept in memory and a reference model, with the real sled on a real file system.

mod model;
mod restart;
mod rig;
