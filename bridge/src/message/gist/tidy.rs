//! An object as its sender meant it: a list of names and values is an object, HTML is text, and a variable that the
//! sender did not fill in is nothing.

use std::borrow::Cow;

use serde_json::{Map, Value};

use crate::message::gist::{markup, names};

/// The number of levels of objects and lists that are looked into.
const LEVELS: usize = 8;

/// The largest number of entries of a list that is read as an object.
const ENTRIES: usize = 128;

/// The names of a name, and of its value, in a list of names and values.
const KEYS: &[&str] = &["key", "name", "title", "label", "field", "fieldname", "k"];
const VALUES: &[&str] = &["value", "val", "v"];

/// Returns an object as its sender meant it, and whether something was left out.
pub(super) fn tidied(object: &Map<String, Value>) -> (Map<String, Value>, bool) {
    let mut is_cut = false;
    (tidied_object(object, 0, &mut is_cut), is_cut)
}

fn tidied_object(
    object: &Map<String, Value>,
    level: usize,
    is_cut: &mut bool,
) -> Map<String, Value> {
    let has = |name: &str| object.get(name).is_some_and(Value::is_object);
    let was =
        |name: &str| names::CHANGES.iter().any(|(old, new)| *old == name && has(old) && has(new));
    let entries = object.iter().filter_map(|(name, value)| {
        // The state before a change is not the present one.
        let value = if was(name) { None } else { tidied_value(value, level, is_cut) };
        *is_cut |= value.is_none();
        let value = value?;
        // An object that is named by the event is what happened: `"incident.created": { … }`.
        let is_event = level == 0 && value.is_object() && is_named_by_event(object, name);
        Some((if is_event { "data".to_owned() } else { name.clone() }, value))
    });
    entries.collect()
}

fn is_named_by_event(object: &Map<String, Value>, name: &str) -> bool {
    let is_name = |field: &str| object.get(field).and_then(Value::as_str) == Some(name);
    !object.contains_key("data")
        && ["event_type", "eventType", "event", "type"].into_iter().any(is_name)
}

fn tidied_value(value: &Value, level: usize, is_cut: &mut bool) -> Option<Value> {
    match value {
        Value::String(text) if is_unfilled(text) => None,
        Value::String(text) => Some(Value::String(markup::plain(text).into_owned())),
        Value::Object(object) if level < LEVELS => {
            // Dates in the JSON of MongoDB: `{ "$date": 1795415502000 }`.
            if let Some(date) = object.get("$date").filter(|_| object.len() == 1) {
                return Some(date.clone());
            }
            Some(Value::Object(tidied_object(object, level + 1, is_cut)))
        }
        Value::Array(items) if level < LEVELS => {
            let Some(object) = as_object(items) else {
                let items = items.iter().filter_map(|it| tidied_value(it, level + 1, is_cut));
                return Some(Value::Array(items.collect()));
            };
            Some(Value::Object(tidied_object(&object, level + 1, is_cut)))
        }
        other => Some(other.clone()),
    }
}

/// Returns the object that a list of names and values is: `[{"key": "team", "value": "blue"}]`, `[["team", "blue"]]`.
fn as_object(items: &[Value]) -> Option<Map<String, Value>> {
    if items.is_empty() || items.len() > ENTRIES {
        return None;
    }
    let mut object = Map::new();
    for item in items {
        let (name, value) = entry(item)?;
        match object.get_mut(name) {
            // A tag can have several values.
            Some(Value::String(first)) => {
                if let Some(more) = value.as_str().filter(|more| *more != first) {
                    first.push_str(", ");
                    first.push_str(more);
                }
            }
            Some(_) => {}
            None => {
                object.insert(name.to_owned(), value.into_owned());
            }
        }
    }
    Some(object)
}

fn entry(item: &Value) -> Option<(&str, Cow<'_, Value>)> {
    /// The largest number of fields of an entry, some of which say how it is shown.
    const FIELDS: usize = 4;
    let (name, value) = match item {
        Value::Array(pair) => match &pair[..] {
            [Value::String(name), value @ (Value::String(_) | Value::Number(_))] => (name, value),
            _ => return None,
        },
        Value::Object(fields) if fields.len() <= FIELDS => {
            let at = |wanted: &[&str]| {
                let is_wanted =
                    |(name, _): &(&String, &Value)| wanted.contains(&names::plain(name).as_str());
                fields.iter().find(is_wanted).map(|(_, value)| value)
            };
            let Value::String(name) = at(KEYS)? else { return None };
            (name, at(VALUES)?)
        }
        _ => return None,
    };
    let is_name = name.starts_with(char::is_alphabetic) && name.len() <= 100;
    is_name.then(|| (name.trim(), typed(value)))
}

/// Returns the value in an object that names its type: `{ "stringValue": "shop" }`.
fn typed(value: &Value) -> Cow<'_, Value> {
    let inner = value.as_object().filter(|object| object.len() == 1).and_then(|object| {
        let (name, value) = object.iter().next()?;
        name.ends_with("Value").then_some(value)
    });
    Cow::Borrowed(inner.unwrap_or(value))
}

/// Whether a text is a variable of a template that the sender did not fill in: `*alertDuration*`, `{{ value }}`,
/// `$ALERT_NAME`, `%HOST%`, `<no value>`.
pub(super) fn is_unfilled(text: &str) -> bool {
    const NONE: &[&str] =
        &["<no value>", "[no value]", "<nil>", "%!s(<nil>)", "*unknown*", "(null)", "{}"];
    /// The longest variable, in bytes.
    const LONGEST: usize = 100;
    let text = text.trim();
    if text.contains("%(") && text.contains(")s") {
        return true;
    }
    if text.len() > LONGEST {
        return false;
    }
    let inner = |begin: &str, end: &str| {
        text.strip_prefix(begin).and_then(|rest| rest.strip_suffix(end)).map(str::trim)
    };
    let is_name = |name: &str| {
        let name = name.trim_start_matches(['$', '.']);
        name.starts_with(char::is_alphabetic)
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'))
    };
    let is_capital = |name: &str| {
        is_name(name) && name.len() > 2 && !name.contains(|c: char| c.is_ascii_lowercase())
    };
    let is_expression = |name: &str| !name.is_empty() && !name.contains(['{', '}', '\n']);
    inner("{{", "}}").is_some_and(is_expression)
        || [("*", "*"), ("${", "}"), ("#{", "}")]
            .iter()
            .any(|(begin, end)| inner(begin, end).is_some_and(is_name))
        || [("%", "%"), ("$", ""), ("$", "$"), ("{", "}"), ("@@", "@@"), ("__", "__")]
            .iter()
            .any(|(begin, end)| inner(begin, end).is_some_and(is_capital))
        || inner("*insert ", "*").is_some()
        || NONE.contains(&text.to_lowercase().as_str())
}
