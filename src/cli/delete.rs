//! `gangline delete`: forget finished and dead jobs.

use crate::cli::changes;
use crate::cli::exit::Exit;
use crate::cli::remote::Ids;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;

/// What `delete` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    #[command(flatten)]
    ids: Ids,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `delete`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let ids = arguments.ids.read()?;
    arguments.remote.run(Outage::Brief, async |client| {
        changes::each(&ids, arguments.json.into(), async |ids| client.delete(ids).await).await
    })
}
