//! The directory against real files: the suite, and what only files can suffer.

mod capture;
mod disk;
mod ending;
mod owner;
pub(crate) mod place;
mod trimming;

use crate::log::directory::tests::place::Files;
use crate::log::suite;

suite::conforms!(Files::new());
