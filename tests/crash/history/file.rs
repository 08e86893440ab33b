//! Histories in their files: where they are, how they are read back, and when they are kept.

use crate::check::Final;
use crate::history::History;
use crate::history::Saw;
use std::fs::File;
use std::io::BufRead;
use std::io::BufReader;
use std::path::Path;
use std::path::PathBuf;

/// The file of one run. It goes with the run, unless that fails.
#[derive(Debug)]
pub(crate) struct Kept(PathBuf);

/// Everything that the checker is told: it comes from the file alone.
#[derive(Debug)]
pub(crate) struct Account {
    pub(crate) history: History,
    pub(crate) last: Final,
    _kept: Option<Kept>,
}

impl Kept {
    /// The file for a part of the campaign.
    pub(crate) fn new(part: &str, seed: u64) -> Kept {
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("campaign");
        std::fs::create_dir_all(&folder).expect("a folder for histories");
        Kept(folder.join(format!("{part}-{seed}-{}.jsonl", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Reads it back to be judged.
    pub(crate) fn read(self) -> Account {
        let account = Account::read(&self.0);
        Account { _kept: Some(self), ..account }
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the history is kept; to judge it again:");
            eprintln!("GANGLINE_HISTORY={} cargo test --test crash judged -- --nocapture", self.0.display());
        } else {
            std::fs::remove_file(&self.0).ok();
        }
    }
}

impl Account {
    /// Reads a history. One without an end is of a run that failed before the service was asked what it has: that is told.
    pub(crate) fn read(path: &Path) -> Account {
        let file = File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let (mut history, mut last, mut ended) = (History::default(), Final::default(), false);
        for (number, line) in (1..).zip(BufReader::new(file).lines()) {
            let line = line.expect("a history can be read");
            let added = serde_json::from_str(&line).map_err(|error| error.to_string());
            let added = added.and_then(|(_ms, saw): (u64, Saw)| {
                ended = ended || saw == Saw::End;
                saw.add_to(&mut history, &mut last)
            });
            added.unwrap_or_else(|error| panic!("{}:{number}: {error}: {line}", path.display()));
        }
        if !ended {
            history.unsettled.push("the history has no end: the run failed before it".to_owned());
        }
        Account { history, last, _kept: None }
    }

    /// How many submits the service acknowledged.
    pub(crate) fn acknowledged(&self) -> u64 {
        self.history.acks.len() as u64
    }
}
