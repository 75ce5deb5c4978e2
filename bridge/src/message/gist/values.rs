//! Values as texts and names.

use serde_json::Value;

use crate::{
    json,
    message::gist::{flat, names},
};

pub(super) fn join(above: &str, name: &str) -> String {
    if above.is_empty() { name.to_owned() } else { format!("{above}.{name}") }
}

/// Whether a text is one word, like the name of an event.
pub(super) fn is_word(text: &str) -> bool {
    !text.trim().contains(char::is_whitespace)
}

/// Returns a text, or the text in an array of bytes.
pub(super) fn words_of(name: &str, value: &Value) -> Option<String> {
    match value {
        Value::String(text) if flat::nested(text).is_some() => None,
        Value::String(_) | Value::Array(_) => flat::words(name, value),
        _ => None,
    }
}

pub(super) fn text_with_blanks(value: &Value) -> Option<String> {
    value.as_str().filter(|text| text.trim().contains(' ')).map(str::to_owned)
}

/// Returns a value that is not empty as text.
pub(super) fn scalar(value: &Value) -> Option<String> {
    json::scalar(value).filter(|text| !text.trim().is_empty())
}

/// Returns a word, or the name of an object.
pub(super) fn named(value: &Value) -> Option<String> {
    place(value).map(|(name, _)| name)
}

/// Returns the name of a machine or service: a text, the name in an object together with its key, or the texts of a
/// list.
pub(super) fn place(value: &Value) -> Option<(String, Option<&str>)> {
    /// The number of names of a list that are shown.
    const NAMES: usize = 4;
    let (name, key) = match value {
        Value::String(text) => (text.trim().to_owned(), None),
        Value::Array(items) if matches!(&items[..], [Value::Object(_)]) => {
            return items.first().and_then(place).map(|(name, _)| (name, None));
        }
        Value::Array(items) => {
            let names = items.iter().filter_map(Value::as_str).take(NAMES);
            (names.collect::<Vec<_>>().join(", "), None)
        }
        Value::Object(object) => {
            let own = names::OWN_NAMES.iter().find_map(|wanted| {
                let (key, value) = object.iter().find(|(key, _)| names::plain(key) == *wanted)?;
                Some((value.as_str()?.trim().to_owned(), Some(key.as_str())))
            });
            let of_metadata = || {
                let name = object.get("metadata")?.get("name")?.as_str()?;
                Some((name.trim().to_owned(), Some("metadata.name")))
            };
            own.or_else(of_metadata)?
        }
        _ => return None,
    };
    (!name.is_empty() && !name.contains('\n')).then_some((name, key))
}
