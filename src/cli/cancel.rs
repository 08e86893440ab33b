//! `gangline cancel`: cancel jobs, waiting or running.

use crate::cli::changes;
use crate::cli::exit::Exit;
use crate::cli::remote::Ids;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;

/// What `cancel` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    ids: Ids,
    /// Why, for readers of the log
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `cancel`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { ids, reason, json, remote } = arguments;
    let ids = ids.read()?;
    remote.run(Outage::Brief, async |client| {
        changes::each(&ids, json.into(), async |ids| client.cancel(ids, &reason).await).await
    })
}
