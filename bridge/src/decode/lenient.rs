//! What JSON of others may be where we are not strict about it.
//!
//! A decoder takes what it needs and ignores the rest, because senders add fields with every version. What it needs and
//! finds to be of another type is an error, and then the whole object is shown as it is.

use serde::{Deserialize, Deserializer};

/// What is null is absent: Go and JavaScript write it so.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Text that says something.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// A time, unless it is Go's zero time, which stands for none.
pub(crate) fn known(time: Option<String>) -> Option<String> {
    filled(time).filter(|time| !time.starts_with("0001-01-01T"))
}
