//! Values of arguments that several commands take, parsed before anything is opened.

use crate::clock::Timestamp;
use crate::config::kind::parse_bytes;
use crate::engine::workers::LOCAL_PREFIX;
use crate::job::id::Sequence;
use crate::offline::Until;
use std::str::FromStr;
use std::time::Duration;

/// A label as it is typed: `name=value`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Label {
    name: String,
    value: String,
}

impl Label {
    /// Name and value.
    pub(crate) fn pair(&self) -> (String, String) {
        (self.name.clone(), self.value.clone())
    }
}

impl FromStr for Label {
    type Err = String;

    fn from_str(text: &str) -> Result<Label, String> {
        match text.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                Ok(Label { name: name.to_owned(), value: value.to_owned() })
            }
            Some(_) | None => Err("write name=value".to_owned()),
        }
    }
}

/// A size such as `64MiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    parse_bytes(text)
}

/// A duration such as `90s` or `1h 30m`.
pub(crate) fn span(text: &str) -> Result<Duration, String> {
    humantime::parse_duration(text).map_err(|error| format!("{error}; write it like 90s, 1h 30m or 250ms"))
}

/// The name of a worker: 1 to 128 bytes, not beginning as those of a server's own pools do.
pub(crate) fn name(text: &str) -> Result<String, String> {
    match text.len() {
        1..=128 if !text.starts_with(LOCAL_PREFIX) => Ok(text.to_owned()),
        1..=128 => Err(format!("{LOCAL_PREFIX} begins the names of a server's own pools")),
        _ => Err("give 1 to 128 bytes".to_owned()),
    }
}

/// A point of time in RFC 3339, such as `2027-01-31T08:00:00Z`.
pub(crate) fn time(text: &str) -> Result<Timestamp, String> {
    let parsed: jiff::Timestamp = text
        .parse()
        .map_err(|_| "write it like 2027-01-31T08:00:00Z or 2027-01-31T08:00:00+01:00".to_owned())?;
    u64::try_from(parsed.as_millisecond()).map(Timestamp).map_err(|_| "is before 1970".to_owned())
}

/// Up to where the log counts: an update by its sequence, or a time.
pub(crate) fn until(text: &str) -> Result<Until, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Until::Sequence(Sequence(sequence)));
    }
    time(text).map(Until::Time).map_err(|_| {
        "write the sequence of an update, or a time like 2027-01-31T08:00:00Z or 2027-01-31T08:00:00+01:00"
            .to_owned()
    })
}

/// A place in the update log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Before the oldest update that is kept.
    Start,
    /// After the newest.
    End,
    /// After this one.
    After(u64),
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        match text {
            "start" => Ok(Place::Start),
            "end" => Ok(Place::End),
            number => number
                .parse()
                .map(Place::After)
                .map_err(|_| "write start, end or the sequence of an update".to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::words::Label;
    use crate::cli::words::Place;
    use crate::cli::words::span;
    use crate::cli::words::time;
    use crate::clock::Timestamp;
    use std::time::Duration;

    #[test]
    fn values_are_parsed_or_told_how_to_write_them() {
        assert_eq!("a=b=c".parse::<Label>().unwrap().pair(), ("a".to_owned(), "b=c".to_owned()));
        assert!("=b".parse::<Label>().is_err() && "a".parse::<Label>().is_err());
        assert_eq!(span("1m 30s"), Ok(Duration::from_secs(90)));
        assert!(span("soon").is_err());
        assert_eq!(time("1970-01-01T00:00:01Z"), Ok(Timestamp(1_000)));
        assert!(time("1969-12-31T00:00:00Z").is_err() && time("tomorrow").is_err());
        assert_eq!("start".parse(), Ok(Place::Start));
        assert_eq!("17".parse(), Ok(Place::After(17)));
        assert!("-1".parse::<Place>().is_err());
    }
}
