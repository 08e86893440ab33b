//! See `fuzz/src/cursors.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gangline_fuzz::cursors::run(bytes));
