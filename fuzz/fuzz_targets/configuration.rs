//! See `fuzz/src/configuration.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gangline_fuzz::configuration::run(bytes));
