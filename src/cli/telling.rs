//! The program's own log: to stderr, for people on a terminal, JSON otherwise or as the configuration says.

use crate::config::LogConfig;
use crate::config::LogFormat;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;

/// Begins to log what a person at a terminal should know of: a broken link, a disk that fails.
pub(crate) fn begin_warnings() {
    begin(&LogConfig { format: LogFormat::Human, filter: "warn".to_owned() });
}

/// Begins to log. A second call changes nothing.
pub(crate) fn begin(config: &LogConfig) {
    let filter = EnvFilter::try_new(&config.filter).expect("the configuration's check has parsed it");
    let terminal = std::io::stderr().is_terminal();
    let human = match config.format {
        LogFormat::Auto => terminal,
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let builder = fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let begun = if human {
        builder.with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).try_init()
    } else {
        builder.json().flatten_event(true).try_init()
    };
    // Only a caller that logs already, such as a test, comes here twice.
    begun.ok();
}
