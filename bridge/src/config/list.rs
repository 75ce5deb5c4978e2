//! Lists, which an environment variable separates with commas.

use serde::{Deserialize, Deserializer};

/// Reads a list, or the comma-separated text of an environment variable.
pub(crate) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum List {
        Items(Vec<String>),
        Text(String),
    }
    Ok(match List::deserialize(deserializer)? {
        List::Items(items) => items,
        List::Text(text) => text.split(',').map(|item| item.trim().to_owned()).collect(),
    })
}
