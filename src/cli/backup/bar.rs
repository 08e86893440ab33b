//! How far a backup is, on stderr, if that is a terminal.

use crate::offline::backup::Progress;
use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use std::io::IsTerminal;

/// A bar, or nothing where nobody would see it.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let style = ProgressStyle::with_template("{elapsed_precise} {bar:30} {bytes}/{total_bytes}")
            .expect("the template is a constant");
        Bar(ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style))
    }

    pub(super) fn show(&self, progress: Progress) {
        self.0.set_length(progress.whole);
        self.0.set_position(progress.done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
