//! Helpers to read JSON from other programs without being strict.
//!
//! A decoder takes the fields that it needs and ignores the rest, because senders add fields with every version. A
//! field that it needs and that has another type is an error, and then the whole object is shown as it is.

use serde::{Deserialize, Deserializer};

/// Reads null as the default value: Go and JavaScript write null for a field that is absent.
pub(crate) fn or_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// Returns a text unless it is blank.
pub(crate) fn filled(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

/// Returns a time unless it is Go's zero time, which means that there is none.
pub(crate) fn known(time: Option<String>) -> Option<String> {
    filled(time).filter(|time| !time.starts_with("0001-01-01T"))
}
