//! `gangline config`: look at the configuration that a server would start with, without starting it.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::output::Reader;
use crate::cli::setting::Flags;
use crate::config::Loaded;
use crate::config::SETTINGS;
use clap::Subcommand;
use serde_json::json;

/// What `config` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Check file, variables and flags; say nothing and exit with 0 if a server could start with them
    Check {
        #[command(flatten)]
        settings: Flags,
    },
    /// Print every setting as the lines of a configuration file
    Show {
        /// Say where each value came from
        #[arg(long)]
        origin: bool,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        settings: Flags,
    },
}

/// Runs `config`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    match arguments.action {
        Action::Check { settings } => {
            settings.load()?;
        }
        Action::Show { origin, json, settings } => {
            let loaded = settings.load()?;
            for line in lines(&loaded, origin, json) {
                if output::line(line)? == Reader::Gone {
                    break;
                }
            }
        }
    }
    Ok(Exit::OK)
}

/// Every setting, dotted keys and all, which TOML allows.
fn lines(loaded: &Loaded, origin: bool, json: bool) -> Vec<String> {
    let line = |setting: &crate::config::Setting| {
        let (value, from) = (setting.show(&loaded.config), loaded.origin(setting).to_string());
        match (json, origin) {
            (true, _) => json!({ "key": setting.key, "value": value, "origin": from }).to_string(),
            (false, true) => format!("{} = {value:?}  # {from}", setting.key),
            (false, false) => format!("{} = {value:?}", setting.key),
        }
    };
    let pools = loaded.config.pools.iter().map(|pool| {
        let queues: Vec<&str> = pool.queues.iter().map(|queue| queue.as_str()).collect();
        if json {
            json!({ "pool": &*pool.name, "queues": queues, "processes": pool.config.processes }).to_string()
        } else {
            format!("# pool {:?}: {} processes for {}", pool.name, pool.config.processes, queues.join(", "))
        }
    });
    SETTINGS.iter().map(line).chain(pools).collect()
}
