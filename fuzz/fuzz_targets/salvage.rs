//! See `fuzz/src/salvage.rs`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| gangline_fuzz::salvage::run(bytes));
