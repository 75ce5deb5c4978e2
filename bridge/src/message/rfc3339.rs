//! Times in texts, as RFC 3339 writes them.

use jiff::Timestamp;

/// The time that a text says in RFC 3339.
pub(crate) fn parse(text: &str) -> Option<Timestamp> {
    text.trim().parse().ok()
}

/// The time that a text says in RFC 3339, in seconds since 1970.
pub(crate) fn seconds(text: &str) -> Option<i64> {
    parse(text).map(Timestamp::as_second)
}

/// A time in RFC 3339, as publishers would write it.
pub(crate) fn written(seconds: i64) -> Option<String> {
    Timestamp::from_second(seconds).ok().map(|time| time.to_string())
}
