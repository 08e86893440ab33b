//! `gangline backup`: a consistent copy of the log, of a running server or of a data directory, that a later backup goes on with.

mod bar;
mod online;

use crate::cli::backup::bar::Bar;
use crate::cli::damaged;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::remote::Outage;
use crate::cli::remote::Remote;
use crate::cli::show::text;
use crate::grpc::convert::time;
use crate::offline::backup;
use crate::offline::backup::Links;
use crate::offline::backup::Taken;
use serde_json::Value;
use serde_json::json;
use std::path::Path;
use std::path::PathBuf;

/// What `backup` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the backup is kept: a new or empty directory, or the backup that this one goes on with
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Back up the data directory DIR of this machine in place of a server's; a server may run on it
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Copy every file, also where a second name for it would do
    #[arg(long, requires = "data")]
    copy: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `backup`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { out, data, copy, json, remote } = arguments;
    let bar = Bar::new();
    let Some(data) = data else {
        return remote.run(Outage::Brief, async |client| {
            let taken = online::take(&client, &out, &bar).await?;
            drop(bar);
            print(&taken, &out, json)
        });
    };
    let links = if copy { Links::No } else { Links::Allowed };
    let taken = backup::take(&data, &out, links, &mut |progress| bar.show(progress));
    let taken = taken.map_err(|error| damaged::refused(&data, error))?;
    drop(bar);
    print(&taken, &out, json)
}

fn print(taken: &Taken, out: &Path, json: bool) -> anyhow::Result<Exit> {
    if json {
        output::json([to_json(taken)])?;
    } else {
        output::lines(tell(taken, out).into_iter())?;
    }
    Ok(Exit::OK)
}

fn to_json(taken: &Taken) -> Value {
    let manifest = &taken.manifest;
    json!({
        "store_id": manifest.store.to_string(),
        "position": manifest.head.position.0,
        "sequence": manifest.head.sequence.0,
        "time": text::time(&time::to_timestamp(manifest.time)),
        "bytes_copied": taken.bytes_copied,
        "bytes_linked": taken.bytes_linked,
        "bytes_kept": taken.bytes_kept,
    })
}

fn tell(taken: &Taken, out: &Path) -> Vec<String> {
    let Taken { manifest, bytes_copied, bytes_linked, bytes_kept } = taken;
    let (position, sequence) = (manifest.head.position, manifest.head.sequence);
    let out = text::shell(out);
    vec![
        format!("store {} up to frame {position} and update {sequence}", manifest.store),
        format!("{bytes_copied} bytes copied, {bytes_linked} linked, {bytes_kept} were there"),
        format!("done; `gangline restore {out} DIR` makes a data directory of it"),
    ]
}
