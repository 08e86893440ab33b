//! See `fuzz/src/frames.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gangline_fuzz::frames::run(bytes));
