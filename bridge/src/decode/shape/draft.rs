//! Writes the first draft of a shape from one message.

use std::fmt::Write;

use serde_json::{Map, Value};

/// The number of levels of objects in which fields are looked for.
const MOST_LEVELS: usize = 3;

/// The number of keys by which a draft recognises the message.
const MOST_KEYS: usize = 4;

/// The fields of an alert, each with the names under which senders have it, the best first.
const FIELDS: [(&str, &[&str]); 9] = [
    ("severity", &["severity", "priority", "level", "importance"]),
    ("status", &["status", "state", "event_type", "action"]),
    ("summary", &["summary", "title", "subject", "name", "message", "msg", "text"]),
    ("source", &["host", "hostname", "instance", "node", "server", "service", "source", "device"]),
    ("description", &["description", "details", "message", "output", "reason", "body", "text"]),
    ("time", &["starts_at", "startsat", "started_at", "time", "timestamp", "date", "created_at"]),
    ("ended", &["ends_at", "endsat", "ended_at", "resolved_at", "closed_at"]),
    ("url", &["url", "link", "html_url", "web_url", "href", "permalink"]),
    ("fingerprint", &["fingerprint", "dedup_key", "incident_id", "alert_id", "uid", "uuid", "id"]),
];

/// A value of the message, and the expression that leads to it.
struct Found<'a> {
    key: String,
    expression: String,
    path: String,
    value: &'a Value,
}

/// Returns a file that recognises such messages by their keys and makes an alert of them, or a note if they have
/// neither a severity nor a status.
pub(crate) fn draft(object: &Map<String, Value>) -> String {
    let mut found = Vec::new();
    collect(object, "payload", "", 0, &mut found);
    let fields: Vec<(&str, String)> = FIELDS
        .iter()
        .filter_map(|(field, names)| Some((*field, best(&found, names)?.expression.clone())))
        .collect();
    let keys: Vec<String> = keys(object).into_iter().map(|key| format!("{key:?}")).collect();
    let mut file = String::from(
        "# A draft: change what is wrong, then try it with\n#   nats-matrix preview --shape FILE < payload\n\
         # docs/src/guide/shapes.md describes all that a shape can say.\n\
         name = \"My sender\"\n\n[recognise]\n",
    );
    let _ = writeln!(file, "has = [{}]", keys.join(", "));
    let is_alert = fields.iter().any(|(field, _)| ["severity", "status"].contains(field));
    if is_alert {
        file.push_str(
            "\n# The sender's words; those that are usual need no line.\n\
             [severities]\n# P1 = \"critical\"\n\n[states]\n# closed = \"resolved\"\n",
        );
    }
    let _ = write!(file, "\n[[rule]]\nas = \"{}\"\n", if is_alert { "alert" } else { "note" });
    let mut has_title = false;
    let mut used: Vec<&str> = Vec::new();
    for (field, expression) in &fields {
        let name = match (*field, is_alert) {
            ("summary", false) => "headline",
            ("description", false) => "lines",
            ("severity" | "status" | "ended" | "fingerprint", false) => continue,
            (field, _) => field,
        };
        if used.contains(&expression.as_str()) {
            continue;
        }
        has_title |= ["summary", "headline"].contains(&name);
        used.push(expression);
        let _ = writeln!(file, "{name} = {expression:?}");
    }
    if !has_title {
        let name = if is_alert { "summary" } else { "headline" };
        let _ = writeln!(file, "{name} = \"'My sender: ' ~ tokens | last\"");
    }
    let others = found.iter().filter(|it| {
        !used.contains(&it.expression.as_str()) && !it.value.is_array() && !it.value.is_null()
    });
    for other in others.take(12) {
        let _ = writeln!(file, "# rows.{:?} = {:?}", other.path, other.expression);
    }
    file
}

fn collect<'a>(
    object: &'a Map<String, Value>,
    expression: &str,
    path: &str,
    level: usize,
    found: &mut Vec<Found<'a>>,
) {
    for (key, value) in object {
        let is_name = !key.is_empty()
            && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            && !key.starts_with(|c: char| c.is_ascii_digit());
        let expression = if is_name {
            format!("{expression}.{key}")
        } else {
            format!("{expression}[{}]", Value::from(key.as_str()))
        };
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        match value {
            Value::Object(inner) if level + 1 < MOST_LEVELS => {
                collect(inner, &expression, &path, level + 1, found);
            }
            Value::Object(_) => {}
            value => found.push(Found { key: key.to_lowercase(), expression, path, value }),
        }
    }
}

/// Returns the value with the best of these names, in the outermost object that has it.
fn best<'a, 'b>(found: &'b [Found<'a>], names: &[&str]) -> Option<&'b Found<'a>> {
    let is_told = |it: &&Found<'_>| match it.value {
        Value::String(text) => !text.trim().is_empty(),
        Value::Number(_) | Value::Bool(_) => true,
        _ => false,
    };
    names.iter().find_map(|name| {
        let candidates = found.iter().filter(|it| it.key == *name).filter(is_told);
        candidates.min_by_key(|it| it.path.matches('.').count())
    })
}

/// Returns the keys that are most likely to be only in such messages: long ones, and those of objects.
fn keys(object: &Map<String, Value>) -> Vec<&str> {
    let mut keys: Vec<&str> =
        object.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key.as_str()).collect();
    keys.sort_by_key(|key| std::cmp::Reverse(key.len()));
    keys.truncate(MOST_KEYS);
    keys.sort_unstable();
    keys
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::json;

    use super::*;
    use crate::decode::shape::file::Shape;

    #[test]
    fn a_draft_is_a_shape_that_takes_its_message() {
        for (message, lines) in [
            (
                json!({ "severity": "P1", "title": "Disk full", "device": { "host-name": "x", "host": "db-01" }, "id": 7 }),
                &[
                    "as = \"alert\"",
                    "severity = \"payload.severity\"",
                    "summary = \"payload.title\"",
                    "source = \"payload.device.host\"",
                    "fingerprint = \"payload.id\"",
                ][..],
            ),
            (
                json!({ "message": "done", "a b": 1 }),
                &["as = \"note\"", "headline = \"payload.message\""],
            ),
            (json!({ "x": [1] }), &["headline = \"'My sender: ' ~ tokens | last\""]),
        ] {
            let text = draft(message.as_object().unwrap());
            for line in lines {
                assert!(text.contains(line), "{line} is not in\n{text}");
            }
            let commented = text.replace("# rows", "rows");
            for text in [&text, &commented] {
                let shape = Shape::parse(text, Path::new("draft.toml"), false);
                assert!(shape.is_ok(), "{shape:?}\n{text}");
            }
            assert!(
                Shape::parse(&text, Path::new("d.toml"), false)
                    .unwrap()
                    .recognise
                    .holds(message.as_object().unwrap(), None)
            );
        }
    }
}
