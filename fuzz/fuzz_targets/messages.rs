//! See `fuzz/src/messages.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gangline_fuzz::messages::run(bytes));
