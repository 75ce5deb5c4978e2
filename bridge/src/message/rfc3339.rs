//! Times as RFC 3339 texts.

use jiff::Timestamp;

/// Parses an RFC 3339 text.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

/// Whether a text is the time that programs write for none.
pub(crate) fn is_zero(text: &str) -> bool {
    let text = text.trim_start();
    text.starts_with("0001-01-01") || text.starts_with("0000-00-00")
}

/// Parses an RFC 3339 text into seconds since 1970.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    parse(text).map(Timestamp::as_second)
}

/// Formats a time, in seconds since 1970, as RFC 3339 text.
pub(crate) fn written(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
