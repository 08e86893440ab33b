//! The flags of the configuration: one for every setting, made from the table of settings.

use crate::config;
use crate::config::Config;
use crate::config::Loaded;
use crate::config::SETTINGS;
use crate::config::Sources;
use clap::Arg;
use clap::ArgMatches;
use clap::Args;
use clap::Command;
use clap::FromArgMatches;
use clap::ValueHint;
use std::path::PathBuf;

/// Settings that `-h` shows; `--help` shows all.
const COMMON: [&str; 9] = [
    "data",
    "listen",
    "allow_remote",
    "shutdown_grace",
    "lease_period",
    "retention_bytes",
    "retention_age",
    "log.format",
    "log.filter",
];

/// What the command line says about the configuration.
#[derive(Clone, Debug, Default)]
pub(crate) struct Flags {
    file: Option<PathBuf>,
    values: Vec<(&'static str, String)>,
}

impl Flags {
    /// Reads all layers: file, this process's environment, these flags.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub(crate) fn load(self) -> Result<Loaded, config::Error> {
        Config::load(Sources {
            file: self.file,
            variables: std::env::vars_os().collect(),
            flags: self.values,
        })
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new("config")
            .long("config")
            .value_name("FILE")
            .env("GANGLINE_CONFIG")
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help("TOML file with settings; variables and flags win over it");
        let settings = SETTINGS.iter().map(|setting| {
            let default = setting.show(&Config::default());
            let flag = Arg::new(setting.key)
                .long(setting.flag())
                .value_name(setting.value_name)
                .hide_short_help(!COMMON.contains(&setting.key))
                .help(format!("{} [default: {default}]", setting.help));
            match setting.key {
                // The one switch: it may stand alone.
                "allow_remote" => flag.num_args(0..=1).require_equals(true).default_missing_value("true"),
                _ => flag,
            }
        });
        command.args_override_self(true).next_help_heading("Settings").arg(file).args(settings)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Flags::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Flags, clap::Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        self.file = matches.get_one("config").cloned();
        let values = SETTINGS.iter().filter_map(|setting| {
            matches.get_one::<String>(setting.key).map(|value| (setting.key, value.clone()))
        });
        self.values.extend(values);
        Ok(())
    }
}
