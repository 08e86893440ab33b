//! Progress on stderr, if that is a terminal.

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressStyle;
use std::io::IsTerminal;
use std::time::Duration;

const REDRAW: Duration = Duration::from_millis(200);

/// A bar, or nothing where nobody would see it.
#[derive(Debug)]
pub(super) struct Bar(ProgressBar);

impl Bar {
    pub(super) fn new() -> Bar {
        if !std::io::stderr().is_terminal() {
            return Bar(ProgressBar::hidden());
        }
        let style = "{elapsed_precise} {bar:30} {pos}/{len} lines, {per_sec}, {msg}";
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(REDRAW);
        Bar(bar)
    }

    /// How far it is.
    pub(super) fn show(&self, finished: u64, lines: u64, dead: u64) {
        self.0.set_length(lines);
        self.0.set_position(finished);
        self.0.set_message(if dead == 0 { String::new() } else { format!("{dead} failed") });
    }

    /// Takes the bar away while something else is printed.
    pub(super) fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
