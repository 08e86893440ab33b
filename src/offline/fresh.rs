//! Where a tool makes a new directory: beside its final place, so that a tool that was killed leaves nothing that looks whole.

use crate::log::Error;
use crate::log::shell;
use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;
use std::path::PathBuf;

/// What makes the directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::offline) enum Work {
    /// `gangline salvage`.
    Salvage,
    /// `gangline restore`.
    Restore,
}

impl Work {
    /// How the name ends until the directory is complete, and what it is called.
    const fn words(self) -> (&'static str, &'static str) {
        match self {
            Work::Salvage => ("salvaging", "salvage"),
            Work::Restore => ("restoring", "restore"),
        }
    }
}

/// A place where a directory can be made.
#[derive(Debug)]
pub(in crate::offline) struct Fresh {
    out: PathBuf,
    unfinished: PathBuf,
}

impl Fresh {
    /// Looks whether a directory can be made at `out` from what is in `source`.
    ///
    /// # Errors
    /// [`Error::Unusable`] if `out` is there and not empty, or inside `source`, or an earlier try was interrupted; an
    /// input/output error.
    pub(in crate::offline) fn check(source: &Path, out: &Path, work: Work) -> Result<Fresh, Error> {
        let refuse =
            |at: &Path, reason: String| Err(Error::Unusable { place: at.display().to_string(), reason });
        let (ending, name) = work.words();
        let unfinished = match out.file_name() {
            Some(name) => out.with_file_name(format!("{}.{ending}", name.display())),
            None => {
                return refuse(
                    out,
                    "it is no name for a new directory: name one that does not exist".to_owned(),
                );
            }
        };
        match std::fs::read_dir(out) {
            Ok(mut entries) => {
                if entries.next().is_some() {
                    return refuse(out, "it is not empty: name an empty or a new directory".to_owned());
                }
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) if error.kind() == ErrorKind::NotADirectory => {
                return refuse(out, "it is not a directory: name an empty or a new one".to_owned());
            }
            Err(source) => {
                return Err(Error::Io { action: "listing", place: out.display().to_string(), source });
            }
        }
        if is_inside(out, source) {
            return refuse(
                out,
                "it is inside the directory that it is made from: name another place".to_owned(),
            );
        }
        if unfinished.symlink_metadata().is_ok() {
            return refuse(
                &unfinished,
                format!(
                    "it is what an interrupted {name} left, or one that still runs is writing it: if none runs, `rm -r {}` and the \
                     same command again",
                    shell::word(&unfinished.display().to_string())
                ),
            );
        }
        Ok(Fresh { out: out.to_owned(), unfinished })
    }

    /// Where it is made.
    pub(in crate::offline) fn unfinished(&self) -> &Path {
        &self.unfinished
    }

    /// Gives the finished directory its name.
    pub(in crate::offline) fn publish(self) -> Result<(), Error> {
        let io = |action, at: &Path| {
            let place = at.display().to_string();
            move |source| Error::Io { action, place, source }
        };
        std::fs::rename(&self.unfinished, &self.out).map_err(io("renaming", &self.unfinished))?;
        let parent = self.out.parent().filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        let parent = File::open(parent).map_err(io("opening", parent))?;
        parent.sync_all().map_err(io("syncing", &self.out))
    }

    /// Removes what was made so far.
    pub(in crate::offline) fn give_up(self) -> Result<(), Error> {
        match std::fs::remove_dir_all(&self.unfinished) {
            Err(source) if source.kind() != ErrorKind::NotFound => {
                Err(Error::Io { action: "removing", place: self.unfinished.display().to_string(), source })
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }
}

/// Whether `out`, which need not exist, is inside `directory`.
pub(in crate::offline) fn is_inside(out: &Path, directory: &Path) -> bool {
    let parents = out.ancestors().map(|at| if at.as_os_str().is_empty() { Path::new(".") } else { at });
    let inside = |at: &Path| -> Option<bool> {
        Some(at.canonicalize().ok()?.starts_with(directory.canonicalize().ok()?))
    };
    parents.into_iter().find_map(inside) == Some(true)
}
