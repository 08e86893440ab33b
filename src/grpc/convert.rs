//! Between the messages of the API and the vocabulary of the domain, both ways where both exist. What comes in is
//! checked here and trusted inside; a request with a violation changes nothing.

pub mod admin;
pub mod backup;
pub mod failure;
pub mod finish;
pub mod job;
pub mod lease;
pub mod names;
pub mod page;
pub mod queue;
pub mod seed;
pub mod spec;
pub mod submit;
pub mod tail;
#[cfg(test)]
mod tests;
pub mod time;
pub mod update;

use crate::grpc::status::Reason;
use crate::grpc::status::Refusal;
use crate::grpc::status::Violation;
use std::fmt;

/// What a request may hold, as far as the operator decides it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sizes {
    /// The largest payload of a job; 1 MiB.
    pub payload_bytes_max: usize,
    /// The largest result; 1 MiB.
    pub result_bytes_max: usize,
    /// The most jobs of one call or one message of a stream; 10,000.
    pub jobs_max: usize,
}

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { payload_bytes_max: 1_024 * 1_024, result_bytes_max: 1_024 * 1_024, jobs_max: 10_000 }
    }
}

/// Collects what is wrong with one request, so that its sender sees all of it at once.
#[derive(Debug, Default)]
pub struct Checks {
    violations: Vec<Violation>,
}

impl Checks {
    /// More violations of one request are not told: the first ones say enough.
    pub const TOLD_MAX: usize = 20;

    /// Nothing wrong so far.
    #[must_use]
    pub fn new() -> Checks {
        Checks::default()
    }

    /// Notes a field that has a value that is not allowed.
    pub fn field(&mut self, field: impl fmt::Display, text: impl fmt::Display) {
        self.note(Reason::InvalidField, field, text);
    }

    /// Notes a violation that has a reason of its own.
    pub fn note(&mut self, reason: Reason, field: impl fmt::Display, text: impl fmt::Display) {
        if self.violations.len() < Checks::TOLD_MAX {
            self.violations.push(Violation { reason, field: field.to_string(), text: text.to_string() });
        }
    }

    /// `value` if nothing was wrong.
    ///
    /// # Errors
    /// The refusal that names every violation.
    pub fn pass<T>(self, value: T) -> Result<T, Refusal> {
        if self.violations.is_empty() { Ok(value) } else { Err(Refusal::invalid(self.violations)) }
    }
}

/// Where in a request a message stands: its path, written only if something is wrong with it.
#[derive(Clone, Copy, Debug)]
pub enum At {
    /// The request itself.
    Request,
    /// A message in a field of the request.
    Field(&'static str),
    /// An element of a repeated field of the request.
    Element(&'static str, usize),
}

impl At {
    /// The path of a field of the message.
    #[must_use]
    pub fn dot(self, field: &'static str) -> Path {
        Path { at: self, field }
    }
}

/// The path of a field, such as `jobs[3].run_at`.
#[derive(Clone, Copy, Debug)]
pub struct Path {
    at: At,
    field: &'static str,
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Request => f.write_str(self.field),
            At::Field(name) => write!(f, "{name}.{}", self.field),
            At::Element(name, index) => write!(f, "{name}[{index}].{}", self.field),
        }
    }
}
