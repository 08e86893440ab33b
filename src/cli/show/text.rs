//! Times, durations, sizes and bytes as text.

use crate::clock::Timestamp;
use crate::grpc::convert::time::to_timestamp;
use crate::log::shell::word;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::Serializer;
use std::path::Path;
use std::time::Duration;

/// A time that the API sent; `None` if it is before 1970.
pub(crate) fn millis(time: &prost_types::Timestamp) -> Option<Timestamp> {
    let seconds = u64::try_from(time.seconds).ok()?;
    let millis = u64::try_from(time.nanos).ok()? / 1_000_000;
    Some(Timestamp(seconds.checked_mul(1_000)?.checked_add(millis)?))
}

/// A time in RFC 3339, UTC, with milliseconds.
pub(crate) fn time(time: &prost_types::Timestamp) -> String {
    let known = jiff::Timestamp::new(time.seconds, time.nanos).ok();
    known.map_or_else(|| "?".to_owned(), |time| format!("{time:.3}"))
}

/// A time of the log, in the same form.
pub(crate) fn at(log_time: Timestamp) -> String {
    time(&to_timestamp(log_time))
}

/// A time of the log, if there is one.
pub(crate) fn known(log_time: Timestamp) -> Option<String> {
    (log_time != Timestamp(0)).then(|| at(log_time))
}

/// How long ago a time was, roughly: one number and one unit.
pub(crate) fn age(time: Option<&prost_types::Timestamp>, now: Timestamp) -> String {
    let Some(time) = time.and_then(millis) else { return "-".to_owned() };
    if time > now { format!("in {}", rough(time.since(now))) } else { rough(now.since(time)) }
}

/// A duration in one number and one unit.
pub(crate) fn rough(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{}ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// A duration that the API sent, such as `1m 30s`.
pub(crate) fn duration(duration: &prost_types::Duration) -> String {
    humantime::format_duration(span(duration)).to_string()
}

/// A duration that the API sent; a negative one counts as zero.
pub(crate) fn span(duration: &prost_types::Duration) -> Duration {
    Duration::try_from(*duration).unwrap_or_default()
}

/// A duration in whole milliseconds, for JSON.
pub(crate) fn whole_ms(duration: &prost_types::Duration) -> u64 {
    u64::try_from(span(duration).as_millis()).unwrap_or(u64::MAX)
}

/// The beginning of some bytes on one line, for people: nothing in it can move the cursor of their terminal.
pub(crate) fn preview(bytes: &[u8], chars_max: usize) -> String {
    // A character has at most four bytes.
    let start = &bytes[..bytes.len().min(chars_max * 4)];
    let text = String::from_utf8_lossy(start);
    let mut shown: String = text.trim_end().chars().take(chars_max).map(printable).collect();
    if start.len() < bytes.len() || text.trim_end().chars().count() > chars_max {
        shown.push('…');
    }
    shown
}

fn printable(c: char) -> char {
    match c {
        '\n' => '⏎',
        '\t' => ' ',
        c if c.is_control() => '\u{fffd}',
        c => c,
    }
}

/// A path as a shell takes it for one word.
pub(crate) fn shell(path: &Path) -> String {
    word(&path.display().to_string())
}

/// Text of others, line by line, without what could move the cursor of a terminal.
pub(crate) fn tame(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' && c != '\t' { '\u{fffd}' } else { c }).collect()
}

/// Bytes in JSON: text if they are UTF-8, otherwise an object with base64.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Blob<'a>(pub(crate) &'a [u8]);

impl Serialize for Blob<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Encoded {
            base64: String,
        }
        match std::str::from_utf8(self.0) {
            Ok(text) => serializer.serialize_str(text),
            Err(_) => Encoded { base64: STANDARD.encode(self.0) }.serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::cli::show::text::Blob;
    use crate::cli::show::text::preview;
    use crate::cli::show::text::rough;
    use std::time::Duration;

    #[test]
    fn a_preview_is_one_line_and_cannot_steer_a_terminal() {
        assert_eq!(preview(b"a\nb\n", 10), "a⏎b");
        assert_eq!(preview(b"\x1b[31mred", 10), "\u{fffd}[31mred");
        assert_eq!(preview("äöü".as_bytes(), 2), "äö…");
        assert_eq!(preview(b"\xff\xfe", 10), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn bytes_that_are_not_text_are_base64() {
        assert_eq!(serde_json::to_string(&Blob(b"hi")).unwrap(), r#""hi""#);
        assert_eq!(serde_json::to_string(&Blob(b"\xff")).unwrap(), r#"{"base64":"/w=="}"#);
    }

    #[test]
    fn durations_are_rounded_to_one_unit() {
        let shown: Vec<String> = [0, 999, 119_999, 120_000, 7_200_000, 172_800_000]
            .map(|ms| rough(Duration::from_millis(ms)))
            .into();
        assert_eq!(shown, ["0ms", "999ms", "119s", "2m", "2h", "2d"]);
    }
}
