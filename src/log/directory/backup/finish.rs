//! The end of a backup: everything that was received is read back, and then gets its names.

use crate::job::id::Position;
use crate::log::Error;
use crate::log::directory::backup::Announced;
use crate::log::directory::backup::Backup;
use crate::log::directory::backup::LIVE;
use crate::log::directory::backup::Last;
use crate::log::directory::backup::check;
use crate::log::directory::backup::check::Chain;
use crate::log::directory::backup::files;
use crate::log::directory::backup::manifest::Manifest;
use crate::log::directory::capture;
use crate::log::directory::capture::Part;
use crate::log::directory::capture::PartKind;
use crate::log::directory::carry::Carry;
use crate::log::directory::checkpoint;
use crate::log::directory::layout;
use crate::log::directory::layout::io;
use crate::log::directory::reader::Reader;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;

impl Backup {
    /// Reads back what was received, and makes it the backup: `parts` and nothing else.
    ///
    /// # Errors
    /// [`Error::Damaged`] if what was received is not a valid log; then what was finished before stays as it was.
    /// [`Error::NoBackup`] if it is not what was announced, or does not go on with what was finished; an input/output error.
    pub fn finish(self, announced: &Announced, parts: &[Part]) -> Result<Manifest, Error> {
        let manifest = Manifest::new(announced, parts);
        let manifest =
            manifest.map_err(|what| self.refuse(format!("what was received is no log: {what}")))?;
        self.read_back(&manifest, parts)?;
        self.forget_others(parts)?;
        for directory in self.directories() {
            layout::sync_directory(&directory)?;
        }
        manifest.write(&self.incoming)?;
        self.give_names(&manifest)?;
        Ok(manifest)
    }

    /// Checks everything that was received, and that the log ends with the announced frame.
    fn read_back(&self, manifest: &Manifest, parts: &[Part]) -> Result<(), Error> {
        let before = self.manifest.as_ref().map(|own| own.head);
        let mut chain = Chain::new(before);
        for part in parts {
            let of = |last| self.incoming_path(part, last);
            let received = [Last::Yes, Last::No].into_iter().map(of).find(|path| path.exists());
            match (part.kind, received) {
                (PartKind::Segment, Some(path)) => {
                    chain.segment(&Reader::open_at(path, part.number, manifest.store)?, part.bytes)?;
                }
                (PartKind::Carry, Some(_)) => {
                    check::carry(&Carry::open(&self.incoming, Position(part.number), manifest.store)?)?;
                }
                (PartKind::Checkpoint, Some(_)) => {
                    checkpoint::open(&self.incoming, manifest.store, Position(part.number))?;
                }
                (PartKind::Segment, None) => chain.pass(),
                (PartKind::Carry | PartKind::Checkpoint, None) => {}
            }
        }
        if chain.forked() {
            return Err(self.behind());
        }
        if chain.head().or(before) != Some(manifest.head) {
            let reason = "what was received does not end with the frame that was announced";
            return Err(self.refuse(reason.to_owned()));
        }
        Ok(())
    }

    /// Removes what an earlier run has received and the source has let go of since.
    fn forget_others(&self, parts: &[Part]) -> Result<(), Error> {
        let both = |part| [Last::No, Last::Yes].map(|last| self.incoming_path(part, last));
        let known: HashSet<PathBuf> = parts.iter().flat_map(both).collect();
        for directory in [self.incoming.log(), self.incoming.checkpoints()] {
            for path in files(&directory)?.into_iter().filter(|path| !known.contains(path)) {
                layout::remove(&path)?;
            }
        }
        Ok(())
    }

    /// Gives what was received its names and lets go of what `manifest` does not name. It may be killed anywhere and run again.
    pub(super) fn give_names(&self, manifest: &Manifest) -> Result<(), Error> {
        for directory in [self.layout.log(), self.layout.checkpoints()] {
            layout::make_directory(&directory)?;
        }
        for (from, to) in [
            (self.incoming.log(), self.layout.log()),
            (self.incoming.checkpoints(), self.layout.checkpoints()),
        ] {
            if !from.exists() {
                continue;
            }
            for path in files(&from)? {
                let live = path.extension().is_some_and(|extension| extension == LIVE);
                let name = if live { path.file_stem() } else { path.file_name() };
                rename(&path, &to.join(name.expect("a file has a name")))?;
            }
        }
        self.let_go(manifest)?;
        for directory in [self.layout.log(), self.layout.checkpoints()] {
            layout::sync_directory(&directory)?;
        }
        if self.incoming.format().exists() {
            rename(&self.incoming.format(), &self.layout.format())?;
        }
        layout::sync_directory(self.layout.root())?;
        rename(&self.incoming.manifest(), &self.layout.manifest())?;
        layout::sync_directory(self.layout.root())?;
        let removed = std::fs::remove_dir_all(self.incoming.root());
        removed.map_err(io("removing", self.incoming.root()))?;
        layout::sync_directory(self.layout.root())
    }

    fn let_go(&self, manifest: &Manifest) -> Result<(), Error> {
        let kinds = [
            (PartKind::Segment, self.layout.log(), "seg"),
            (PartKind::Carry, self.layout.log(), "carry"),
            (PartKind::Checkpoint, self.layout.checkpoints(), "ckpt"),
        ];
        for (kind, directory, extension) in kinds {
            for number in layout::numbers(&directory, extension)? {
                if !manifest.names(kind, number) {
                    layout::remove(&capture::path(&self.layout, kind, number))?;
                }
            }
        }
        Ok(())
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    std::fs::rename(from, to).map_err(io("naming", to))
}
