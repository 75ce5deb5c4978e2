//! The rows of an object: the names and values of the fields that no template knows.

use serde_json::{Map, Value as Json};

use crate::{message::Gist, render::markup, text::shown};

/// Returns the entries of an object as names and one-line values.
pub(crate) fn rows(object: &Map<String, Json>) -> Vec<(String, String)> {
    object
        .iter()
        .map(|(key, value)| match value {
            Json::String(value) => row(key, value),
            other => row(key, &other.to_string()),
        })
        .collect()
}

/// Returns a name and a value as a row.
pub(crate) fn row(name: &str, value: &str) -> (String, String) {
    (markup::apart(&shown::line(name)).into_owned(), shown::clean(value.trim_end()))
}

/// Returns the entries of an object that are worth a line, nested ones as `a.b`.
pub(crate) fn best(object: &Map<String, Json>) -> Vec<(String, String)> {
    Gist::rows_of(object).0.iter().map(|(name, value)| row(name, value)).collect()
}
