//! Times in the forms that programs write.

use jiff::Timestamp;
use serde_json::Value;

use crate::message::{gist::names, rfc3339};

/// Reads a time: a text, or the seconds, milliseconds, microseconds or nanoseconds since 1970. A text in a form of its
/// own stays as it is.
pub(super) fn read(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => match text.trim() {
            "" => None,
            text if rfc3339::is_zero(text) => None,
            text => Some(text.parse().ok().and_then(of_number).unwrap_or_else(|| text.to_owned())),
        },
        Value::Number(number) => number.as_f64().and_then(of_number),
        _ => None,
    }
}

/// Reads a number as a time if its name says that it is one.
pub(super) fn of_named(name: &str, value: &Value) -> Option<String> {
    let plain = names::plain(name);
    let is_time = names::BEGINNINGS.contains(&plain.as_str())
        || names::ENDS.contains(&plain.as_str())
        || ["time", "timestamp", "timenano", "at", "date"].iter().any(|end| plain.ends_with(end))
        || matches!(plain.as_str(), "start" | "end" | "begin" | "stop");
    if is_time { value.as_f64().and_then(of_number) } else { None }
}

/// Returns the time that a number stands for, if it is one between 2001 and 2100.
fn of_number(number: f64) -> Option<String> {
    const FROM: f64 = 1e9;
    const UNTIL: f64 = 4.1e9;
    let seconds = [1.0, 1e3, 1e6, 1e9].map(|unit| number / unit);
    let seconds = seconds.into_iter().find(|seconds| (FROM..UNTIL).contains(seconds))?;
    #[expect(
        clippy::cast_possible_truncation,
        reason = "the number is in the range of milliseconds"
    )]
    let milliseconds = (seconds * 1e3).round() as i64;
    Timestamp::from_millisecond(milliseconds).ok().map(|time| time.to_string())
}
