//! `gangline migrate`: a data directory of an older release into the format of this one, and what that takes.

use crate::cli::exit::Exit;
use crate::cli::output;
use crate::cli::show::text;
use crate::log::directory::migrate;
use crate::log::directory::migrate::Left;
use crate::log::directory::migrate::Moment;
use crate::log::directory::migrate::Plan;
use crate::log::directory::migrate::STEPS;
use serde_json::Value;
use serde_json::json;
use std::path::PathBuf;

/// What `migrate` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The data directory; no server may run on it
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    /// Only say what would be done, and whether there is room; nothing is changed
    #[arg(long)]
    check: bool,
    /// The format to go to; the newest one if it is not given
    #[arg(long, value_name = "N")]
    to: Option<u32>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

/// Runs `migrate`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let Arguments { directory, check, to, json } = arguments;
    let plan = migrate::plan(&directory, STEPS, to)?;
    if check {
        if json {
            output::json([to_json(&plan)])?;
        } else {
            output::lines(lines(&plan).into_iter())?;
        }
        return Ok(if plan.has_room() { Exit::OK } else { Exit::DISK });
    }
    if !plan.steps.is_empty() {
        output::note(room(&plan));
    }
    let format = migrate::migrate(&directory, STEPS, to, &mut tell)?;
    if json {
        output::json([json!({"found": plan.found, "format": format, "store_id": plan.store.to_string()})])?;
    } else {
        output::line(done(&plan, format))?;
    }
    Ok(Exit::OK)
}

/// Progress, for those who wait.
fn tell(moment: &Moment) {
    match moment {
        Moment::Cleared => output::note("what an interrupted migration had written is removed"),
        Moment::Began { from, what } => output::note(format_args!("step {from} to {}: {what}", from + 1)),
        Moment::Wrote(file) => output::note(format_args!("wrote {}", file.display())),
        Moment::Switched => output::note("the new files are whole and count from here on"),
        Moment::Opened(_)
        | Moment::Complete
        | Moment::Removed(_)
        | Moment::Moved(_)
        | Moment::Finished(_) => {}
    }
}

fn to_json(plan: &Plan<'_>) -> Value {
    let steps = plan.steps.iter();
    let steps = steps.map(|step| json!({"from": step.from(), "to": step.from() + 1, "what": step.what()}));
    json!({
        "format": plan.found,
        "newest_format": plan.newest,
        "store_id": plan.store.to_string(),
        "interrupted": match plan.left {
            Left::Nothing => "no",
            Left::Begun => "before the switch",
            Left::Moving => "after the switch",
        },
        "steps": steps.collect::<Vec<Value>>(),
        "bytes_needed": plan.bytes_needed,
        "bytes_free": plan.bytes_free,
        "has_room": plan.has_room(),
    })
}

fn lines(plan: &Plan<'_>) -> Vec<String> {
    let mut lines = vec![format!(
        "{} has format {}; this release knows formats up to {}",
        plan.place.display(),
        plan.found,
        plan.newest
    )];
    match plan.left {
        Left::Nothing => {}
        Left::Begun => lines.push("a migration was interrupted before it changed anything".to_owned()),
        Left::Moving => {
            lines.push("a migration was interrupted after its switch: it will be finished".to_owned())
        }
    }
    let steps = plan.steps.iter();
    lines.extend(steps.map(|step| format!("step {} to {}: {}", step.from(), step.from() + 1, step.what())));
    if plan.steps.is_empty() {
        lines.push("no step is to be taken".to_owned());
    } else {
        lines.push(room(plan));
    }
    if !plan.steps.is_empty() || plan.left != Left::Nothing {
        lines.push(format!("next: gangline migrate {}", text::shell(&plan.place)));
    }
    lines
}

fn room(plan: &Plan<'_>) -> String {
    let needed = plan.bytes_needed;
    match plan.bytes_free {
        Some(free) if plan.has_room() => {
            format!("up to {needed} bytes are needed beside the files that are there; {free} are free")
        }
        Some(free) => format!(
            "up to {needed} bytes are needed beside the files that are there, and only {free} are free: too little"
        ),
        None => format!("up to {needed} bytes are needed beside the files that are there"),
    }
}

fn done(plan: &Plan<'_>, format: u32) -> String {
    let place = plan.place.display();
    match (plan.left, plan.found == format) {
        (Left::Moving, true) => format!("{place}: the migration to format {format} is finished"),
        (Left::Nothing | Left::Begun, true) => format!("{place} has format {format}: nothing was to be done"),
        (_, false) => format!(
            "{place} has format {format} now; next: gangline serve --data {}",
            text::shell(&plan.place)
        ),
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::migrate::done;
    use crate::cli::migrate::lines;
    use crate::cli::migrate::to_json;
    use crate::job::id::StoreId;
    use crate::log::directory::migrate::Error;
    use crate::log::directory::migrate::Left;
    use crate::log::directory::migrate::New;
    use crate::log::directory::migrate::Plan;
    use crate::log::directory::migrate::Step;
    use std::path::Path;

    struct Wider;

    impl Step for Wider {
        fn from(&self) -> u32 {
            7
        }

        fn what(&self) -> &str {
            "wider ids"
        }

        fn bytes_max(&self, old_bytes: u64) -> u64 {
            old_bytes
        }

        fn write(&self, _: &Path, _: &mut New<'_>) -> Result<(), Error> {
            Ok(())
        }
    }

    fn plan(left: Left, bytes_free: u64) -> Plan<'static> {
        Plan {
            place: "DIR".into(),
            store: StoreId([7; 16]),
            found: 7,
            newest: 8,
            steps: vec![&Wider],
            left,
            bytes_needed: 100,
            bytes_free: Some(bytes_free),
        }
    }

    #[test]
    fn a_plan_says_which_steps_it_takes_and_whether_there_is_room() {
        let said = lines(&plan(Left::Nothing, 100)).join("\n");
        insta::assert_snapshot!(said, @"
        DIR has format 7; this release knows formats up to 8
        step 7 to 8: wider ids
        up to 100 bytes are needed beside the files that are there; 100 are free
        next: gangline migrate DIR
        ");
        let tight = plan(Left::Begun, 99);
        let said = lines(&tight).join("\n");
        assert!(said.contains("only 99 are free: too little"), "{said}");
        assert!(said.contains("interrupted before it changed anything"), "{said}");
        let object = to_json(&tight);
        assert_eq!((&object["has_room"], &object["steps"][0]["to"]), (&false.into(), &8.into()));
    }

    #[test]
    fn what_was_done_is_said() {
        let taken = plan(Left::Nothing, 100);
        assert_eq!(done(&taken, 8), "DIR has format 8 now; next: gangline serve --data DIR");
        let none = Plan { steps: Vec::new(), found: 8, ..plan(Left::Nothing, 0) };
        assert_eq!(done(&none, 8), "DIR has format 8: nothing was to be done");
        assert_eq!(lines(&none).last().map(String::as_str), Some("no step is to be taken"));
        let moved = Plan { steps: Vec::new(), found: 8, ..plan(Left::Moving, 0) };
        assert_eq!(done(&moved, 8), "DIR: the migration to format 8 is finished");
    }
}
