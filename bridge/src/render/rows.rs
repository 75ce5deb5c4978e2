//! The rows of an object: the names and values of the fields that no template knows.

use serde_json::{Map, Value as Json};

use crate::{render::markup, text::shown};

/// Returns the entries of an object as names and one-line values.
pub(crate) fn rows(object: &Map<String, Json>) -> Vec<(String, String)> {
    object
        .iter()
        .map(|(key, value)| {
            let value = match value {
                Json::String(value) => shown::clean(value.trim_end()),
                other => shown::clean(&other.to_string()),
            };
            (markup::apart(&shown::line(key)).into_owned(), value)
        })
        .collect()
}
