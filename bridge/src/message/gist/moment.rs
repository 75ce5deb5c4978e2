//! Times in the forms that programs write.

use jiff::{Timestamp, fmt::rfc2822, fmt::strtime};
use serde_json::Value;

use crate::message::{gist::names, rfc3339};

/// Reads a time: a text, or the seconds, milliseconds, microseconds or nanoseconds since 1970. A text in a form of its
/// own stays as it is.
pub(super) fn read(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => match text.trim() {
            "" => None,
            text if rfc3339::is_zero(text) => None,
            text => {
                let number = text.parse().ok().and_then(of_number);
                let other = || Some(in_other_form(text)?.to_string());
                Some(number.or_else(other).unwrap_or_else(|| text.to_owned()))
            }
        },
        Value::Number(number) => number.as_f64().and_then(of_number),
        _ => None,
    }
}

/// Whether a text is a time that programs write for none, like the beginning of the year 1 or of 1970.
pub(super) fn is_unknown(text: &str) -> bool {
    rfc3339::is_zero(text) || text.trim_start().starts_with("1970-01-")
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
    is_time(text) && !is_to_come(&names::plain(name))
}

fn is_to_come(plain: &str) -> bool {
    const TO_COME: &[&str] =
        &["expir", "due", "until", "deadline", "next", "valid", "after", "before"];
    TO_COME.iter().any(|part| plain.contains(part))
}

/// Whether a name that is none of the usual ones is probably that of the time when something happened.
pub(super) fn is_name_of_time(plain: &str) -> bool {
    const ENDS: &[&str] =
        &["time", "timeiso", "timefired", "timestamp", "at", "datetime", "occurred"];
    const OTHERS: &[&str] =
        &["end", "finish", "stop", "resolv", "uptime", "runtime", "creat", "updat", "last"];
    ENDS.iter().any(|end| plain.ends_with(end))
        && !is_to_come(plain)
        && !OTHERS.iter().any(|part| plain.contains(part))
}

/// Whether a text is a time in a form that programs write.
fn is_time(text: &str) -> bool {
    let text = text.trim();
    text.starts_with(|c: char| c.is_ascii_digit())
        && (text.parse::<Timestamp>().is_ok() || text.parse::<jiff::civil::DateTime>().is_ok())
        || in_other_form(text).is_some()
}

/// Reads a time that is not written as in RFC 3339, if it names UTC or an offset: `2026-11-23 06:40:00 +0000 UTC`,
/// `Mon, 23 Nov 2026 06:40:00 GMT`.
fn in_other_form(text: &str) -> Option<Timestamp> {
    const FORMS: &[&str] = &[
        "%Y-%m-%d %H:%M:%S%.f %z",
        "%Y/%m/%d %H:%M:%S%.f %z",
        "%a %b %d %H:%M:%S %z %Y",
        "%d/%b/%Y:%H:%M:%S %z",
        "%d.%m.%Y %H:%M:%S %z",
        "%b %d, %Y %H:%M:%S %z",
    ];
    /// The shortest and the longest of these forms, in bytes.
    const LENGTHS: std::ops::RangeInclusive<usize> = 20..=50;
    if !LENGTHS.contains(&text.len()) || text.parse::<Timestamp>().is_ok() {
        return None;
    }
    if let Ok(time) = rfc2822::parse(text) {
        return Some(time.timestamp());
    }
    let text = text.replace("+0000 UTC", "UTC").replace("(UTC)", "UTC").replace("GMT", "UTC");
    let text = text.replace("UTC", "+0000");
    FORMS.iter().find_map(|form| strtime::parse(form, &text).ok()?.to_timestamp().ok())
}

/// Whether a text is a time that is understood, and not only shown as it is.
pub(super) fn is_clear(text: &str) -> bool {
    rfc3339::parse(text).is_some()
}

/// Whether a number is zero where a time is expected, which programs write for none.
pub(super) fn is_none(name: &str, value: &Value) -> bool {
    let plain = names::plain(name);
    let is_time = names::BEGINNINGS.contains(&plain.as_str())
        || names::ENDS.contains(&plain.as_str())
        || name.ends_with("_at")
        || name.ends_with("At")
        || name.ends_with("_time")
        || plain.ends_with("timestamp");
    is_time && value.as_f64() == Some(0.0)
}

/// Returns the time in a text to the second, as in `2026-11-23 06:40:00 UTC`.
pub(super) fn short(text: &str) -> Option<String> {
    let text = text.trim();
    let time = text.parse().ok().or_else(|| in_other_form(text))?;
    Some(time.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
}

/// Reads a number as a time if its name says that it is one.
pub(super) fn of_named(name: &str, value: &Value) -> Option<String> {
    let plain = names::plain(name);
    let is_time = names::BEGINNINGS.contains(&plain.as_str())
        || names::ENDS.contains(&plain.as_str())
        || [
            "time",
            "timestamp",
            "timenano",
            "at",
            "date",
            "updated",
            "occurrence",
            "seen",
            "fired",
        ]
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
