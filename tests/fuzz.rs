//! Every input below `fuzz/corpus/` through the function that fuzzing calls, without libFuzzer: what was found once stays
//! mended. `fuzz/README.md` says how to fuzz.

#![allow(unreachable_pub, reason = "these files are a crate of their own in `fuzz/`")]

#[path = "../fuzz/src/configuration.rs"]
mod configuration;
#[path = "../fuzz/src/cursors.rs"]
mod cursors;
#[path = "../fuzz/src/frames.rs"]
mod frames;
#[path = "../fuzz/src/input.rs"]
mod input;
#[path = "../fuzz/src/messages.rs"]
mod messages;
#[path = "../fuzz/src/salvage.rs"]
mod salvage;
#[path = "../fuzz/src/written.rs"]
mod written;

use std::path::Path;

/// Calls `run` with each input of this folder; a failure names the file.
fn replay(folder: &str, run: fn(&[u8])) {
    let mut inputs = 0;
    for entry in std::fs::read_dir(Path::new("fuzz/corpus").join(folder)).expect("the corpus is committed") {
        let path = entry.expect("it can be listed").path();
        let bytes = std::fs::read(&path).expect("a file");
        let replayed = std::panic::catch_unwind(|| run(&bytes));
        assert!(replayed.is_ok(), "{} panics, see above", path.display());
        inputs += 1;
    }
    assert!(inputs >= 10, "there are only {inputs} inputs in {folder}");
}

#[test]
fn the_inputs_of_frames_are_taken() {
    replay("frames", frames::run);
}

#[test]
fn the_inputs_of_salvage_are_taken() {
    replay("salvage", salvage::run);
}

#[test]
fn the_inputs_of_messages_are_taken() {
    replay("messages", messages::run);
}

#[test]
fn the_inputs_of_cursors_are_taken() {
    replay("cursors", cursors::run);
}

#[test]
fn the_inputs_of_configuration_are_taken() {
    replay("configuration", configuration::run);
}
