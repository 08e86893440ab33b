//! The kinds of values that settings have: how each is written in a file, a variable or a flag.

use crate::config::LogFormat;
use crate::config::Reflection;
use crate::grpc::listener::Exposure;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How values of type `T` are written.
pub(crate) trait Kind<T> {
    /// What stands for a value in a help text.
    const NAME: &'static str;

    /// The value that `text` says.
    fn parse(text: &str) -> Result<T, String>;

    /// The text that says `value`.
    fn show(value: &T) -> String;
}

/// Sizes: "64MiB", "4KiB", "1000" (bytes).
pub(crate) struct Bytes;

/// Time spans: "30s", "1h 30m", "500ms".
pub(crate) struct Span;

/// Numbers: "1000000", "1_000_000".
pub(crate) struct Number;

/// Paths, addresses, words.
pub(crate) struct Plain;

const UNITS: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("kB", 1_000),
    ("B", 1),
];

/// The number of bytes that `text` says, with a unit or without.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))
        .unwrap_or((text, 1));
    let number = number.trim().replace('_', "").parse::<u64>();
    number.ok().and_then(|number| number.checked_mul(factor)).ok_or_else(|| {
        "write a whole number and a unit, such as \"64MiB\" (KiB, MiB, GiB, kB, MB, GB, B)".to_owned()
    })
}

fn show_bytes(bytes: u64) -> String {
    let unit = UNITS[..3].iter().find(|(_, factor)| bytes > 0 && bytes.is_multiple_of(*factor));
    unit.map_or_else(|| bytes.to_string(), |(unit, factor)| format!("{}{unit}", bytes / factor))
}

macro_rules! whole_numbers {
    ($($number:ty)+) => { $(
        impl Kind<$number> for Bytes {
            const NAME: &'static str = "BYTES";

            fn parse(text: &str) -> Result<$number, String> {
                <$number>::try_from(parse_bytes(text)?).map_err(|_| format!("at most {}", <$number>::MAX))
            }

            fn show(value: &$number) -> String {
                u64::try_from(*value).map_or_else(|_| value.to_string(), show_bytes)
            }
        }

        impl Kind<$number> for Number {
            const NAME: &'static str = "NUMBER";

            fn parse(text: &str) -> Result<$number, String> {
                let digits = text.trim().replace('_', "");
                digits.parse().map_err(|_| format!("write a whole number from 0 to {}", <$number>::MAX))
            }

            fn show(value: &$number) -> String {
                value.to_string()
            }
        }
    )+ };
}

whole_numbers! { u32 u64 usize }

impl Kind<Duration> for Span {
    const NAME: &'static str = "DURATION";

    fn parse(text: &str) -> Result<Duration, String> {
        humantime::parse_duration(text.trim())
            .map_err(|error| format!("{error}; write a time span such as \"30s\", \"500ms\" or \"1h 30m\""))
    }

    fn show(value: &Duration) -> String {
        humantime::format_duration(*value).to_string()
    }
}

impl Kind<PathBuf> for Plain {
    const NAME: &'static str = "DIR";

    fn parse(text: &str) -> Result<PathBuf, String> {
        if text.is_empty() { Err("name a directory".to_owned()) } else { Ok(PathBuf::from(text)) }
    }

    fn show(value: &PathBuf) -> String {
        value.display().to_string()
    }
}

impl Kind<SocketAddr> for Plain {
    const NAME: &'static str = "ADDR";

    fn parse(text: &str) -> Result<SocketAddr, String> {
        text.parse()
            .map_err(|_| "write an IP address and a port, such as 127.0.0.1:4264 or [::1]:0".to_owned())
    }

    fn show(value: &SocketAddr) -> String {
        value.to_string()
    }
}

impl Kind<String> for Plain {
    const NAME: &'static str = "TEXT";

    fn parse(text: &str) -> Result<String, String> {
        Ok(text.to_owned())
    }

    fn show(value: &String) -> String {
        value.clone()
    }
}

/// Implements [`Kind`] for a choice between words.
macro_rules! words {
    ($type:ty, $name:literal, $($word:literal => $value:expr),+) => {
        impl Kind<$type> for Plain {
            const NAME: &'static str = $name;

            fn parse(text: &str) -> Result<$type, String> {
                match text {
                    $($word => Ok($value),)+
                    _ => Err(format!("write one of {}", [$($word),+].join(", "))),
                }
            }

            fn show(value: &$type) -> String {
                let words = [$(($value, $word)),+];
                let word = words.iter().find(|(known, _)| known == value);
                word.expect("every value has its word").1.to_owned()
            }
        }
    };
}

words!(Exposure, "true|false", "true" => Exposure::AllowRemote, "false" => Exposure::LoopbackOnly);
words!(
    Reflection,
    "loopback|always|never",
    "loopback" => Reflection::Loopback,
    "always" => Reflection::Always,
    "never" => Reflection::Never
);
words!(
    LogFormat,
    "auto|human|json",
    "auto" => LogFormat::Auto,
    "human" => LogFormat::Human,
    "json" => LogFormat::Json
);
