//! How jobs, updates and the rest are shown: JSON for programs, words and tables for people.

pub(crate) mod counts;
pub(crate) mod job;
pub(crate) mod live;
pub(crate) mod names;
pub(crate) mod table;
pub(crate) mod text;
pub(crate) mod update;
