//! `gangline restore`: a backup as a new data directory that a server starts on, verified before it is there.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::show::text;
use crate::cli::verify::FaultJson;
use crate::cli::words;
use crate::offline::Faults;
use crate::offline::Until;
use crate::offline::restore;
use crate::offline::restore::Outcome;
use crate::offline::restore::Restored;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// What `restore` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The backup; it is only read
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,
    /// Where the data directory is made: it does not exist, or is empty
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Restore the state as of this update or time, and nothing later
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = words::until)]
    until: Option<Until>,
    /// One JSON object, after one for each fault
    #[arg(long)]
    json: bool,
}

/// Runs `restore`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let until = arguments.until.unwrap_or(Until::End);
    match restore::restore(&arguments.backup, &arguments.directory, until)? {
        Outcome::Done(restored) => {
            if arguments.json {
                output::json([to_json(&restored)])?;
            } else {
                output::lines(tell(&restored, &arguments).into_iter())?;
            }
            Ok(Exit::OK)
        }
        Outcome::Damaged(faults) => {
            if arguments.json {
                output::json(objects(&faults)?)?;
            } else {
                output::lines(faults.kept().iter().map(ToString::to_string))?;
            }
            let backup = arguments.backup.display();
            let count = faults.count();
            let faults = if count == 1 { "1 fault".to_owned() } else { format!("{count} faults") };
            output::note(format!(
                "{backup} is damaged: {faults}; nothing was restored; `gangline salvage {backup} OUT` copies what can be read"
            ));
            Ok(Exit::DAMAGED)
        }
    }
}

fn to_json(restored: &Restored) -> Value {
    let verified = &restored.verified;
    json!({
        "restored": true,
        "old_store_id": restored.old_store.to_string(),
        "store_id": restored.new_store.to_string(),
        "position": verified.tail.position.0,
        "sequence": verified.tail.sequence.0,
        "frames": verified.frames,
        "updates": verified.updates,
        "live_jobs": verified.live,
    })
}

fn objects(faults: &Faults) -> serde_json::Result<Vec<Value>> {
    let fault = |fault| serde_json::to_value(FaultJson::of(fault));
    let mut objects: Vec<Value> = faults.kept().iter().map(fault).collect::<Result<_, _>>()?;
    objects.push(json!({"restored": false, "faults": faults.count()}));
    Ok(objects)
}

fn tell(restored: &Restored, arguments: &Arguments) -> Vec<String> {
    let verified = &restored.verified;
    let (old, new) = (restored.old_store, restored.new_store);
    let directory = text::shell(&arguments.directory);
    vec![
        format!(
            "restored and verified up to frame {} and update {}; {} live jobs",
            verified.tail.position, verified.tail.sequence, verified.live
        ),
        format!("the store is {new} now, and was {old}: cursors that readers keep themselves begin anew"),
        format!("next: gangline serve --data {directory}"),
    ]
}
