//! `gangline backup`: a consistent copy of the log, of a running server or of a data directory, that a later backup goes on with.

mod bar;

use crate::cli::backup::bar::Bar;
use crate::cli::damaged;
use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::show::text;
use crate::grpc::convert::time;
use crate::offline::backup;
use crate::offline::backup::Links;
use crate::offline::backup::Taken;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// What `backup` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where the backup is kept: a new or empty directory, or the backup that this one goes on with
    #[arg(value_name = "OUT")]
    out: PathBuf,
    /// Back up the data directory DIR of this machine; a server may run on it
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Copy every file, also where a second name for it would do
    #[arg(long, requires = "data")]
    copy: bool,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `backup`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let bar = Bar::new();
    let links = if arguments.copy { Links::No } else { Links::Allowed };
    let taken = backup::take(&arguments.data, &arguments.out, links, &mut |progress| bar.show(progress));
    let taken = taken.map_err(|error| damaged::refused(&arguments.data, error))?;
    drop(bar);
    if arguments.json {
        output::json([to_json(&taken)])?;
    } else {
        output::lines(tell(&taken, &arguments).into_iter())?;
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

fn tell(taken: &Taken, arguments: &Arguments) -> Vec<String> {
    let Taken { manifest, bytes_copied, bytes_linked, bytes_kept } = taken;
    let (position, sequence) = (manifest.head.position, manifest.head.sequence);
    let out = arguments.out.display();
    vec![
        format!("store {} up to frame {position} and update {sequence}", manifest.store),
        format!("{bytes_copied} bytes copied, {bytes_linked} linked, {bytes_kept} were there"),
        format!("done; `gangline restore {out} DIR` makes a data directory of it"),
    ]
}
