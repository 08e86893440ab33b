//! The state of a data directory as of a place, for the commands that print and compare it; or that it is not known.

use crate::cli::show::text;
use crate::job::id::Position;
use crate::job::id::Sequence;
use crate::offline::AsOf;
use crate::offline::DataDirectory;
use crate::offline::Until;

/// Why a directory cannot tell of a place in its history.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unknown {
    /// The log does not go so far.
    #[error("the log in {directory} ends with update {last}, before update {wanted}")]
    Ahead {
        /// Where.
        directory: String,
        /// What was asked for.
        wanted: Sequence,
        /// The newest update.
        last: Sequence,
    },
    /// Nothing says which store it is, so that its jobs have no name outside of it.
    #[error(
        "every file of {0} that says which store it is, is damaged: `gangline salvage` makes a new one of it"
    )]
    Nameless(String),
    /// What led there was trimmed.
    #[error(
        "{directory} does not tell what was as of {wanted}: the log before frame {floor} was trimmed{}",
        oldest.as_ref().map_or_else(String::new, |(position, sequence)| format!(
            "; it knows every state after the checkpoint at frame {position}, from update {} on",
            sequence.plus(1)
        ))
    )]
    Trimmed {
        /// Where.
        directory: String,
        /// What was asked for, in words.
        wanted: String,
        /// The first retained frame.
        floor: Position,
        /// The oldest good checkpoint.
        oldest: Option<(Position, Sequence)>,
    },
}

/// The state of `directory` as of `until`.
///
/// # Errors
/// [`Unknown`] if nothing is damaged and it is not known all the same; what reading ends with.
pub(crate) fn as_of(directory: &DataDirectory, until: Until) -> anyhow::Result<AsOf> {
    let as_of = AsOf::of(directory, until)?;
    let path = || directory.path().display().to_string();
    if as_of.is_too_old(directory) {
        let floor = directory.floor().map_or(Position(0), |floor| floor.position);
        let oldest = AsOf::oldest(directory)?;
        let wanted = words(until);
        return Err(Unknown::Trimmed { directory: path(), wanted, floor, oldest }.into());
    }
    let last = as_of.state.sequence();
    match until {
        Until::Sequence(wanted) if last < wanted && as_of.faults.count() == 0 => {
            Err(Unknown::Ahead { directory: path(), wanted, last }.into())
        }
        Until::Sequence(_) | Until::Position(_) | Until::Time(_) | Until::End => Ok(as_of),
    }
}

/// Makes sure that the log of `directory` comes to `until`, as [`as_of`] does.
///
/// # Errors
/// As [`as_of`].
pub(crate) fn reaches(directory: &DataDirectory, until: Until) -> anyhow::Result<()> {
    match until {
        Until::End | Until::Position(_) | Until::Time(_) => Ok(()),
        Until::Sequence(_) => as_of(directory, until).map(drop),
    }
}

fn words(until: Until) -> String {
    match until {
        Until::End => "its end".to_owned(),
        Until::Sequence(sequence) => format!("update {sequence}"),
        Until::Position(position) => format!("frame {position}"),
        Until::Time(time) => text::at(time),
    }
}
