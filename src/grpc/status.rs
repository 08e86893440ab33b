//! Refusals and the one function that knows `tonic::Status`. What a client sees is made here; paths, causes and
//! backtraces stay in the server's own log.

mod failed;
mod reason;
mod refused;
#[cfg(test)]
mod tests;

pub use reason::Effect;
pub use reason::Reason;

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;
use tonic::Status;
use tonic_types::ErrorDetails;
use tonic_types::FieldViolation;
use tonic_types::StatusExt;

/// `ErrorInfo.domain` of every reason.
pub const DOMAIN: &str = "gangline";

/// Why a call is refused: for programs, for people, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    reason: Reason,
    text: String,
    retry_after: Option<Duration>,
    violations: Vec<Violation>,
    facts: Vec<(&'static str, String)>,
}

/// One field of a request that is not allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind of violation it is.
    pub reason: Reason,
    /// The field's path in the request, such as `jobs[3].run_at`.
    pub field: String,
    /// What is wrong with it and what is allowed.
    pub text: String,
}

impl Refusal {
    /// A refusal with a text for people: a lower-case fragment without a final stop.
    #[must_use]
    pub fn new(reason: Reason, text: impl fmt::Display) -> Refusal {
        let text = text.to_string();
        Refusal { reason, text, retry_after: None, violations: Vec::new(), facts: Vec::new() }
    }

    /// A refusal of a request with these violations, of which there must be one.
    #[must_use]
    pub fn invalid(violations: Vec<Violation>) -> Refusal {
        let first = violations.first().expect("a request without violations is not invalid");
        let reason = if violations.iter().all(|violation| violation.reason == first.reason) {
            first.reason
        } else {
            Reason::InvalidField
        };
        let text = format!("{}: {}", first.field, first.text);
        Refusal { violations, ..Refusal::new(reason, text) }
    }

    /// Says when it is worth trying again.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Refusal {
        Refusal { retry_after: Some(delay), ..self }
    }

    /// Adds a fact for programs, such as the floor of the log under `floor_sequence`.
    #[must_use]
    pub fn fact(mut self, name: &'static str, value: impl fmt::Display) -> Refusal {
        self.facts.push((name, value.to_string()));
        self
    }

    /// The reason.
    #[must_use]
    pub fn reason(&self) -> Reason {
        self.reason
    }

    /// The violations, if the request is invalid.
    #[must_use]
    pub fn violations(&self) -> &[Violation] {
        &self.violations
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Refusal {}

/// The status that a client receives.
impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Status {
        let facts: HashMap<String, String> =
            refusal.facts.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        let mut details = ErrorDetails::with_error_info(refusal.reason.text(), DOMAIN, facts);
        if let Some(delay) = refusal.retry_after {
            details.set_retry_info(Some(delay));
        }
        if !refusal.violations.is_empty() {
            let violation = |Violation { field, text, .. }| FieldViolation::new(field, text);
            details.set_bad_request(refusal.violations.into_iter().map(violation).collect::<Vec<_>>());
        }
        Status::with_error_details(refusal.reason.code(), refusal.text, details)
    }
}

/// The reason that a received status carries; `None` if it does not come from Gangline.
#[must_use]
pub fn reason_of(status: &Status) -> Option<Reason> {
    let info = status.get_details_error_info()?;
    if info.domain == DOMAIN { Reason::parse(&info.reason) } else { None }
}
