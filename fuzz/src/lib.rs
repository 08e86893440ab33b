//! What is fuzzed: each module has one function `run` that takes any bytes and panics if something that must hold does not.
//! `fuzz_targets/` hands these functions to libFuzzer; `tests/fuzz.rs` of the main crate compiles the same files and
//! calls them with every input below `corpus/`.

pub mod configuration;
pub mod cursors;
pub mod frames;
pub mod input;
pub mod messages;
pub mod salvage;
pub mod written;
