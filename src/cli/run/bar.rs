//! Progress on stderr, if that is a terminal.

use indicatif::ProgressBar;
use indicatif::ProgressDrawTarget;
use indicatif::ProgressState;
use indicatif::ProgressStyle;
use std::fmt::Write;
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
        let style = "{elapsed_precise} {bar:30} {pos}/{len} lines, {rate}{msg}";
        let rate = |state: &ProgressState, text: &mut dyn Write| {
            write!(text, "{:.0}/s", state.per_sec()).expect("the bar's own buffer takes every text");
        };
        let style = ProgressStyle::with_template(style).expect("the template is a constant");
        let style = style.with_key("rate", rate);
        let bar = ProgressBar::with_draw_target(Some(0), ProgressDrawTarget::stderr()).with_style(style);
        bar.enable_steady_tick(REDRAW);
        Bar(bar)
    }

    /// How far it is.
    pub(super) fn show(&self, finished: u64, lines: u64, dead: u64) {
        self.0.set_length(lines);
        self.0.set_position(finished);
        self.0.set_message(if dead == 0 { String::new() } else { format!(", {dead} failed") });
    }

    /// Takes the bar away while something else is printed on stderr.
    pub(super) fn pause<T>(&self, print: impl FnOnce() -> T) -> T {
        self.0.suspend(print)
    }

    /// Takes the bar away while data is printed, if that goes to the terminal too.
    pub(super) fn pause_for_data<T>(&self, print: impl FnOnce() -> T) -> T {
        if std::io::stdout().is_terminal() { self.0.suspend(print) } else { print() }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
