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

/// Whether two texts are the same time, whatever their forms are, or one is the day of the other.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    const DAY: usize = "2026-11-23".len();
    let is_day = |day: &str, time: &str| day.len() == DAY && time.starts_with(day);
    is_day(one, other)
        || is_day(other, one)
        || one == other
        || rfc3339::parse(one).is_some_and(|time| rfc3339::parse(other) == Some(time))
}

/// Whether a field has a time that has passed when the message is read. What expires or is due is still to come.
pub(super) fn is_past(name: &str, text: &str) -> bool {
    const TO_COME: &[&str] =
        &["expir", "due", "until", "deadline", "next", "valid", "after", "before"];
    let plain = names::plain(name);
    is_time(text) && !TO_COME.iter().any(|part| plain.contains(part))
}

/// Whether a text is a time in a form that programs write.
fn is_time(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit())
        && (text.parse::<Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
}

/// Returns the time in a text to the second, as in `2026-11-23 06:40:00 UTC`.
pub(super) fn short(text: &str) -> Option<String> {
    let time: Timestamp = text.trim().parse().ok()?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Reads a number as a time if its name says that it is one.
pub(super) fn of_named(name: &str, value: &Value) -> Option<String> {
    let plain = names::plain(name);
    let is_time = names::BEGINNINGS.contains(&plain.as_str())
        || names::ENDS.contains(&plain.as_str())
        || ["time", "timestamp", "timenano", "at", "date", "updated"]
            .iter()
            .any(|end| plain.ends_with(end))
        || matches!(plain.as_str(), "start" | "end" | "begin" | "stop");
    let number = || match value {
        Value::String(text) => text.trim().parse().ok(),
        value => value.as_f64(),
    };
    if is_time { number().and_then(of_number) } else { None }
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
