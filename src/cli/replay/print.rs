//! Printing a state: what is where, and the live jobs.

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::known;
use crate::cli::output;
use crate::cli::output::Objects;
use crate::cli::output::Reader;
use crate::cli::replay::Arguments;
use crate::cli::show::counts;
use crate::cli::show::live;
use crate::cli::show::live::LiveJson;
use crate::cli::show::table::Table;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::LiveJob;
use crate::offline::slice::Candidate;

/// Prints the state as of the place that was asked for.
pub(super) fn state(directory: &DataDirectory, arguments: &Arguments) -> anyhow::Result<Exit> {
    let as_of = known::as_of(directory, arguments.until())?;
    let mut damage = Damage::of(directory);
    damage.tell_all(&as_of.faults);
    if arguments.json {
        objects(directory, &as_of, arguments)?;
    } else {
        lines(directory, &as_of, arguments)?;
    }
    if as_of.partial {
        output::note(
            "something that led to this state is lost: jobs and counts may be missing, or older than they should be",
        );
    }
    Ok(damage.end(&as_of.tail))
}

/// The live jobs that are wanted, in the order of their ids.
fn jobs(as_of: &AsOf, arguments: &Arguments) -> impl Iterator<Item = LiveJob> {
    let wanted = arguments.wanted();
    LiveJob::all(&as_of.state).filter(move |job| {
        let LiveJob { id, queue, state, submitted, .. } = job;
        wanted.admits(Candidate { id: *id, queue, state: *state, submitted: Some(*submitted) })
    })
}

fn objects(directory: &DataDirectory, as_of: &AsOf, arguments: &Arguments) -> anyhow::Result<()> {
    let mut objects = Objects::default();
    for job in jobs(as_of, arguments) {
        if objects.add(&LiveJson::of(&job))? == Reader::Gone {
            return Ok(());
        }
    }
    objects.add(&live::state_json(directory, as_of))?;
    objects.print()?;
    Ok(())
}

fn lines(directory: &DataDirectory, as_of: &AsOf, arguments: &Arguments) -> anyhow::Result<()> {
    let mut lines = live::state_lines(directory, as_of);
    lines.extend([String::new(), format!("{} live jobs", as_of.state.jobs().len())]);
    lines.extend(counts::table(&live::queues(as_of)).lines());
    let limit =
        if arguments.all { usize::MAX } else { usize::try_from(arguments.limit).unwrap_or(usize::MAX) };
    let mut jobs = jobs(as_of, arguments);
    let mut table = Table::new(live::HEADER);
    jobs.by_ref().take(limit).for_each(|job| table.row(live::row(&job)));
    let left = jobs.count();
    if !table.is_empty() {
        lines.push(String::new());
        lines.extend(table.lines());
    }
    output::lines(lines.into_iter())?;
    if left > 0 {
        output::note(format_args!("{left} more jobs; --all or --limit shows more"));
    }
    Ok(())
}
