//! Bugs on purpose, so that the fault campaign and the simulation can show that they find them. Compiled only into tests
//! and, with the feature `seeded-bugs`, into the binary that `scripts/campaign` hunts them with; never into a release.
//!
//! Each has one place in the code, or two where a second line of defence would hide it.

/// A bug that can be switched on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    /// A frame counts as synced without a sync. [ACK-1]
    SkipSync,
    /// Readers see a frame before its sync. [ACK-1]
    PublishBeforeSync,
    /// Any lease may finish a running job. [LEASE-1]
    AcceptStaleToken,
    /// A job that completes does so twice. [JOB-1]
    TwoTerminals,
    /// A reader that resumes misses the first update. [LOG-2]
    DropUpdateAtResume,
    /// Recovery leaves out the last frame, and its sequences are given again. [LOG-1]
    ReuseSequence,
    /// Recovery takes what it reads for what is on the disk. [ACK-2]
    TrustPageCache,
}

impl Bug {
    /// Every bug with its name.
    pub const ALL: [(Bug, &'static str); 7] = [
        (Bug::SkipSync, "skip-sync"),
        (Bug::PublishBeforeSync, "publish-before-sync"),
        (Bug::AcceptStaleToken, "accept-stale-token"),
        (Bug::TwoTerminals, "two-terminals"),
        (Bug::DropUpdateAtResume, "drop-update-at-resume"),
        (Bug::ReuseSequence, "reuse-sequence"),
        (Bug::TrustPageCache, "trust-page-cache"),
    ];

    /// Whether this bug is in now.
    #[must_use]
    pub fn is_in(self) -> bool {
        chosen() == Some(self)
    }
}

/// The bug that the environment names, the same for the whole life of the process.
#[cfg(not(test))]
fn chosen() -> Option<Bug> {
    use std::sync::LazyLock;
    static CHOSEN: LazyLock<Option<Bug>> = LazyLock::new(|| {
        let name = std::env::var("GANGLINE_SEEDED_BUG").ok()?;
        let known = Bug::ALL.into_iter().find(|(_, known)| *known == name);
        Some(known.expect("GANGLINE_SEEDED_BUG names one of the bugs").0)
    });
    *CHOSEN
}

#[cfg(test)]
thread_local! {
    static CHOSEN: std::cell::Cell<Option<Bug>> = const { std::cell::Cell::new(None) };
}

#[cfg(test)]
fn chosen() -> Option<Bug> {
    CHOSEN.get()
}

/// Puts the bug in, for this thread, while `run` runs; gives the words with which it panicked, as a test that finds
/// the bug does.
#[cfg(test)]
pub(crate) fn found(bug: Bug, run: impl FnOnce() + std::panic::UnwindSafe) -> Option<String> {
    CHOSEN.set(Some(bug));
    let ended = std::panic::catch_unwind(run);
    CHOSEN.set(None);
    let said = ended.err()?;
    let text = said.downcast_ref::<String>().cloned();
    Some(text.or_else(|| said.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
}
