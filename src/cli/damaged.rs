//! A command that does not go on because a data directory is damaged: said with the directory, so that the next commands
//! can be named word for word.

use crate::cli::exit;
use crate::cli::exit::Exit;
use crate::cli::show::text;
use std::error::Error;
use std::path::Path;
use std::path::PathBuf;

/// Stored bytes are not what was written.
#[derive(Debug, thiserror::Error)]
#[error("the data directory {} is damaged; nothing was changed", directory.display())]
pub(crate) struct Damaged {
    directory: PathBuf,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

impl Damaged {
    /// The commands that help, ready to be pasted into a shell.
    pub(crate) fn advice(&self) -> String {
        let directory = text::shell(&self.directory);
        let out = text::shell(&self.saved());
        format!(
            "`gangline verify {directory}` shows what is lost, `gangline salvage {directory} {out}` copies the rest into a new \
             directory, `gangline serve --read-only --data {directory}` serves what is before the damage"
        )
    }

    /// Where the rest of the directory may go: beside it.
    fn saved(&self) -> PathBuf {
        let mut name = self.directory.file_name().unwrap_or_else(|| "data".as_ref()).to_owned();
        name.push("-salvaged");
        // A path such as `..` has no name to add to.
        self.directory.parent().map_or_else(|| PathBuf::from(&name), |parent| parent.join(&name))
    }
}

/// What a command on `directory` ends with.
pub(crate) fn refused(directory: &Path, error: impl Error + Send + Sync + 'static) -> anyhow::Error {
    match exit::of_error(&error) {
        Exit::DAMAGED => Damaged { directory: directory.to_owned(), source: Box::new(error) }.into(),
        _ => error.into(),
    }
}
