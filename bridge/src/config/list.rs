//! Lists, which an environment variable gives with commas.

use serde::{Deserialize, Deserializer};

/// A list, or, as in an environment variable, its items with commas between them.
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
