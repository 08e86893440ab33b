//! `gangline diff`: what differs between two data directories, or in one at two places of its log.

mod print;

use crate::cli::exit::Exit;
use crate::cli::inspect::Damage;
use crate::cli::known;
use crate::cli::words;
use crate::offline::DataDirectory;
use crate::offline::Diff;
use crate::offline::Until;
use crate::offline::diff::Side;
use std::path::PathBuf;

/// What `diff` is told.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A data directory, or a copy of one: A
    #[arg(value_name = "DIR_A")]
    a: PathBuf,
    /// Another one: B; without it, the same one at another place
    #[arg(value_name = "DIR_B", required_unless_present = "at")]
    b: Option<PathBuf>,
    /// As of this update, or this time of the log; the second time, of B alone [default: the end]
    #[arg(long, value_name = "SEQUENCE|TIME", value_parser = words::until)]
    at: Vec<Until>,
    /// One JSON object a line: each difference, then what was compared
    #[arg(long)]
    json: bool,
}

/// More places than there are sides.
#[derive(Debug, thiserror::Error)]
#[error("--at was given {0} times: two sides are compared, so it is given at most twice")]
pub(crate) struct TooManyPlaces(usize);

/// Runs `diff`.
pub(crate) fn run(arguments: Arguments) -> anyhow::Result<Exit> {
    let [at_a, at_b] = match (arguments.at.as_slice(), &arguments.b) {
        ([], _) => [Until::End; 2],
        ([at], Some(_)) => [*at; 2],
        ([at], None) => [*at, Until::End],
        ([a, b], _) => [*a, *b],
        (more, _) => return Err(TooManyPlaces(more.len()).into()),
    };
    let a = side(&arguments.a, at_a)?;
    let b = side(arguments.b.as_ref().unwrap_or(&arguments.a), at_b)?;
    let mut ends = [Exit::OK; 2];
    for (side, end) in [&a, &b].into_iter().zip(&mut ends) {
        let mut damage = Damage::of(&side.directory);
        damage.tell_all(&side.as_of.faults);
        *end = damage.end(&side.as_of.tail);
    }
    let diff = Diff::of(a, b)?;
    if arguments.json {
        print::objects(&diff)?;
    } else {
        print::lines(&diff)?;
    }
    Ok(match ends {
        [Exit::OK, Exit::OK] if diff.is_same() => Exit::OK,
        [Exit::OK, Exit::OK] => Exit::DIFFERENT,
        // What differs may be what is lost.
        _ => Exit::DAMAGED,
    })
}

fn side(path: &std::path::Path, until: Until) -> anyhow::Result<Side> {
    let directory = DataDirectory::open(path)?;
    let as_of = known::as_of(&directory, until)?;
    Ok(Side { directory, as_of })
}
