//! Judges a history: what the clients saw against what the service says at the end. It reads nothing else, and both
//! from the file: `GANGLINE_HISTORY` names one that was kept, to be judged again.

mod lives;
mod log;
mod seen;

#[cfg(test)]
mod tests;

use crate::check::lives::Lives;
use crate::history::History;
use crate::history::file::Account;
use gangline::proto::v1;

/// What the service says when everything has come to rest.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Final {
    /// The whole update log, with payloads and results.
    pub(crate) updates: Vec<v1::Update>,
    /// Every job, as listed.
    pub(crate) listed: Vec<v1::Job>,
    /// Some jobs with payload and result, and those that could not be read.
    pub(crate) got: Vec<Result<v1::Job, String>>,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Violation {
    /// Its tag, or `liveness`: when the faults are over everything comes to its end.
    pub(crate) promise: &'static str,
    pub(crate) what: String,
}

/// What was found.
#[derive(Debug, Default)]
pub(crate) struct Findings(Vec<Violation>);

impl Findings {
    fn add(&mut self, promise: &'static str, what: impl Into<String>) {
        self.0.push(Violation { promise, what: what.into() });
    }
}

/// Every promise that the service did not keep. Jobs that still live are one of them: the faults are over.
pub(crate) fn check(history: &History, last: &Final) -> Vec<Violation> {
    let mut findings = Findings::default();
    for why in &history.unsettled {
        findings.add("liveness", why);
    }
    for said in &history.refused {
        findings.add("ACK-1", format!("the server does not start on its own data any more: {said}"));
    }
    log::check(history, last, &mut findings);
    let lives = Lives::fold(history, &last.updates, &mut findings);
    seen::submits(history, &lives, &mut findings);
    seen::leases(history, &last.updates, &lives, &mut findings);
    seen::controls(history, &last.updates, &mut findings);
    lives.all_ended(&mut findings);
    lives.compare(last, &mut findings);
    findings.0
}

/// Fails the test with everything that was found.
pub(crate) fn assert_kept(account: &Account, seed: u64) {
    let violations = check(&account.history, &account.last);
    let first: Vec<&Violation> = violations.iter().take(20).collect();
    assert!(violations.is_empty(), "seed {seed}: {} broken promises: {first:#?}", violations.len());
}
