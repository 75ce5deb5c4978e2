//! The keys of the configuration, from its JSON Schema.

use std::io;

use serde_json::Value;

use crate::{
    markdown::{code, on_a_page, table, wrapped},
    page::Blocks,
};

/// The part for the keys that are in no section.
const ABOVE_ALL: &str = "above all sections";

/// Returns a part for each section: a table of its keys, and behind it what is more than a cell of a table can hold.
pub(crate) fn blocks(schema: &str) -> io::Result<Blocks> {
    let schema: Value = serde_json::from_str(schema)?;
    let (mut above_all, mut blocks) = (Vec::new(), Blocks::new());
    for (name, section) in schema["properties"].as_object().into_iter().flatten() {
        let table = within(section);
        if table["properties"].is_object() {
            blocks.insert(name.clone(), block(&keys("", table)));
        } else {
            above_all.push(Key { name: name.clone(), schema: section, is_required: false });
        }
    }
    blocks.insert(ABOVE_ALL.to_owned(), block(&above_all));
    Ok(blocks)
}

fn block(keys: &[Key<'_>]) -> String {
    let rows: Vec<_> = keys.iter().map(Key::row).collect();
    let details = keys.iter().filter_map(Key::details);
    let table = table(["key", "type", "default", "example", "meaning"], &rows);
    details.fold(table, |text, more| format!("{text}\n{more}"))
}

/// The schema of one of several tables, in a list or each with a name; or the schema itself.
fn within(section: &Value) -> &Value {
    let inner = section.get("items").or_else(|| section.get("additionalProperties"));
    inner.filter(|inner| inner.is_object()).unwrap_or(section)
}

struct Key<'a> {
    name: String,
    schema: &'a Value,
    is_required: bool,
}

/// The keys of a table, with those of the tables in it.
fn keys<'a>(prefix: &str, table: &'a Value) -> Vec<Key<'a>> {
    let required: Vec<&str> =
        table["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut all = Vec::new();
    for (key, schema) in table["properties"].as_object().into_iter().flatten() {
        let name = format!("{prefix}{key}");
        let is_required = required.contains(&key.as_str());
        all.push(Key { name: name.clone(), schema, is_required });
        all.extend(keys(&format!("{name}."), schema));
    }
    all
}

impl Key<'_> {
    fn row(&self) -> [String; 5] {
        let examples = self.schema["examples"].as_array().into_iter().flatten();
        let examples: Vec<String> = examples.map(|value| code(&toml(value))).collect();
        let (first, _) = self.description();
        [code(&self.name), kind(self.schema), self.default(), examples.join(", "), first]
    }

    /// The first paragraph of the description, and the rest.
    fn description(&self) -> (String, Option<String>) {
        let text = on_a_page(self.schema["description"].as_str().unwrap_or_default());
        match text.split_once("\n\n") {
            Some((first, rest)) => {
                (format!("{first} See [below](#{}).", self.name), Some(rest.to_owned()))
            }
            None => (text, None),
        }
    }

    /// The rest of the description under a heading of its own.
    fn details(&self) -> Option<String> {
        let (_, rest) = self.description();
        // The book highlights no code without a language, and "text" is only for rustdoc.
        rest.map(|rest| {
            format!("### `{}`\n\n{}\n", self.name, wrapped(&rest.replace("```text", "```")))
        })
    }

    fn default(&self) -> String {
        let schema = self.schema;
        match (schema["x-default"].as_str(), schema.get("default")) {
            (Some(words), _) => words.to_owned(),
            (None, Some(value)) => code(&toml(value)),
            (None, None) if self.is_required => "required".to_owned(),
            (None, None) => "none".to_owned(),
        }
    }
}

/// The type of a key in words.
fn kind(schema: &Value) -> String {
    if let Some(words) = schema["x-type"].as_str() {
        return words.to_owned();
    }
    let named = schema["enum"].as_array().into_iter().flatten();
    let described = schema["oneOf"].as_array().into_iter().flatten();
    let values: Vec<String> = named
        .chain(described.filter_map(|option| option.get("const")))
        .map(|value| code(&toml(value)))
        .collect();
    if !values.is_empty() {
        return values.join(", ");
    }
    let kind = schema["type"].as_str().unwrap_or_default();
    match kind {
        "string" => "text",
        "integer" => "number",
        "array" => "list",
        "object" => "table",
        other => other,
    }
    .to_owned()
}

/// A value as TOML in one line.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        Value::Object(keys) if keys.is_empty() => "{}".to_owned(),
        Value::Object(keys) => {
            let is_bare = |key: &str| {
                key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
            };
            let pair = |(key, value): (&String, &Value)| {
                let key = if is_bare(key) { key.clone() } else { format!("\"{key}\"") };
                format!("{key} = {}", toml(value))
            };
            format!("{{ {} }}", keys.iter().map(pair).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}
