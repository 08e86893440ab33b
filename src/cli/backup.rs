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
use crate::cli::verify::FaultJson;
use crate::grpc::convert::time;
use crate::offline::Faults;
use crate::offline::backup;
use crate::offline::backup::Links;
use crate::offline::backup::Taken;
use crate::offline::restore;
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
    /// Then read all of the backup back, what was there before too: every checksum, and that nothing is missing
    #[arg(long)]
    verify: bool,
    /// One JSON object, after one for each fault
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    remote: Remote,
}

/// Runs `backup`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { out, data, copy, verify, json, remote } = arguments;
    let told = Told { verify, json };
    let bar = Bar::new();
    let Some(data) = data else {
        return remote.run(Outage::Brief, async |client| {
            let taken = online::take(&client, &out, &bar).await?;
            drop(bar);
            conclude(&taken, &out, told)
        });
    };
    let links = if copy { Links::No } else { Links::Allowed };
    let taken = backup::take(&data, &out, links, &mut |progress| bar.show(progress));
    let taken = taken.map_err(|error| damaged::refused(&data, error))?;
    drop(bar);
    conclude(&taken, &out, told)
}

/// What is to be done with a backup that was taken.
#[derive(Clone, Copy, Debug)]
struct Told {
    verify: bool,
    json: bool,
}

fn conclude(taken: &Taken, out: &Path, told: Told) -> anyhow::Result<Exit> {
    let Told { verify, json } = told;
    let faults = if verify { restore::read_back(out)? } else { Faults::default() };
    if json {
        let fault = |fault| serde_json::to_value(FaultJson::of(fault));
        let mut objects: Vec<Value> = faults.kept().iter().map(fault).collect::<Result<_, _>>()?;
        objects.push(to_json(taken, verify.then(|| faults.count())));
        output::json(objects)?;
    } else {
        output::lines(faults.kept().iter().map(ToString::to_string))?;
        if faults.count() == 0 {
            output::lines(tell(taken, out, verify).into_iter())?;
        }
    }
    match faults.count() {
        0 => Ok(Exit::OK),
        count => {
            let faults = if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
            let (place, out) = (out.display(), text::shell(out));
            output::note(format!(
                "{place} is damaged: {faults}; back up into a new directory, and keep this one until that is done: `gangline salvage \
                 {out} OUT` copies what can be read"
            ));
            Ok(Exit::DAMAGED)
        }
    }
}

fn to_json(taken: &Taken, faults: Option<u64>) -> Value {
    let manifest = &taken.manifest;
    json!({
        "store_id": manifest.store.to_string(),
        "position": manifest.head.position.0,
        "sequence": manifest.head.sequence.0,
        "time": text::time(&time::to_timestamp(manifest.time)),
        "bytes_copied": taken.bytes_copied,
        "bytes_linked": taken.bytes_linked,
        "bytes_kept": taken.bytes_kept,
        "faults": faults,
    })
}

fn tell(taken: &Taken, out: &Path, verified: bool) -> Vec<String> {
    let Taken { manifest, bytes_copied, bytes_linked, bytes_kept } = taken;
    let (position, sequence) = (manifest.head.position, manifest.head.sequence);
    let out = text::shell(out);
    vec![
        format!("store {} up to frame {position} and update {sequence}", manifest.store),
        format!("{bytes_copied} bytes copied, {bytes_linked} linked, {bytes_kept} were there"),
        format!(
            "{}; `gangline restore {out} DIR` makes a data directory of it",
            if verified { "verified" } else { "done" }
        ),
    ]
}
